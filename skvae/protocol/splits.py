"""Rows and labels to train on and to measure on, checked as `fit` checks them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length, column_or_1d
from sklearn.utils._missing import is_pandas_na
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples

from skvae._common.ambient import undisturbed
from skvae.protocol.notes import noted
from skvae.rows.frames import is_frame
from skvae.rows.images import flatten_images
from skvae.rows.sources import RowsLike, as_rows
from skvae.rows.sparse import matrix_of, taken
from skvae.rows.tables import check_rows
from skvae.vae.estimator import TeacherGuidedVAE

__all__ = ["Part", "Split", "parts_of", "split_of", "table_of"]

TEST_FRACTION = 0.2
# Kinds of arrays of labels that are text; others hold numbers.
TEXT = "OU"


@dataclass(frozen=True)
class Split:
    """Rows to train on, rows to measure on, and the labels of both where there are any.

    Attributes
    ----------
    X_train : ndarray or frame of shape (n_train, n_features)
        A frame has its names still, for a teacher that goes by them.
    X_test : ndarray or frame of shape (n_test, n_features)
    y_train : ndarray of shape (n_train,) or None
    y_test : ndarray of shape (n_test,) or None
    """

    X_train: Any
    X_test: Any
    y_train: NDArray | None = None
    y_test: NDArray | None = None

    def __sizeof__(self) -> int:
        # At the least. Dask asks for it, and sends what is large to a worker once.
        return 8 * (_num_samples(self.X_train) + _num_samples(self.X_test))


@dataclass(frozen=True)
class Part:
    """Rows and labels that were given together, before they are checked.

    Attributes
    ----------
    name : {"", "train", "test"}
        Which half of a split; empty for rows that are still to be split.
    X : array-like or frame
        No data set any more.
    y : array-like or None
    """

    name: str
    X: Any
    y: Any

    def called(self, letter: str) -> str:
        """Name its rows or labels as a user does; rows that were given whole need none."""
        return self.name and f"{letter}_{self.name}"


@undisturbed()
def parts_of(data: Any, y: Any) -> list[Part]:
    """Read what a user gives to `skvae.protocol.run`: one part, or the two of a split."""
    if not isinstance(data, tuple):
        return [Part("", as_rows(data), y)]
    if len(data) != 2 or not (y is None or (isinstance(y, tuple) and len(y) == 2)):
        raise ValueError(
            "A split is a tuple (X_train, X_test), with labels (y_train, y_test) or none."
        )
    parts = []
    for name, X, labels in zip(("train", "test"), data, y or (None, None), strict=True):
        with noted(f"X_{name}"):
            parts.append(Part(name, as_rows(X), labels))
    return parts


@undisturbed()
def split_of(
    parts: list[Part], image_shape: tuple[int, int, int] | None
) -> tuple[Split, Split]:
    """Check rows and labels, and split them where that is not done.

    Parameters
    ----------
    parts : list of Part
        As `parts_of` returns them.
    image_shape : tuple of int or None
        ``(channels, height, width)``, by which images become rows.

    Returns
    -------
    given, numbers : Split
        With frames as they came, and with their rows as floats; the same where there is no
        frame, sparse rows as a matrix and as `SparseRows`.

    Raises
    ------
    ValueError, TypeError
        As `fit` raises them, whichever part it is (a note says which), and for labels that
        a linear classifier cannot learn.
    """
    reader = TeacherGuidedVAE()
    given: list[Any] = []
    rows: list[Any] = []
    labels: list[NDArray | None] = []
    for part in parts:
        with noted(part.called("X")):
            X = flatten_images(part.X, image_shape)
            # One held-out row is told from no other. Of six rows two are held out.
            fewest = 2 if part.name else 6
            is_first = not rows
            table = _checked(reader, X, ensure_min_samples=fewest, reset=is_first)
        given.append(X if is_frame(X) else matrix_of(table))
        rows.append(table)
        with noted(part.called("y")):
            labels.append(_labels(part.y, len(table)))
    if len(parts) == 1:
        drawn = train_test_split(
            np.arange(len(rows[0])), test_size=TEST_FRACTION, random_state=0
        )
        labels = [None if labels[0] is None else labels[0][half] for half in drawn]
        has_frame = is_frame(given[0])
        rows = [taken(rows[0], half) for half in drawn]
        given = [
            _safe_indexing(given[0], half) if has_frame else matrix_of(part)
            for part, half in zip(rows, drawn, strict=True)
        ]
    _check_kinds(*labels)
    return Split(*given, *labels), Split(*rows, *labels)


@undisturbed()
def table_of(X: RowsLike) -> Any:
    """Return rows as a matrix of floats, or raise what `fit` would raise.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        Whatever `TeacherGuidedVAE.fit` takes. An image is a row.

    Returns
    -------
    table : ndarray of shape (n_samples, n_features)
        A view where X is an array, or a memory map, of floats; `SparseRows` where it is sparse.
    """
    X = as_rows(X)
    shape: Any = getattr(X, "shape", ())
    if len(shape) == 4:
        X = flatten_images(X, shape[1:])
    return _checked(TeacherGuidedVAE(), X, ensure_min_samples=2)


def _checked(reader: TeacherGuidedVAE, X: Any, **options: Any) -> Any:
    with config_context(array_api_dispatch=False):
        floats = [np.float64, np.float32]
        return check_rows(reader, X, dtype=floats, accept_sparse="csr", **options)


def _labels(y: Any, n_rows: int) -> NDArray | None:
    if y is None:
        return None
    try:
        labels = np.asarray(as_rows(y))
        entries = labels.ravel().tolist()
        if labels.dtype == object and not any(isinstance(entry, str) for entry in entries):
            # A column of a mixed table may hold plain numbers as objects.
            labels = np.asarray(labels.tolist())
        labels = column_or_1d(labels)
        check_consistent_length(np.empty(n_rows), labels)
        if np.ma.is_masked(y) or any(map(_is_missing, entries)):
            raise ValueError(
                "Some are missing (NaN, None, infinite or masked): leave those rows out, or "
                "give them a label of their own."
            )
        check_classification_targets(labels)
        np.unique(labels)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "y must hold labels for a linear classifier, one a row, all numbers or all text; "
            f"or be None, as they train nothing else. {error}"
        ) from error
    return labels


def _check_kinds(y_train: NDArray | None, y_test: NDArray | None) -> None:
    if y_train is None or y_test is None:
        return
    if (y_train.dtype.kind in TEXT) != (y_test.dtype.kind in TEXT):
        raise ValueError(
            "y_train and y_test must hold the same labels, all numbers or all text, got arrays "
            f"of type {y_train.dtype} and {y_test.dtype}."
        )


def _is_missing(label: Any) -> bool:
    if isinstance(label, float):
        return not math.isfinite(label)
    # That of pandas is not to be asked whether it is another.
    return label is None or is_pandas_na(label) or bool(label != label)
