"""Rows of data sets that are no arrays: read once, into an array or a mapped file."""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.rows.frames import is_frame, is_series
from skvae.rows.numbers import float_type, to_numpy
from skvae.rows.sparse import held_sparse
from skvae.rows.stores import stored_rows

__all__ = ["RowsLike", "as_rows", "as_rows_or_stored"]

# Bytes of rows that are held in memory; beyond, they lie in a temporary file.
MAX_BYTES = 2**30
# Bytes of rows, and the most items, that are read at a time.
BLOCK_BYTES = 2**24
MAX_ITEMS = 4096
# Formats of a Hugging Face data set in which a slice is a mapping of arrays.
ARRAY_FORMATS = ("numpy", "torch", "custom")


class _Indexed(Protocol):
    def __getitem__(self, index: Any, /) -> Any: ...


# What `as_rows` takes, to a type checker: arrays, data sets with and without an index, frames.
RowsLike = ArrayLike | Iterable[Any] | _Indexed


def as_rows(data: RowsLike, column: str | int | None = None) -> Any:
    """Return the rows of a data set as one array of numbers, and arrays and frames as they are.

    `TeacherGuidedVAE` and `ConstantCollapseCertificate` do this with the X they are given. Do
    it yourself to name a column, to read a data set once for many calls, and before a
    pipeline or a search.

    Parameters
    ----------
    data : data set, tensor or array-like
        A torch `Dataset` or `DataLoader`, a Hugging Face `Dataset`, or a tensor on any device.
        The items of a data set are rows, tuples with the row first, or mappings. A `DataLoader`
        stands for all rows of its data set in their own order, collated as it says:
        training shuffles by itself, and codes must stand beside the rows they belong to. With
        ``batch_size=None`` its items are rows, and batches of them if its data set is an
        `IterableDataset`.
        Of a Dask, Zarr or HDF5 array, and of a `pyarrow.dataset.Dataset` as of Parquet files,
        the rows are read block by block.
        Arrays, data frames, lists and streams are returned as they are, sparse matrices in CSR
        form, of an `anndata.AnnData` and its like the matrix ``X``, and what else holds an
        array is turned into it.
    column : str, int or None, default=None
        Where the row is in an item. None is the first of a tuple, and in a mapping the only
        entry that is more than a single number or text. In a data set of pyarrow the column
        of lists of one length; None is all columns, a number each.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
        Items of more than one dimension, as images of shape (channels, height, width), are
        flattened. Integers of up to 16 bits and half precision become float32, wider integers
        float64; pixels of 0 to 255 stay 0 to 255. Up to 1 GiB is an array in memory.
        Beyond, it is a read-only map of a file in `tempfile.gettempdir()`, which takes as much
        disk as the rows, and is deleted once nothing refers to it. A tensor
        becomes an array of its own shape.

    Raises
    ------
    ValueError
        If the data set is empty, an item is not made of numbers or has another shape than
        item 0, it is not clear which column holds the rows, or a `DataLoader` draws only
        some of them.
    TypeError
        If the data set has no length and is not iterable, `column` is given for an array, or
        the data are nothing that holds rows, such as a path, text or a set.

    Notes
    -----
    Every item is read once, in order, so random augmentation is drawn once. To draw it anew in
    every epoch, loop over the batches with `TeacherGuidedVAE.partial_fit`.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from skvae.rows import as_rows
    >>> images = torch.zeros(5, 1, 2, 3, dtype=torch.uint8)
    >>> labels = torch.arange(5)
    >>> rows = as_rows(TensorDataset(images, labels))
    >>> rows.shape, rows.dtype
    ((5, 6), dtype('float32'))
    """
    matrix = None if isinstance(data, np.ndarray) else held_sparse(data)
    if matrix is not None and column is None:
        return matrix
    blocks = _blocks_of(data, column)
    if blocks is not None:
        return _joined(_tables(blocks))
    if column is not None:
        raise TypeError(
            f"column={column!r} names a part of the items of a data set, and "
            f"{type(data).__name__} is none: cut the columns out of it, and leave column=None."
        )
    return _as_given(data)


def as_rows_or_stored(data: Any) -> Any:
    """Return `StoredRows` of what is read by blocks; of anything else what `as_rows` does."""
    stored = stored_rows(data)
    return as_rows(data) if stored is None else stored


