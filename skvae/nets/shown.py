"""Rows as layers are shown them: counts as their logarithms, and none of it too far out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skvae.nets.likelihoods import Kinds

__all__ = ["note_logs", "seen_as_logs", "shown_to"]

# The layers are shown the logarithms of these: counts spread too far for them.
IN_LOGS = ("poisson", "negative_binomial")
# Standard deviations beyond which the encoder sees no difference. A column that is
# nearly constant in training may hold a value a thousand deviations out later.
ENCODER_INPUT_BOUND = 10.0


def seen_as_logs(kinds: Kinds) -> bool | list[bool]:
    """Tell which columns the encoder sees the logarithms of: all, none, or each by itself."""
    if isinstance(kinds, str):
        return kinds in IN_LOGS
    logs = [name in IN_LOGS for name, width, _ in kinds for _ in range(width)]
    return logs if any(logs) else False


def note_logs(part: nn.Module, sees_logs: bool | Sequence[bool]) -> bool:
    """Note in a module which columns it sees the logarithms of, where these are some."""
    if not isinstance(sees_logs, bool):
        part.register_buffer("in_logs", torch.tensor(sees_logs), persistent=False)
    return bool(sees_logs)


def shown_to(part: Any, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return rows as layers see them, in `out` if it is given."""
    shown = x
    if part.sees_logs and hasattr(part, "in_logs"):
        # Not of what is below zero in other columns: its gradient would be no number.
        shown = torch.where(part.in_logs, torch.log1p(x.clamp(min=0)), x)
    elif part.sees_logs:
        shown = torch.log1p(x)
    # In memory that is at hand it takes a third of the time.
    return torch.clamp(shown, -ENCODER_INPUT_BOUND, ENCODER_INPUT_BOUND, out=out)
