"""Rows with missing entries, which are NaN, as the parts of a net are shown them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shape_encoded", "without_missing"]


def without_missing(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows with zeros in place of NaN, and which entries were observed.

    No gradient of what is made of the rows is NaN for it.

    Examples
    --------
    >>> import torch
    >>> from skvae.nets.missing import without_missing
    >>> without_missing(torch.tensor([[2.0, torch.nan]]))
    (tensor([[2., 0.]]), tensor([[ True, False]]))
    """
    observed = ~torch.isnan(x)
    return torch.where(observed, x, 0.0), observed


def shape_encoded(shape: tuple[int, ...], missing: str) -> tuple[int, ...]:
    """Shape of what an encoder is shown of a row: with a mask twice the columns, or channels.

    Examples
    --------
    >>> from skvae.nets.missing import shape_encoded
    >>> shape_encoded((5,), "mask"), shape_encoded((3, 8, 8), "mask")
    ((10,), (6, 8, 8))
    """
    return (2 * shape[0], *shape[1:]) if missing == "mask" else shape
