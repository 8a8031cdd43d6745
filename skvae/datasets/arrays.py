"""What ships with scikit-learn as numbers, and arrays on disk."""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from skvae.datasets.files import (
    MAX_BYTES,
    check_came,
    check_memory,
    check_promise,
    expanded,
    first_of,
    opened,
    read_promised,
)

__all__ = ["digits", "load_array"]

# A header of a .npy file is a Python expression. That of a matrix of numbers is short, and
# read as text: Python's own parser can be overflowed.
HEADER_BYTES = 2**12
HEADER = re.compile(
    rb"\{(?:(?:'descr':'(?P<type>[<>|=]?[biufcmMOSUV]\d{0,9}(?:\[\w{1,9}\])?)'"
    rb"|'fortran_order':(?P<fortran>True|False)"
    rb"|'shape':\((?P<shape>(?:\d{1,19}L?,)*(?:\d{1,19}L?)?)\)),?){3}\}"
)
# The directory of an archive takes twenty times its length in memory.
DIRECTORY_BYTES = 2**20
BLOCK = 2**20


def digits() -> NDArray[np.float64]:
    """Handwritten digits that ship with scikit-learn, pixels scaled to [0, 1].

    Returns
    -------
    X : ndarray of shape (1797, 64)
        Images of 8 by 8 pixels, one a row.

    Examples
    --------
    >>> from skvae.datasets import digits
    >>> digits().shape
    (1797, 64)
    """
    return load_digits().data / 16


def load_array(path: str | Path, *, max_bytes: int = MAX_BYTES) -> NDArray:
    """Matrix in a ``.npy`` file (mapped, not read), or in a ``.npz`` file as its array X.

    Parameters
    ----------
    path : str or Path
        The file. A ``.npz`` file holds one array, or one named ``X``.
    max_bytes : int, default=8 * 2**30
        Most bytes that the array of a ``.npz`` file may take in memory: 8 GiB. A ``.npy`` file
        may have any size.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Finite numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or too large, or holds no matrix of finite numbers; says what it holds
        instead.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from skvae.datasets import load_array
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "table.npz"
    ...     np.savez(path, X=np.eye(3))
    ...     load_array(path).shape
    (3, 3)
    """
    path = expanded(path)
    with opened(path) as file:
        if path.suffix == ".npy":
            X = _mapped(file, path)
        elif path.suffix == ".npz":
            X = _archived(file, path, max_bytes)
        else:
            raise ValueError(f"{path} must be a .npy or .npz file, got suffix {path.suffix!r}.")
    n_holed, first = _rows_with_holes(X)
    if n_holed:
        raise ValueError(
            f"{path} holds NaN or infinite values in {n_holed} of {len(X)} rows "
            f"(the first is row {first}): impute or drop them first."
        )
    return X


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]
    length: int

    @property
    def promised(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _mapped(file: io.BufferedReader, path: Path) -> NDArray:
    header = _parse_header(_read_header(file), path)
    check_came(os.path.getsize(path) - header.length, header.promised, path, header.shape)
    return np.memmap(path, header.dtype, "r", header.length, header.shape, header.order)


def _archived(file: io.BufferedReader, path: Path, max_bytes: float) -> NDArray:
    with _refused_if_damaged(path):
        archive = zipfile.ZipFile(_Pieces(file.raw))
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    members = [info for info in members if info.filename == "X.npy"] or members
    if len(members) != 1:
        names = [info.filename.removesuffix(".npy") for info in members]
        raise ValueError(
            f"{path} must hold one array, or one that is named X; it holds "
            f"{', '.join(first_of(names)) or 'none'}."
        )
    # Others inflate beyond what is known of these.
    if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{path} is compressed otherwise than by numpy.savez_compressed.")
    with _refused_if_damaged(path):
        member = cast(io.BufferedIOBase, archive.open(members[0]))
        start = _read_header(member)
    header = _parse_header(start, path)
    check_promise(header.promised, path, header.shape)
    check_memory(header.promised, max_bytes, path)
    with _refused_if_damaged(path):
        content, came = read_promised(member, header.promised)
    check_came(came, header.promised, path, header.shape)
    return content.view(header.dtype).reshape(header.shape, order=header.order)


@contextmanager
def _refused_if_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    # Damage shows as an error of zipfile, zlib or struct, whichever meets it first.
    except Exception as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ValueError:
    return ValueError(
        f"{path} cannot be read: it is damaged, or holds something other than numbers."
    )


class _Pieces(io.BufferedReader):
    """A file of which nothing large is read at once: only a directory would be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise ValueError(f"its directory has {size} bytes")
        return super().read(size)


def _read_header(file: io.BufferedIOBase) -> bytes:
    """Return the beginning of a .npy file up to its numbers."""
    start = file.read(10)
    if start[6:7] != b"\1":
        start += file.read(2)
    return start + file.read(min(int.from_bytes(start[8:], "little"), HEADER_BYTES))


def _parse_header(start: bytes, path: Path) -> _Header:
    text_at = 10 if start[6:7] == b"\1" else 12
    length = int.from_bytes(start[8:text_at], "little")
    # White space means nothing here.
    found = HEADER.fullmatch(b"".join(start[text_at:].split()))
    versions = [b"\x93NUMPY" + bytes([major, 0]) for major in (1, 2, 3)]
    whole = start[:8] in versions and len(start) == text_at + length
    if not whole or found is None or None in found.groups():
        raise _unreadable(path)
    try:
        dtype = np.dtype(found["type"].decode())
    except TypeError as error:
        raise _unreadable(path) from error
    shape = tuple(int(size.rstrip(b"L")) for size in found["shape"].split(b",") if size)
    if len(shape) != 2 or dtype.kind not in "fiub" or 0 in shape:
        raise ValueError(
            f"{path} must hold a matrix of numbers (rows by columns), got an array of shape "
            f"{shape} and type {dtype}."
        )
    return _Header(shape, dtype, "F" if found["fortran"] == b"True" else "C", len(start))


def _rows_with_holes(X: NDArray) -> tuple[int, int | None]:
    """Return how many rows are not finite, and the first of them."""
    count, first = 0, None
    if X.dtype.kind != "f":
        return count, first
    # In blocks as the array lies in the file: a mask of all entries may not fit into memory.
    n_rows = max(1, BLOCK // X.shape[1]) if X.flags.c_contiguous else min(BLOCK, len(X))
    n_columns = max(1, BLOCK // n_rows)
    for top in range(0, len(X), n_rows):
        rows = np.asarray(X[top : top + n_rows])
        finite = np.ones(len(rows), bool)
        for left in range(0, X.shape[1], n_columns):
            finite &= np.isfinite(rows[:, left : left + n_columns]).all(axis=1)
        if first is None and not finite.all():
            first = top + int(np.argmin(finite))
        count += int((~finite).sum())
    return count, first
