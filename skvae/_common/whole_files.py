"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["is_stream", "with_path", "write_text", "write_whole"]

# Seconds in which whoever writes to a file has written some more.
LEFT = 3600.0
ROOM = "make room, or name another place; what is written already stays"


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a whole file or none: beside its place, then renamed.

    Several processes may write to one path, as ranks that run one script do: each file is
    whole, and one of them stays.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced, and a link to it stays. A device or a pipe,
        such as ``/dev/stdout``, is written to as it is.
    write : callable
        Writes to the open file that it is given.

    Raises
    ------
    OSError
        If the disk is full, say. It has the path, and no part of the file is left.
    """
    # Of a link what it leads to is replaced, and what is no file must not be: whoever may write
    # to the folder of devices would put a file in the place of one, for all programs.
    place = Path(os.path.realpath(path))
    if is_stream(place):
        _write_to_stream(path, write)
        return
    # A name of its own: two that write the same file would else write into each other's, and
    # one that another program has given is not overwritten.
    stem = f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]}"
    partial = place.with_name(f"{stem}.{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            # Else a power cut may keep the new name and lose what it names.
            os.fsync(file.fileno())
        os.replace(partial, place)
        _sweep(place.parent.glob(f"{stem}.*.part"))
    except OSError as error:
        raise with_path(error, f"{path} could not be written", ROOM) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _sweep(partial: Iterable[Path]) -> None:
    """Remove what those left that were killed while they wrote, and not what others write."""
    for path in partial:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT:
                path.unlink()


def is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe or a socket, which can be written to and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_to_stream(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    try:
        with path.open("wb") as file:
            write(file)
    except OSError as error:
        raise with_path(error, f"{path} could not be written", ROOM) from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `write_whole` does."""
    write_whole(path, lambda file: file.write(text.encode()))


def with_path(error: OSError | ValueError, what: str, remedy: str) -> OSError:
    """Return an error of the same kind that says what it is about, and what to do."""
    number = getattr(error, "errno", None)
    reason = f"{what} ({getattr(error, 'strerror', None) or error}): {remedy}."
    # With a number Python makes it a PermissionError, or whatever it is.
    return OSError(reason) if number is None else OSError(number, reason)
