"""Checkpoints: a training that was killed goes on from its file as if nothing had been."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from skorch.history import History
from torch import Tensor
from torch.amp import GradScaler

from skvae.files.archive import read_archive, write_archive
from skvae.training.averages import MovingAverage
from skvae.training.ranks import Ranks
from skvae.training.stopping import StopOnPlateau

__all__ = ["Checkpoint"]

KIND = "checkpoint"


class Checkpoint(Callback):
    """Write the state of a training to a file as it goes, and take it up again from there.

    Orders and noise are streams named by the epoch, so that nothing of them has to be kept.
    The file is of the last whole epoch that was written; one that ended is written whatever
    its number.

    Parameters
    ----------
    path : str or path
        The file, or a folder that is there, in which every fit has a file of its own.
    every : int or timedelta
        Epochs, or time, from one writing to the next.
    fit : mapping of str to str
        What tells this fit from others before it begins, by names that an error can name.
    keeps_torch_state : bool
        Whether modules draw from torch's own generator, as dropout does.

    Raises
    ------
    ValueError
        Where the file is damaged, or of another fit that has not ended.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int | timedelta,
        fit: Mapping[str, str],
        *,
        keeps_torch_state: bool,
    ):
        self.path = Path(path)
        if self.path.is_dir():
            self.path /= f"{joblib.hash(sorted(fit.items()))}.skvae"
        elif not self.path.parent.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r} is in a folder that is not there: make it first."
            )
        self.every = every
        self.fit = dict(fit)
        self.keeps_torch_state = keeps_torch_state
        # Of several ranks one.
        self.writes = True
        self.seed = 0
        self.teacher = ""
        self.found: dict[str, Any] | None = None
        self._arrays: dict[str, NDArray] = {}
        if self.path.exists():
            record, arrays = read_archive(self.path, KIND)
            if record["fit"] == self.fit:
                self.found, self._arrays = record, arrays
            elif not record["is_complete"]:
                self._refuse(record["fit"], self.fit)

    def begin(self, seed: int, teacher: str) -> None:
        """Say what is known of this fit once its teacher is: its seed, and what it is taught.

        Raises
        ------
        ValueError
            Where the teacher's distributions are others than those that were trained on.
        """
        self.seed, self.teacher = seed, teacher
        if self.found is not None and self.found["teacher"] != teacher:
            name = "what the teacher says of the rows"
            self._refuse({name: self.found["teacher"]}, {name: teacher})

    def _refuse(self, was: Mapping[str, str], now: Mapping[str, str]) -> None:
        name = min(each for each in was.keys() | now.keys() if was.get(each) != now.get(each))
        raise ValueError(
            f"The checkpoint {str(self.path)!r} is of another fit, which may not have ended: "
            f"{name} was {was.get(name)} and is {now.get(name)}. Fit as before to go on with "
            "it, or pass another path, or remove the file to begin anew."
        )

    @classmethod
    def of_first(cls, ranks: Ranks, opened: Callable[[], Checkpoint]) -> Checkpoint:
        """Return the checkpoint that the first rank opens, and that it alone writes."""
        checkpoint = cls.__new__(cls)
        # Not as it is pickled, which is without what was found.
        checkpoint.__dict__.update(ranks.from_first(lambda: vars(opened())))
        checkpoint.writes = ranks.is_first
        return checkpoint

    def restore(self, net: Any) -> None:
        """Take up what was found: weights, history, and all that a next epoch follows from."""
        if self.found is None:
            return
        found, arrays = self.found, self._arrays
        net.module_.load_state_dict(_tensors(arrays, "weights"))
        # Another processor would have chosen another.
        net.take_precision(found.get("precision", net.module__precision))
        if "n_steps_averaged" in found:
            net.average_ = MovingAverage(net.module_, net.ema_decay)
            net.average_.resume_from(found["n_steps_averaged"], _tensors(arrays, "trained"))
        net.history_ = History([*net.history, *found["history"]])
        net.n_epochs_done_ = net.max_epochs if found["is_complete"] else len(found["history"])
        net.n_steps_done_ = found["n_steps"]
        if found["scaler"]:
            net.scaler_ = GradScaler(torch.device(net.device).type)
            net.scaler_.load_state_dict(found["scaler"])
        _restore_optimizer(net.optimizer_, found["optimizer"], _tensors(arrays, "optimizer"))
        stop = _stop_of(net)
        if stop is not None and not found["is_complete"]:
            stop.resume_from(found["stop"], _tensors(arrays, "best") or None)
        if self.keeps_torch_state:
            for device, state in _tensors(arrays, "random_state").items():
                _set_torch_state(device, state)
        self._arrays = {}

    def on_train_begin(self, net, **kwargs):
        """Begin to count."""
        self._last_time = time.monotonic()
        self._last_epoch = len(net.history)

    def on_epoch_end(self, net, **kwargs):
        """Write where it is time."""
        if isinstance(self.every, timedelta):
            is_due = time.monotonic() - self._last_time >= self.every.total_seconds()
        else:
            is_due = len(net.history) - self._last_epoch >= self.every
        if is_due:
            self.write(net)
            self.on_train_begin(net)

    def write(self, net: Any, *, is_complete: bool = False) -> None:
        """Put the state after the last whole epoch into the file, in place of what was there.

        Of a training that is complete its weights and its history are all.
        """
        if not self.writes:
            return
        arrays = _arrays(net.module_.state_dict(), "weights")
        record: dict[str, Any] = {
            "fit": self.fit,
            "seed": self.seed,
            "teacher": self.teacher,
            "precision": net.module__precision,
            "is_complete": is_complete,
            "history": [_plain(each) for each in net.history[net.n_epochs_resumed_ :]],
            "n_steps": net.n_steps_,
            "scaler": net.scaler_.state_dict(),
            "optimizer": [],
            "stop": None,
        }
        stop = _stop_of(net)
        if net.average_ is not None and not is_complete:
            record["n_steps_averaged"] = net.average_.n_steps
            arrays |= _arrays(net.average_.trained(), "trained")
        if not is_complete:
            record["optimizer"], moments = _state_of_optimizer(net.optimizer_)
            arrays |= _arrays(moments, "optimizer")
            if stop is not None:
                record["stop"] = stop.state()
                arrays |= _arrays(stop.best_model_weights_ or {}, "best")
            if self.keeps_torch_state:
                arrays |= _arrays(_torch_states(net.device), "random_state")
        write_archive(self.path, KIND, record, arrays)

    def __getstate__(self):
        return {**self.__dict__, "found": None, "_arrays": {}}


