"""The step of training that is written by hand, for nets of the library's own layers.

There is one door: `step_for`. What it returns sets the gradients of a batch; where it returns
None autograd has to, as where modules or weights have hooks.
"""

from __future__ import annotations

from torch import nn

from skvae.nets.networks import VariationalAutoencoder
from skvae.training.criterion import Criterion
from skvae.training.steps.closed_form import ClosedFormStep
from skvae.training.steps.direct_step import DirectStep

__all__ = ["DirectStep", "step_for"]


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody waits for autograd, or for a call of a module, to come by."""
    waiting = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(
        any(getattr(part, name) for name in waiting) for part in module.modules()
    ) or any(
        weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
        for weight in module.parameters()
    )


def step_for(module: VariationalAutoencoder, criterion: Criterion) -> DirectStep | None:
    """Return the step that leaves the least to autograd; None where all has to be."""
    if has_hooks(module):
        return None
    for step in (ClosedFormStep, DirectStep):
        if step.is_for(module, criterion):
            return step(module, criterion)
    return None
