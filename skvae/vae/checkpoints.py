"""Which fit a checkpoint is of."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import joblib
from numpy.typing import NDArray
from torch import nn

from skvae.training.checkpoints import Checkpoint
from skvae.training.ranks import Ranks
from skvae.vae.fitted import Fitted
from skvae.vae.given import GivenRows
from skvae.vae.settings import may_draw_from_torch

__all__ = ["FREE", "open_checkpoint", "told", "what_is_taught"]

# Parameters that a training may go on under other values of: where it runs, what it says, and
# what is told by its weights or its seed.
FREE = frozenset(
    {
        "callbacks",
        "checkpoint",
        "checkpoint_every",
        "data_on_device",
        "device",
        "distributed",
        "memory",
        "verbose",
        "warm_start",
    }
)


def open_checkpoint(
    settings: Mapping[str, Any], given: GivenRows, donor: Fitted | None, ranks: Ranks | None
) -> Checkpoint:
    """Return the checkpoint of a fit, with what its file holds of it.

    Parameters
    ----------
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`.
    given : GivenRows
        What `fit` was given.
    donor : Fitted or None
        What training starts from.
    ranks : Ranks or None
        Who shares the fit: the first of them reads the file, and alone writes it.

    Raises
    ------
    ValueError
        Where the file is damaged, or of another fit that has not ended.
    """
    fit = {name: told(value) for name, value in settings.items() if name not in FREE}
    fit["X"], fit["sample_weight"] = told(given.rows), told(given.weights)
    fit["y"], fit["X_teacher"] = told(given.y), told(given.X_teacher)
    fit["the model that it starts from"] = told(None if donor is None else donor.net.module_)

    def opened() -> Checkpoint:
        return Checkpoint(
            settings["checkpoint"],
            settings["checkpoint_every"],
            fit,
            keeps_torch_state=may_draw_from_torch(settings),
        )

    return opened() if ranks is None else Checkpoint.of_first(ranks, opened)


def what_is_taught(T: NDArray) -> str:
    """Return what tells the distributions of a teacher from those of another."""
    return told(T)


def told(value: Any) -> str:
    """Return a text that is the same in another process, and another for another value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    kind = type(value).__name__
    if isinstance(value, nn.Module):
        # A tensor of torch is pickled by where it lies.
        value = {name: each.numpy(force=True) for name, each in value.state_dict().items()}
    try:
        return f"{kind} {joblib.hash(value)}"
    except (pickle.PicklingError, AttributeError, TypeError):
        return f"{kind} {getattr(value, '__qualname__', '')}".rstrip()
