"""Tensors that stay tensors: rows on their device, with the gradients that are asked for.

They do where scikit-learn's ``array_api_dispatch`` is on; elsewhere they are read as arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch
from sklearn import config_context, get_config
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skvae.rows.finite import require_finite
from skvae.rows.images import flatten_images
from skvae.rows.numbers import refuse_no_numbers, to_numpy
from skvae.rows.tables import check_rows, check_table

__all__ = [
    "check_codes",
    "check_tensor",
    "in_most_digits",
    "of_tensors_too",
    "stays_tensor",
]


def stays_tensor(X: Any) -> TypeGuard[Tensor]:
    """Whether this is a tensor, and what is made of it shall be one too."""
    return isinstance(X, Tensor) and bool(get_config()["array_api_dispatch"])


def check_tensor(estimator: Any, X: Tensor) -> Tensor:
    """Return rows of the shape that an estimator was fitted to, and that it bears."""
    check_is_fitted(estimator)
    X = flatten_images(_dense(X), estimator.image_shape_)
    with config_context(array_api_dispatch=False):
        check_rows(estimator, _of_shape(X), dtype=None, reset=False)
    allow_nan = estimator.net_.module__missing == "mask"
    _check_finite(X, type(estimator).__name__, allow_nan)
    return X


def check_codes(X: Any, latent_dim: int) -> Any:
    """Return codes to be decoded, as an array or, where it shall stay one, as a tensor."""
    if stays_tensor(X):
        codes: Any = _dense(X, "codes")
        is_finite = bool(torch.isfinite(codes).all())
        check_table(_of_shape(codes) if is_finite else to_numpy(codes), "codes")
    else:
        codes = check_table(X, "codes", dtype=[np.float64, np.float32])
    if codes.shape[1] != latent_dim:
        raise ValueError(
            f"Codes have latent_dim={latent_dim} columns, got an array of shape "
            f"{tuple(codes.shape)}."
        )
    return codes


def of_tensors_too(read: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of `Inference` take a tensor, and follow gradients if there are any.

    Those of the weights are not among them: reading leaves the net as it was.
    """

    @functools.wraps(read)
    def method(self: Any, rows: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(rows, Tensor):
            return read(self, rows, *args, **options)
        has_gradients = torch.is_grad_enabled() and rows.requires_grad
        reader = self.with_fixed_weights() if has_gradients else self
        with torch.set_grad_enabled(has_gradients):
            return read(reader, rows, *args, **options)

    return method


def in_most_digits(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, which Apple's GPUs alone do not have."""
    return tensor if tensor.device.type == "mps" else tensor.double()


def _dense(X: Tensor, name: str = "X") -> Tensor:
    refuse_no_numbers(X, name)
    X = X if X.layout == torch.strided else X.to_dense()
    return X.float() if X.is_floating_point() and X.element_size() < 4 else X


def _of_shape(X: Tensor) -> np.ndarray:
    """Return an array of this shape, of which no more than a number is in memory."""
    return np.broadcast_to(np.zeros(1), tuple(X.shape))


@torch.no_grad()
def _check_finite(X: Tensor, owner: str, allow_nan: bool = False) -> None:
    if not bool(torch.isfinite(X).all()):
        # To be told by scikit-learn, in its words.
        require_finite(to_numpy(X), owner, allow_nan=allow_nan)
