"""Tiny-ImageNet-200: a folder of JPEG files, and lists of what they show."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skvae._common.docstrings import shares
from skvae.datasets.files import (
    MAX_BYTES,
    MAX_BYTES_SECTION,
    check_choice,
    check_memory,
    existing_folder,
    first_of,
    missing_files,
    opened,
    read_text,
    warn_unverified,
)
from skvae.datasets.images import DTYPES, image_bunch, pillow

__all__ = ["tiny_imagenet"]

TITLE, ARCHIVE_FOLDER = "Tiny-ImageNet", "tiny-imagenet-200"
SOURCE = (
    "Download tiny-imagenet-200.zip (Stanford's course CS231n, cs231n.stanford.edu) and "
    "unpack it."
)
SUBSETS = ("train", "val")
SHAPE = (3, 64, 64)
N_CLASSES, N_IMAGES = 200, {"train": 100_000, "val": 10_000}
# Without compression such an image has 12 KiB, and the rest of a file is its writer's notes.
JPEG_BYTES = 2**20


@shares(max_bytes=MAX_BYTES_SECTION)
def tiny_imagenet(
    folder: str | Path,
    *,
    subset: str = "train",
    dtype: str = "float32",
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Colour images of 64 by 64 pixels in 200 classes, from an unpacked Tiny-ImageNet-200.

    Needs Pillow (``pip install 'skvae[images]'``). Greyscale files become three equal
    channels. The training rows come class by class, in the order of ``wnids.txt``, and by
    the number in the name of the file within a class; those of ``val`` in the order of
    ``val_annotations.txt``. No checksums of single files are public: the lists that come
    with the images are compared with them, and the number of images with the published one.

    In float32 the training rows take 4.9 GB, in bytes 1.2 GB.

    Parameters
    ----------
    folder : str or Path
        The unpacked ``tiny-imagenet-200``, or the folder that holds it.
    subset : {"train", "val"}, default="train"
        100,000 or 10,000 images; those of the test folder have no labels.
    dtype : {"float32", "uint8"}, default="float32"
        Pixels scaled to [0, 1], or bytes.
    {max_bytes}

    Returns
    -------
    dataset : Bunch
        ``data`` of shape (n_samples, 12288), one image a row, by channel, height and width;
        ``target`` of shape (n_samples,), the index of the class in ``wnids.txt``;
        ``image_shape``, (3, 64, 64); ``target_names``, the WordNet ids.

    Raises
    ------
    FileNotFoundError
        If a file or folder is missing; says which, and where to get it.
    ValueError
        If a file is damaged, too large or no JPEG, an image has another size, or the lists
        do not agree with the images.
    ImportError
        If Pillow is not installed; says how to install it.

    Warns
    -----
    UnverifiedDataWarning
        If the files are sound, but their number is not the published one.

    Examples
    --------
    >>> from skvae.datasets import tiny_imagenet
    >>> tiny_imagenet("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: There is no folder no/such/folder. Download tiny-imagenet-200.zip ...
    """
    check_choice("subset", subset, SUBSETS)
    check_choice("dtype", dtype, DTYPES)
    jpeg = pillow("The JPEG files of Tiny-ImageNet")
    folder = existing_folder(folder, SOURCE)
    if not os.path.isfile(folder / "wnids.txt") and os.path.isdir(folder / ARCHIVE_FOLDER):
        folder = folder / ARCHIVE_FOLDER
    wnids = _lines(folder / "wnids.txt")
    if len(set(wnids)) < len(wnids):
        raise ValueError(f"{folder / 'wnids.txt'} names a class twice: unpack it again.")
    astray = [wnid for wnid in wnids if wnid == ".." or Path(wnid).name != wnid]
    if astray:
        raise ValueError(
            f"{folder / 'wnids.txt'} must name a folder of train in each line, got "
            f"{', '.join(map(repr, first_of(astray)))}: unpack it again."
        )
    paths, target = (_training if subset == "train" else _validation)(folder, wnids)
    n_bytes = len(paths) * math.prod(SHAPE) * DTYPES[dtype]
    check_memory(n_bytes, max_bytes, f"The {len(paths)} images of {subset} in {folder}")
    pixels = _read(paths, jpeg)
    warn_unverified(
        TITLE,
        [
            f"there are {found} {what}, not {published}"
            for what, found, published in (
                ("classes", len(wnids), N_CLASSES),
                (f"images in {subset}", len(paths), N_IMAGES[subset]),
            )
            if found != published
        ],
        folder,
        stacklevel=3,
    )
    return image_bunch(pixels, target, SHAPE, wnids, dtype=dtype)


