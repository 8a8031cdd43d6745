"""Settings that reach into training: optimiser, schedule and callbacks, checked and kept."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator, clone
from skorch.callbacks import LRScheduler

from skvae.training.events import named_callbacks
from skvae.training.own_optimizer import check_optimizer
from skvae.training.schedules import checked_factor

__all__ = [
    "check_training",
    "cloned",
    "needs_no_number_of_steps",
    "shallow_copy",
    "that_can_be_pickled",
    "with_record",
]


def check_training(settings: Mapping[str, Any]) -> None:
    """Refuse an optimiser, a schedule or callbacks that could not train, or that clash."""
    if settings["optimizer"] is not None:
        check_optimizer(settings["optimizer"], settings["lr"], settings["weight_decay"])
    shape = settings["lr_schedule"]
    if callable(shape):
        for progress in (0.0, 0.5, 1.0):
            checked_factor(shape, progress)
    for name, callback in named_callbacks(settings["callbacks"]):
        kind = callback if isinstance(callback, type) else type(callback)
        if shape is not None and issubclass(kind, LRScheduler):
            raise ValueError(
                f"lr_schedule={shape!r} and the callback {name!r} both set the learning rate: "
                "pass lr_schedule=None, or leave the callback out."
            )


def needs_no_number_of_steps(estimator: Any) -> bool:
    """Whether `partial_fit` is there; an error that says why not where it is not."""
    if estimator.kl_warmup > 0:
        raise AttributeError(
            f"kl_warmup={estimator.kl_warmup:g} is a share of all training steps, whose number "
            "partial_fit does not know: pass kl_warmup=0, or change beta between calls."
        )
    if estimator.lr_schedule is not None:
        raise AttributeError(
            f"lr_schedule={estimator.lr_schedule!r} is laid out over all training steps, whose "
            "number partial_fit does not know: pass lr_schedule=None, or change lr between "
            "calls."
        )
    return True


def cloned(estimator: Any) -> Any:
    """Clone an estimator, its callbacks too where they can be: others are shared."""
    bare = shallow_copy(estimator)
    bare.callbacks = None
    twin = BaseEstimator.__sklearn_clone__(bare)
    given = estimator.callbacks
    # Anything else than a list is refused by `fit`.
    twin.callbacks = (
        type(given)(map(_cloned, given)) if isinstance(given, (list, tuple)) else given
    )
    return twin


def shallow_copy(estimator: Any) -> Any:
    """Copy an estimator as `copy.copy` does, with all that a pickle leaves out."""
    twin = object.__new__(type(estimator))
    vars(twin).update(vars(estimator))
    return twin


def with_record(estimator: Any, fitted: Any) -> Any:
    """Return a copy of an estimator that is what a fit has found."""
    model = shallow_copy(estimator)
    model._adopt(fitted)
    return model


def that_can_be_pickled(callbacks: Any) -> Any:
    """Return the callbacks that a pickle can hold, with a warning of those that it cannot."""
    if not callbacks:
        return callbacks
    kept, left_out = [], []
    for given in callbacks:
        try:
            pickle.dumps(given)
        # Whatever a file, a lock or a connection raises.
        except Exception:
            left_out.append(given)
        else:
            kept.append(given)
    if not left_out:
        return callbacks
    warnings.warn(
        f"The pickle is without the callbacks {left_out}, which cannot be pickled.",
        stacklevel=3,
    )
    return type(callbacks)(kept)


def _cloned(given: Any) -> Any:
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return given[0], _cloned(given[1])
    if isinstance(given, type):
        return given
    try:
        return clone(given)
    # What it holds cannot be copied, such as a writer, or its constructor has other parameters.
    except Exception:
        return given
