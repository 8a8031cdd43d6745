"""What every reader asks of files: are they there, how large, and are they the published ones.

Files come from strangers. So nothing is allocated before its size has been compared with the
limit, and with what the file can hold; and only regular files are opened, for a pipe would
wait for its writer and a device never ends.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skvae.exceptions import UnverifiedDataWarning

__all__ = [
    "MAX_BYTES",
    "MAX_BYTES_SECTION",
    "TEXT_BYTES",
    "check_came",
    "check_choice",
    "check_memory",
    "check_promise",
    "existing_folder",
    "expanded",
    "first_of",
    "is_published",
    "missing_files",
    "opened",
    "read_promised",
    "read_text",
    "warn_unverified",
]

MAX_BYTES = 8 * 2**30
# What the docstrings of readers share.
MAX_BYTES_SECTION = """
max_bytes : int, default=8 * 2**30
    Most bytes that ``data`` may take in memory: 8 GiB. Files that hold or promise more are
    refused before they are read.
"""
# The longest published list, of Tiny-ImageNet's validation images, has less than a MiB.
TEXT_BYTES = 16 * 2**20
PIECE_BYTES = 2**20
# A match of deflate takes at least two bits and gives at most 258 bytes.
MOST_INFLATION = 4 * 258


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a `value` that is none of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


def expanded(path: str | Path) -> Path:
    """Return the path with the home folder in place of its tilde."""
    # A shell leaves the tilde of NAME:~/FOLDER alone.
    path = Path(path)
    try:
        return path.expanduser()
    # That of an unknown user is part of a name.
    except RuntimeError:
        return path


def existing_folder(path: str | Path, source: str) -> Path:
    """Return the folder, or say that there is none and where its files come from."""
    folder = expanded(path)
    if os.path.isfile(folder):
        raise NotADirectoryError(
            f"{folder} is a file: name the folder that holds the data set."
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder}. {source}")
    return folder


def missing_files(title: str, names: Iterable[str], folder: Path, source: str) -> Exception:
    """Return the error that names what is missing, where it was sought, and its source."""
    return FileNotFoundError(f"{title} lacks {', '.join(names)} in {folder}. {source}")


def first_of(names: Sequence[str]) -> list[str]:
    """Return the names for a message: long ones cut, and of many some and how many more."""
    shown, length = 5, 100
    more = [f"{len(names) - shown} more"] if len(names) > shown else []
    return [
        name if len(name) <= length else f"{name[:length]}..." for name in names[:shown]
    ] + more


def opened(path: Path, most: float = np.inf) -> io.BufferedReader:
    """Open a regular file of at most `most` bytes."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} is no regular file, but a folder, a pipe or a device."
            if os.path.exists(path)
            else f"There is no file {path}."
        )
    size = os.path.getsize(path)
    if size > most:
        raise ValueError(
            f"{path} has {size:,} bytes, and such a file no more than {most:,}: it is damaged, "
            "or something else."
        )
    return path.open("rb")


def read_text(path: Path) -> str:
    """Return a text such as a list of names."""
    with opened(path, TEXT_BYTES) as file:
        return file.read().decode(errors="replace")


def check_memory(n_bytes: int, max_bytes: float, what: object) -> None:
    """Refuse what would take more than `max_bytes` in memory."""
    if n_bytes > max_bytes:
        raise ValueError(
            f"{what} would take {n_bytes:,} bytes in memory, and max_bytes is {max_bytes:,}: "
            "give a larger one if that is what you expect of the data."
        )


def check_promise(promised: int, path: Path, shape: Sequence[int]) -> None:
    """Refuse a header that promises more than its file can hold, compressed or not."""
    size = os.path.getsize(path)
    if promised > MOST_INFLATION * size:
        raise ValueError(
            f"{path} is truncated: its header promises {promised} bytes for an array of shape "
            f"{tuple(shape)}, which a file of {size} bytes cannot hold."
        )


def check_came(came: int, promised: int, path: Path, shape: Sequence[int]) -> None:
    """Refuse a file that ends before what its header promises, or goes on after it."""
    if came != promised:
        state, got = ("truncated", came) if came < promised else ("too long", "more")
        raise ValueError(
            f"{path} is {state}: its header promises {promised} bytes for an array of shape "
            f"{tuple(shape)}, got {got}."
        )


def read_promised(
    file: io.BufferedIOBase, promised: int, before: bytes = b""
) -> tuple[NDArray[np.uint8], int]:
    """Return the promised bytes after those `before`, and how many came.

    One too many means that more follow.
    """
    content = np.empty(len(before) + promised, np.uint8)
    content[: len(before)] = np.frombuffer(before, np.uint8)
    view, came = content.data[len(before) :], 0
    # In pieces, for readers of compressed files make a copy of what they are asked for.
    while piece := file.readinto(view[came : came + PIECE_BYTES]):
        came += piece
    return content, came + len(file.read(1))


def is_published(content: bytes | memoryview, md5: str) -> bool:
    """Tell whether `content` has the published checksum."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def warn_unverified(
    title: str, differences: Iterable[str], folder: Path, stacklevel: int
) -> None:
    """Warn of what differs from the published data set, if anything does."""
    differences = list(differences)
    if differences:
        warnings.warn(
            f"The data in {folder} are sound in structure, but they are not {title} as "
            f"published: {'; '.join(differences)}.",
            UnverifiedDataWarning,
            stacklevel=stacklevel,
        )
