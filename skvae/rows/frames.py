"""Data frames of any library that narwhals knows: pandas, polars, pyarrow and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray

__all__ = [
    "columns_of",
    "frame_like",
    "frame_without_na",
    "is_frame",
    "is_series",
    "joined_frames",
    "types_of",
]


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


def joined_frames(frames: Sequence[Any]) -> Any:
    """Return the rows of several frames with the same columns as one."""
    return nw.concat(list(map(_wrapped, frames))).to_native()


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
