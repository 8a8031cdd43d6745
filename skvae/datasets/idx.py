"""IDX files, the format of MNIST and Fashion-MNIST, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skvae._common.docstrings import shares
from skvae.datasets.files import (
    MAX_BYTES,
    MAX_BYTES_SECTION,
    check_came,
    check_choice,
    check_memory,
    check_promise,
    existing_folder,
    expanded,
    is_published,
    missing_files,
    opened,
    read_promised,
    warn_unverified,
)
from skvae.datasets.images import DTYPES, check_labels, image_bunch

__all__ = ["FILES", "fashion_mnist", "find_idx", "load_idx", "mnist"]

# The third byte of an IDX file: the type of its numbers, which are big-endian.
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

LABEL_BYTES = np.dtype(np.int64).itemsize

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class Published(NamedTuple):
    """A data set as published; the MD5 sums are of the files before compression.

    So a file that was unpacked, or compressed again, is still the published one.
    """

    title: str
    source: str
    target_names: Sequence[str]
    md5: Mapping[str, str]


MNIST = Published(
    "MNIST",
    "Download the four .gz files of MNIST (LeCun, Cortes and Burges; torchvision names a "
    "mirror) into one folder.",
    [str(digit) for digit in range(10)],
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
FASHION_MNIST = Published(
    "Fashion-MNIST",
    "Download the four .gz files in data/fashion of the GitHub repository "
    "zalandoresearch/fashion-mnist into one folder.",
    [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)


# What the docstrings of published sets share.
SECTIONS = """
Parameters
----------
folder : str or Path
    Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with
    ``t10k``, plain or with ``.gz``; the files of one subset are enough for it.
subset : {"train", "test"}, default="train"
    60,000 or 10,000 images.
dtype : {"float32", "uint8"}, default="float32"
    Pixels scaled to [0, 1], or the bytes of the file.
{max_bytes}

Returns
-------
dataset : Bunch
    ``data`` of shape (n_samples, 784), one image a row; ``target`` of shape
    (n_samples,), integers; ``image_shape``, (1, 28, 28); ``target_names``.

Raises
------
FileNotFoundError
    If a file is missing; says which, and where to get it.
ValueError
    If a file is damaged or too large, the images are not of this size, or images and labels do
    not agree. Other data in the format are read by `load_idx`.

Warns
-----
UnverifiedDataWarning
    If a file is sound but has not the checksum of the published one.
"""


@shares(sections=SECTIONS, max_bytes=MAX_BYTES_SECTION)
def mnist(
    folder: str | Path,
    *,
    subset: str = "train",
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Handwritten digits of 28 by 28 pixels, from a folder with the IDX files of MNIST.

    {sections}

    Examples
    --------
    >>> from skvae.datasets import mnist
    >>> mnist("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: There is no folder no/such/folder. Download the four .gz files of ...
    """
    return _read(MNIST, folder, subset, dtype, max_bytes)


