"""Numbers too small for the hardware to be quick about, taken for zero while it matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skvae._common.ambient import denormals_are_zero

__all__ = ["denormals_are_zero", "without_denormals"]


@contextmanager
def without_denormals() -> Iterator[None]:
    """Take denormal numbers for zero inside, in this thread, where its processor can.

    The moments that an optimiser keeps of a weight whose gradient has become zero, as that
    of a rectifier that is off for every row, decay until they are denormal, and from then
    on each of its steps takes several times as long.
    """
    before = denormals_are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
