"""Tables of the experiment record, from the results that `python -m skvae` wrote.

    python docs/experiments/record.py docs/experiments/fashion_mnist_search.csv ...

Each file is the ``results.csv`` of a run. Nothing is trained here.
"""

import argparse
from pathlib import Path

import pandas as pd


def table_of(path):
    """Return the lines of a file's table."""
    runs = pd.read_csv(path)
    information = runs.teacher_information
    lines = [
        f"{path.name}: {runs.seed.nunique()} seeds, {runs.teacher.nunique()} teacher(s) for "
        f"each, I_T {information.min():.3f} to {information.max():.3f} nats",
        f"{'arm':20}{'certified':>11}{'by probe':>11}{'bound / I_T':>18}{'ELBO':>12}"
        f"{'(least':>10}{'greatest)':>10}{'rate':>8}{'MSE':>8}{'accuracy':>10}",
    ]
    for arm, found in runs.groupby("arm", sort=False):
        share = found.lower_bound_sample / found.teacher_information
        certified, by_probe = (
            f"{int(verdicts.sum())} of {len(found)}"
            for verdicts in (found.certified, found.probe_certified)
        )
        lines.append(
            f"{arm:20}{certified:>11}{by_probe:>11}"
            f"{f'{share.min():.3f} to {share.max():.3f}':>18}{found.elbo.mean():12.2f}"
            f"{found.elbo.min():10.2f}{found.elbo.max():10.2f}{found['rate'].mean():8.2f}"
            f"{found.reconstruction_error.mean():8.4f}{found.accuracy.mean():10.3f}"
        )
    return lines


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("files", nargs="+", type=Path)
    for path in command.parse_args().files:
        print("\n".join([*table_of(path), ""]))


if __name__ == "__main__":
    main()
