"""The door for rows: whatever a user has, as a checked table, in the same words everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.utils import check_array
from sklearn.utils._missing import is_pandas_na
from sklearn.utils.validation import validate_data

from skvae.rows.frames import columns_of, frame_without_na, is_frame
from skvae.rows.numbers import as_array, refuse_no_numbers
from skvae.rows.sources import as_rows
from skvae.rows.sparse import SparseRows

__all__ = ["as_table", "check_names", "check_rows", "check_table", "require_columns"]


def as_table(X: Any, name: str = "X") -> Any:
    """Return rows as a matrix of numbers, in the way that `fit` takes them.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows. An image is a row, flat or not.
    name : str, default="X"
        What to call it in errors.

    Returns
    -------
    table : ndarray of shape (n_samples, n_features)
        Which may hold NaN; `SparseRows` where X is sparse.
    """
    if isinstance(X, SparseRows):
        return X
    table = check_table(
        X,
        name,
        allow_nd=True,
        accept_sparse="csr",
        ensure_all_finite=False,
        ensure_min_samples=0,
    )
    if isinstance(table, SparseRows):
        return table
    return table.reshape(len(table), math.prod(table.shape[1:]))


def check_table(X: Any, name: str, **options: Any) -> Any:
    """Do as `sklearn.utils.check_array` does, and say what holds no numbers.

    Sparse rows, where ``accept_sparse`` allows them, are returned as `SparseRows`.
    """
    if isinstance(X, SparseRows):
        options["accept_sparse"] = "csr"
    X = _plain(as_rows(X), name)
    try:
        with config_context(array_api_dispatch=False):
            checked = check_array(X, input_name=name, **options)
        return SparseRows(checked) if issparse(checked) else as_array(checked, name)
    except _RAW as error:
        raise _explained(error, X, name, options.get("estimator")) from error


def check_rows(estimator: Any, X: Any, **options: Any) -> Any:
    """Do as `sklearn.utils.validation.validate_data` does, and say what holds no numbers.

    Sparse rows, where ``accept_sparse`` allows them, are returned as `SparseRows`. Where rows
    are refused the estimator keeps the names of columns that it had.
    """
    if isinstance(X, SparseRows):
        options["accept_sparse"] = "csr"
    X = _plain(as_rows(X), "X")
    try:
        rows = _keeping_names(estimator, lambda: validate_data(estimator, X, **options))
    except _RAW as error:
        raise _explained(error, X, "X", estimator) from error
    return SparseRows(rows) if issparse(rows) else rows


def check_names(estimator: Any, X: Any, read: Callable[[], Any], *, reset: bool) -> Any:
    """Check number and names of columns as scikit-learn does, and return what `read` does.

    Where either is refused the estimator keeps the names of columns that it had.
    """

    def checked() -> Any:
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        return read()

    return _keeping_names(estimator, checked)


def _keeping_names(estimator: Any, read: Callable[[], Any]) -> Any:
    before = {name: getattr(estimator, name) for name in _COLUMNS if hasattr(estimator, name)}
    try:
        return read()
    except _RAW:
        for name in _COLUMNS:
            vars(estimator).pop(name, None)
        vars(estimator).update(before)
        raise


# What scikit-learn notes of the columns, before it looks at the numbers.
_COLUMNS = ("n_features_in_", "feature_names_in_")
# What libraries raise of what they cannot make numbers of.
_RAW = (TypeError, ValueError, OverflowError, RuntimeError)


def require_columns(frame: Any, name: str) -> None:
    """Refuse a frame without columns."""
    if not columns_of(frame):
        raise ValueError(f"{name} is a frame without columns: there is nothing in its rows.")


def _plain(X: Any, name: str) -> Any:
    """Return a frame, an array or a sparse matrix as it is, and a nested list as an array."""
    refuse_no_numbers(X, name)
    if hasattr(X, "__next__"):
        raise TypeError(
            f"{name} is a stream, and all rows are wanted at once: pass an array, or each "
            "batch to partial_fit."
        )
    if is_frame(X):
        require_columns(X, name)
    if isinstance(X, (list, tuple)):
        try:
            X = np.asarray(X)
        except _RAW as error:
            raise _explained(error, X, name) from error
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        # Numbers that are written out would be read by some, and not by others.
        raise ValueError(f"{name} holds text ({X.dtype}): convert it, as by astype(float).")
    return _without_na(X)


def _without_na(X: Any) -> Any:
    """Return objects with NaN in place of the NA of pandas, which NumPy makes no number of."""
    if is_frame(X):
        return frame_without_na(X)
    if not isinstance(X, np.ndarray) or X.dtype != object:
        return X
    is_na = np.frompyfunc(is_pandas_na, 1, 1)(X).astype(bool)
    return np.where(is_na, np.nan, X) if is_na.any() else X


def _explained(error: Exception, X: Any, name: str, estimator: Any = None) -> Exception:
    """Return the error of scikit-learn where there are numbers, and what is none, if not."""
    if issparse(X) and getattr(estimator, "_takes_sparse_rows", False):
        return TypeError(
            f"Sparse data was passed for {name}: {type(estimator).__name__} by itself takes "
            f"it as skvae.rows.SparseRows({name}), which stays sparse, or as {name}.toarray(), "
            "which is dense."
        )
    what = _no_numbers(X, name)
    if what is None:
        return error
    kind = TypeError if isinstance(error, TypeError) else ValueError
    auto = ', or let TeacherGuidedVAE(likelihood="auto") do it' if is_frame(X) else ""
    return kind(
        f"{what}, and a table of numbers is wanted: encode or drop what is none{auto}. {error}"
    )


def _no_numbers(X: Any, name: str) -> str | None:
    """Say what it is that holds no numbers; None where all are."""
    if is_frame(X):
        for column, values in zip(columns_of(X), _columns(X), strict=True):
            if not _are_numbers(values):
                return f"Column {column!r} of {name} holds no numbers"
        return None
    if hasattr(X, "toarray") or _are_numbers(X):
        return None
    return f"{name} ({type(X).__name__}) holds no numbers in a regular shape"


def _columns(frame: Any) -> list[Any]:
    return [frame[name] for name in columns_of(frame)]


def _are_numbers(values: Any) -> bool:
    try:
        np.asarray(values).astype(np.float64)
    except _RAW:
        return False
    return True
