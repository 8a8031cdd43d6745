"""How much codes of counts say of how much was counted in a row, and by what.

    python tests/benchmarks/row_sizes.py

Rows of 200 counts in eight clusters, whose totals vary by far more, counted little and counted
twenty times as much. R2 is that of the log of the total, cross-validated, by a line.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score

from skvae import TeacherGuidedVAE


def drawn(log_total):
    rng = np.random.default_rng(0)
    base = rng.gamma(0.5, size=200)
    shares = base * np.exp(0.5 * rng.standard_normal((8, 200)))
    labels = rng.integers(8, size=1000)
    rates = shares[labels] / shares[labels].sum(axis=1, keepdims=True)
    rates *= np.exp(rng.normal(log_total, 1, (1000, 1))) * rng.gamma(2, 0.5, rates.shape)
    return rng.poisson(rates).astype(float)


def r2(found, log_totals):
    return cross_val_score(LinearRegression(), found, log_totals, cv=5, scoring="r2").mean()


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    heading = f"{'median total':>14}{'zeros':>8}{'R2 of zeros':>14}"
    print(f"{heading}{'poisson':>10}{'neg. binomial':>16}")
    for log_total in (6, 9):
        X = drawn(log_total)
        totals = X.sum(axis=1).clip(1)
        zeros = (X == 0).mean(axis=1, keepdims=True)
        line = f"{np.median(totals):14.0f}{zeros.mean():8.2f}{r2(zeros, np.log(totals)):14.2f}"
        for likelihood, width in (("poisson", 10), ("negative_binomial", 16)):
            vae = TeacherGuidedVAE(
                likelihood=likelihood, hidden_layer_sizes=(128,), latent_dim=10, random_state=0
            )
            line += f"{r2(vae.fit_transform(X), np.log(totals)):{width}.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
