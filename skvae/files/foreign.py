"""Estimators that are not ours, by way of skops, which makes nothing but of trusted types."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["dumped", "loaded", "type_names"]

# As of an archive of ours, of which this is a part: what skops wrote is not deflated.
MOST_DEFLATED = 4


def type_names(trusted: Iterable[str | type]) -> list[str]:
    """Return the names of types that are given as types or by their names.

    Examples
    --------
    >>> from skvae.files.foreign import type_names
    >>> type_names(["a.B", dict])
    ['a.B', 'builtins.dict']
    """
    if isinstance(trusted, (str, type, bool)):
        raise TypeError(f"trusted must be a list of types or of their names, got {trusted!r}.")
    return [
        each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}"
        for each in trusted
    ]


def dumped(estimator: Any, place: str, trusted: list[str]) -> bytes:
    """Return an estimator as bytes, or say which of its types nobody trusts."""
    skops = _skops(f"{place} is a {type(estimator).__name__}, and saving it")
    try:
        content: bytes = skops.dumps(estimator)
        needed = set(skops.get_untrusted_types(data=content)) - set(trusted)
    # Whatever skops makes of what it cannot take.
    except Exception as error:
        raise TypeError(
            f"{place} is a {type(estimator).__name__} that skops cannot write: {error} Save "
            'with teacher="drop", or use pickle.'
        ) from error
    if needed:
        raise TypeError(
            f"{place} is a {type(estimator).__name__} made of types that nobody has said to "
            f"trust: pass trusted={sorted(needed)} if you do, here and when you load, save "
            'with teacher="drop", or use pickle.'
        )
    return content


def loaded(content: bytes, trusted: list[str]) -> Any:
    """Return the estimator in bytes, or say which of its types nobody trusts."""
    skops = _skops("It holds an estimator of scikit-learn, and loading it")
    _check_sizes(content)
    needed = set(skops.get_untrusted_types(data=content)) - set(trusted)
    if needed:
        raise ValueError(
            f"it holds types that nobody has said to trust: pass trusted={sorted(needed)} if "
            "you know where the file comes from"
        )
    return skops.loads(content, trusted=trusted)


def _skops(purpose: str) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(f"{purpose} takes skops: pip install 'skvae[files]'.") from error
    return skops.io


def _check_sizes(content: bytes) -> None:
    """Refuse what would take more memory than its bytes allow for."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > MOST_DEFLATED * len(content):
            raise ValueError("an estimator in it is deflated out of all proportion")
        for info in infos:
            if info.filename.endswith(".npy"):
                with archive.open(info) as member:
                    _check_array(member, info.file_size)


def _check_array(member: Any, size: int) -> None:
    version = np.lib.format.read_magic(member)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise ValueError("an array of an estimator in it is said to be larger than it is")
