"""What alignment costs in ELBO, where a plain VAE does not collapse: Fashion-MNIST, 15 seeds.

    python docs/experiments/elbo_of_alignment.py FOLDER --jobs 2 --out docs/experiments

FOLDER has the IDX files. The arms differ in nothing but witness, weight and target of the
alignment, and each seed drives the same initial weights, batches and noise in all. The steps
are smaller than in the record of all arms: where the last of them happen to end must not hide
the difference. In five of the seeds the decoder is also too noisy for a code to pay, to see
whether an alignment that costs little prevents the collapse of a plain VAE. Finished runs are
kept in ``skvae-results/elbo_of_alignment``, and not done again.
"""

import argparse
from pathlib import Path

import numpy as np

from skvae import protocol, tables
from skvae.datasets import load

SETTING = {
    "latent_dim": 16,
    "hidden_layer_sizes": [256, 256],
    "batch_size": 128,
    "lr": 1e-3,
}
PLAIN = {"alignment_weight": 0.0}
TARGET = {"alignment_weight": 10.0, "alignment_target": 0.92, "witness": "mlp"}
ARMS = {
    "vae": PLAIN,
    "linear": {"alignment_weight": 10.0, "witness": "linear"},
    "mlp": {"alignment_weight": 2.0, "witness": "mlp"},
    "target": TARGET,
}
PRONE_ARMS = {"prone vae": PLAIN, "prone target": TARGET}
EPOCHS = 15
SEEDS = range(15)
PRONE_SEEDS = range(5)


def described(own):
    """Return the parameters of an arm as one writes them."""
    return ", ".join(f"{name}={value!r}" for name, value in own.items())


def share_of(row):
    """Return the lower bound at the sample read as a share of the teacher information."""
    return row["lower_bound_sample"] / row["teacher_information"]


def report(runs):
    """Return the lines of the table."""
    found = {(run["arm"], run["seed"]): tables.measures_of(run) for run in runs}
    lines = [f"Fashion-MNIST, K = 10, {EPOCHS} epochs; 10,000 held-out rows"]
    for name, own in ARMS.items():
        if own == PLAIN:
            continue
        lines += [
            "",
            described(own),
            f"{'seed':>4}{'bound / I_T':>13}{'ELBO aligned':>14}{'ELBO vae':>11}"
            f"{'difference':>12}{'accuracy':>10}{'vae':>8}",
        ]
        differences = []
        for seed in SEEDS:
            aligned, plain = found[name, seed], found["vae", seed]
            differences.append(aligned["elbo"] - plain["elbo"])
            lines.append(
                f"{seed:4}{share_of(aligned):13.3f}{aligned['elbo']:14.2f}{plain['elbo']:11.2f}"
                f"{differences[-1]:12.2f}{aligned['accuracy']:10.3f}{plain['accuracy']:8.3f}"
            )
        error = np.std(differences, ddof=1) / len(differences) ** 0.5
        lines.append(
            f"difference: mean {np.mean(differences):.2f}, standard error {error:.2f} nats"
        )
    for name, own in PRONE_ARMS.items():
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
    options = command.parse_args()
    data = load(f"fashion-mnist:{options.folder}")
    prone = {"decoder_variance": protocol.collapse_prone_variance(data.data)}
    runs = []
    for arms, seeds in (
        (ARMS, SEEDS),
        ({name: own | prone for name, own in PRONE_ARMS.items()}, PRONE_SEEDS),
    ):
        result = protocol.run(
            (data.data, data.test_data),
            (data.target, data.test_target),
            arms=arms,
            seeds=seeds,
            teachers="fixed:1",
            epochs=EPOCHS,
            device="cpu",
            setting=SETTING,
            folder=Path("skvae-results/elbo_of_alignment"),
            n_jobs=options.jobs,
        )
        runs += result["runs"]
    lines = report(runs)
    print("\n".join(lines))
    (options.out / "elbo_of_alignment.txt").write_text("\n".join(lines) + "\n")
    (options.out / "elbo_of_alignment.csv").write_text(tables.csv_table(runs))


if __name__ == "__main__":
    main()
