"""Whatever holds numbers, as an array of them; what holds none is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.rows.frames import columns_of, is_frame, types_of

__all__ = ["as_array", "float_type", "refuse_no_numbers", "to_numpy"]

# Words in the names of types, and what these hold.
TIMES = {
    "timedelta": "spans of time",
    "duration": "spans of time",
    "date": "times",
    "time": "times",
}


def as_array(values: Any, name: str) -> NDArray:
    """Return an array of real numbers, a view where its memory allows.

    Parameters
    ----------
    values : array-like
        Nested sequences, arrays, memory maps, tensors on any device, sparse matrices, frames
        and whatever else has ``__array__``.
    name : str
        What to call it in errors.

    Returns
    -------
    array : ndarray
        In its own dtype, where NumPy has that.

    Raises
    ------
    ValueError
        For masked arrays, times, complex numbers, text, and sequences that are ragged.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.numbers import as_array
    >>> as_array([[1, 2]], "T")
    array([[1, 2]])
    >>> as_array(np.ma.masked_array([1.0, 2.0], mask=[0, 1]), "T")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: T is a masked array, whose masked entries would be taken for numbers: ...
    """
    if type(values) is np.ndarray and values.dtype.kind in "fiub":
        return values
    values = to_numpy(values)
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        values = values.toarray()
    refuse_no_numbers(values, name)
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be an array of numbers in a regular shape, got "
            f"{type(values).__name__}: {error}"
        ) from error
    refuse_no_numbers(array, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got an array of type {array.dtype}.")
    return array


def float_type(dtype: np.dtype) -> np.dtype:
    """Precision that holds these numbers: float32 for all that fits."""
    if dtype.kind == "f" and dtype.itemsize >= 4:
        return np.dtype(np.float32 if dtype.itemsize == 4 else np.float64)
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def refuse_no_numbers(values: Any, name: str) -> None:
    """Refuse what NumPy or scikit-learn would take for numbers, and is something else."""
    if type(values) is np.ndarray and values.dtype.kind in "fiub":
        return
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, whose masked entries would be taken for numbers: fill "
            "them, as by filled(value), or impute them first."
        )
    if is_frame(values):
        for column, dtype in zip(columns_of(values), types_of(values), strict=True):
            _refuse_kind(dtype, f"Column {column!r} of {name}")
    else:
        _refuse_kind(getattr(values, "dtype", None), name)


def to_numpy(values: Any) -> Any:
    """Return a tensor as an array, whatever its device and history; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    if values.is_sparse or values.layout != torch.strided:
        values = values.to_dense()
    if values.is_meta:
        raise ValueError("A tensor on the meta device has a shape and no numbers.")
    # Of bfloat16 and its like NumPy has none.
    if values.is_floating_point() and values.dtype not in (torch.float16, torch.float64):
        values = values.float()
    return values.numpy(force=True)


def _refuse_kind(dtype: Any, name: str) -> None:
    # What a library calls its types differs; the words for times and complex numbers do not.
    text = str(dtype).lower()
    if "complex" in text:
        raise ValueError(
            f"Complex data not supported: {name} holds complex numbers ({dtype}). Pass their "
            "real and imaginary parts as columns."
        )
    if text == "string":
        raise ValueError(
            f"{name} holds text: encode it, as by OneHotEncoder in a ColumnTransformer, leave "
            'the column out, or let TeacherGuidedVAE(likelihood="auto") take it as it is.'
        )
    found = next((what for word, what in TIMES.items() if word in text), None)
    if found is not None:
        raise ValueError(
            f"{name} holds {found} ({dtype}), which are no numbers: turn them into numbers "
            "that mean something, such as days since a date."
        )
