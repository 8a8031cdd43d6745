"""Counts beside scVI: held-out ELBO, clusters and what a linear classifier reads of the codes.

    python tests/benchmarks/counts.py --environment FOLDER --out FOLDER [--seeds 3]

The folder gets a virtual environment with scvi-tools, scanpy and this interpreter's torch,
scikit-learn and skorch, unless it has one already; the measuring is done there. The tables are
the 700 real cells that scanpy carries, and drawn ones whose totals vary. Both models have the
same layers and width of the code, a negative binomial likelihood given the totals, and each its
own way of training; all are measured by the same code.
"""

from __future__ import annotations

from environments import measure_in_environment

PEERS = ("scvi-tools==1.4.2", "scanpy")


def main():
    measure_in_environment("counts_measured.py", __doc__, PEERS)


if __name__ == "__main__":
    main()
