"""Images as rows: their shape, and arrays of four dimensions as tables of two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["check_image_shape", "flatten_images", "resolve_image_shape"]

# More channels than this in front and no more than this behind look like channels last.
MOST_COLOURS = 4


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """Return (channels, height, width) as a tuple, or say what is wrong with it."""
    shape = tuple(image_shape)
    whole = all(
        isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size > 0
        for size in shape
    )
    if len(shape) != 3 or not whole:
        raise ValueError(
            "image_shape must be three positive integers, (channels, height, width), got "
            f"{image_shape!r}."
        )
    channels, height, width = map(int, shape)
    return channels, height, width


def resolve_image_shape(
    image_shape: Any, architecture: str, X: Any
) -> tuple[int, int, int] | None:
    """Return the shape of the images in X: as given, or as X shows it to a net that needs it.

    None is for rows that are no images.
    """
    if image_shape is not None:
        return check_image_shape(image_shape)
    if architecture != "conv":
        return None
    shape = np.shape(X)
    if len(shape) != 4:
        raise ValueError(
            'architecture="conv" needs the shape of the images: pass image_shape=(channels, '
            "height, width), or X of shape (n_samples, channels, height, width); got "
            f"image_shape=None and X of shape {shape}."
        )
    if shape[1] > MOST_COLOURS >= shape[3]:
        raise ValueError(
            f"X of shape {shape} seems to hold its channels last: pass np.moveaxis(X, -1, 1), "
            f"or image_shape={shape[1:]} if it does not."
        )
    return check_image_shape(shape[1:])


def flatten_images(X: Any, image_shape: tuple[int, int, int] | None) -> Any:
    """Return X with one image a row, a view where its memory allows; tables as they are.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        Rows.
    image_shape : tuple of int or None
        ``(channels, height, width)``; with None X is returned as it is.

    Returns
    -------
    rows : array-like of shape (n_samples, channels * height * width)
        The columns are all pixels of the first channel, row by row, then of the next.

    Raises
    ------
    ValueError
        If the images, or the columns, do not have this shape.
    """
    if image_shape is None:
        return X
    if isinstance(X, (list, tuple)):
        X = np.asarray(X)
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) == 4:
        if shape[1:] != image_shape:
            raise ValueError(
                f"X must hold images of shape {image_shape} (channels, height, width), got an "
                f"array of shape {shape}: images with their channels last are turned by "
                "np.moveaxis(X, -1, 1)."
            )
        return X.reshape(shape[0], math.prod(image_shape))
    if len(shape) == 2 and shape[1] != math.prod(image_shape):
        raise ValueError(
            f"Images of shape {image_shape} (channels, height, width) have "
            f"{math.prod(image_shape)} columns, got X of shape {shape}: image_shape and X do "
            "not belong together."
        )
    return X
