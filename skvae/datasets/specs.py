"""One front door to the data sets, by a short text such as a command line gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from skvae.datasets.arrays import digits, load_array
from skvae.datasets.cifar import cifar10, cifar100
from skvae.datasets.files import (
    MAX_BYTES,
    check_choice,
    existing_folder,
    expanded,
    missing_files,
)
from skvae.datasets.idx import FILES, fashion_mnist, find_idx, load_idx, mnist
from skvae.datasets.imagenet import tiny_imagenet
from skvae.datasets.images import DTYPES
from skvae.datasets.photographs import patches

__all__ = ["load"]


def load(spec: str | Path, *, dtype: str = "float32", max_bytes: int = MAX_BYTES) -> Bunch:
    """Load a data set by name, with its test rows where it has a split of its own.

    Parameters
    ----------
    spec : str or Path
        One of

        - ``"digits"``: `digits`, the images that ship with scikit-learn;
        - ``"patches"``: `patches`, 10,000 to train on and as many for the test;
          ``"patches:4000"``, 4,000 of each;
        - ``"mnist:FOLDER"``, ``"fashion-mnist:FOLDER"``: `mnist`, `fashion_mnist`;
        - ``"idx:FOLDER"``: any data in files named as those of MNIST, the test files
          if they are there; ``"idx:FILE"``: the images of one IDX file;
        - ``"cifar10:FOLDER"``, ``"cifar100:FOLDER"``: `cifar10`, `cifar100`;
        - ``"tiny-imagenet:FOLDER"``: `tiny_imagenet`, its ``val`` as the test rows;
        - the path of a ``.npy`` or ``.npz`` file: `load_array`.
    dtype : {"float32", "uint8"}, default="float32"
        Of images read from files and of patches: pixels scaled to [0, 1], or bytes. Digits
        are scaled and arrays stay as they are.
    max_bytes : int, default=8 * 2**30
        Most bytes that the rows of one subset, read from files, may take in memory: 8 GiB.
        Files that hold or promise more are refused before they are read. ``.npy`` files, which
        are mapped, may have any size.

    Returns
    -------
    dataset : Bunch
        ``data`` of shape (n_samples, n_features); ``target`` of shape (n_samples,),
        integers, or None; ``test_data`` and ``test_target``, the same of the test rows, or
        None; ``image_shape``, (channels, height, width), or None; ``target_names``, a list
        of str, or None.

    Raises
    ------
    FileNotFoundError
        If a file is missing; says which, and where to get it.
    ValueError
        If there is no such data set (says which there are), or a file is damaged or too large.
    ImportError
        If a package that it needs is not installed; says how to install it.

    Warns
    -----
    UnverifiedDataWarning
        If the files are sound, but not the published ones.

    Examples
    --------
    >>> from skvae.datasets import load
    >>> dataset = load("digits")
    >>> dataset.data.shape, dataset.image_shape, dataset.test_data
    ((1797, 64), (1, 8, 8), None)
    """
    check_choice("dtype", dtype, DTYPES)
    spec = str(spec)
    name, colon, place = spec.partition(":")
    if spec in SHIPPED:
        return SHIPPED[spec](dtype)
    if colon and name == "patches":
        if not place.isdecimal():
            raise ValueError(f"patches:N wants a whole number of patches, got {place!r}.")
        return _patches(dtype, int(place))
    if colon and name in ON_DISK:
        if not place:
            raise ValueError(f"{name} needs the folder of its files: {name}:FOLDER.")
        return ON_DISK[name](place, dtype=dtype, max_bytes=max_bytes)
    if name in ON_DISK:
        raise ValueError(f"{name} needs the folder of its files: {name}:FOLDER.")
    # One letter before a colon is a drive.
    path = expanded(spec)
    if (not colon or len(name) == 1) and (path.suffix or os.path.isfile(path)):
        return _with_test(Bunch(data=load_array(path, max_bytes=max_bytes)), None)
    raise ValueError(
        f"There is no data set {spec!r}: give {', '.join(SHIPPED)}, "
        f"{', '.join(f'{known}:FOLDER' for known in ON_DISK)}, or a .npy or .npz file."
    )


def _with_test(train: Bunch, test: Bunch | None) -> Bunch:
    return Bunch(
        data=train.data,
        target=train.get("target"),
        test_data=None if test is None else test.data,
        test_target=None if test is None else test.target,
        image_shape=train.get("image_shape"),
        target_names=train.get("target_names"),
    )


def _digits(dtype: str) -> Bunch:
    source = load_digits()
    names = [str(name) for name in source.target_names]
    return _with_test(
        Bunch(data=digits(), target=source.target, image_shape=(1, 8, 8), target_names=names),
        None,
    )


def _patches(dtype: str, n_samples: int = 10_000) -> Bunch:
    return _with_test(
        patches(n_samples, dtype=dtype), patches(n_samples, subset="test", dtype=dtype)
    )


def _split(read: Callable[..., Bunch], test: str = "test") -> Callable[..., Bunch]:
    return lambda place, **options: _with_test(
        read(place, **options), read(place, subset=test, **options)
    )


def _idx(place: str, **options: Any) -> Bunch:
    path = expanded(place)
    if os.path.isfile(path):
        return _with_test(load_idx(path, **options), None)
    source = "Give the folder of the IDX files, named as those of MNIST, or one file of images."
    folder = existing_folder(path, source)
    found = {subset: [find_idx(folder, name) for name in FILES[subset]] for subset in FILES}
    images, labels = found["train"]
    if images is None:
        raise missing_files("The data set", [FILES["train"][0]], folder, source)
    train = load_idx(images, labels, **options)
    images, labels = found["test"]
    test = None if images is None else load_idx(images, labels, **options)
    if test is not None and test.data.shape[1] != train.data.shape[1]:
        raise ValueError(
            f"{images} must have rows of {train.data.shape[1]} pixels, as in training; got "
            f"{test.data.shape[1]}."
        )
    return _with_test(train, test)


SHIPPED: dict[str, Callable[[str], Bunch]] = {"digits": _digits, "patches": _patches}
ON_DISK: dict[str, Callable[..., Bunch]] = {
    "mnist": _split(mnist),
    "fashion-mnist": _split(fashion_mnist),
    "idx": _idx,
    "cifar10": _split(cifar10),
    "cifar100": _split(cifar100),
    "tiny-imagenet": _split(tiny_imagenet, test="val"),
}
