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
from pathlib import Path

from environments import interpreter_in
from timing import parser

PEERS = ("tqdm", "pythae==0.1.2", "scvi-tools==1.4.2", "pyod==3.6.7")


def main():
    command = parser(__doc__)
    command.add_argument("--environment", type=Path, required=True, metavar="FOLDER")
    options = command.parse_args()
    here = Path(__file__).resolve().parent
    interpreter = interpreter_in(options.environment.resolve(), PEERS)
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
