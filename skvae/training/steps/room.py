"""Memory that is asked for once, and written over by every batch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Room"]


class Room:
    """Memory for the largest batch so far, of which a batch takes a part.

    What is asked for anew in every step, the allocator may take from the system each time,
    and what it holds is not in the processor's cache.

    Parameters
    ----------
    dtype : torch.dtype, default=torch.float32
        Of the numbers.
    memory_format : torch.memory_format, default=torch.contiguous_format
        How they lie.

    Examples
    --------
    >>> import torch
    >>> from skvae.training.steps.room import Room
    >>> room = Room()
    >>> first = room.filled(torch.ones(3, 2))
    >>> room.filled(torch.zeros(1, 2))
    tensor([[0., 0.]])
    >>> first[:, 0]
    tensor([0., 1., 1.])
    """

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ):
        self.dtype = dtype
        self.memory_format = memory_format
        self._whole: Tensor | None = None
        self._taken: Tensor | None = None
        self._n_taken = -1

    def like(self, x: Tensor, *sizes: int) -> Tensor:
        """Return a part with as many rows as `x` and its other sizes, or these.

        What is in it is old.
        """
        # `len` of a tensor is a function of Python, and a small step has dozens of them.
        n_rows = x.shape[0]
        if self._taken is None or self._n_taken != n_rows:
            if self._whole is None or self._whole.shape[0] < n_rows:
                self._whole = torch.empty(
                    (n_rows, *(sizes or x.shape[1:])),
                    dtype=self.dtype,
                    device=x.device,
                    memory_format=self.memory_format,
                )
            self._taken, self._n_taken = self._whole[:n_rows], n_rows
        return self._taken

    def filled(self, x: Tensor) -> Tensor:
        """Return a copy of `x` in this memory."""
        return self.like(x).copy_(x)
