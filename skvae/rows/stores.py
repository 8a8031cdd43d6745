"""Stores of rows that are read a block at a time: Dask, Zarr and HDF5 arrays, and Parquet."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.rows.numbers import as_array, float_type

__all__ = ["StoredRows", "stored_rows"]

# Bytes that are read at a time, or one chunk of the store where that has more.
BLOCK_BYTES = 2**24
# Rows and columns that are copied together: what is read and what is written stay in the cache.
TILE = (1024, 16)


class StoredRows:
    """Rows of a store, which are read by blocks at each pass and held nowhere.

    What goes through them once, as `transform` and a certificate do, takes them as they are;
    for what does so more often, as `fit` does, `as_rows` reads them once.

    Parameters
    ----------
    n_rows, n_features : int
        A row has all axes but the first.
    read : callable
        Returns an iterator over tables of floats, of any number of rows, in the order of the
        store, which starts from the first row at every call.
    check : callable or None, default=None
        Is called with each block, and raises where it will not do.

    Examples
    --------
    >>> import dask.array as da
    >>> from skvae.rows.stores import stored_rows
    >>> rows = stored_rows(da.ones((5, 2, 3), chunks=(2, 1, 3)))
    >>> rows.shape, [block.shape for block in rows.blocks(4)]
    ((5, 6), [(4, 6), (1, 6)])
    """

    ndim = 2

    def __init__(
        self,
        n_rows: int,
        n_features: int,
        read: Callable[[], Iterator[NDArray]],
        check: Callable[[NDArray], Any] | None = None,
    ) -> None:
        self.shape = n_rows, n_features
        self.read = read
        self.check = check

    def __len__(self) -> int:
        return self.shape[0]

    def checked_by(self, check: Callable[[NDArray], Any]) -> StoredRows:
        """Return the same rows, of which each block is checked as it is read."""
        return StoredRows(*self.shape, self.read, check)

    def tables(self) -> Iterator[NDArray]:
        """Yield all rows as they come.

        Raises
        ------
        ValueError
            Where these are not as many as the store said that it has, or have other columns.
        """
        n_rows = 0
        for table in self.read():
            n_rows += len(table)
            if table.shape[1] != self.shape[1] or n_rows > self.shape[0]:
                break
            yield table
        else:
            if n_rows == self.shape[0]:
                return
        raise ValueError(
            f"X says that it has the shape {self.shape}, and a block that ends at row {n_rows} "
            f"has {table.shape[1] if n_rows else 0} columns: it was written to meanwhile, or "
            "what makes its blocks makes others than it says. Open or make it anew."
        )

    def blocks(self, n_rows: int) -> Iterator[NDArray]:
        """Yield all rows, so many at a time; at the end the rest."""
        waiting: list[NDArray] = []
        n_waiting = 0
        for table in self.tables():
            if self.check is not None:
                self.check(table)
            # Only what begins in one table and ends in another is copied.
            start = n_rows - n_waiting if waiting else 0
            if waiting:
                waiting.append(table[:start])
                n_waiting += len(waiting[-1])
                if n_waiting == n_rows:
                    yield np.concatenate(waiting)
                    waiting, n_waiting = [], 0
            while start + n_rows <= len(table):
                yield table[start : start + n_rows]
                start += n_rows
            if start < len(table):
                waiting.append(table[start:])
                n_waiting += len(table) - start
        if waiting:
            yield np.concatenate(waiting)


def stored_rows(data: Any, column: str | int | None = None) -> StoredRows | None:
    """Return the rows of what is read by blocks; None of anything else.

    Parameters
    ----------
    data : object
        A `dask.array.Array`, `zarr.Array` or `h5py.Dataset` of two axes or more, or a
        `pyarrow.dataset.Dataset`. None of these libraries is imported: whoever has a store of
        theirs has done so.
    column : str, int or None, default=None
        Of a data set of pyarrow the column of lists of one length that holds the rows. None is
        all columns, a number each.

    Raises
    ------
    ValueError
        If it is not known how many rows there are, or a column holds no numbers.
    """
    if isinstance(data, StoredRows):
        return data
    dataset = sys.modules.get("pyarrow.dataset")
    if dataset is not None and isinstance(data, dataset.Dataset):
        return _of_columns(data, column)
    if isinstance(data, np.ndarray) or not hasattr(data, "chunks"):
        return None
    shape: tuple[Any, ...] = getattr(data, "shape", ())
    if not hasattr(data, "dtype") or not hasattr(data, "__getitem__") or len(shape) < 2:
        return None
    if any(math.isnan(length) for length in shape):
        raise ValueError(
            f"X has the shape {shape}: how many rows its chunks have is not known. Call "
            "compute_chunk_sizes() first."
        )
    if column is not None:
        return None
    return StoredRows(shape[0], math.prod(shape[1:]), partial(_chunks, data))


def _chunks(data: Any) -> Iterator[NDArray]:
    """Yield whole chunks of rows, several where they are small."""
    n_rows = data.shape[0]
    n_most = max(1, BLOCK_BYTES // max(1, data.dtype.itemsize * math.prod(data.shape[1:])))
    # A file has chunks of one length, or none; those of Dask have any.
    length = data.chunks[0] if data.chunks else 1
    if isinstance(length, int):
        stops = [*range(0, n_rows, max(1, n_most // length) * length), n_rows][1:]
    else:
        stops = list(accumulate(length))
    start = 0
    for stop, following in pairwise([*stops, math.inf]):
        if following - start > n_most and stop > start:
            yield _array(data[start:stop])
            start = stop


def _array(block: Any) -> NDArray:
    if hasattr(block, "compute"):
        block = block.compute()
    if hasattr(block, "toarray"):
        # Of sparse chunks one is dense at a time.
        block = block.toarray()
    rows = as_array(block, "X").reshape(len(block), -1)
    return rows.astype(float_type(rows.dtype), copy=False)


def _of_columns(data: Any, column: str | int | None) -> StoredRows:
    """Return how rows are read of a data set of pyarrow, as of Parquet files."""
    import pyarrow as pa

    schema = data.schema
    lists = [field for field in schema if pa.types.is_fixed_size_list(field.type)]
    of_lists = column is not None or len(lists) == len(schema) == 1
    if of_lists:
        field = next((each for each in lists if column in (None, each.name)), None)
        if field is None:
            raise ValueError(
                f"column={column!r} names no column of lists of one length, of which there are "
                f"{[each.name for each in lists]}: leave column=None for columns of numbers."
            )
        n_features, names, types = field.type.list_size, [field.name], [field.type.value_type]
    else:
        n_features, names, types = len(schema), schema.names, schema.types
    for name, each in zip(names, types, strict=True):
        is_number = pa.types.is_integer(each) or pa.types.is_floating(each)
        if not is_number and not pa.types.is_boolean(each):
            raise ValueError(
                f"Column {name!r} of the data set holds {each}, and a number is wanted in each "
                "column: leave it out when the files are written, or pass a frame."
            )
    fits = all(each.bit_width <= 16 or each == pa.float32() for each in types)
    number = pa.float32() if fits else pa.float64()
    wanted = pa.schema([(name, number) for name in names])
    n_block = max(1, 8 * BLOCK_BYTES // max(1, n_features * number.bit_width))

    def read() -> Iterator[NDArray]:
        # A few are read ahead, by threads of pyarrow, and no more are held.
        ahead = {"batch_readahead": 2, "fragment_readahead": 1}
        for batch in data.to_batches(columns=names, batch_size=n_block, **ahead):
            if of_lists:
                yield _entries_of_lists(batch.column(0), number, n_features, names[0])
            else:
                if any(each != number for each in types):
                    batch = batch.cast(wanted, safe=False)
                columns = batch.to_tensor(null_to_nan=True, row_major=False).to_numpy()
                yield _row_by_row(columns)

    return StoredRows(data.count_rows(), n_features, read)


def _row_by_row(columns: NDArray) -> NDArray:
    """Return a table that lies in memory column by column as one that lies row by row."""
    rows = np.empty(columns.shape, dtype=columns.dtype)
    n_rows, n_columns = TILE
    for row in range(0, columns.shape[0], n_rows):
        for column in range(0, columns.shape[1], n_columns):
            tile = slice(row, row + n_rows), slice(column, column + n_columns)
            rows[tile] = columns[tile]
    return rows


def _entries_of_lists(lists: Any, number: Any, n_features: int, name: str) -> NDArray:
    if lists.null_count:
        raise ValueError(f"Column {name!r} has rows without a list: leave them out.")
    entries = lists.flatten().cast(number, safe=False).to_numpy(zero_copy_only=False)
    rows: NDArray = entries.reshape(len(lists), n_features)
    return rows
