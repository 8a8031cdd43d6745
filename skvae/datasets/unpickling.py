"""Pickled batches of bytes, read without running anything that they name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["unpickle_batch"]


def unpickle_batch(content: bytes, path: Path) -> dict[bytes, Any]:
    """Return the dictionary in a pickle of Python 2, or say why it was not loaded.

    It may hold bytes, numbers, lists, dictionaries and arrays of unsigned bytes. Nothing
    that it names is imported or called.
    """
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(batch, dict):
            raise TypeError(f"it holds no dictionary but a {type(batch).__name__}")
        return {
            key: value.pixels() if isinstance(value, _Array) else value
            for key, value in batch.items()
        }
    except _ForeignObjectError as error:
        raise ValueError(
            f"{path} was not loaded: it asks for {error}, which no such batch holds. It may be "
            "malicious; download the archive again."
        ) from error
    # Damage shows as whichever error the first broken instruction meets.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged, or no pickled batch ({error}): unpack the archive again."
        ) from error


class _ForeignObjectError(pickle.UnpicklingError):
    pass


class _Dtype:
    def __init__(self, code: bytes, *_: Any):
        if code != b"u1":
            raise ValueError(f"its array has the type {code!r}, not unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Leave out byte order and alignment: a byte has neither."""


class _Array:
    """Takes the place of an array: NumPy's own would trust the state that it is given."""

    def __init__(self, *_: Any):
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def pixels(self) -> NDArray[np.uint8]:
        _, shape, dtype, column_major, content = self._state
        if not isinstance(dtype, _Dtype):
            raise ValueError("its array has no type")
        array = np.frombuffer(content, np.uint8)
        return array.reshape(shape, order="F" if column_major else "C")


class _BatchUnpickler(pickle.Unpickler):
    _STAND_INS: dict[tuple[str, str], type] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._STAND_INS:
            raise _ForeignObjectError(f"{module}.{name}")
        return self._STAND_INS[module, name]
