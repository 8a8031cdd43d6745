"""Callbacks of scikit-learn, where it has them: from version 1.9 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skvae._common.ambient import unchanged_on_error

__all__ = ["CallbackSupportMixin", "fitting", "lent", "numbered_tasks", "task"]

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An older scikit-learn has no callbacks to set."""


@contextmanager
def fitting(
    estimator: Any, X: Any, y: Any, n_tasks: int | None, sequential: bool = True
) -> Iterator[Any]:
    """Tell the callbacks of an estimator that its fit begins, and that it has ended.

    Where it raises, the estimator is as it was before.

    Parameters
    ----------
    estimator : estimator
        Its `fit` is in scikit-learn's `_fit_context`, which tells them when all is over.
    X, y : object
        What `fit` was given.
    n_tasks : int or None
        Parts that the fit has, at the most.
    sequential : bool, default=True
        Whether these come one after the other.

    Yields
    ------
    context : CallbackContext or None
        Of the whole fit; None where scikit-learn has no callbacks.
    """
    context = None
    # Before anything that is put back: what it sets is taken away in `_fit_context`.
    if hasattr(estimator, "_init_callback_context"):
        context = estimator._init_callback_context(
            max_subtasks=n_tasks, sequential_subtasks=sequential
        )
    with unchanged_on_error(estimator):
        if context is not None:
            context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        yield context
        if context is not None:
            context.call_on_fit_task_end(
                estimator=estimator, X=X, y=y, reconstruction_attributes={}
            )


@contextmanager
def task(
    context: Any, estimator: Any, name: str, n_tasks: int = 0, sequential: bool = True
) -> Iterator[Any]:
    """Tell the callbacks that a part of a fit begins, and that it has ended.

    Yields
    ------
    context : CallbackContext or None
        Of this part.
    """
    if context is not None:
        context = context.subcontext(
            task_name=name, max_subtasks=n_tasks, sequential_subtasks=sequential
        ).call_on_fit_task_begin(estimator=estimator)
    yield context
    if context is not None:
        context.call_on_fit_task_end(estimator=estimator)


def numbered_tasks(context: Any, estimator: Any, name: str, n_tasks: int) -> list[Callable]:
    """Return what calls a function as a task, for each of some that run at any time."""
    if context is None or not getattr(estimator, "_skl_callbacks", []):
        return [Telling().call] * n_tasks
    return [
        Telling(context.subcontext(task_name=name, task_id=number), estimator).call
        for number in range(n_tasks)
    ]


class Telling:
    """Call a function, here or in a worker, and tell the callbacks before and after.

    Parameters
    ----------
    context : CallbackContext or None
        Of the task; None tells nobody.
    estimator : estimator or None
        Whose fit it is of.
    """

    def __init__(self, context: Any = None, estimator: Any = None):
        self.context = context
        self.estimator = estimator

    def call(self, function: Callable, *args: Any) -> Any:
        """Return what the function returns."""
        if self.context is None:
            return function(*args)
        self.context.call_on_fit_task_begin(estimator=self.estimator)
        result = function(*args)
        self.context.call_on_fit_task_end(estimator=self.estimator)
        return result


@contextmanager
def lent(context: Any, estimator: Any, name: str, other: Any) -> Iterator[None]:
    """Let another estimator, whose whole fit is a part of this one, tell the callbacks."""
    if context is None:
        yield
        return
    part = context.subcontext(task_name=name)
    with part.propagate_callback_context(other):
        part.call_on_fit_task_begin(estimator=estimator)
        yield
    part.call_on_fit_task_end(estimator=estimator)
