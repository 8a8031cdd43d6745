"""The step of training that is written by hand, for nets of the library's own layers.

There is one door: `step_for`. What it returns sets the gradients of a batch; where it returns
None autograd has to.
"""

from __future__ import annotations

from skvae.nets.networks import VariationalAutoencoder
from skvae.training.criterion import Criterion
from skvae.training.steps.closed_form import ClosedFormStep
from skvae.training.steps.direct_step import DirectStep

__all__ = ["DirectStep", "step_for"]


def step_for(module: VariationalAutoencoder, criterion: Criterion) -> DirectStep | None:
    """Return the step that leaves the least to autograd; None where all has to be."""
    for step in (ClosedFormStep, DirectStep):
        if step.is_for(module, criterion):
            return step(module, criterion)
    return None