def _stop_of(net: Any) -> StopOnPlateau | None:
    stops = (each for _, each in net.callbacks_ if isinstance(each, StopOnPlateau))
    return next(stops, None)


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an epoch's record is plain: callbacks may record anything."""
    kept = {
        name: value for name, value in record.items() if isinstance(value, (int, float, str))
    }
    return {**kept, "batches": []}


def _weights_of(optimizer: torch.optim.Optimizer) -> Iterator[tuple[dict[str, Any], Tensor]]:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            yield group, weight


def _state_of_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Return the numbers of each group of weights and of each weight, and the tensors."""
    numbers: list[dict[str, Any]] = [
        {name: value for name, value in group.items() if type(value) in (int, float)}
        for group in optimizer.param_groups
    ]
    tensors = {}
    for place, (_, weight) in enumerate(_weights_of(optimizer)):
        own = optimizer.state.get(weight, {})
        numbers.append({name: own[name] for name in own if not isinstance(own[name], Tensor)})
        for name in own.keys() - numbers[-1].keys():
            tensors[f"{place}.{name}"] = own[name]
    return numbers, tensors


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    numbers: list[dict[str, Any]],
    tensors: Mapping[str, Tensor],
) -> None:
    for group, own in zip(optimizer.param_groups, numbers, strict=False):
        group.update(own)
    states = numbers[len(optimizer.param_groups) :]
    for (_, weight), own in zip(_weights_of(optimizer), states, strict=False):
        if own:
            optimizer.state[weight].update(own)
    weights = list(_weights_of(optimizer))
    for key, value in tensors.items():
        place, name = key.split(".", 1)
        group, weight = weights[int(place)]
        is_on_host = value.ndim == 0 and not (group.get("fused") or group.get("capturable"))
        moved = value if is_on_host else value.to(weight.device)
        if value.shape == weight.shape:
            # A kernel that goes through memory wants both laid out alike.
            moved = torch.empty_like(weight, dtype=value.dtype).copy_(value).detach()
        optimizer.state[weight][name] = moved


def _torch_states(device: str | torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_torch_state(device: str, state: Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    elif torch.cuda.is_available():
        torch.cuda.set_rng_state(state)


def _arrays(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray]:
    return {f"{prefix}.{name}": tensor.numpy(force=True) for name, tensor in tensors.items()}


def _tensors(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(start)
    }
