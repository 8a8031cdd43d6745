"""What `defaults.py` measures, in the environment that it makes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out_tables import NAMES, split, table
from peer_nets import Decoder, Encoder
from products import LATENT_DIM
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

# Draws of the importance-weighted log p(x).
DRAWS = 50
# Rows that the numbers of factors and of components are chosen by.
CHOSEN_BY = 2000
FACTORS, COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16), (1, 2, 4, 8, 16)
FOLDS = KFold(3, shuffle=True, random_state=0)


def classical(make: Callable[..., Any], parameter: str, values: list[int]) -> Callable:
    """Return what scores a model of scikit-learn whose size is chosen by cross-validation."""

    def measure(X_train, X_test, seed):
        units = StandardScaler().fit(X_train)
        rows = units.transform(X_train)
        some = rows[np.random.default_rng(seed).permutation(len(rows))[:CHOSEN_BY]]
        fitting = [value for value in values if value < min(len(some) / 8, 1 + rows.shape[1])]
        search = GridSearchCV(make(), {parameter: fitting}, cv=FOLDS).fit(some)
        model = make(**search.best_params_).fit(rows)
        log_p = model.score(units.transform(X_test)) - np.log(units.scale_).sum()
        return {"log_p": float(log_p), **search.best_params_}

    return measure


def ours(times: int = 1, **parameters: Any) -> Callable:
    """Return what scores a fit; `times` is how much longer than by default."""

    def measure(X_train, X_test, seed):
        vae = TeacherGuidedVAE(**parameters, device="cpu", random_state=seed)
        if times > 1:
            vae.set_params(max_epochs=times * epochs_of(vae, X_train))
        vae.fit(X_train)
        report = ConstantCollapseCertificate(latent="sample").certify(vae, X_test)
        log_p = vae.score_samples(X_test, DRAWS).mean(dtype=np.float64)
        return {
            "log_p": float(log_p),
            "elbo": vae.score(X_test),
            "n_iter": vae.n_iter_,
            "verdict": report.verdict,
            "margin": report.margin_sample,
            "teacher_information": report.teacher_information,
            "lower_bound": report.lower_bound_sample,
        }

    return measure


def epochs_of(vae: TeacherGuidedVAE, X: np.ndarray) -> int:
    """Return the passes over the rows that a fit is given, whether or not it takes them all."""
    if vae.max_epochs != "auto":
        return vae.max_epochs
    course = vae._course(X, None, None, {})
    net, _ = next(course)
    course.close()
    return net.max_epochs


def pythae(X_train, X_test, seed):
    """Train a plain VAE in unit noise, and give it the variances of its residuals."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    units = StandardScaler().fit(X_train)
    x, x_test = (
        torch.from_numpy(units.transform(X).astype(np.float32)) for X in (X_train, X_test)
    )
    n_features = x.shape[1]
    config = VAEConfig(input_dim=(n_features,), latent_dim=LATENT_DIM)
    model = VAE(config, Encoder(n_features), Decoder(n_features))
    with tempfile.TemporaryDirectory() as folder:
        BaseTrainer(
            model,
            BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=100,
                per_device_train_batch_size=128,
                learning_rate=1e-3,
                optimizer_cls="AdamW",
                optimizer_params={"weight_decay": 0.0},
                seed=seed,
                no_cuda=True,
            ),
        ).train()
    model.eval()
    with torch.no_grad():
        made = model.encoder(x)
        residuals = torch.zeros(n_features, dtype=torch.float64)
        for _ in range(16):
            latent = draw(made.embedding, made.log_covariance)
            decoded = model.decoder(latent).reconstruction
            residuals += (x - decoded).double().square().mean(dim=0) / 16
        log_p = importance_weighted(model, x_test, residuals.float())
    return {"log_p": float(log_p - np.log(units.scale_).sum())}