def _as_given(data: Any) -> Any:
    """Return what is an array, a frame or a stream as it is, and what holds one as that."""
    data = to_numpy(data)
    if hasattr(data, "obs") and hasattr(data, "var") and isinstance(data.X, np.ndarray):
        return data.X
    if isinstance(data, (np.ndarray, list, tuple)) or is_frame(data) or is_series(data):
        return data
    if hasattr(data, "toarray") or hasattr(data, "__next__"):
        return data
    is_class = isinstance(data, type)
    if not is_class and (hasattr(data, "__array__") or isinstance(data, (memoryview, array))):
        return np.asarray(data)
    if isinstance(data, (deque, range)):
        return list(data)
    rows = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    # A group of arrays has their names, as a mapping does.
    is_mapping = isinstance(data, Mapping) or hasattr(data, "keys")
    if is_class or not rows or is_mapping or isinstance(data, (str, bytes)):
        raise TypeError(
            f"Rows must be an array, a data frame, a tensor, a data set or a list of rows, got "
            f"{data!r}"[:300]
            + ". Load it, collect it or turn it into one of these first."
        )
    return data


def _blocks_of(data: Any, column: str | int | None) -> Iterator[Any] | None:
    """Yield what several items hold as rows; None where `data` is no data set."""
    stored = stored_rows(data, column)
    if stored is not None:
        return stored.tables()
    # As the `Dataset` of Hugging Face, which need not be there to be told.
    if (
        hasattr(data, "column_names")
        and hasattr(data, "with_format")
        and hasattr(data, "format")
    ):
        return _slices(data, column)
    # Whoever has one of the others has imported torch.
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if isinstance(data, torch.utils.data.DataLoader):
        loader = _in_order(data, torch)
        items: Iterator[Any] = iter(loader)
        if loader.batch_size is not None:
            return _parts(items, column, lead=1)
        if isinstance(loader.dataset, torch.utils.data.IterableDataset):
            # It may yield batches of its own making, of which one has two axes or more.
            first = list(islice(items, 1))
            items = chain(first, items)
            if not first or _most_dims(first[0]) != 1:
                return _parts(items, column, lead=1)
        return _grouped(_parts(items, column, lead=0))
    if not isinstance(data, torch.utils.data.Dataset):
        return None
    if isinstance(data, torch.utils.data.TensorDataset):
        starts = range(0, len(data), MAX_ITEMS)
        return _parts((data[i : i + MAX_ITEMS] for i in starts), column, lead=1)
    if isinstance(data, torch.utils.data.IterableDataset):
        items = iter(data)
    elif hasattr(data, "__len__"):
        items = (data[number] for number in range(len(data)))
    else:
        raise TypeError(
            f"{type(data).__name__} has neither a length nor an iterator: give it __len__, or "
            "make it a torch.utils.data.IterableDataset."
        )
    return _grouped(_parts(items, column, lead=0))


def _slices(data: Any, column: str | int | None) -> Iterator[Any]:
    """Read a data set of columns slice by slice."""
    if len(data) == 0:
        return
    if data.format["type"] not in ARRAY_FORMATS:
        data = data.with_format("numpy")
    first = data[0]
    name = _place(first, column, lead=0)
    n_items = _items_in_block(first[name])
    for start in range(0, len(data), n_items):
        yield data[start : start + n_items][name]


def _parts(items: Iterable[Any], column: str | int | None, lead: int) -> Iterator[Any]:
    """Yield what items, or with ``lead=1`` batches of them, hold as their rows."""
    items = iter(items)
    for first in items:
        place = _place(first, column, lead)
        for number, item in enumerate(chain([first], items)):
            try:
                yield item if place is None else item[place]
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(
                    f"{'Batch' if lead else 'Item'} {number} has no part {place!r}, where the "
                    f"first one has its row: it is a {type(item).__name__}. Make all alike."
                ) from error


def _place(item: Any, column: str | int | None, lead: int) -> Any:
    """Key or position of the row in an item; None where the item is the row."""
    if isinstance(item, Mapping):
        names = list(item)
        if column is None:
            wide = [name for name in names if _n_dims(item[name]) > lead]
            candidates = names if len(names) == 1 else wide
        else:
            candidates = [name for name in names if name == column]
        if len(candidates) == 1:
            return candidates[0]
        asked = "it is not clear which holds the rows" if column is None else f"not {column!r}"
        raise ValueError(
            f"The data set has the columns {names}, and {asked}: name one, as in "
            f"as_rows(data, column={names[0]!r})."
        )
    # Collating makes lists of tuples; any other list is a row of numbers.
    if isinstance(item, tuple) or (
        isinstance(item, list) and item and hasattr(item[0], "shape")
    ):
        place = 0 if column is None else column
        if isinstance(place, int) and 0 <= place < len(item):
            return place
        raise ValueError(
            f"The items of the data set have {len(item)} parts, got column={column!r}: pass a "
            f"number from 0 to {len(item) - 1}."
        )
    if column is not None:
        raise ValueError(
            f"The items of the data set have no parts to choose from, got column={column!r}: "
            "leave column=None."
        )
    return None


