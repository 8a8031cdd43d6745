"""Finished runs on disk: one file each, written whole or not at all, and told when damaged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae._common.whole_files import with_path, write_whole
from skvae.exceptions import DamagedResultWarning
from skvae.rows.sparse import SparseRows

__all__ = [
    "ResultsFolder",
    "check_names",
    "content_hash",
    "identity_of",
    "plain",
]

# Bytes of an array hashed at a time.
BLOCK_BYTES = 2**26
# Bytes, about those of a record, that a folder must take before a run is done.
TRIAL_BYTES = 2**16
# Characters of a name, beside its hash, that every file system takes.
MAX_NAME = 100


@dataclass(frozen=True)
class ResultsFolder:
    """A folder with one JSON file for each finished run.

    A file is named by its run and by a hash of all that determines it, so that the runs of
    other set-ups lie beside it and are never mistaken for it. It holds its name, the record,
    and the SHA-256 of both.

    Parameters
    ----------
    path : Path
        The folder; made when the first run is written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skvae.protocol.results_folder import ResultsFolder
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = ResultsFolder(pathlib.Path(path) / "runs")
    ...     folder.write("vae-seed0", {"elbo": -1.5})
    ...     folder.read("vae-seed0"), folder.read("vae-seed1")
    ({'elbo': -1.5}, None)
    """

    path: Path

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write the record of a run, at once and atomically.

        Parameters
        ----------
        name : str
            Of the file, without suffix.
        record : dict
            Of plain numbers, strings, lists and dicts.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self._file(name), lambda file: file.write(_serialise(name, record)))

    def check_writable(self) -> None:
        """Make the folder and write to it, and leave nothing behind.

        Raises
        ------
        OSError
            If that cannot be done. It has the path, and is of the kind that was met.
        """
        # Whether a file system takes a file is only known once it has: root may write anywhere,
        # and yet not there.
        made = [each for each in (self.path, *self.path.parents) if not os.path.lexists(each)]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(bytes(TRIAL_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except (OSError, ValueError) as error:
            raise with_path(
                error, f"{self.path} must be a folder that can be written to", "name another"
            ) from error
        finally:
            for each in made:
                with suppress(OSError, ValueError):
                    each.rmdir()

    def read(self, name: str) -> dict[str, Any] | None:
        """Read the record of a run.

        Parameters
        ----------
        name : str
            Of the file, without suffix.

        Returns
        -------
        record : dict or None
            None where there is no such file, or a damaged one.

        Warns
        -----
        DamagedResultWarning
            If the file is not, byte for byte, what was written under this name.
        """
        file = self._file(name)
        try:
            content = file.read_bytes()
        # That the folder is none is said before a run is done.
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            kept = json.loads(content)
            written_as, record = kept["name"], kept["run"]
            intact = content == _serialise(written_as, record)
        # Whatever damage makes of JSON: not text, no object, no such key.
        except (ValueError, TypeError, KeyError, LookupError, RecursionError):
            intact = False
        if intact and written_as == name:
            return record
        found = f"holds the run {written_as}" if intact else "is damaged"
        warnings.warn(
            f"{file} {found}: that run is done again.", DamagedResultWarning, stacklevel=2
        )
        return None

    def others(self, names: set[str]) -> int:
        """Count the files of runs that are none of these."""
        return sum(file.stem not in names for file in self.path.glob("*.json"))

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"


def identity_of(description: Mapping[str, Any], run: str) -> str:
    """Name a run by what it is and by a hash of all that determines it.

    Parameters
    ----------
    description : dict
        All that determines the run, in plain numbers, strings, lists and dicts.
    run : str
        What a person calls it.

    Returns
    -------
    name : str
        Fit to name a file.
    """
    text = json.dumps([run, description], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9.=_-]', '_', run)[:MAX_NAME]}-{digest}"


def content_hash(array: NDArray | SparseRows | None) -> str:
    """Hash an array's type, shape and entries, in order, block by block.

    Parameters
    ----------
    array : ndarray, memory map, SparseRows or None
        The array.

    Returns
    -------
    digest : str
        SHA-256 in hexadecimal; empty for None.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.protocol.results_folder import content_hash
    >>> content_hash(np.arange(3)) == content_hash(np.arange(3)[::-1])
    False
    """
    if array is None:
        return ""
    if isinstance(array, SparseRows):
        matrix = array.matrix
        places = [each.astype(np.int64) for each in (matrix.indices, matrix.indptr)]
        parts = [content_hash(each) for each in (matrix.data, *places)]
        return hashlib.sha256(f"{array.shape} {parts}".encode()).hexdigest()
    array = np.asanyarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    if array.dtype.hasobject:
        digest.update(repr(array.tolist()).encode())
        return digest.hexdigest()
    n_rows = max(1, BLOCK_BYTES * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), n_rows):
        digest.update(np.ascontiguousarray(array[start : start + n_rows]).tobytes())
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Turn a value into the numbers, strings, lists and dicts that JSON gives back.

    Parameters
    ----------
    value : object
        Of these, NumPy scalars and arrays, tuples, classes and functions.

    Returns
    -------
    plain : object
        Equal to itself after a way through JSON.

    Raises
    ------
    ValueError
        For any other object: two of them could not be told apart on disk.
    """
    return json.loads(json.dumps(value, default=_as_plain))


def check_names(value: Any) -> None:
    """Refuse functions and classes that are not told from others by their name.

    Parameters
    ----------
    value : object
        As `plain` takes it.

    Raises
    ------
    ValueError
        If one is a lambda, or defined in a function: others may have the same name.
    """
    json.dumps(value, default=_as_own_name)


def _serialise(name: str, record: Mapping[str, Any]) -> bytes:
    text = f'"name": {json.dumps(name)}, "run": {json.dumps(record)}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{digest}", {text}}}\n'.encode()


def _as_own_name(value: Any) -> Any:
    name = getattr(value, "__qualname__", "")
    if "<locals>" in name or "<lambda>" in name:
        raise ValueError(
            f"A finished run is found again by the names of its functions and classes, and "
            f"others may be called {value.__module__}.{name} too: define it at the top of a "
            "module, or keep no runs, with folder=None."
        )
    return _as_plain(value)


def _as_plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise ValueError(
        f"A run's parameters are kept as plain numbers, strings, lists, classes and "
        f"functions, got {type(value).__name__}: {value!r}."
    )
