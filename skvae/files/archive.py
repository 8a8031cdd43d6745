"""The file: a zip of plain values (JSON) and arrays (safetensors), and nothing that can run.

Written beside its place and renamed, so that whoever is killed leaves the old file or the new
one. Read with every size checked against those of the file before memory is taken for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skvae._common.whole_files import write_whole
from skvae._version import __version__
from skvae.exceptions import FileFormatError, OtherVersionWarning

__all__ = [
    "DAMAGES",
    "FORMAT",
    "from_bytes",
    "read_archive",
    "same_major",
    "to_bytes",
    "write_archive",
]

# Raised by whoever changes what is in a file; every format up to this one is read.
FORMAT = 1
RECORD, ARRAYS = "record.json", "arrays.safetensors"
# Bytes of arrays up to which they are deflated: it takes time, and weights hardly shrink.
SMALL_ARRAYS = 2**20
# A member is stored rather than deflated where it would shrink by more than this: so a
# larger factor is no file of ours, and what is read is bounded by the size of the file.
MOST_DEFLATED = 100
# Bytes of JSON, which takes some ten times as many in memory.
MOST_JSON = 2**26
# Of two members, each named twice.
MOST_DIRECTORY = 2**10
END_OF_ZIP = struct.Struct("<4s4H2LH")
# Bytes before it that say where a larger directory is.
LOCATOR = 20
SCALARS = frozenset(
    {
        *("bool", "float16", "float32", "float64"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    }
)


def write_archive(
    path: str | os.PathLike[str],
    kind: str,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray],
) -> None:
    """Write plain values and arrays to a file, as a whole or not at all.

    Parameters
    ----------
    path : str or path
        Where to; a file that is there is replaced.
    kind : str
        What it is: "model", "teacher", "search", "report" or "checkpoint".
    record : mapping of str to plain values
        None, truth values, numbers of Python and NumPy (infinite ones and NaN too), text, and
        lists, tuples and mappings of str to such. No key begins with ``$``.
    arrays : mapping of str to ndarray
        Of truth values, whole numbers or floats of up to 64 bits, of any shape.

    Raises
    ------
    TypeError
        For a value that is not plain, which is named; no file is touched then.
    OSError
        If the file cannot be written. One that was there is as it was.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from skvae.files.archive import read_archive, write_archive
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "some.skvae"
    ...     write_archive(path, "report", {"rate": 0.5, "of": (1, 2)}, {"X": np.eye(2)})
    ...     record, arrays = read_archive(path, "report")
    >>> record, arrays["X"].shape
    ({'rate': 0.5, 'of': (1, 2)}, (2, 2))
    """
    content = {
        "format": FORMAT,
        "kind": kind,
        "versions": _versions(),
        "record": _encoded(dict(record), "record"),
    }
    members = {name: _plain_array(name, array) for name, array in arrays.items()}
    packed = save(members)
    content["sha256"] = _digest(content, packed)
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(text) > MOST_JSON:
        raise TypeError(
            f"Values other than arrays would take {len(text)} bytes, and a file holds up to "
            f"{MOST_JSON}: shorten lists and texts among the parameters."
        )

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            _add(archive, RECORD, text, small=True)
            _add(archive, ARRAYS, packed, small=len(packed) <= SMALL_ARRAYS)

    write_whole(Path(path), write)


def to_bytes(record: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> bytes:
    """Return plain values and arrays as bytes, as a pickle has them: it has digests of none."""
    text = json.dumps(_encoded(dict(record), "record"), separators=(",", ":")).encode("ascii")
    packed = save({name: _plain_array(name, array) for name, array in arrays.items()})
    content = struct.pack("<Q", len(text)) + text + packed
    return zlib.compress(content, 9 if len(packed) <= SMALL_ARRAYS else 0)


def from_bytes(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return what `to_bytes` was given."""
    content = zlib.decompress(content)
    start = struct.calcsize("<Q")
    end = start + struct.unpack("<Q", content[:start])[0]
    arrays = {name: array.copy() for name, array in load(content[end:]).items()}
    record: dict[str, Any] = _decoded(json.loads(content[start:end]))
    return record, arrays


