"""What a column of a frame or an array holds: numbers, truth values, categories."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from skvae.rows.frames import ColumnType, is_frame, series_of
from skvae.rows.numbers import refuse_no_numbers

__all__ = ["ColumnValues", "values_of"]

# Types, as narwhals calls them, whose values are read one by one.
ONE_BY_ONE = (nw.Boolean, nw.String, nw.Categorical, nw.Enum, nw.Object)
# Types of numbers that NumPy does not have, and pandas does not make of their names.
AS_FLOATS = (nw.Decimal, nw.Int128, nw.UInt128)

# What is a number, and what is a time, in a column of objects.
NUMBERS = (Real, Decimal)
TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)


@dataclass(frozen=True)
class ColumnValues:
    """One column of a table.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Numbers, or objects.
    is_missing : ndarray of bool of shape (n_samples,)
        Which are missing: NaN, None, or pandas' NA.
    type : ColumnType
        Its type, of which an array says nothing.
    """

    values: NDArray
    is_missing: NDArray[np.bool_]
    type: ColumnType = field(default_factory=ColumnType)

    @property
    def present(self) -> list[Any]:
        """The values that are not missing, as Python has them."""
        present: list[Any] = self.values[~self.is_missing].tolist()
        return present

    @property
    def are_truths(self) -> bool:
        """Whether all are truth values; of no values by their type alone."""
        if self.values.dtype.kind != "O":
            return self.values.dtype.kind == "b"
        present = self.present
        is_boolean = self.type.kind == "Boolean" or bool(present)
        return is_boolean and all(isinstance(each, (bool, np.bool_)) for each in present)

    @property
    def are_numbers(self) -> bool:
        """Whether all are numbers, or truth values."""
        if self.values.dtype.kind != "O":
            return True
        is_text = self.type.kind in ("String", "Categorical", "Enum")
        return not is_text and all(isinstance(each, NUMBERS) for each in self.present)

    @property
    def are_times(self) -> bool:
        """Whether there are times, or spans of time, among them."""
        return any(isinstance(each, TIMES) for each in self.present)

    @property
    def are_binary(self) -> bool:
        """Whether there are values, and none but 0 and 1."""
        present = self.values[~self.is_missing]
        return len(present) > 0 and bool(np.all((present == 0) | (present == 1)))

    def levels(self, name: Any) -> tuple[Any, ...]:
        """Return the categories: those that the type names, or the values that there are."""
        if self.type.categories is not None:
            return self.type.categories
        try:
            distinct = list(dict.fromkeys(self.present))
        except TypeError as error:
            raise ValueError(f"Column {name!r} of X holds no categories: {error}.") from error
        try:
            return tuple(sorted(distinct))
        except TypeError:
            return tuple(sorted(distinct, key=lambda each: (type(each).__name__, str(each))))

    def as_numbers(self, name: Any, likelihood: str) -> NDArray[np.float64]:
        """Return the values as floats, NaN where they are missing."""
        if self.values.dtype.kind != "O":
            return self.values.astype(np.float64)
        # Categories may be numbers.
        for found in self.present:
            if not isinstance(found, NUMBERS):
                raise ValueError(
                    f"Column {name!r} of X holds {found!r}, which is no number, and its "
                    f'likelihood is "{likelihood}": convert it, or let it be "categorical".'
                )
        numbers = np.full(len(self.values), np.nan)
        try:
            numbers[~self.is_missing] = [float(each) for each in self.present]
        except OverflowError as error:
            raise ValueError(
                f"Column {name!r} of X holds a number that is too large for a float: rescale "
                "it, or leave it out."
            ) from error
        return numbers


def values_of(X: Any) -> tuple[list[Any], list[ColumnValues]]:
    """Return the names of the columns of a frame or an array, and what they hold."""
    if is_frame(X):
        series = series_of(X)
        return list(series), [_of_series(name, each) for name, each in series.items()]
    columns = [_of_array(X[:, position]) for position in range(X.shape[1])]
    return list(range(X.shape[1])), columns


def _of_series(name: Any, series: nw.Series[Any]) -> ColumnValues:
    native = series.to_native()
    if hasattr(native, "sparse"):
        # Of a sparse column of pandas narwhals does not know the type.
        native = native.sparse.to_dense()
        series = nw.from_native(native, series_only=True)
    if isinstance(series.dtype, AS_FLOATS):
        series = series.cast(nw.Float64())
        native = series.to_native()
    dtype = series.dtype
    is_read_one_by_one = isinstance(dtype, ONE_BY_ONE)
    if not (is_read_one_by_one or dtype.is_numeric()):
        refuse_no_numbers(native, f"Column {name!r} of X")
        raise ValueError(
            f"Column {name!r} of X is of the type {_text_of(native)}, which is neither "
            "numbers, truth values nor categories: convert it, or leave it out."
        )
    declared, is_ordered = None, False
    categories = getattr(getattr(native, "cat", None), "categories", None)
    if isinstance(dtype, (nw.Categorical, nw.Enum)):
        if categories is not None:
            declared, is_ordered = tuple(categories.tolist()), bool(native.cat.ordered)
        elif isinstance(dtype, nw.Enum):
            declared = tuple(dtype.categories)
    is_missing = series.is_null().to_numpy()
    # Not every array can hold what is read one by one.
    values = None if is_read_one_by_one else series.to_numpy()
    if values is None or values.dtype.kind not in "fiub":
        entries = series.to_list()
        if dtype == nw.Boolean and not is_missing.any():
            values = np.asarray(entries, dtype=bool)
        else:
            values = _objects(entries)
    elif values.dtype.kind == "f":
        is_missing = np.isnan(values)
    kind = type(dtype).__name__
    found = ColumnValues(
        values, is_missing, ColumnType(_text_of(native), kind, declared, is_ordered)
    )
    # As pandas has truth values among which some are missing.
    is_truth = kind == "Object" and found.are_truths
    return replace(found, type=replace(found.type, kind="Boolean")) if is_truth else found


def _of_array(values: NDArray) -> ColumnValues:
    if values.dtype.kind in "US":
        values = _objects(values.tolist())
    if values.dtype.kind == "f":
        return ColumnValues(values, np.isnan(values))
    if values.dtype.kind != "O":
        return ColumnValues(values, np.zeros(len(values), dtype=bool))
    is_missing = np.fromiter(map(_is_missing, values.tolist()), dtype=bool, count=len(values))
    return ColumnValues(values, is_missing)


def _objects(entries: list[Any]) -> NDArray:
    values = np.empty(len(entries), dtype=object)
    values[:] = entries
    return values


def _is_missing(value: Any) -> bool:
    # pandas' NA is neither itself nor another.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _text_of(native: Any) -> str:
    dtype = getattr(native, "dtype", None)
    return str(getattr(native, "type", "")) if dtype is None else str(dtype)
