"""Counts beside scVI: held-out ELBO, clusters and what a linear classifier reads of the codes.

    python tests/benchmarks/counts.py --environment FOLDER --out FOLDER [--seeds 3]

The folder gets a virtual environment with scvi-tools, scanpy and this interpreter's torch,
scikit-learn and skorch, unless it has one already; the measuring is done there. The tables are
the 700 real cells that scanpy carries, and drawn ones whose totals vary. Both models have the
same layers and width of the code, a negative binomial likelihood given the totals, and each its
own way of training; all are measured by the same code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

SHARED = ("torch", "numpy", "scikit-learn", "skorch", "safetensors", "narwhals")
PEERS = ("scvi-tools==1.4.2", "scanpy")


def environment(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`, made if need be."""
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
        # The part of a version behind the plus is a build, which an index need not have.
        shared = [f"{name}=={version(name).split('+')[0]}" for name in SHARED]
        install = [interpreter, "-m", "pip", "install", "--quiet", *shared, *PEERS]
        subprocess.run(install, check=True)
    return interpreter


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options, others = command.parse_known_args()
    here = Path(__file__).resolve().parent
    interpreter = environment(options.environment.resolve())
    subprocess.run(
        [interpreter, here / "counts_measured.py", *others],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        check=True,
    )


if __name__ == "__main__":
    main()