def draw(mean, log_variance):
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def importance_weighted(model, x, variances):
    """Mean over the rows of the importance-weighted bound on log p(x)."""
    made = model.encoder(x)
    mean, log_variance = made.embedding, made.log_covariance
    log_weights = []
    for _ in range(DRAWS):
        latent = draw(mean, log_variance)
        decoded = torch.distributions.Normal(
            model.decoder(latent).reconstruction, variances.sqrt()
        )
        posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        prior = torch.distributions.Normal(0.0, 1.0)
        log_weights.append(
            decoded.log_prob(x).sum(dim=1)
            + prior.log_prob(latent).sum(dim=1)
            - posterior.log_prob(latent).sum(dim=1)
        )
    stacked = torch.stack(log_weights).double()
    return (torch.logsumexp(stacked, dim=0) - np.log(DRAWS)).mean()


CONTENDERS: dict[str, Callable] = {
    "factors": classical(FactorAnalysis, "n_components", FACTORS),
    "mixture": classical(
        lambda **size: GaussianMixture(**size, reg_covar=1e-3, random_state=0),
        "n_components",
        COMPONENTS,
    ),
    "pythae": pythae,
    "default": ours(),
    "x3": ours(times=3),
}


def main():
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--out", type=Path, required=True, help="folder of table and numbers")
    command.add_argument("--tables", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    command.add_argument("--seeds", type=int, default=3, help="how many")
    command.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    options = command.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "defaults.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in sorted(options.tables, key=lambda name: table(name).size):
        for seed in range(options.seeds):
            X_train, X_test = split(name, seed)
            for contender in options.contenders:
                key = f"{name}, seed {seed}, {contender}"
                if key in found:
                    continue
                begun = time.process_time()
                measured = CONTENDERS[contender](X_train, X_test, seed)
                seconds = round(time.process_time() - begun, 2)
                found[key] = {**measured, "seconds": seconds, "n_rows": len(X_train)}
                new = path.with_suffix(".new")
                new.write_text(json.dumps(found, indent=1) + "\n")
                os.replace(new, path)
    lines = report(found)
    print("\n".join(lines))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def report(found: dict[str, dict]) -> list[str]:
    """Return the table, medians over seeds, and how many tables each promise holds on."""
    values: dict[str, dict[str, float]] = {}
    certified: dict[str, list[bool]] = {}
    for name in NAMES:
        for contender in CONTENDERS:
            of_seeds = [
                record
                for key, record in found.items()
                if key.startswith(f"{name}, seed ") and key.endswith(f", {contender}")
            ]
            if of_seeds:
                log_p = statistics.median(record["log_p"] for record in of_seeds)
                values.setdefault(name, {})[contender] = log_p
                if contender == "default":
                    certified[name] = [each["verdict"] == "certified" for each in of_seeds]
    lines = [f"{'':18}" + "".join(f"{name:>10}" for name in CONTENDERS) + "  certified"]
    for name, row in values.items():
        cells = (f"{row[each]:10.2f}" if each in row else f"{'':10}" for each in CONTENDERS)
        seeds = certified.get(name, [])
        lines.append(f"{name:18}" + "".join(cells) + f"  {sum(seeds)} of {len(seeds)}")
    lines += ["", "held-out log p(x) in nats, medians over seeds"]
    promises: dict[str, Callable[[dict[str, float]], bool]] = {
        "default at least factors - 0.5": lambda r: r["default"] >= r["factors"] - 0.5,
        "default within 1 of the better of factors and pythae": lambda r: (
            r["default"] >= max(r["factors"], r["pythae"]) - 1
        ),
        "default not 3 below the worse of factors and pythae": lambda r: (
            r["default"] >= min(r["factors"], r["pythae"]) - 3
        ),
        "three times as long loses no nat": lambda r: r["x3"] >= r["default"] - 1,
    }
    for text, holds in promises.items():
        verdicts = []
        for row in values.values():
            try:
                verdicts.append(holds(row))
            except KeyError:
                continue
        lines.append(f"{text}: {sum(verdicts)} of {len(verdicts)} tables")
    return lines


if __name__ == "__main__":
    main()
