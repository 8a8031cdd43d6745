"""An environment of its own for a benchmark that needs packages which skvae does not."""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["interpreter_in", "measure_in_environment"]

# Of this environment, in the versions that it has, besides what a benchmark names.
SHARED = ("torch", "numpy", "scikit-learn", "skorch", "safetensors", "joblib", "narwhals")


def interpreter_in(folder: Path, packages: Sequence[str], alone: Sequence[str] = ()) -> Path:
    """Return the interpreter of the environment in `folder`, made if need be.

    Those in `alone` are installed without what they ask for: versions of years ago.
    """
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
        # The part of a version behind the plus is a build, which an index need not have.
        shared = [f"{name}=={version(name).split('+')[0]}" for name in SHARED]
        install = [interpreter, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *shared, *packages], check=True)
        if alone:
            subprocess.run([*install, "--no-deps", *alone], check=True)
    return interpreter


def measure_in_environment(
    measured: str, description: str, packages: Sequence[str], alone: Sequence[str] = ()
) -> None:
    """Run a script of this folder in an environment of its own, with the options it has."""
    command = argparse.ArgumentParser(description=description.splitlines()[0])
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options, others = command.parse_known_args()
    here = Path(__file__).resolve().parent
    interpreter = interpreter_in(options.environment.resolve(), packages, alone)
    subprocess.run(
        [interpreter, here / measured, *others],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        check=True,
    )
