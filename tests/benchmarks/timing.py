"""Contenders timed in turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

NAME_WIDTH = 44


@dataclass(frozen=True)
class Cost:
    """Seconds by the wall and of the processor; of training also what no epoch adds to."""

    wall: float
    cpu: float
    fixed_wall: float = 0.0
    fixed_cpu: float = 0.0


def time_of(function: Callable[[], object]) -> Cost:
    """Measure one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def time_of_an_epoch(train: Callable[[int], object], n_epochs: int = 1) -> Cost:
    """Measure an epoch of `train` by what `n_epochs` more of them add to a single one."""
    # A virtual machine may lose the memory that nobody has used for a while, and have it back
    # slowly: the first training after others would pay for that, and the second not.
    train(1)
    one = time_of(lambda: train(1))
    more = time_of(lambda: train(1 + n_epochs))
    wall, cpu = (more.wall - one.wall) / n_epochs, (more.cpu - one.cpu) / n_epochs
    return Cost(wall, cpu, one.wall - wall, one.cpu - cpu)


class Session:
    """What one script measured, in words and in numbers.

    Parameters
    ----------
    name : str
        Of the files that are written.
    options : argparse.Namespace
        With ``rounds``, ``threads`` and ``out``, as `parser` reads them.
    clock : {"cpu", "wall"} or None
        What ratios are of; None is the processor's at one thread, which other work on the
        machine disturbs less, else the wall's.
    """

    def __init__(self, name, options, clock=None):
        self.name = f"{name}_{options.threads}"
        self.out = options.out
        self.rounds = options.rounds
        self.clock = clock or ("cpu" if options.threads == 1 else "wall")
        self.facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "scikit-learn", "skorch")},
            "threads": options.threads,
            "rounds": options.rounds,
            "clock": self.clock,
        }
        self.results: list[dict] = []
        self.lines: list[str] = []
        torch.set_num_threads(options.threads)
        self._limit = threadpool_limits(options.threads)
        self.say(", ".join(f"{key} {value}" for key, value in self.facts.items()))

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def compare(
        self,
        title: str,
        contenders: dict[str, Any],
        baselines: tuple[str, ...],
        measure: Callable[[Any], Cost] = time_of,
    ) -> dict[str, list[Cost]]:
        """Measure A, B, C, A, B, C, ...; report seconds, and ratios within a round.

        Parameters
        ----------
        title : str
            What is compared.
        contenders : dict of str to object
            What `measure` measures, by name. All are measured once for nothing first.
        baselines : tuple of str
            Contenders that ratios are over.
        measure : callable, default=time_of
            Takes a contender, returns its cost.

        Returns
        -------
        costs : dict of str to list of Cost
            One a round.
        """
        for contender in contenders.values():
            measure(contender)
        costs: dict[str, list[Cost]] = {name: [] for name in contenders}
        for _ in range(self.rounds):
            for name, contender in contenders.items():
                costs[name].append(measure(contender))
        self._report(title, costs, baselines)
        # A long run that is ended leaves what it has found.
        self._write()
        return costs

    def _report(
        self,
        title: str,
        costs: dict[str, list[Cost]],
        baselines: tuple[str, ...],
    ) -> None:
        training = any(cost.fixed_wall for found in costs.values() for cost in found)
        heads = ["CPU s", "wall s", *(["fixed s"] if training else [])]
        over = [f"over {name}" for name in baselines]
        self.say("")
        self.say(
            f"{title:{NAME_WIDTH}}"
            + "".join(f"{head:>10}" for head in heads)
            + "".join(f"{head:>{max(24, len(head) + 2)}}" for head in over)
        )
        ratios: dict[str, dict[str, list[float]]] = {}
        for name, found in costs.items():
            fields = [median(found, "cpu"), median(found, "wall")]
            if training:
                fields.append(median(found, f"fixed_{self.clock}"))
            line = f"{name:{NAME_WIDTH}}" + "".join(f"{field:10.4f}" for field in fields)
            ratios[name] = {}
            for reference, head in zip(baselines, over, strict=True):
                each = [
                    getattr(a, self.clock) / getattr(b, self.clock)
                    for a, b in zip(found, costs[reference], strict=True)
                ]
                ratios[name][reference] = each
                text = f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
                line += f"{text:>{max(24, len(head) + 2)}}"
            self.say(line.rstrip())
        self.results.append(
            {
                "title": title,
                "costs": {
                    name: [asdict(cost) for cost in found] for name, found in costs.items()
                },
                "ratios": ratios,
            }
        )

    def close(self) -> None:
        """Write what was said and the numbers behind it."""
        self._limit.restore_original_limits()
        self._write()

    def _write(self) -> None:
        if self.out is None:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f"{self.name}.txt").write_text("\n".join(self.lines) + "\n")
        found = {"facts": self.facts, "results": self.results}
        (self.out / f"{self.name}.json").write_text(json.dumps(found, indent=1) + "\n")


def median(costs: list[Cost], field: str) -> float:
    """Return the median of one field."""
    return statistics.median(getattr(cost, field) for cost in costs)


def parser(description: str, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a command line with what every script takes."""
    found = argparse.ArgumentParser(description=description.splitlines()[0])
    found.add_argument("--rounds", type=at_least_five, default=rounds)
    found.add_argument("--threads", type=int, choices=(1, 2), default=1)
    found.add_argument("--out", type=Path, help="folder for the table and the numbers")
    return found


def at_least_five(text: str) -> int:
    """Read a number of rounds that a median says something of."""
    rounds = int(text)
    if rounds < 5:
        raise argparse.ArgumentTypeError("a median wants at least 5 rounds")
    return rounds
