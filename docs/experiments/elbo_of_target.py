"""What alignment up to a target costs in ELBO, and whether it prevents collapse: Fashion-MNIST.

    python docs/experiments/elbo_of_target.py FOLDER --out docs/experiments

FOLDER has the IDX files. The setting is that of ``elbo_of_alignment.py``, and so is the plain
VAE of each seed, whose ELBO is read from the results of that script in ``--beside``. The VAE
of the first seed is trained here again: if its ELBO is another to the last digit, the two are
of machines that do not round alike, and that script is to be run first. In five of the seeds
the decoder is then too noisy for a code to pay, and the plain VAE beside the aligned one
collapses. Finished runs are kept in ``skvae-results/elbo_of_alignment``, and not done again.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from elbo_of_alignment import EPOCHS, SEEDS, train

from skvae import protocol
from skvae.datasets import load

PLAIN = {"alignment_weight": 0.0}
TARGET = {"alignment_weight": 10.0, "alignment_target": 0.92, "witness": "mlp"}
PRONE_SEEDS = range(5)


def described(own):
    """Return the parameters of an arm as one writes them."""
    return ", ".join(f"{name}={value!r}" for name, value in own.items())


def share_of(row):
    """Return the lower bound at the sample read as a share of the teacher information."""
    return row["lower_bound_sample"] / row["teacher_information"]


def report(found, plain):
    """Return the lines of the table."""
    lines = [
        f"Fashion-MNIST, K = 10, {EPOCHS} epochs; 10,000 held-out rows",
        "",
        described(TARGET),
        f"{'seed':>4}{'bound / I_T':>13}{'ELBO aligned':>14}{'ELBO vae':>11}"
        f"{'difference':>12}{'accuracy':>10}",
    ]
    differences = []
    for seed in SEEDS:
        aligned = found["target", seed]
        differences.append(aligned["elbo"] - plain[seed])
        lines.append(
            f"{seed:4}{share_of(aligned):13.3f}{aligned['elbo']:14.2f}{plain[seed]:11.2f}"
            f"{differences[-1]:12.2f}{aligned['accuracy']:10.3f}"
        )
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    lines.append(
        f"difference: mean {np.mean(differences):.2f}, standard error {error:.2f} nats"
    )
    for name, own in (("prone vae", PLAIN), ("prone target", TARGET)):
        lines += [
            "",
            f"a decoder too noisy for a code to pay, {described(own)}",
            f"{'seed':>4}{'bound / I_T':>13}{'rate':>8}",
        ]
        for seed in PRONE_SEEDS:
            row = found[name, seed]
            lines.append(f"{seed:4}{share_of(row):13.3f}{row['rate']:8.3f}")
    return lines


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("folder", metavar="FOLDER")
    command.add_argument("--jobs", type=int, default=1)
    command.add_argument("--out", type=Path, default=Path())
    command.add_argument(
        "--beside", type=Path, default=Path(__file__).with_name("elbo_of_alignment.csv")
    )
    options = command.parse_args()
    data = load(f"fashion-mnist:{options.folder}")
    prone = {"decoder_variance": protocol.collapse_prone_variance(data.data)}
    runs = [
        *train(data, {"vae": PLAIN}, SEEDS[:1], options.jobs),
        *train(data, {"target": TARGET}, SEEDS, options.jobs),
        *train(
            data,
            {"prone vae": PLAIN | prone, "prone target": TARGET | prone},
            PRONE_SEEDS,
            options.jobs,
        ),
    ]
    found = {(run["arm"], run["seed"]): protocol.measures_of(run) for run in runs}
    with options.beside.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "vae"]
    plain = {int(row["seed"]): float(row["elbo"]) for row in rows}
    if plain[0] != found["vae", 0]["elbo"]:
        command.error(
            f"The plain VAE of seed 0 has an ELBO of {found['vae', 0]['elbo']} here, and of "
            f"{plain[0]} in {options.beside}: run elbo_of_alignment.py on this machine, and "
            "pass its results as --beside."
        )
    lines = report(found, plain)
    print("\n".join(lines))
    (options.out / "elbo_of_target.txt").write_text("\n".join(lines) + "\n")
    (options.out / "elbo_of_target.csv").write_text(protocol.csv_table(runs))


if __name__ == "__main__":
    main()
