"""Missing entries, which are NaN: moments of the others, and rows with them filled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from skvae.rows.frames import is_frame
from skvae.rows.numbers import as_array

__all__ = [
    "ObservedMoments",
    "filled_from",
    "observed_moments",
    "require_observed",
    "with_filled",
]

# Numbers whose moments are taken at a time.
BLOCK_NUMBERS = 2**20


class ObservedMoments(NamedTuple):
    """Moments of the entries of each column that were observed.

    Attributes
    ----------
    mean, variance : ndarray of shape (n_features,)
        0 where nothing was observed.
    share : ndarray of shape (n_features,)
        Share of the rows, by their weights, in which there was an entry.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    share: NDArray[np.float64]


def observed_moments(
    X: NDArray,
    chosen: NDArray[np.intp] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> ObservedMoments:
    """Return the moments of the columns of a table in which NaN is no entry.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Read a block of rows at a time.
    chosen : ndarray of int or None, default=None
        Indices of the rows that count; None is all.
    weights : ndarray of shape (n_chosen,) or None, default=None
        What each of them counts.

    References
    ----------
    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances, 1979. (`StandardScaler` of scikit-learn finds NaN where a whole block has no
    entry in a column.)

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.missing import observed_moments
    >>> moments = observed_moments(np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, np.nan]]))
    >>> moments.mean.tolist(), moments.variance.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    n_rows = len(X) if chosen is None else len(chosen)
    count, mean, squares = np.zeros((3, X.shape[1]))
    whole = 0.0
    for block in gen_batches(n_rows, max(1, BLOCK_NUMBERS // X.shape[1])):
        rows = np.asarray(X[block] if chosen is None else X[chosen[block]], dtype=np.float64)
        there = ~np.isnan(rows)
        of_rows = np.ones(len(rows)) if weights is None else weights[block]
        n_here = of_rows @ there
        here = np.maximum(n_here, np.finfo(np.float64).tiny)
        with np.errstate(over="ignore", invalid="ignore"):
            average = of_rows @ np.where(there, rows, 0.0) / here
            residuals = np.where(there, rows - average, 0.0)
            # What the rounding of the average left out.
            average += of_rows @ residuals / here
            residuals = np.where(there, rows - average, 0.0)
            shift = np.where(n_here > 0, average - mean, 0.0)
            share = n_here / np.maximum(count + n_here, np.finfo(np.float64).tiny)
            squares += of_rows @ np.square(residuals) + shift**2 * count * share
            mean += shift * share
        count += n_here
        whole += of_rows.sum()
    variance = squares / np.maximum(count, np.finfo(np.float64).tiny)
    return ObservedMoments(mean, variance, count / whole)


def require_observed(moments: ObservedMoments, names: Sequence[Any] | NDArray | None) -> None:
    """Refuse columns in which nothing was observed: nothing can be learned of them."""
    empty = np.flatnonzero(moments.share == 0)
    if len(empty):
        called = [int(empty[0]) if names is None else str(names[empty[0]])]
        others = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise ValueError(
            f"Column {called[0]!r} of X{others} has no observed value among the training rows: "
            "leave it out, or pass rows in which it has some. Rows that are held out or weigh "
            "nothing do not count."
        )


def with_filled(X: Any, values: NDArray) -> Any:
    """Return rows with missing entries filled, and every other entry as it was, to the bit.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features), or (n_samples, *image_shape)
        NaN, None and NA are missing. It is not changed.
    values : ndarray of shape (n_samples, n_features) or (n_features,)
        What to fill them with.

    Returns
    -------
    filled : array or frame
        Of the shape of X. A frame has its types, but for a column of whole numbers or truth
        values that is filled with others, which becomes one of floats.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skvae.rows.missing import with_filled
    >>> with_filled([[1.0, None]], np.array([[7.0, 2.5]]))
    array([[1. , 2.5]])
    >>> frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.1, 0.2]})
    >>> with_filled(frame, np.full((2, 2), 3.0)).dtypes.astype(str).tolist()
    ['Int64', 'float64']
    """
    if is_frame(X):
        return _frame_with_filled(X, values)
    filled = np.array(as_array(X, "X"))
    if filled.dtype.kind == "f":
        flat = filled.reshape(len(filled), math.prod(filled.shape[1:]))
        missing = np.isnan(flat)
        flat[missing] = np.broadcast_to(values, flat.shape)[missing]
    return filled


def _frame_with_filled(frame: Any, values: NDArray) -> Any:
    wrapped = nw.from_native(frame, eager_only=True)
    values = np.broadcast_to(values, wrapped.shape)
    made = []
    for number, column in enumerate(wrapped.iter_columns()):
        missing = np.flatnonzero(_missing_in(column).to_numpy())
        if len(missing):
            column = _column_with_filled(column, missing, values[missing, number])
        made.append(column)
    return wrapped.with_columns(*made).to_native() if made else frame


def filled_from(frame: Any, other: Any) -> Any:
    """Return a frame with its missing entries taken from another, of the same library.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.rows.missing import filled_from
    >>> frame = pd.DataFrame({"town": ["Ulm", None]}, index=["first", "second"])
    >>> filled_from(frame, pd.DataFrame({"town": ["Bonn", "Kiel"]}))
           town
    first   Ulm
    second  Kiel
    """
    if nw.dependencies.is_pandas_dataframe(frame):
        other = other.set_axis(frame.index, axis=0)
    made = []
    for column, filling in zip(
        *(nw.from_native(each, eager_only=True).iter_columns() for each in (frame, other)),
        strict=True,
    ):
        missing = _missing_in(column)
        if missing.any():
            filled = column.zip_with(~missing, filling)
            # Arrow gives up categories of two types.
            column = filled if filled.dtype == column.dtype else filled.cast(column.dtype)
        made.append(column)
    return nw.from_native(frame, eager_only=True).with_columns(*made).to_native()


def _missing_in(column: nw.Series[Any]) -> nw.Series[Any]:
    missing = column.is_null()
    if column.dtype.is_float():
        # To some libraries NaN is a number.
        missing = missing | column.is_nan().fill_null(value=True)
    return missing


def _column_with_filled(
    column: nw.Series[Any], missing: NDArray[np.intp], values: NDArray
) -> nw.Series[Any]:
    dtype: Any = column.dtype
    if dtype.is_integer() or dtype == nw.Boolean:
        kind = np.int64 if dtype.is_integer() else np.bool_
        if np.array_equal(values.astype(kind), values):
            values = values.astype(kind)
        else:
            column = column.cast(nw.Float64)
    elif dtype == nw.Float32:
        values = values.astype(np.float32)
    return column.scatter(missing.tolist(), values.tolist() if dtype != nw.Float32 else values)
