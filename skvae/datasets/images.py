"""Images as rows: pixels by channel, height and width, flattened, and scaled on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch

from skvae.datasets.files import check_choice

__all__ = ["DTYPES", "check_labels", "image_bunch", "pillow"]

# Bytes a pixel.
DTYPES = {"float32": 4, "uint8": 1}
# Whoever counts labels makes a table as long as the largest; ImageNet has 21,841 classes.
MAX_LABEL = 2**16 - 1


def image_bunch(
    pixels: NDArray[np.uint8],
    target: ArrayLike | None,
    image_shape: tuple[int, int, int] | None,
    target_names: Sequence[str] | None = None,
    *,
    dtype: str,
) -> Bunch:
    """Gather rows of bytes and what is known of them; float32 means scaled to [0, 1]."""
    check_choice("dtype", dtype, DTYPES)
    # Divided as it is converted: a copy in float32 first would double the memory.
    data = pixels if dtype == "uint8" else np.divide(pixels, np.float32(255), dtype=np.float32)
    return Bunch(
        data=data,
        target=None if target is None else np.asarray(target, dtype=np.int64),
        image_shape=image_shape,
        target_names=None if target_names is None else list(target_names),
    )


def check_labels(labels: NDArray, n_samples: int, n_classes: int | None, where: object) -> None:
    """Refuse labels that are not one integer an image, from 0 to the last class."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{where} must hold one integer label an image, got an array of shape "
            f"{labels.shape} and type {labels.dtype}."
        )
    if len(labels) != n_samples:
        raise ValueError(f"{where} holds {len(labels)} labels for {n_samples} images.")
    highest = MAX_LABEL if n_classes is None else n_classes - 1
    outside = (labels < 0) | (labels > highest)
    if outside.any():
        raise ValueError(
            f"{where} must hold labels from 0 to {highest}, got {labels[outside][0]} "
            f"at index {int(np.argmax(outside))}."
        )


def pillow(what: str) -> Any:
    """Return Pillow's reader of JPEG files, or say what to install for `what`."""
    try:
        from PIL import JpegImagePlugin
    except ImportError as error:
        raise ImportError(
            f"{what} need Pillow: pip install 'skvae[images]' (or pillow)."
        ) from error
    return JpegImagePlugin
