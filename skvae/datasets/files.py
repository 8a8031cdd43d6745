"""What every reader asks of files: are they there, and are they the published ones."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path

from skvae.exceptions import UnverifiedDataWarning

__all__ = [
    "check_choice",
    "existing_folder",
    "is_published",
    "missing_files",
    "warn_unverified",
]


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a `value` that is none of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


def existing_folder(path: str | Path, source: str) -> Path:
    """Return the folder, or say that there is none and where its files come from."""
    # A shell leaves the tilde of NAME:~/FOLDER alone.
    folder = Path(path).expanduser()
    if folder.is_file():
        raise NotADirectoryError(
            f"{folder} is a file: name the folder that holds the data set."
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. {source}")
    return folder


def missing_files(title: str, names: Iterable[str], folder: Path, source: str) -> Exception:
    """Return the error that names what is missing, where it was sought, and its source."""
    return FileNotFoundError(f"{title} lacks {', '.join(names)} in {folder}. {source}")


def is_published(content: bytes, md5: str) -> bool:
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
