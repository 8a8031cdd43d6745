"""Train on, encode and certify a table in a memory map, and the memory that takes.

Run with ``python docs/experiments/large_table.py``. It writes 10,000,000 rows of 64 columns
(2.5 GB of float32) to a temporary folder, trains for one epoch, encodes and certifies them,
and prints time and peak of each, of the process's own memory (mapped pages of the file, which
the system may drop at any time, not counted; Linux only).
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

COLUMNS, CLUSTERS = 64, 10
SETTING = {
    "latent_dim": 10,
    "hidden_layer_sizes": (128,),
    "batch_size": 1024,
    "max_epochs": 1,
    "early_stopping": False,
    "device": "cpu",
    "random_state": 0,
}


def own_memory():
    """Return the process's anonymous memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


class Stage:
    """Print what the work inside took, and the most memory the process had."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.most = own_memory()
        self.inside = True
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        self.started = time.perf_counter()

    def _look(self):
        while self.inside:
            self.most = max(self.most, own_memory())
            time.sleep(0.05)

    def __exit__(self, *error):
        seconds = time.perf_counter() - self.started
        self.inside = False
        self.watch.join()
        print(f"{self.name:22}{seconds:8.1f} s  peak {self.most:6.0f} MB", flush=True)


def write_table(path, n_rows):
    table = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(n_rows, COLUMNS))
    rng = np.random.default_rng(0)
    centers = 2 * rng.standard_normal((CLUSTERS, COLUMNS), dtype=np.float32)
    for start in range(0, n_rows, 100_000):
        block = table[start : start + 100_000]
        block[:] = centers[rng.integers(0, CLUSTERS, len(block))]
        block += rng.standard_normal(block.shape, dtype=np.float32)
    table.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npy"
        write_table(path, arguments.rows)
        X = np.load(path, mmap_mode="r")
        print(f"{X.shape[0]:,} rows of {X.shape[1]} columns, {X.nbytes / 1e9:.2f} GB")
        print(f"{'torch and skvae loaded':22}{'':10}  with {own_memory():6.0f} MB")
        model = TeacherGuidedVAE(**SETTING)
        with Stage("fit, one epoch"):
            model.fit(X)
        with Stage("transform"):
            codes = model.transform(X)
        del codes
        with Stage("certify"):
            report = ConstantCollapseCertificate(latent="sample").certify(model, X)
        print(f"bound at the sample {report.lower_bound_sample:.4f} of I_T", end=" ")
        print(f"{report.teacher_information:.4f}: {report.verdict} on {report.rows} rows")


if __name__ == "__main__":
    main()
