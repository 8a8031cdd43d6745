"""Epochs as tasks of a fit, for callbacks of scikit-learn."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from skvae.training.stopping import StopTraining

__all__ = ["EpochTasks", "with_tasks"]

NAME = "epoch_tasks"


class EpochTasks(Callback):
    """Tell the callbacks of scikit-learn that an estimator has of each epoch.

    One that answers True to `on_fit_task_end` ends training.

    Parameters
    ----------
    estimator : estimator
        Whose fit this is.
    context : sklearn.callback.CallbackContext
        Of the fit.
    X, y : object
        What `fit` was given.
    """

    def __init__(self, estimator, context, X, y):
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y

    def on_epoch_begin(self, net, **kwargs):
        """Begin a task."""
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net, **kwargs):
        """End it; a fitted estimator is made for those that want one."""
        ends = self.task_.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=lambda: vars(net.model_so_far()),
        )
        if ends:
            raise StopTraining


def with_tasks(estimator: Any, X: Any, y: Any) -> Any:
    """Return the callbacks of an estimator, with one for those that scikit-learn calls."""
    context = getattr(estimator, "_callback_fit_ctx", None)
    if context is None or not getattr(estimator, "_skl_callbacks", []):
        return estimator.callbacks
    tasks = EpochTasks(estimator, context, X, y)
    return [*(estimator.callbacks or ()), (NAME, tasks)]
