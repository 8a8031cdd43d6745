"""Time, waits, memory and use of a device, and the table of what was found."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import threading
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version

import torch

SYNCHRONISING = "called a synchronizing CUDA operation"
SAMPLE_MILLISECONDS = 100


class Budget:
    """Do work while there is time, and name what was left out.

    What is begun is finished: the time may be exceeded by one piece of work.
    """

    def __init__(self, seconds):
        self._end = time.monotonic() + seconds

    @property
    def seconds_left(self):
        return self._end - time.monotonic()

    def spend(self, name, work, report):
        """Return what the work returns; None where no time is left, or it fails."""
        if self.seconds_left <= 0:
            report.say(f"{name}: left out, no time")
            return None
        try:
            return work()
        # What else there is to be measured is worth more than a whole traceback.
        except Exception as error:
            report.say(f"{name}: {type(error).__name__}: {error}"[:500])
            report.failures.append(name)
            return None


class Gauge:
    """Measure what is done on a device."""

    def __init__(self, device):
        self.device = device
        self.is_cuda = device.type == "cuda"
        self._samples: list[tuple[float, float]] = []
        self._watch = None

    def __enter__(self):
        tool = shutil.which("nvidia-smi") if self.is_cuda else None
        if tool is not None:
            asked = "--query-gpu=utilization.gpu --format=csv,noheader,nounits"
            command = [tool, *asked.split(), "-i", str(torch.cuda.current_device())]
            command += ["-lms", str(SAMPLE_MILLISECONDS)]
            self._watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *error):
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait()

    def _listen(self):
        for line in self._watch.stdout:
            if line.strip().isdigit():
                self._samples.append((time.perf_counter(), float(line)))

    def _synchronize(self):
        if self.is_cuda:
            torch.cuda.synchronize()

    def _seconds(self, call):
        self._synchronize()
        start = time.perf_counter()
        call()
        self._synchronize()
        return time.perf_counter() - start

    def _of_calls(self, seconds, begun):
        used = [share for moment, share in self._samples if moment >= begun]
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.is_cuda else None
        return {
            "seconds": seconds,
            "utilisation": statistics.fmean(used) if used else None,
            "memory_MiB": peak,
        }

    def call(self, function, n_rounds):
        """Measure some calls, after one for nothing."""
        function()
        begun = self._begin()
        return self._of_calls([self._seconds(function) for _ in range(n_rounds)], begun)

    def epoch(self, train, n_more, n_rounds):
        """Measure an epoch by what `n_more` of them add to one."""
        train(1)
        begun = self._begin()
        seconds = []
        for _ in range(n_rounds):
            one = self._seconds(lambda: train(1))
            more = self._seconds(lambda: train(1 + n_more))
            seconds.append((more - one) / n_more)
        return self._of_calls(seconds, begun)

    def _begin(self):
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        return time.perf_counter()

    def waits(self, function):
        """Count how often the host waits for the device; 0 where it is the host."""
        if not self.is_cuda:
            function()
            return 0
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum(SYNCHRONISING in str(each.message) for each in said)


class Report:
    """A table in words, and the numbers behind it."""

    def __init__(self, folder, device):
        self.folder = folder
        self.lines: list[str] = []
        self.results: list[dict] = []
        self.failures: list[str] = []
        is_cuda = device.type == "cuda"
        self.facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "device": torch.cuda.get_device_name() if is_cuda else "cpu",
            "cuda": torch.version.cuda if is_cuda else None,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "scikit-learn", "skorch")},
        }
        self.say(", ".join(f"{key} {value}" for key, value in self.facts.items()))

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def add(self, title, found, baselines, **counts):
        """Say what contenders took, and their ratios to those of the baselines there are."""
        medians = {name: statistics.median(each["seconds"]) for name, each in found.items()}
        over = [name for name in baselines if name in medians]
        self.say("")
        self.say(title + "".join(f", {name} {value}" for name, value in counts.items()))
        heads = ["seconds", "use %", "MiB", *(f"over {name}" for name in over)]
        self.say(f"{'':24}" + "".join(f"{head:>{max(10, len(head) + 2)}}" for head in heads))
        for name, each in found.items():
            fields = [f"{medians[name]:.5f}"]
            for figure in (each["utilisation"], each["memory_MiB"]):
                fields.append("-" if figure is None else f"{figure:.0f}")
            fields += [
                f"{medians[name] / medians[other]:.2f}" if medians[other] > 0 else "-"
                for other in over
            ]
            self.say(
                f"{name:24}"
                + "".join(
                    f"{field:>{max(10, len(head) + 2)}}"
                    for field, head in zip(fields, heads, strict=True)
                )
            )
        self.results.append({"title": title, "found": found, **counts})
        # A run that is ended leaves what it has found.
        self.write()

    def write(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gpu.txt").write_text("\n".join(self.lines) + "\n")
        found = {"facts": self.facts, "results": self.results, "failures": self.failures}
        (self.folder / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