def _in_order(loader: Any, torch: Any) -> Any:
    """Return a loader of the same batches that draws no order, and no global random number."""
    data = torch.utils.data
    if not isinstance(loader.dataset, data.IterableDataset):
        sampler = loader.sampler
        whole = isinstance(sampler, data.SequentialSampler) or (
            isinstance(sampler, data.RandomSampler)
            and not sampler.replacement
            and sampler.num_samples == len(loader.dataset)
        )
        own_batches = loader.batch_sampler
        if not whole or not isinstance(own_batches, (data.BatchSampler, type(None))):
            drawn = type(sampler if not whole else own_batches).__name__
            raise ValueError(
                f"The DataLoader draws its rows by a {drawn}, and each row is wanted once: "
                "pass a torch.utils.data.Subset of its dataset, or the dataset itself."
            )
    return data.DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),
    )


def _grouped(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield lists of items, of a size that fits in a block."""
    for first in items:
        n_items = _items_in_block(first)
        yield [first, *islice(items, n_items - 1)]


def _items_in_block(item: Any) -> int:
    n_bytes = 4 * max(1, np.size(to_numpy(item)) if _n_dims(item) else 1)
    return max(1, min(MAX_ITEMS, BLOCK_BYTES // n_bytes))


def _tables(blocks: Iterable[Any]) -> Iterator[NDArray]:
    """Yield blocks as checked matrices of floats."""
    n_rows, shape, dtype = 0, None, None
    for values in blocks:
        table = _stacked(values, n_rows, shape)
        n_rows += len(table)
        shape = table.shape[1:]
        dtype = float_type(table.dtype) if dtype is None else dtype
        if len(table):
            yield table.reshape(len(table), -1).astype(dtype, copy=False)
    if n_rows == 0:
        raise ValueError("The data set is empty: it has no items to take rows from.")


def _stacked(values: Any, start: int, shape: tuple[int, ...] | None) -> NDArray:
    """Return items as one array, or say which of them is not like the first."""
    values = to_numpy(values)
    if (
        isinstance(values, np.ndarray)
        and values.ndim > 0
        and _is_numeric(values)
        and shape in (None, values.shape[1:])
        and 0 not in values.shape[1:]
    ):
        return values
    items = []
    for number, value in enumerate(values, start):
        try:
            item = np.asarray(to_numpy(value))
        except ValueError as error:
            raise ValueError(
                f"Item {number} of the data set is ragged: rows must be numbers in a regular "
                "shape. Pad or crop them first."
            ) from error
        if not _is_numeric(item) or item.size == 0:
            what = "no numbers" if item.size == 0 else f"{type(value).__name__} ({item.dtype})"
            raise ValueError(
                f"Item {number} of the data set holds {what}, where a row of numbers is "
                "wanted: convert it, or name another column with as_rows(data, column=...)."
            )
        if shape is not None and item.shape != shape:
            raise ValueError(
                f"Item {number} of the data set has shape {item.shape}, and item 0 has "
                f"{shape}: pad, crop or resize them to one shape first."
            )
        shape = item.shape
        items.append(item)
    return np.stack(items) if items else np.empty((0, *(shape or (1,))))


def _joined(tables: Iterator[NDArray]) -> NDArray:
    """Join matrices in memory, or, where they are too large, in a mapped temporary file."""
    held: list[NDArray] = []
    n_bytes = 0
    for table in tables:
        held.append(table)
        n_bytes += table.nbytes
        if n_bytes > MAX_BYTES:
            return _mapped(chain(held, tables), table.shape[1], table.dtype)
    return held[0] if len(held) == 1 else np.concatenate(held)


def _mapped(tables: Iterable[NDArray], n_features: int, dtype: np.dtype) -> NDArray:
    # With a name, so that a worker process of a search can map it too.
    with tempfile.NamedTemporaryFile(prefix="skvae-", suffix=".rows", delete=False) as file:
        try:
            n_rows = 0
            for table in tables:
                file.write(np.ascontiguousarray(table).data)
                n_rows += len(table)
            file.flush()
            rows = np.memmap(file.name, dtype=dtype, mode="r", shape=(n_rows, n_features))
        except BaseException:
            _remove(file.name)
            raise
    weakref.finalize(rows, _remove, file.name)
    return rows


def _remove(path: str) -> None:
    # Some systems do not delete a file that is still mapped.
    with suppress(OSError):
        os.unlink(path)


def _n_dims(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return 0
    try:
        return int(np.ndim(value))
    # A ragged list.
    except ValueError:
        return 1


def _most_dims(item: Any) -> int:
    """Axes of the part of an item that has most of them."""
    if isinstance(item, Mapping):
        item = tuple(item.values())
    parts = item if isinstance(item, tuple) else (item,)
    return max(map(_n_dims, parts), default=0)


def _is_numeric(values: NDArray) -> bool:
    return values.dtype.kind in "fiub"
