"""An epoch of a plain VAE in skvae and in its peers: the same net, rows and optimiser.

    python tests/benchmarks/peers.py --environment FOLDER --out FOLDER

The folder gets a virtual environment with pythae, scvi-tools, pyod and this interpreter's
torch, scikit-learn and skorch, unless it has one already; the measuring is done there. The
decoder of scvi-tools has two further heads, which its Gaussian likelihood does not use; pyod
has Adam where the others have AdamW, without weight decay the same.
"""

from __future__ import annotations

import os
import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from timing import parser

SHARED = ("torch", "scikit-learn", "skorch")
PEERS = ("pythae==0.1.2", "scvi-tools==1.4.2", "pyod==3.6.7")


def environment(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`, made if need be."""
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
    # The part of a version behind the plus is a build, which an index need not have.
    shared = [f"{name}=={version(name).split('+')[0]}" for name in SHARED]
    install = [interpreter, "-m", "pip", "install", "--quiet", *shared, "tqdm", *PEERS]
    subprocess.run(install, check=True)
    return interpreter


def main():
    command = parser(__doc__)
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options = command.parse_args()
    here = Path(__file__).resolve().parent
    interpreter = environment(options.environment.resolve())
    arguments = ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    if options.out:
        arguments += ["--out", str(options.out)]
    subprocess.run(
        [interpreter, here / "peers_measured.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        check=True,
    )


if __name__ == "__main__":
    main()
