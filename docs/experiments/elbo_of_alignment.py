"""What alignment costs in ELBO, where a plain VAE does not collapse: Fashion-MNIST, 15 seeds.

    python docs/experiments/elbo_of_alignment.py FOLDER --jobs 2 --out docs/experiments

FOLDER has the IDX files. The arms differ in nothing but the witness and the weight of the
alignment, and each seed drives the same initial weights, batches and noise in all. The steps
are smaller than in the record of all arms: where the last of them happen to end must not hide
the difference. Finished runs are kept in ``skvae-results/elbo_of_alignment``, and not done
again.
"""

import argparse
from pathlib import Path

import numpy as np

from skvae import protocol
from skvae.datasets import load

SETTING = {
    "latent_dim": 16,
    "hidden_layer_sizes": [256, 256],
    "batch_size": 128,
    "lr": 1e-3,
    "precision": "fp32",
}
ARMS = {
    "vae": {"alignment_weight": 0.0},
    "linear": {"alignment_weight": 10.0, "witness": "linear"},
    "mlp": {"alignment_weight": 2.0, "witness": "mlp"},
    "light mlp": {"alignment_weight": 0.1, "witness": "mlp"},
}
EPOCHS = 15
SEEDS = range(15)


def report(rows):
    """Return the lines of the table."""
    lines = [f"Fashion-MNIST, K = 10, {EPOCHS} epochs; 10,000 held-out rows"]
    for name, own in ARMS.items():
        if not own["alignment_weight"]:
            continue
        lines += [
            "",
            f'witness="{own["witness"]}", alignment_weight={own["alignment_weight"]:g}',
            f"{'seed':>4}{'bound / I_T':>13}{'ELBO aligned':>14}{'ELBO vae':>11}"
            f"{'difference':>12}{'accuracy':>10}{'vae':>8}",
        ]
        differences = []
        for seed in SEEDS:
            aligned, plain = (
                next(row for row in rows if row["seed"] == seed and row["arm"] == arm)
                for arm in (name, "vae")
            )
            differences.append(aligned["elbo"] - plain["elbo"])
            share = aligned["lower_bound_sample"] / aligned["teacher_information"]
            lines.append(
                f"{seed:4}{share:13.3f}{aligned['elbo']:14.2f}{plain['elbo']:11.2f}"
                f"{differences[-1]:12.2f}{aligned['accuracy']:10.3f}{plain['accuracy']:8.3f}"
            )
        error = np.std(differences, ddof=1) / len(differences) ** 0.5
        lines.append(
            f"difference: mean {np.mean(differences):.2f}, standard error {error:.2f} nats"
        )
    return lines


def train(data, arms, seeds, n_jobs):
    """Return the runs of these arms: those that are not in the folder are done."""
    return protocol.run(
        (data.data, data.test_data),
        (data.target, data.test_target),
        arms=arms,
        seeds=seeds,
        teachers="fixed:1",
        epochs=EPOCHS,
        device="cpu",
        setting=SETTING,
        folder=Path("skvae-results/elbo_of_alignment"),
        n_jobs=n_jobs,
    )["runs"]


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("folder", metavar="FOLDER")
    command.add_argument("--jobs", type=int, default=1)
    command.add_argument("--out", type=Path, default=Path())
    options = command.parse_args()
    data = load(f"fashion-mnist:{options.folder}")
    runs = train(data, ARMS, SEEDS, options.jobs)
    lines = report([protocol.measures_of(run) for run in runs])
    print("\n".join(lines))
    (options.out / "elbo_of_alignment.txt").write_text("\n".join(lines) + "\n")
    (options.out / "elbo_of_alignment.csv").write_text(protocol.csv_table(runs))


if __name__ == "__main__":
    main()
