"""Tables of the experiment record, from the results that `python -m skvae` wrote.

    python docs/experiments/record.py docs/experiments/fashion_mnist.csv ...

Each file is the ``results.csv`` of a run. Nothing is trained here. With ``--draw`` a picture of
the arms is drawn too, beside each file.
"""

import argparse
from pathlib import Path

import pandas as pd

from skvae.displays import ArmComparisonDisplay

KINDS = {
    "search": "a search for each seed",
    "fixed": "fixed teachers, the same for all seeds",
    "searched": "searched teachers, the same for all seeds",
    "per-seed": "a teacher for each seed",
}


def tables_of(path):
    """Return the lines of a file's tables, one for each kind of teacher."""
    runs = pd.read_csv(path)
    lines = []
    for kind, found in runs.groupby("teacher_kind", sort=False):
        lines += [*table_of(f"{path.name}: {KINDS[kind]}", found), ""]
    return lines + difference(runs)


def table_of(title, runs):
    """Return a line for each arm."""
    information = runs.teacher_information
    lines = [
        f"{title}; {runs.seed.nunique()} seeds, {runs.teacher.nunique()} teacher(s) for each, "
        f"I_T {information.min():.3f} to {information.max():.3f} nats",
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


def difference(runs):
    """Return a line on what alignment does to the ELBO where a plain VAE does not collapse."""
    keys = ["seed", "teacher"]
    elbos = {
        arm: runs[runs.arm == arm].set_index(keys).elbo for arm in ("teacher-guided", "vae")
    }
    if any(found.empty for found in elbos.values()):
        return []
    gained = elbos["teacher-guided"] - elbos["vae"]
    # The runs of a seed share the model without alignment.
    by_seed = gained.groupby("seed").mean()
    spread = elbos["vae"].groupby("seed").first().std()
    return [
        f"ELBO of teacher-guided less that of vae with the same seed: mean {gained.mean():.2f} "
        f"nats; by seed {', '.join(f'{value:.2f}' for value in by_seed)};",
        f"{int((gained >= 0).sum())} of {len(gained)} are not negative. Standard deviation of "
        f"vae over seeds: {spread:.2f}.",
        "",
    ]


def draw(path):
    """Draw the arms of a file, and write the picture beside it."""
    runs = pd.read_csv(path)
    points = [
        {
            "label": run.arm,
            "rate": run.rate,
            "lower_bound": run.lower_bound_sample,
            "probe_lower_bound": run.probe_lower_bound_sample,
        }
        for run in runs.itertuples()
    ]
    information = runs.groupby("teacher").teacher_information.mean().tolist()
    display = ArmComparisonDisplay(points, information).plot(markersize=4, alpha=0.6)
    display.figure_.savefig(path.with_suffix(".png"), dpi=120)


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("files", nargs="+", type=Path)
    command.add_argument("--draw", action="store_true")
    options = command.parse_args()
    for path in options.files:
        print("\n".join(tables_of(path)))
        if options.draw:
            draw(path)


if __name__ == "__main__":
    main()
