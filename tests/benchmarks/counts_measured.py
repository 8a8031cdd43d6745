"""What `counts.py` measures, in the environment that it makes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import scanpy
import scvi
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, StandardScaler

from skvae import TeacherGuidedVAE

HIDDEN, LATENT_DIM = 128, 10
# Draws of the code in an ELBO.
DRAWS = 16


def cells():
    """Return the counts of 700 blood cells and their ten kinds.

    The package has logarithms of normalised counts: a row's least one is of a single count.
    """
    table = scanpy.datasets.pbmc68k_reduced()
    normalised = np.expm1(table.raw.X.toarray().astype(float))
    single = np.where(normalised > 0, normalised, np.inf).min(axis=1, keepdims=True)
    counts = np.round(normalised / single)
    # The logarithms have three decimals.
    worst = (abs(counts - normalised / single) / np.maximum(counts, 1)).max()
    if worst > 2e-3:
        raise ValueError(f"These are no counts: one is {worst:.2%} off a whole number.")
    return counts, LabelEncoder().fit_transform(table.obs["bulk_labels"])


def drawn(seed):
    """Draw 1,000 rows of 200 counts in eight clusters, whose totals vary by far more."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(0.5, size=200)
    shares = base * np.exp(0.5 * rng.standard_normal((8, 200)))
    labels = rng.integers(8, size=1000)
    rates = shares[labels] / shares[labels].sum(axis=1, keepdims=True)
    rates *= np.exp(rng.normal(6, 1, (1000, 1))) * rng.gamma(2, 0.5, rates.shape)
    return rng.poisson(rates).astype(float), labels


TABLES = {"pbmc68k": lambda seed: cells(), "drawn": drawn}


def by_skvae(**settings):
    def fit(X, seed):
        vae = TeacherGuidedVAE(
            hidden_layer_sizes=(HIDDEN,),
            latent_dim=LATENT_DIM,
            likelihood="negative_binomial",
            random_state=seed,
            **settings,
        ).fit(X)
        return vae.transform, lambda rows: float(vae.score(rows))

    return fit


def by_scvi(X, seed):
    scvi.settings.seed = seed
    table = anndata.AnnData(X.astype(np.float32))
    scvi.model.SCVI.setup_anndata(table)
    model = scvi.model.SCVI(
        table, n_hidden=HIDDEN, n_latent=LATENT_DIM, n_layers=1, gene_likelihood="nb"
    )
    model.train(
        accelerator="cpu",
        early_stopping=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )

    def codes(rows):
        other = anndata.AnnData(rows.astype(np.float32))
        return model.get_latent_representation(other)

    def score(rows):
        other = model._validate_anndata(anndata.AnnData(rows.astype(np.float32)))
        model.module.eval()
        total = 0.0
        with torch.inference_mode():
            for batch in model._make_data_loader(other):
                for _ in range(DRAWS):
                    _, _, losses = model.module(batch, loss_kwargs={"kl_weight": 1.0})
                    reconstruction = sum(losses.reconstruction_loss.values()).sum()
                    divergence = losses.kl_local["kl_divergence_z"].sum()
                    total -= float(reconstruction + divergence) / DRAWS
        return total / len(rows)

    return codes, score


CONTENDERS = {
    "scvi": by_scvi,
    "skvae": by_skvae(),
    "skvae plain": by_skvae(alignment_weight=0.0),
}


def measure(fit, X, labels, seed):
    train, test = train_test_split(
        np.arange(len(X)), test_size=0.2, stratify=labels, random_state=seed
    )
    begun = time.process_time()
    codes_of, score = fit(X[train], seed)
    seconds = time.process_time() - begun
    codes = codes_of(X)
    found = KMeans(len(set(labels)), n_init=10, random_state=0).fit_predict(codes)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(codes[train], labels[train])
    return {
        "elbo": score(X[test]),
        "ari": float(adjusted_rand_score(labels, found)),
        "probe": float(probe.score(codes[test], labels[test])),
        "seconds": round(seconds, 1),
    }


def main():
    command = argparse.ArgumentParser(description="Counts beside scVI.")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    options = command.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "counts_1.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(options.seeds):
        for name, table in TABLES.items():
            X, labels = table(seed)
            for contender in options.contenders:
                key = f"{name}, seed {seed}, {contender}"
                if key in found:
                    continue
                found[key] = measure(CONTENDERS[contender], X, labels, seed)
                print(key, found[key], flush=True)
                new = path.with_suffix(".new")
                new.write_text(json.dumps(found, indent=1) + "\n")
                os.replace(new, path)
    lines = report(found)
    print("\n".join(lines))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def report(found):
    """Return the table: medians over seeds."""
    lines = [f"{'':10}{'':14}{'ELBO':>10}{'ARI':>8}{'probe':>8}{'seconds':>10}"]
    for name in TABLES:
        for contender in CONTENDERS:
            of_seeds = [
                record
                for key, record in found.items()
                if key.startswith(f"{name}, seed ") and key.endswith(f", {contender}")
            ]
            if of_seeds:
                elbo, ari, probe, seconds = (
                    statistics.median(record[column] for record in of_seeds)
                    for column in ("elbo", "ari", "probe", "seconds")
                )
                lines.append(
                    f"{name:10}{contender:14}{elbo:10.2f}{ari:8.3f}{probe:8.3f}{seconds:10.1f}"
                )
    seeds = {key.split(", ")[1] for key in found}
    return [
        *lines,
        "",
        f"held-out nats a row, given its total; medians over {len(seeds)} seeds",
    ]


if __name__ == "__main__":
    main()
