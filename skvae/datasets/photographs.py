"""Colour patches cut from the photographs that ship with scikit-learn and scikit-image."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image
from sklearn.utils import Bunch

from skvae._common.randomness import derive_seed, draw_seed
from skvae.datasets.files import check_choice
from skvae.datasets.images import DTYPES, image_bunch, pillow

__all__ = ["PHOTOGRAPHS", "patches"]

SUBSETS = ("train", "test")
# Height and width. Only files in the packages themselves: nothing is downloaded.
SCIKIT_LEARN = {"china": (427, 640), "flower": (427, 640)}
SCIKIT_IMAGE = {
    "astronaut": (512, 512),
    "chelsea": (300, 451),
    "coffee": (400, 600),
    "rocket": (427, 640),
}
SIZES = {**SCIKIT_LEARN, **SCIKIT_IMAGE}
PHOTOGRAPHS = tuple(SIZES)


def patches(
    n_samples: int = 10_000,
    *,
    size: int = 32,
    subset: str = "train",
    photographs: Sequence[str] = PHOTOGRAPHS,
    random_state: int | np.random.RandomState | None = 0,
    dtype: str = "float32",
) -> Bunch:
    """Square colour patches from photographs that ship with scikit-learn and scikit-image.

    Each photograph is divided into a grid of equal cells, at least ``2 * size`` wide and
    high. The cells in every fourth diagonal (row + column = 3 modulo 4) are for the test
    patches, all others for training. A patch lies within one cell, so that no pixel is in
    patches of both subsets, whatever the seeds. Patches of one subset may overlap.

    The photograph of a patch is drawn at random, then its cell, then its place there, each
    uniformly. The first patches of a longer run are those of a shorter one.

    Needs Pillow and, but for ``photographs=("china", "flower")``, scikit-image
    (``pip install 'skvae[images]'``).

    Parameters
    ----------
    n_samples : int, default=10000
        Number of patches.
    size : int, default=32
        Height and width of a patch in pixels.
    subset : {"train", "test"}, default="train"
        Which cells to cut from.
    photographs : sequence of str, default=PHOTOGRAPHS
        Of "china" and "flower", from scikit-learn, and "astronaut", "chelsea", "coffee" and
        "rocket", from scikit-image. The default asks for all; what is installed changes no
        result.
    random_state : int, RandomState instance or None, default=0
        Where the patches are cut.
    dtype : {"float32", "uint8"}, default="float32"
        Pixels scaled to [0, 1], or bytes.

    Returns
    -------
    dataset : Bunch
        ``data`` of shape (n_samples, 3 * size * size), one patch a row, by channel, height
        and width; ``target`` of shape (n_samples,), the index of the photograph in
        `photographs`; ``image_shape``, (3, size, size); ``target_names``, `photographs`.

    Raises
    ------
    ValueError
        If a photograph is unknown or named twice, or too small for cells of both subsets.
    ImportError
        If Pillow or scikit-image is not installed; says how to install it.

    Examples
    --------
    >>> from skvae.datasets import patches
    >>> dataset = patches(100, size=16, photographs=("china", "flower"))
    >>> dataset.data.shape, dataset.image_shape
    ((100, 768), (3, 16, 16))
    """
    check_choice("subset", subset, SUBSETS)
    check_choice("dtype", dtype, DTYPES)
    for name, value in (("n_samples", n_samples), ("size", size)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    names = _checked_names(photographs)
    cells = [_cells(name, size, subset) for name in names]
    images = [_photograph(name) for name in names]

    seed = derive_seed(draw_seed(random_state), "patches", subset)
    # One row a patch, so that more patches leave the first ones as they are.
    draws = np.random.default_rng(seed).random((n_samples, 4))
    target = (draws[:, 0] * len(names)).astype(np.int64)
    pixels = np.empty((n_samples, 3, size, size), dtype=np.uint8)
    for row, label, (cell, down, right) in zip(pixels, target, draws[:, 1:], strict=True):
        top, bottom, left, end = cells[label][int(cell * len(cells[label]))]
        y = top + int(down * (bottom - top - size + 1))
        x = left + int(right * (end - left - size + 1))
        row[:] = images[label][y : y + size, x : x + size].transpose(2, 0, 1)
    return image_bunch(
        pixels.reshape(n_samples, -1), target, (3, size, size), names, dtype=dtype
    )


def _checked_names(photographs: Sequence[str]) -> list[str]:
    if isinstance(photographs, str) or not len(photographs):
        raise ValueError(f"photographs must be a sequence of names, got {photographs!r}.")
    for name in photographs:
        check_choice("each of photographs", name, SIZES)
    if len(set(photographs)) < len(photographs):
        raise ValueError(f"photographs must name each once, got {list(photographs)}.")
    return list(photographs)


def _cells(name: str, size: int, subset: str) -> list[tuple[int, int, int, int]]:
    """Return top, bottom, left and right end of each cell of the subset."""
    rows, columns = (extent // (2 * size) for extent in SIZES[name])
    # The nearest test cell is three steps from the corner.
    if rows < 1 or columns < 1 or rows + columns < 5:
        raise ValueError(
            f"Patches of size={size} leave too few cells in {name}, of {SIZES[name][0]} by "
            f"{SIZES[name][1]} pixels: take a smaller size, or leave {name} out of photographs."
        )
    vertical, horizontal = (
        np.linspace(0, extent, count + 1).astype(int).tolist()
        for extent, count in zip(SIZES[name], (rows, columns), strict=True)
    )
    return [
        (*vertical[row : row + 2], *horizontal[column : column + 2])
        for row in range(rows)
        for column in range(columns)
        if ((row + column) % 4 == 3) == (subset == "test")
    ]


def _photograph(name: str) -> NDArray[np.uint8]:
    pillow("Photographs")
    if name in SCIKIT_LEARN:
        image = load_sample_image(f"{name}.jpg")
    else:
        image = getattr(_scikit_image(), name)()
    if image.shape != (*SIZES[name], 3) or image.dtype != np.uint8:
        raise ValueError(
            f"The photograph {name} must be of shape {(*SIZES[name], 3)} in bytes, got "
            f"{image.shape} of type {image.dtype}: the package that ships it has changed it."
        )
    return image


def _scikit_image() -> Any:
    try:
        return importlib.import_module("skimage.data")
    except ImportError as error:
        raise ImportError(
            f"The photographs {', '.join(SCIKIT_IMAGE)} need scikit-image: pip install "
            "'skvae[images]' (or scikit-image), or take photographs=('china', 'flower')."
        ) from error
