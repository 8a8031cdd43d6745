"""Data frames of any library that narwhals knows: pandas, polars, pyarrow and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray

__all__ = [
    "ColumnType",
    "check_same_types",
    "columns_of",
    "frame_like",
    "frame_of_columns",
    "frame_without_na",
    "is_frame",
    "is_series",
    "joined_frames",
    "library_of",
    "series_of",
    "types_of",
]


@dataclass(frozen=True)
class ColumnType:
    """Type of a column of a frame.

    Parameters
    ----------
    name : str
        In the words of its library; empty in an array.
    kind : str
        Name of the type that narwhals has for it.
    categories : tuple or None
        Those that it names, whether or not they occur.
    is_ordered : bool
        Whether these have an order.
    """

    name: str = ""
    kind: str = ""
    categories: tuple[Any, ...] | None = None
    is_ordered: bool = False

    @property
    def for_means(self) -> ColumnType:
        """Type of the means of its numbers: itself, if it is of floats."""
        return self if self.kind.startswith("Float") else ColumnType("float64", "Float64")

    def in_pandas(self, is_own: bool) -> Any:
        """Type of pandas; of one that is its own already the same."""
        import pandas as pd

        if self.kind in ("Categorical", "Enum"):
            return pd.CategoricalDtype(self.categories, self.is_ordered)
        if is_own and self.name == "string[pyarrow]":
            # By this name pandas makes a type of its own.
            import pyarrow as pa

            return pd.ArrowDtype(pa.string())
        if is_own and self.name:
            return self.name
        return {"Boolean": "bool", "String": "str"}.get(
            self.kind, self.kind.lower() if _is_number(self.kind) else None
        )

    def in_narwhals(self, library: str) -> Any:
        """Type of narwhals for a frame of a library; None where the values say it."""
        if self.kind == "Enum":
            # Arrow has categories, and no type that names them.
            if library == "pyarrow":
                return nw.Categorical()
            return nw.Enum([str(each) for each in self.categories or ()])
        is_known = self.kind in ("Boolean", "String", "Categorical") or _is_number(self.kind)
        return getattr(nw, self.kind)() if is_known else None


def is_frame(data: Any) -> bool:
    """Whether this is a data frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.rows.frames import is_frame
    >>> is_frame(pd.DataFrame({"a": [1.0]})), is_frame([[1.0]])
    (True, False)
    """
    return not _is_plain(data) and bool(nw.dependencies.is_into_dataframe(data))


def is_series(data: Any) -> bool:
    """Whether this is one column of a data frame."""
    return not _is_plain(data) and bool(nw.dependencies.is_into_series(data))


def columns_of(frame: Any) -> list[Any]:
    """Names of the columns of a frame."""
    return _wrapped(frame).columns


def types_of(frame: Any) -> list[Any]:
    """Types of the columns of a frame, as narwhals calls them."""
    return list(_wrapped(frame).schema.values())


def series_of(frame: Any) -> dict[Any, nw.Series[Any]]:
    """Columns of a frame by their names, as narwhals has them."""
    wrapped = _wrapped(frame)
    # By their places: a name of pandas may be a number.
    return dict(zip(wrapped.columns, wrapped.iter_columns(), strict=True))


def library_of(frame: Any) -> str:
    """Name of the library that a frame is of."""
    name: str = _wrapped(frame).implementation.value
    return name


def frame_of_columns(
    names: Sequence[Any],
    values: Sequence[Any],
    types: Sequence[ColumnType],
    library: str,
    *,
    is_own: bool,
) -> Any:
    """Return a frame of a library.

    Parameters
    ----------
    names, values, types : sequences, one entry a column
        What the columns are called, what they hold, and what type they are to be of.
    library : str
        As `library_of` tells it.
    is_own : bool
        Whether the types are in the words of this library.
    """
    if library == "pandas":
        # Its names may be no text, and its types are more than narwhals tells apart.
        import pandas as pd

        return pd.DataFrame(
            {
                name: pd.Series(entries, dtype=each.in_pandas(is_own))
                for name, entries, each in zip(names, values, types, strict=True)
            }
        )
    first, *others = (
        _series(str(name), entries, each, library)
        for name, entries, each in zip(names, values, types, strict=True)
    )
    return first.to_frame().with_columns(*others).to_native()


def _series(name: str, values: NDArray, wanted: ColumnType, library: Any) -> nw.Series[Any]:
    entries = values.tolist()
    if values.dtype == object and wanted.kind in ("Categorical", "Enum", "Object"):
        # pandas alone has categories of any kind.
        entries = [None if each is None else str(each) for each in entries]
    made = nw.new_series(name, entries, backend=library)
    dtype = wanted.in_narwhals(library)
    return made if dtype is None else made.cast(dtype)


def frame_like(frame: Any, values: NDArray) -> Any:
    """Return these numbers as a frame of the same library, with the names of its columns."""
    if nw.dependencies.is_pandas_dataframe(frame):
        # Its names may be no text.
        return type(frame)(values, columns=frame.columns)
    wrapped = _wrapped(frame)
    made = nw.from_numpy(values, schema=wrapped.columns, backend=wrapped.implementation)
    return made.to_native()


def frame_without_na(frame: Any) -> Any:
    """Return a frame of pandas with NaN in place of NA in its columns of objects.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.rows.frames import frame_without_na
    >>> frame_without_na(pd.DataFrame({"a": [1, pd.NA]}, dtype=object))["a"].tolist()
    [1, nan]
    """
    if not nw.dependencies.is_pandas_dataframe(frame) or object not in list(frame.dtypes):
        return frame
    missing = frame.isna()
    return frame.mask(missing) if missing.any(axis=None) else frame


def check_same_types(frame: Any, other: Any, whose: tuple[str, str]) -> None:
    """Refuse two frames, with the same columns, whose rows cannot be those of one frame.

    pandas makes one type of two of numbers, or of text; others know one alone. A column without
    any value goes with all.
    """
    is_pandas = library_of(frame) == "pandas"
    others = series_of(other)
    for name, column in series_of(frame).items():
        both = [each for each in (column, others[name]) if each.null_count() < len(each)]
        types = [_family(each.dtype) if is_pandas else each.dtype for each in both]
        if len(types) == 2 and types[0] != types[1] and nw.Object not in types:
            raise ValueError(
                f"Column {name!r} is {both[0].dtype} on {whose[0]}, and {both[1].dtype} on "
                f"{whose[1]}: cast it to one type on both."
            )


def _family(dtype: Any) -> Any:
    if dtype.is_numeric() or dtype == nw.Boolean:
        return nw.Float64
    return nw.String if dtype in (nw.Categorical, nw.Enum) else dtype


def joined_frames(frames: Sequence[Any]) -> Any:
    """Return the rows of several frames with the same columns as one."""
    return nw.concat(list(map(_wrapped, frames))).to_native()


def _is_number(kind: str) -> bool:
    return kind.startswith(("Float", "Int", "UInt"))


def _is_plain(data: Any) -> bool:
    # Told in a hundredth of the time that narwhals takes.
    return isinstance(data, (np.ndarray, list, tuple))


def _wrapped(frame: Any) -> nw.DataFrame[Any]:
    try:
        return nw.from_native(frame, eager_only=True)
    except DuplicateError as error:
        raise ValueError(
            f"A frame must have a name of its own for each column: {error}. Rename them, or "
            "pass an array."
        ) from error
