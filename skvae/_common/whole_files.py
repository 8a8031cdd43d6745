"""Files that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["with_path", "write_text", "write_whole"]


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a whole file or none: beside its place, then renamed.

    Several processes may write to one path, as ranks that run one script do: each file is
    whole, and one of them stays.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced.
    write : callable
        Writes to the open file that it is given.

    Raises
    ------
    OSError
        If the disk is full, say. It has the path, and no part of the file is left.
    """
    # A name of its own, so that no other writes between.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            # Else a power cut may keep the new name and lose what it names.
            os.fsync(file.fileno())
        try:
            os.replace(partial, path)
        except FileNotFoundError:
            # Whoever took it away has written the same path since.
            if not path.exists():
                raise
        # Of those that were killed while they wrote.
        for left in path.parent.glob(f"{glob.escape(path.name)}.????????.partial"):
            with suppress(OSError):
                left.unlink()
    except OSError as error:
        remedy = "make room, or name another place; what is written already stays"
        raise with_path(error, f"{path} could not be written", remedy) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `write_whole` does."""
    write_whole(path, lambda file: file.write(text.encode()))


def with_path(error: OSError | ValueError, what: str, remedy: str) -> OSError:
    """Return an error of the same kind that says what it is about, and what to do."""
    number = getattr(error, "errno", None)
    reason = f"{what} ({getattr(error, 'strerror', None) or error}): {remedy}."
    # With a number Python makes it a PermissionError, or whatever it is.
    return OSError(reason) if number is None else OSError(number, reason)
