"""What callbacks are told of a training, and how one of them ends it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.history import History
from skorch.utils import TeeGenerator
from torch import Tensor

from skvae._common.threads import one_thread_if
from skvae.training.certificates import CertificateCallback
from skvae.training.ranks import Ranks
from skvae.training.records import loss_of, means_of
from skvae.training.stopping import StopTraining

__all__ = ["TellingNet", "named_callbacks"]

# At which a callback may end training.
ENDING_EVENTS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_grad_computed",
)
EVENTS = (
    "on_train_begin",
    "on_train_end",
    *ENDING_EVENTS,
)
# Names of the callbacks that a net has of its own.
OWN_NAMES = frozenset(
    {"aggressive", "bound", "checkpoint", "epoch_timer", "guard", "print_log", "stop"}
)


class TellingNet(NeuralNet):
    """skorch net that tells its callbacks of batches and of gradients where one of them asks.

    A callback asks for an event by overriding the method of that name. The events come out of
    whatever step there is; where all ask for none, a step costs what it costs without them.
    """

    callbacks: Any
    callbacks_: Any
    # Names of the callbacks that a user gave.
    guests_: tuple[str, ...] = ()
    # While training alone.
    tells_batches_ = False
    tells_gradients_ = False
    ranks_: Ranks | None = None
    model_of_: Callable[[Any], Any] | None = None

    def listen(self) -> None:
        """Find out what the callbacks ask for."""
        asked = {
            event
            for _, callback in self.callbacks_
            for event in EVENTS
            if getattr(type(callback), event, None) is not getattr(Callback, event)
        }
        self.tells_batches_ = not asked.isdisjoint({"on_batch_begin", "on_batch_end"})
        self.tells_gradients_ = "on_grad_computed" in asked
        if self.ranks_ is not None:
            # Of a batch all are told or none, as all wait for each other then.
            self.tells_batches_ = self.ranks_.any(self.tells_batches_)
            self.tells_gradients_ = self.ranks_.any(self.tells_gradients_)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell all callbacks of an event; one that ends training does so after the others.

        An `EarlyStopping` ends it as skorch has it, by a KeyboardInterrupt; from any other
        callback that is a person's.
        """
        getattr(self, method_name)(self, **cb_kwargs)
        ends = False
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining:
                ends = True
            except KeyboardInterrupt:
                if not isinstance(callback, EarlyStopping):
                    raise
                ends = True
        if self.ranks_ is not None and method_name in ENDING_EVENTS:
            ends = self.ranks_.any(ends, in_step="epoch" not in method_name)
        if ends:
            raise StopTraining

    def announced(
        self, step_fn: Callable[..., Tensor], training: bool, prefix: str
    ) -> Callable[..., Tensor]:
        """Return a step that callbacks are told of before and after."""

        def step(batch, **kwargs):
            self.notify("on_batch_begin", batch=batch, training=training)
            sums = whole = step_fn(batch, **kwargs)
            n_rows = len(batch[0])
            if self.ranks_ is not None and self.ranks_.share is not None:
                whole, n_rows = self.ranks_.total(sums), self.ranks_.share.n_rows
            loss = loss_of(self, means_of(self, whole, n_rows, training), training)
            self.history.record_batch(prefix + "_loss", loss)
            self.history.record_batch(prefix + "_batch_size", n_rows)
            self.notify("on_batch_end", batch=batch, training=training, loss=torch.tensor(loss))
            return sums

        return step

    def tell_gradients(self, batch: tuple[Tensor, Tensor]) -> None:
        """Tell callbacks that the gradients of all weights are there, and may be changed."""
        parameters = TeeGenerator(self.get_all_learnable_params())
        self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)

    def tell_model(self, model_of: Callable[[Any], Any] | None) -> None:
        """Say how callbacks come by a model: by this function, of a copy of the net."""
        self.model_of_ = model_of

    def model_so_far(self) -> Any:
        """Return what the estimator would be had training ended here, for callbacks to read.

        Returns
        -------
        model : TeacherGuidedVAE
            A fitted estimator with weights of its own: training goes on without it.

        Raises
        ------
        RuntimeError
            If the net is not in training.
        DivergenceError
            If the weights are no longer finite.
        """
        if self.model_of_ is None:
            raise RuntimeError(
                "model_so_far is for callbacks, while fit or partial_fit trains one model: "
                "read the fitted estimator instead."
            )
        return self.model_of_(self.snapshot())

    def snapshot(self) -> TellingNet:
        """Return a copy with weights and history of its own, and without callbacks."""
        # Not by `copy`, which would pickle what it has of the device.
        twin = object.__new__(type(self))
        twin.__dict__.update(
            self.__dict__,
            module_=copy.deepcopy(self.module_),
            criterion_=copy.deepcopy(self.criterion_),
            history_=History(dict(record) for record in self.history),
            callbacks=[],
            callbacks_=[],
            train_split=None,
            interrupted_=False,
            _compiled=None,
            _direct_step=None,
            ranks_=None,
            model_of_=None,
        )
        twin.criterion_.ranks = None
        with one_thread_if(True):
            twin.initialize_optimizer()
        return twin

    def forget_callbacks(self) -> None:
        """Let go of the user's callbacks: they may hold what cannot be pickled."""
        guests = set(self.guests_)
        self.callbacks = [pair for pair in self.callbacks if pair[0] not in guests]
        self.callbacks_ = [pair for pair in self.callbacks_ if pair[0] not in guests]
        self.guests_ = ()
        self.model_of_ = None


def named_callbacks(callbacks: Iterable[Any] | None) -> list[tuple[str, Any]]:
    """Return each callback beside a name of its own, those that record margins first.

    So loggers find the margin of an epoch in its record, wherever they were given.

    Raises
    ------
    TypeError
        For what is no callback of skorch.
    ValueError
        For a name that is taken.
    """
    pairs = [_pair(each) for each in callbacks or ()]
    counts = Counter(name for name, _ in pairs)
    numbers: Counter[str] = Counter()
    named = []
    for given, (name, callback) in zip(callbacks or (), pairs, strict=True):
        if counts[name] > 1 and not isinstance(given, (tuple, list)):
            numbers[name] += 1
            name = f"{name}_{numbers[name]}"
        named.append((name, callback))
    counts = Counter(name for name, _ in named)
    for name, count in counts.items():
        if count > 1 or name in OWN_NAMES:
            raise ValueError(
                f"callbacks names {name!r} {count} times, and each needs a name of its own, "
                f"other than {', '.join(sorted(OWN_NAMES))}."
            )
    return sorted(named, key=lambda pair: not isinstance(pair[1], CertificateCallback))


def _pair(given: Any) -> tuple[str, Any]:
    is_pair = isinstance(given, (tuple, list)) and len(given) == 2
    name, callback = given if is_pair else (None, given)
    if name is None:
        name = (callback if isinstance(callback, type) else type(callback)).__name__
    missing = [each for each in ("initialize", *EVENTS) if not hasattr(callback, each)]
    if missing or not isinstance(name, str):
        raise TypeError(
            "callbacks must hold callbacks of skorch, or pairs of a name and one, got "
            f"{given!r}" + (f", which has no {missing[0]}" if missing else "") + ". Callbacks "
            "of scikit-learn go to set_callbacks."
        )
    return name, callback