def _training(folder: Path, wnids: Sequence[str]) -> tuple[list[Path], list[int]]:
    folders = [folder / "train" / wnid / "images" for wnid in wnids]
    missing = [
        f"train/{path.parent.name}/images" for path in folders if not os.path.isdir(path)
    ]
    if missing:
        raise missing_files(TITLE, first_of(missing), folder, SOURCE)
    paths: list[Path] = []
    target: list[int] = []
    for label, (wnid, images) in enumerate(zip(wnids, folders, strict=True)):
        # Shorter names first: n01443537_9 comes before n01443537_10.
        found = sorted(images.glob("*.JPEG"), key=lambda path: (len(path.name), path.name))
        boxes = images.parent / f"{wnid}_boxes.txt"
        listed = {line.split("\t", 1)[0] for line in _lines(boxes)}
        _check_agreement(listed, {path.name for path in found}, boxes, images)
        paths += found
        target += [label] * len(found)
    return paths, target


def _validation(folder: Path, wnids: Sequence[str]) -> tuple[list[Path], list[int]]:
    annotations, images = folder / "val" / "val_annotations.txt", folder / "val" / "images"
    labels: dict[str, int] = {}
    index = {wnid: label for label, wnid in enumerate(wnids)}
    for number, line in enumerate(_lines(annotations), start=1):
        name, *rest = line.split("\t", 2)
        if not rest or rest[0] not in index or name in labels:
            raise ValueError(
                f"{annotations} must name an image and a class of wnids.txt in each line, and "
                f"each image once; line {number} is {first_of([line])[0]!r}."
            )
        labels[name] = index[rest[0]]
    _check_agreement(labels, {path.name for path in images.glob("*.JPEG")}, annotations, images)
    return [images / name for name in labels], list(labels.values())


def _lines(path: Path) -> list[str]:
    if not os.path.isfile(path):
        raise missing_files(TITLE, [path.name], path.parent, SOURCE)
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty: unpack it again.")
    return lines


def _check_agreement(
    listed: set[str] | dict[str, int], found: set[str], where: Path, images: Path
) -> None:
    absent = [name for name in listed if name not in found]
    if absent:
        raise missing_files(
            TITLE, first_of(sorted(absent)), images, f"{where} lists them. {SOURCE}"
        )
    unlisted = sorted(found - set(listed))
    if unlisted:
        raise ValueError(
            f"{images} holds {', '.join(first_of(unlisted))}, which {where} does not list: "
            "remove them, or unpack the archive again."
        )


def _read(paths: Sequence[Path], jpeg: Any) -> NDArray[np.uint8]:
    _, height, width = SHAPE
    pixels = np.empty((len(paths), *SHAPE), dtype=np.uint8)
    for row, path in zip(pixels, paths, strict=True):
        with opened(path, JPEG_BYTES) as file:
            try:
                # The size is read, and nothing decoded; PIL.Image.open may only warn of it.
                image = jpeg.JpegImageFile(file)
                size = image.size
                if size == (width, height):
                    row[:] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            # Damage shows as whichever error the first broken part meets.
            except Exception as error:
                raise ValueError(
                    f"{path} is damaged, or no JPEG file ({error}): unpack the archive again."
                ) from error
        if size != (width, height):
            raise ValueError(
                f"{path} must be of {width} by {height} pixels, got {size[0]} by {size[1]}."
            )
    return pixels.reshape(len(paths), -1)
