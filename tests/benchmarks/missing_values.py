"""Root mean squared error of imputed entries, beside the imputers of scikit-learn.

    python tests/benchmarks/missing_values.py --out FOLDER [--seeds 3] [--tables wine]

Entries of three tables of scikit-learn, standardised, are left out completely at random; the
errors are of those entries. Every method sees the same table, is fitted to it and fills it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler

from skvae import TeacherGuidedVAE

TABLES = {"diabetes": load_diabetes, "breast cancer": load_breast_cancer, "wine": load_wine}
SHARES = (0.1, 0.3, 0.5)
# Beside the defaults: entries of rows that are at hand do not ask for rows to be held out.
ALL_ROWS = {"early_stopping": False, "max_epochs": 300}

Impute = Callable[[NDArray, int], NDArray]


def by_vae(**setting: object) -> Impute:
    """Return what fits an estimator to a table and fills it."""

    def impute(X: NDArray, seed: int) -> NDArray:
        vae = TeacherGuidedVAE(missing="mask", random_state=seed, **setting).fit(X)
        filled: NDArray = vae.impute(X)
        return filled

    return impute


METHODS: dict[str, Impute] = {
    "mean": lambda X, seed: SimpleImputer().fit_transform(X),
    "KNNImputer": lambda X, seed: KNNImputer().fit_transform(X),
    "IterativeImputer": lambda X, seed: IterativeImputer(random_state=seed).fit_transform(X),
    "impute, defaults": by_vae(),
    "impute, all rows": by_vae(**ALL_ROWS),
}


def error(X: NDArray, share: float, seed: int, impute: Impute) -> tuple[float, float]:
    """Root mean squared error of the entries that were left out, and seconds by the wall."""
    gone = np.random.default_rng(seed).random(X.shape) < share
    begun = time.perf_counter()
    filled = impute(np.where(gone, np.nan, X), seed)
    seconds = time.perf_counter() - begun
    return float(np.sqrt(np.square(filled - X)[gone].mean())), seconds


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--out", type=Path, help="folder for the table and the numbers")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    options = command.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        "seeds": options.seeds,
    }
    lines = [", ".join(f"{key} {value}" for key, value in facts.items())]
    lines += ["", f"{'':30}" + "".join(f"{name:>18}" for name in METHODS)]
    print("\n".join(lines), flush=True)
    results = []
    for table in options.tables:
        X = StandardScaler().fit_transform(TABLES[table]().data)
        for share in SHARES:
            line = f"{f'{table}, {X.shape[0]} x {X.shape[1]}':24}{share:6.0%}"
            for name, impute in METHODS.items():
                found = [error(X, share, seed, impute) for seed in range(options.seeds)]
                errors, seconds = zip(*found, strict=True)
                results.append(
                    {
                        "table": table,
                        "share": share,
                        "method": name,
                        "rmse": errors,
                        "seconds": seconds,
                    }
                )
                text = f"{statistics.mean(errors):.3f} ({min(errors):.2f}-{max(errors):.2f})"
                line += f"{text:>18}"
            print(line, flush=True)
            lines.append(line)
            # A long run that is ended leaves what it has found.
            if options.out is not None:
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / "missing_values.txt").write_text("\n".join(lines) + "\n")
                content = json.dumps({"facts": facts, "results": results}, indent=1)
                (options.out / "missing_values.json").write_text(content + "\n")


if __name__ == "__main__":
    main()
