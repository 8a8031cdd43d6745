"""Rows as layers are shown them: counts as their logarithms, and none of it too far out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skvae.nets.counts import RowSizes
from skvae.nets.likelihoods import OF_COUNTS, Kinds
from skvae.rows.counts import CountUnits

__all__ = ["SomeCounts", "logs_for", "shown_to"]

# Standard deviations beyond which the encoder sees no difference. A column that is
# nearly constant in training may hold a value a thousand deviations out later.
ENCODER_INPUT_BOUND = 10.0


class SomeCounts(nn.Module):
    """Columns of counts among others, in which a row has no size.

    Parameters
    ----------
    are_counts : sequence of bool
        Which columns.
    """

    are_counts: Tensor

    def __init__(self, are_counts: Sequence[bool]):
        super().__init__()
        self.register_buffer("are_counts", torch.tensor(are_counts), persistent=False)

    def log_counts(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return ``log(1 + x)`` of the counts, and all else as it is."""
        # Not of what is below zero in other columns: its gradient would be no number.
        return torch.where(self.are_counts, torch.log1p(x.clamp(min=0)), x)

    def log_counts_of_typical(self, x: Tensor) -> Tensor:
        """Do the same: there are no sizes."""
        return self.log_counts(x)


def logs_for(kinds: Kinds, counts: CountUnits | None) -> RowSizes | SomeCounts | None:
    """Return what makes logarithms of counts, which spread too far for layers; None of none."""
    if isinstance(kinds, str):
        return RowSizes(counts) if kinds in OF_COUNTS else None
    are_counts = [name in OF_COUNTS for name, width, _ in kinds for _ in range(width)]
    return SomeCounts(are_counts) if any(are_counts) else None


def shown_to(
    logs: RowSizes | SomeCounts | None, x: Tensor, out: Tensor | None = None
) -> Tensor:
    """Return rows as layers see them, in `out` if it is given."""
    shown = x if logs is None else logs.log_counts(x, out)
    # In memory that is at hand it takes a third of the time.
    return torch.clamp(shown, -ENCODER_INPUT_BOUND, ENCODER_INPUT_BOUND, out=out)
