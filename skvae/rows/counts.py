"""How many counts a row has in all, and counts that rows of any size can be compared by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from skvae.rows.sparse import SparseRows

__all__ = ["CountUnits", "log_counts", "position_of_size", "row_sizes", "typical_size_of"]

# Entries that are looked at a time.
BLOCK_ENTRIES = 2**21
# Added to the counts of a column, so that one without any has a rate.
PSEUDO_COUNT = 0.5

# What rows are counted by: their totals, a column, or nothing.
Size = str | int | None


@dataclass(frozen=True)
class CountUnits:
    """What columns of counts are measured by, as the training rows have them.

    Parameters
    ----------
    size : "total", int or None
        What a row's counts are in proportion to: its total, or the column at this position,
        its exposure; None is nothing.
    typical_size : float
        Median of the sizes of the training rows; 1 where rows have none.
    log_rates : ndarray of shape (n_features,)
        Natural logarithms of the mean counts of a row of this size, in float64; of an
        exposure the logarithm of the typical one.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.counts import CountUnits
    >>> X = np.array([[1.0, 3.0], [20.0, 60.0], [2.0, 6.0]])
    >>> units = CountUnits.of(X, "total")
    >>> units.typical_size
    8.0
    >>> np.exp(units.log_rates).round(1)
    array([2., 6.])
    """

    size: Size
    typical_size: float
    log_rates: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        rows: Any,
        size: Size,
        chosen: NDArray[np.intp] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> CountUnits:
        """Measure rows, or those with the indices `chosen`, by weights where they are given.

        The rates are the likeliest ones of Poisson columns of one rate for all rows:
        ``sum(counts) / sum(sizes)``, with half a count added.
        """
        typical_size = typical_size_of(rows, size, chosen)
        n_rows = len(rows) if chosen is None else len(chosen)
        counts, sizes = np.zeros(rows.shape[1]), 0.0
        for block in _blocks_of(rows, n_rows):
            some = np.asarray(rows[block if chosen is None else chosen[block]], dtype=float)
            some = np.nan_to_num(some)
            weighing = np.ones(len(some)) if weights is None else weights[block]
            counts += weighing @ some
            sizes += float(weighing @ (row_sizes(some, size) / typical_size))
        log_rates = np.log(counts + PSEUDO_COUNT) - np.log(sizes)
        if isinstance(size, int):
            log_rates[size] = np.log(typical_size)
        return cls(size, typical_size, log_rates)


def _blocks_of(rows: Any, n_rows: int) -> Iterator[slice]:
    return gen_batches(n_rows, max(1, BLOCK_ENTRIES // rows.shape[1]))


def row_sizes(rows: NDArray, size: Size) -> NDArray[np.float64]:
    """Return the size of each row; that of a row without a count is one, and NaN is none."""
    if size is None:
        return np.ones(len(rows))
    if isinstance(size, str):
        return np.maximum(np.nansum(rows, axis=1, dtype=np.float64), 1.0)
    return rows[:, size].astype(np.float64)


def typical_size_of(rows: Any, size: Size, chosen: NDArray[np.intp] | None = None) -> float:
    """Return the median of the sizes of rows, or of those with the indices `chosen`."""
    n_rows = len(rows) if chosen is None else len(chosen)
    found = [
        row_sizes(np.asarray(rows[block if chosen is None else chosen[block]]), size)
        for block in _blocks_of(rows, n_rows)
    ]
    return float(np.median(np.concatenate(found)))


def log_counts(rows: Any, size: Size, typical_size: float) -> Any:
    """Return ``log(1 + x)`` of counts as rows of the typical size would have them.

    Of `SparseRows` they are as sparse.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.counts import log_counts
    >>> log_counts(np.array([[1.0, 3.0], [20.0, 60.0]]), "total", 8.0).round(2)
    array([[1.1 , 1.95],
           [1.1 , 1.95]])
    """
    if isinstance(rows, SparseRows):
        sizes = [row_sizes(rows[block], size) for block in _blocks_of(rows, len(rows))]
        of_entries = np.repeat(np.concatenate(sizes), np.diff(rows.matrix.indptr))
        matrix = rows.matrix.astype(np.float64)
        matrix.data = np.log1p(matrix.data * (typical_size / of_entries))
        return SparseRows(matrix)
    factor = typical_size / row_sizes(rows, size)
    normalised: NDArray = rows * factor[:, np.newaxis].astype(rows.dtype)
    return np.log1p(normalised, out=normalised)


def position_of_size(size: Any, n_features: int, names: Sequence[Any] | NDArray | None) -> Size:
    """Return what a parameter `size` means for these columns: a column by its position.

    A lone column of counts has no total beside it.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if size is None or (size == "total" and n_features == 1):
        return None
    if isinstance(size, str):
        if names is not None and size in list(names):
            return list(names).index(size)
        if size == "total":
            return size
        known = "X has no names" if names is None else f"X has {list(names)}"[:200]
        raise ValueError(
            f'size={size!r} must be "total", None, or a column of X, by its name or position; '
            f"{known}."
        )
    if not -n_features <= size < n_features:
        raise ValueError(
            f"size={size} must be the position of a column, below n_features={n_features}."
        )
    return int(size) % n_features
