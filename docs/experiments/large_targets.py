"""Boundary and bound of 10,000,000 rows of targets in memory maps, and the memory they take.

Run with ``python docs/experiments/large_targets.py``. It writes 800 MB of float32 targets to a
temporary folder, reads them once in batches and once whole, and prints both, with the peak of
the process's own memory (mapped pages of the files, which the system may drop at any time,
not counted; Linux only).
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch  # noqa: F401  (the interpreter that the peak is measured beyond has it loaded)

from skvae.information import (
    BoundaryStatistics,
    alignment_cost,
    margin,
    margin_lower_bound,
    teacher_information,
)

BATCH = 65_536


def own_memory():
    """Return the process's anonymous memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most memory that the process takes inside, beyond what it had."""

    def __enter__(self):
        self.before = self.most = own_memory()
        self.inside = True
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        self.started = time.perf_counter()
        return self

    def _look(self):
        while self.inside:
            self.most = max(self.most, own_memory())
            time.sleep(0.02)

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self.started
        self.inside = False
        self.watch.join()

    def __str__(self):
        return f"{self.seconds:.1f} s, {self.most - self.before:.0f} MB at most"


def write_targets(folder, n_samples, n_components):
    """Write a teacher and a witness that blurs it."""
    shape = (n_samples, n_components)
    rng = np.random.default_rng(0)
    maps = [
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for name in ("T", "log_q")
    ]
    for start in range(0, n_samples, BATCH):
        stop = min(start + BATCH, n_samples)
        logits = 2 * rng.standard_normal((stop - start, n_components))
        blurred = 0.7 * logits + rng.standard_normal(logits.shape)
        maps[0][start:stop] = np.exp(
            logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        )
        maps[1][start:stop] = blurred - np.logaddexp.reduce(blurred, axis=1, keepdims=True)
    for written in maps:
        written.flush()


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--components", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_targets(folder, options.rows, options.components)
        T, log_q = (np.load(folder / f"{x}.npy", mmap_mode="r") for x in ("T", "log_q"))
        with Peak() as peak:
            statistics = BoundaryStatistics()
            for start in range(0, options.rows, BATCH):
                statistics.update(T[start : start + BATCH], log_q[start : start + BATCH])
        print(f"{options.rows} x {options.components}, statistics in batches: {peak}")
        with Peak() as peak:
            uniform = np.full(options.components, 1 / options.components)
            bound = margin_lower_bound(T, log_q, uniform)
        print(f"lower bound over the maps: {peak}; {bound.lower_bound:.6f} nats, mixed witness")
        whole = {
            "teacher_information": teacher_information(T),
            "alignment_cost": alignment_cost(T, log_q),
            "margin": margin(T, log_q),
        }
        for quantity, value in whole.items():
            difference = abs(getattr(statistics, quantity) - value)
            print(f"{quantity}: {value:.12f} in one pass, in batches {difference:.1e} away")


if __name__ == "__main__":
    main()