def read_archive(
    path: str | os.PathLike[str], kind: str, *, stacklevel: int = 2
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read what `write_archive` wrote; nothing is run, and nothing of a damaged file is given.

    Parameters
    ----------
    path : str or path
        Where from.
    kind : str
        What is asked for.
    stacklevel : int, default=2
        Of warnings, as in `warnings.warn`.

    Returns
    -------
    record : dict
        The plain values.
    arrays : dict of ndarray
        The arrays, each in memory of its own.

    Raises
    ------
    FileFormatError
        If it is no file of skvae, of another kind, of a newer format, or damaged.
    OSError
        If the file cannot be read.

    Warns
    -----
    OtherVersionWarning
        If another major version of skvae wrote it.
    """
    with open(path, "rb") as file:
        try:
            text, packed = _members(file)
            content = json.loads(text, object_pairs_hook=_without_doubles)
            _check_head(content, kind)
            if content["sha256"] != _digest(content, packed):
                raise _UnsoundError("its digest is not that of what it holds")
            arrays = {name: array.copy() for name, array in load(packed).items()}
            record = _decoded(content["record"])
            written_by = str(content["versions"]["skvae"])
        except _OtherError as error:
            raise FileFormatError(f"{os.fspath(path)} {error}") from None
        except OSError as error:
            # An offset that is none, of a file that can be read.
            if error.errno not in (None, errno.EINVAL):
                raise
            raise _explained(path, error) from error
        except DAMAGES as error:
            raise _explained(path, error) from error
    if not same_major(written_by):
        warnings.warn(
            f"{os.fspath(path)} was written by skvae {written_by}, and this is {__version__}: "
            "what it holds may have another meaning here.",
            OtherVersionWarning,
            stacklevel=stacklevel,
        )
    return record, arrays


def same_major(other: str) -> bool:
    """Whether a version of skvae differs from this one in no more than details."""
    return other.split(".")[0] == __version__.split(".")[0]


class _UnsoundError(ValueError):
    """What is wrong with a file."""


class _OtherError(ValueError):
    """A sound file is not what was asked for."""


# Whatever zipfile, json, zlib and safetensors make of bytes that are not theirs.
DAMAGES = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    SafetensorError,
)


def _explained(path: str | os.PathLike[str], error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)} is damaged, or no file of skvae: {str(error) or repr(error)}."
    )


def _members(file: BinaryIO) -> tuple[bytes, bytes]:
    """Return both members, whose sizes were checked before they were read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_OF_ZIP.size - LOCATOR))
    end = file.read()
    if len(end) < END_OF_ZIP.size + LOCATOR:
        raise _UnsoundError("it is too short")
    # A directory of thousands of members would take its time before one could look at it.
    mark, _, _, n_here, n_members, n_directory, _, n_comment = END_OF_ZIP.unpack(end[LOCATOR:])
    if mark != b"PK\5\6" or n_comment:
        raise _UnsoundError("it does not end as a zip does")
    if not n_here == n_members == 2 or n_directory > MOST_DIRECTORY:
        raise _UnsoundError("it has other members than two")
    if end.startswith(b"PK\6\7") and size < zipfile.ZIP64_LIMIT:
        raise _UnsoundError("it names a second directory, as only a large file has")
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if names != [RECORD, ARRAYS]:
            raise _UnsoundError(f"its members are {names}, not {RECORD} and {ARRAYS}")
        for info in infos:
            if info.compress_size > size:
                raise _UnsoundError(f"{info.filename} is said to be longer than the file")
            if info.file_size > MOST_DEFLATED * info.compress_size:
                raise _UnsoundError(f"{info.filename} is deflated out of all proportion")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _UnsoundError(f"{info.filename} is neither stored nor deflated")
        if infos[0].file_size > MOST_JSON:
            raise _UnsoundError(f"{RECORD} has more than {MOST_JSON} bytes")
        text, packed = (_read(archive, info) for info in infos)
    return text, packed


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as member:
        # Without a number it would inflate all there is before it compares sizes.
        content = member.read(info.file_size)
        if len(content) != info.file_size or member.read(1):
            raise _UnsoundError(f"{info.filename} is not as long as it is said to be")
    return content


def _check_head(content: Any, kind: str) -> None:
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise _UnsoundError("it has no version of a format")
    if content["format"] > FORMAT:
        raise _OtherError(
            f"is in format {content['format']}, and skvae {__version__} reads up to {FORMAT}: "
            "update skvae."
        )
    if content["format"] < 1:
        raise _UnsoundError(f"there is no format {content['format']}")
    if content["kind"] != kind:
        raise _OtherError(f"holds a {content['kind']}, and a {kind} was asked for.")


def _digest(content: Mapping[str, Any], packed: bytes) -> str:
    """SHA-256 of all that a file holds, in an order that does not depend on who wrote it."""
    held = {name: value for name, value in content.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(held, sort_keys=True).encode("ascii"))
    digest.update(packed)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("numpy", "scikit-learn", "torch")}
    return {"skvae": __version__, "python": platform.python_version(), **found}


def _add(archive: zipfile.ZipFile, name: str, content: bytes, small: bool) -> None:
    # With a date of its own: the same model is the same file.
    info = zipfile.ZipInfo(name)
    deflated = len(zlib.compress(content, 9)) if small else len(content)
    if deflated < len(content) < MOST_DEFLATED * deflated:
        info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=9)


def _plain_array(name: str, array: NDArray) -> NDArray:
    if array.dtype.name not in SCALARS:
        raise TypeError(f"The array {name!r} is of {array.dtype}, which a file does not hold.")
    # In the order of bytes that is native here, and without gaps.
    plain = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(plain).reshape(array.shape)


def _encoded(value: Any, place: str) -> Any:
    """JSON of a plain value; what JSON lacks is a mapping with one key that begins with $."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [_encoded(each, f"{place}[{at}]") for at, each in enumerate(value)]
    if kind is tuple:
        return {"$tuple": _encoded(list(value), place)}
    if isinstance(value, np.generic) and value.dtype.name in SCALARS:
        return {"$scalar": [value.dtype.name, _encoded(value.item(), place)]}
    if kind is dict:
        for key in value:
            if type(key) is not str or key.startswith("$"):
                raise TypeError(f"{place} has the key {key!r}, which a file does not hold.")
        return {key: _encoded(each, f"{place}.{key}") for key, each in value.items()}
    raise TypeError(f"{place} is a {kind.__name__}, which a file does not hold.")


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_decoded(value["$tuple"]))
    if "$scalar" in value:
        name, number = value["$scalar"]
        if name not in SCALARS:
            raise _UnsoundError(f"{name!r} is no type of a number")
        return np.dtype(name).type(_decoded(number))
    return {key: _decoded(each) for key, each in value.items()}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _UnsoundError("a name in it stands for two values")
    return found
