"""CIFAR-10 and CIFAR-100, the python version (pickled batches) and the binary version."""

from __future__ import annotations

import os
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
    TEXT_BYTES,
    check_choice,
    check_memory,
    existing_folder,
    is_published,
    missing_files,
    opened,
    read_text,
    warn_unverified,
)
from skvae.datasets.images import DTYPES, check_labels, image_bunch
from skvae.datasets.unpickling import unpickle_batch

__all__ = ["cifar10", "cifar100"]

SUBSETS = ("train", "test")
SHAPE = (3, 32, 32)
N_FEATURES = 3 * 32 * 32


class Labels(NamedTuple):
    """Where one kind of label stands, and its names."""

    n_classes: int
    key: bytes  # of the python version's batches
    column: int  # of the binary version's rows
    names_key: bytes
    names_file: str


class Published(NamedTuple):
    """A data set as published; the MD5 sums are those that torchvision checks."""

    title: str
    source: str
    folders: tuple[str, str]
    archives: tuple[str, str]
    python: Mapping[str, Mapping[str, str]]
    meta: tuple[str, str]
    binary: Mapping[str, Sequence[str]]
    n_rows: Mapping[str, int]  # of one batch
    labels: Mapping[str, Labels]


SOURCE = (
    "Download {0}-python.tar.gz or {0}-binary.tar.gz from Alex Krizhevsky's CIFAR page "
    "(www.cs.toronto.edu/~kriz/cifar.html) and unpack it."
)
CIFAR10 = Published(
    "CIFAR-10",
    SOURCE.format("cifar-10"),
    ("cifar-10-batches-py", "cifar-10-batches-bin"),
    ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
    {
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
    {
        "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
        "test": ["test_batch.bin"],
    },
    {"train": 10_000, "test": 10_000},
    {"fine": Labels(10, b"labels", 0, b"label_names", "batches.meta.txt")},
)
CIFAR100 = Published(
    "CIFAR-100",
    SOURCE.format("cifar-100"),
    ("cifar-100-python", "cifar-100-binary"),
    ("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
    {
        "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
        "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    ("meta", "7973b15100ade9c7d40fb424638fde48"),
    {"train": ["train.bin"], "test": ["test.bin"]},
    {"train": 50_000, "test": 10_000},
    {
        "coarse": Labels(
            20, b"coarse_labels", 0, b"coarse_label_names", "coarse_label_names.txt"
        ),
        "fine": Labels(100, b"fine_labels", 1, b"fine_label_names", "fine_label_names.txt"),
    },
)


# What the two docstrings share.
SECTIONS = {
    "versions": """
The python version is read where both are there. Its pickles, of Python 2, are read without
running or importing anything that they name. The binary version has no public checksums; its
number of rows is compared instead.
""",
    "folder_and_subset": """
folder : str or Path
    The unpacked folder, or the one that holds it.
subset : {"train", "test"}, default="train"
    50,000 or 10,000 images.
""",
    "dtype_and_the_rest": """
dtype : {"float32", "uint8"}, default="float32"
    Pixels scaled to [0, 1], or the bytes of the file.
{max_bytes}

Returns
-------
dataset : Bunch
    ``data`` of shape (n_samples, 3072), one image a row, by channel, height and width;
    ``target`` of shape (n_samples,), integers; ``image_shape``, (3, 32, 32);
    ``target_names``.

Raises
------
FileNotFoundError
    If a file is missing; says which, and where to get it.
ValueError
    If a file is damaged, too large or asks for foreign code, or images and labels do not
    agree.

Warns
-----
UnverifiedDataWarning
    If the files are sound but not the published ones.
""",
}


@shares(**SECTIONS, max_bytes=MAX_BYTES_SECTION)
def cifar10(
    folder: str | Path,
    *,
    subset: str = "train",
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Colour images of 32 by 32 pixels in 10 classes, from an unpacked CIFAR-10 archive.

    {versions}

    Parameters
    ----------
    {folder_and_subset}
    {dtype_and_the_rest}

    Examples
    --------
    >>> from skvae.datasets import cifar10
    >>> cifar10("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: There is no folder no/such/folder. Download cifar-10-python.tar.gz or ...
    """
    return _read(CIFAR10, folder, subset, "fine", dtype, max_bytes)


@shares(**SECTIONS, max_bytes=MAX_BYTES_SECTION)
def cifar100(
    folder: str | Path,
    *,
    subset: str = "train",
    labels: str = "fine",
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Colour images of 32 by 32 pixels in 100 classes, from an unpacked CIFAR-100 archive.

    {versions}

    Parameters
    ----------
    {folder_and_subset}
    labels : {"fine", "coarse"}, default="fine"
        One of 100 classes, or of the 20 groups that they form.
    {dtype_and_the_rest}

    Examples
    --------
    >>> from skvae.datasets import cifar100
    >>> cifar100("no/such/folder", labels="medium")
    Traceback (most recent call last):
    ValueError: labels must be one of coarse, fine; got 'medium'.
    """
    return _read(CIFAR100, folder, subset, labels, dtype, max_bytes)


def _read(
    published: Published,
    folder: str | Path,
    subset: str,
    kind: str,
    dtype: str,
    max_bytes: float,
) -> Bunch:
    check_choice("subset", subset, SUBSETS)
    check_choice("labels", kind, published.labels)
    check_choice("dtype", dtype, DTYPES)
    folder, version = _locate(published, existing_folder(folder, published.source))
    labels = published.labels[kind]
    batch_names = list((published.python if version == "python" else published.binary)[subset])
    names_file = published.meta[0] if version == "python" else labels.names_file
    needed = [*batch_names, names_file]
    missing = [name for name in needed if not os.path.isfile(folder / name)]
    if missing:
        raise missing_files(published.title, missing, folder, published.source)
    # Nearly all that a batch holds is pixels.
    size = sum(os.path.getsize(folder / name) for name in batch_names)
    check_memory(size * DTYPES[dtype], max_bytes, f"The {subset} images in {folder}")

    read = _python_batch if version == "python" else _binary_batch
    images, targets, differences = [], [], []
    for name in batch_names:
        pixels, target, difference = read(published, folder / name, subset, labels)
        check_labels(target, len(pixels), labels.n_classes, folder / name)
        images.append(pixels)
        targets.append(target)
        differences += difference
    if version == "python":
        target_names, difference = _python_names(published, folder / names_file, labels)
        differences += difference
    else:
        target_names = read_text(folder / names_file).split()
    if len(target_names) != labels.n_classes:
        raise ValueError(
            f"{folder / names_file} must name {labels.n_classes} classes, got "
            f"{len(target_names)}."
        )
    warn_unverified(published.title, differences, folder, stacklevel=4)
    return image_bunch(
        np.concatenate(images), np.concatenate(targets), SHAPE, target_names, dtype=dtype
    )


def _locate(published: Published, folder: Path) -> tuple[Path, str]:
    """Return the folder with the batches and which version they are."""
    candidates = [folder, *(folder / name for name in published.folders)]
    for version, batches in (("python", published.python), ("binary", published.binary)):
        for candidate in candidates:
            paths = (candidate / name for part in batches.values() for name in part)
            if any(os.path.isfile(path) for path in paths):
                return candidate, version
    packed = [name for name in published.archives if (folder / name).is_file()]
    advice = f"Unpack {packed[0]}, which is there." if packed else published.source
    raise FileNotFoundError(
        f"{published.title} is neither in {folder} nor in its folders "
        f"{' and '.join(published.folders)}. {advice}"
    )


def _python_batch(
    published: Published, path: Path, subset: str, labels: Labels
) -> tuple[NDArray[np.uint8], NDArray, list[str]]:
    with opened(path) as file:
        content = file.read()
    batch = unpickle_batch(content, path)
    absent = [repr(key.decode()) for key in (b"data", labels.key) if key not in batch]
    if absent:
        raise ValueError(
            f"{path} must hold 'data' and '{labels.key.decode()}'; {' and '.join(absent)} is "
            f"not there. It is no batch of {published.title}."
        )
    pixels, target = batch[b"data"], batch[labels.key]
    shape = getattr(pixels, "shape", type(pixels).__name__)
    if not isinstance(pixels, np.ndarray) or shape[1:] != (N_FEATURES,) or not len(pixels):
        raise ValueError(
            f"{path} must hold rows of {N_FEATURES} unsigned bytes, at least one; got {shape}."
        )
    if not isinstance(target, list) or any(type(label) is not int for label in target):
        raise ValueError(f"{path} must hold a list of whole numbers as labels.")
    md5 = published.python[subset][path.name]
    difference = [] if is_published(content, md5) else [f"{path.name} has another checksum"]
    return pixels, np.array(target, dtype=np.int64), difference


def _python_names(
    published: Published, path: Path, labels: Labels
) -> tuple[list[str], list[str]]:
    with opened(path, TEXT_BYTES) as file:
        content = file.read()
    names = unpickle_batch(content, path).get(labels.names_key)
    if not isinstance(names, list) or any(type(name) is not bytes for name in names):
        raise ValueError(f"{path} must hold a list of names '{labels.names_key.decode()}'.")
    same = is_published(content, published.meta[1])
    difference = [] if same else [f"{path.name} has another checksum"]
    return [name.decode(errors="replace") for name in names], difference


def _binary_batch(
    published: Published, path: Path, subset: str, labels: Labels
) -> tuple[NDArray[np.uint8], NDArray, list[str]]:
    with opened(path) as file:
        content = np.fromfile(file, np.uint8)
    n_labels = len(published.labels)
    width = n_labels + N_FEATURES
    if not len(content) or len(content) % width:
        raise ValueError(
            f"{path} must hold rows of {width} bytes, got {len(content)} bytes in all: it is "
            "truncated, or something else."
        )
    rows = content.reshape(-1, width)
    n_rows = published.n_rows[subset]
    difference = (
        [] if len(rows) == n_rows else [f"{path.name} has {len(rows)} rows, not {n_rows}"]
    )
    return rows[:, n_labels:], rows[:, labels.column], difference
