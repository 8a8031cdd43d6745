"""Forty fits of counts whose totals vary: how many diverge, and where each begins and ends.

    python tests/benchmarks/uneven_counts.py [--epochs 30]

Tables of 200 to 1,000 rows and 20 to 2,000 columns, whose totals spread by factors of 3 to 50
and whose counts vary by more than a Poisson's, under both likelihoods of counts, with and
without sizes.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from skvae import TeacherGuidedVAE
from skvae.exceptions import DivergenceError


def table(seed):
    rng = np.random.default_rng(seed)
    kind = seed % 3
    n_rows, n_features = (200, 500, 1000)[kind], (20, 100, 500, 2000)[seed % 4]
    shares = rng.dirichlet(np.full(n_features, (0.05, 0.3, 2.0)[kind]), size=5)
    labels = rng.integers(5, size=n_rows)
    totals = np.exp(rng.normal((5, 7, 9)[kind], (0.5, 1.0, 2.0)[kind], n_rows))
    spread = rng.gamma(2, 0.5, (n_rows, n_features))
    return rng.poisson(totals[:, None] * shares[labels] * spread).astype(float)


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--epochs", type=int, default=30)
    options = command.parse_args()
    warnings.simplefilter("ignore")
    n_fits = n_diverged = 0
    for seed in range(10):
        X = table(seed)
        for likelihood in ("poisson", "negative_binomial"):
            for size in ("total", None):
                n_fits += 1
                vae = TeacherGuidedVAE(
                    likelihood=likelihood,
                    size=size,
                    max_epochs=options.epochs,
                    random_state=seed,
                )
                try:
                    vae.fit(X)
                except DivergenceError as error:
                    n_diverged += 1
                    print(seed, X.shape, likelihood, size, error, flush=True)
                    continue
                elbos = [record["elbo"] for record in vae.history_]
                print(
                    f"{seed} {X.shape} {likelihood} {size}: ELBO {elbos[0]:.5g} in the first "
                    f"epoch, {min(elbos):.5g} in the worst, {elbos[-1]:.5g} in the last",
                    flush=True,
                )
    print(f"{n_diverged} of {n_fits} fits diverged")


if __name__ == "__main__":
    main()