@shares(sections=SECTIONS, max_bytes=MAX_BYTES_SECTION)
def fashion_mnist(
    folder: str | Path,
    *,
    subset: str = "train",
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Garments of 28 by 28 pixels, from a folder with the IDX files of Fashion-MNIST.

    {sections}

    Examples
    --------
    >>> from skvae.datasets import fashion_mnist
    >>> fashion_mnist("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: There is no folder no/such/folder. Download the four .gz files in ...
    """
    return _read(FASHION_MNIST, folder, subset, dtype, max_bytes)


@shares(max_bytes=MAX_BYTES_SECTION)
def load_idx(
    images: str | Path,
    labels: str | Path | None = None,
    *,
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Images in any IDX file, with their labels in another.

    Parameters
    ----------
    images : str or Path
        File of unsigned bytes, plain or with ``.gz``: of shape (n_samples, n_features),
        (n_samples, height, width) or (n_samples, channels, height, width).
    labels : str or Path or None, default=None
        File of integers from 0 to 65,535, one an image.
    dtype : {"float32", "uint8"}, default="float32"
        Pixels scaled to [0, 1], or the bytes of the file.
    {max_bytes}

    Returns
    -------
    dataset : Bunch
        ``data`` of shape (n_samples, n_features), one image a row; ``target`` of shape
        (n_samples,), integers, or None; ``image_shape``, (channels, height, width), or
        None; ``target_names``, None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is damaged or too large, or images and labels do not agree.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skvae.datasets import load_idx
    >>> header = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "images-idx3-ubyte"
    ...     _ = path.write_bytes(header + bytes([0, 51, 102, 255]))
    ...     dataset = load_idx(path)
    >>> dataset.data
    array([[0. , 0.2, 0.4, 1. ]], dtype=float32)
    >>> dataset.image_shape
    (1, 2, 2)
    """
    check_choice("dtype", dtype, DTYPES)
    path = expanded(images)
    array, _ = _read_idx(path, max_bytes, DTYPES[dtype])
    pixels = _pixels(array, path)
    target = None
    if labels is not None:
        path = expanded(labels)
        target, _ = _read_idx(path, max_bytes, LABEL_BYTES)
        check_labels(target, len(pixels), None, path)
    shape = None
    if pixels.ndim > 2:
        channels, height, width = (1, *pixels.shape[1:])[-3:]
        shape = channels, height, width
    return image_bunch(pixels.reshape(len(pixels), -1), target, shape, dtype=dtype)


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file with this name in `folder`, as it was published or unpacked."""
    # Some archives turn the hyphen before "idx" into a dot.
    spellings = (name, name.replace("-idx", ".idx"))
    candidates = [folder / (spelling + end) for end in ("", ".gz") for spelling in spellings]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _read(
    published: Published, folder: str | Path, subset: str, dtype: str, max_bytes: int
) -> Bunch:
    check_choice("subset", subset, FILES)
    check_choice("dtype", dtype, DTYPES)
    folder = existing_folder(folder, published.source)
    found = {name: find_idx(folder, name) for name in FILES[subset]}
    paths = [path for path in found.values() if path is not None]
    if len(paths) < len(found):
        missing = [f"{name} (or {name}.gz)" for name, path in found.items() if path is None]
        raise missing_files(published.title, missing, folder, published.source)
    images, image_content = _read_idx(paths[0], max_bytes, DTYPES[dtype])
    target, label_content = _read_idx(paths[1], max_bytes, LABEL_BYTES)
    pixels = _pixels(images, paths[0])
    elsewhere = f"That is not {published.title}; load_idx reads any IDX file."
    if pixels.shape[1:] != (28, 28):
        raise ValueError(
            f"{paths[0]} must hold images of 28 by 28 pixels, got an array of shape "
            f"{pixels.shape}. {elsewhere}"
        )
    try:
        check_labels(target, len(pixels), len(published.target_names), paths[1])
    except ValueError as error:
        raise ValueError(f"{error} {elsewhere}") from None
    warn_unverified(
        published.title,
        [
            f"{path.name} has another checksum"
            for name, path, content in zip(
                found, paths, (image_content, label_content), strict=True
            )
            if not is_published(content.data, published.md5[name])
        ],
        folder,
        stacklevel=4,
    )
    return image_bunch(
        pixels.reshape(len(pixels), -1),
        target,
        (1, 28, 28),
        published.target_names,
        dtype=dtype,
    )


def _read_idx(path: Path, max_bytes: float, itemsize: int) -> tuple[NDArray, NDArray[np.uint8]]:
    """Return the array, to be kept at `itemsize`, and the bytes of the file unpacked."""
    with opened(path) as file:
        if path.suffix != ".gz":
            return _parse(file, path, max_bytes, itemsize)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(unpacked, path, max_bytes, itemsize)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged, or not compressed by gzip ({error}): download it again."
            ) from error


def _parse(
    file: io.BufferedIOBase, path: Path, max_bytes: float, itemsize: int
) -> tuple[NDArray, NDArray[np.uint8]]:
    head = file.read(4)
    if (
        len(head) < 4
        or head[:2] != b"\0\0"
        or head[2] not in TYPES
        or head[3] not in range(1, 5)
    ):
        raise ValueError(
            f"{path} is no IDX file: it must begin with two zero bytes, a type and a number of "
            f"dimensions from 1 to 4, got {head.hex(' ') or 'nothing'}."
        )
    dtype, sizes = np.dtype(TYPES[head[2]]), file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ValueError(f"{path} is truncated: it ends within its header.")
    shape = [int(size) for size in np.frombuffer(sizes, ">u4")]
    if 0 in shape:
        raise ValueError(f"{path} must hold something, got an array of shape {tuple(shape)}.")
    promised = math.prod(shape) * dtype.itemsize
    check_promise(promised, path, shape)
    check_memory(math.prod(shape) * max(itemsize, dtype.itemsize), max_bytes, path)
    content, came = read_promised(file, promised, before=head + sizes)
    check_came(came, promised, path, shape)
    array = content[len(head + sizes) :].view(dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False), content


def _pixels(array: NDArray, path: object) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (2, 3, 4):
        raise ValueError(
            f"{path} must hold images as unsigned bytes, in 2 to 4 dimensions; got an array of "
            f"shape {array.shape} and type {array.dtype}."
        )
    return array
