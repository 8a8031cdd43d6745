"""An optimiser of the user's own: how it is made, tried, and stepped like ours."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skvae._common.randomness import private_torch_state
from skvae.training.devices import has_fused_optimizer
from skvae.training.optimizer import FlatAdamW

__all__ = [
    "PlainWeights",
    "check_optimizer",
    "clip_gradients",
    "gradients_of",
    "may_draw",
    "optimizer_settings",
    "takes_decay",
    "weights_of",
]

# A log variance has a long way to go at the learning rate of the weights.
VARIANCE_LR_FACTOR = 10
# What of a `functools.partial` would be overruled, and the parameter that says it.
OF_ESTIMATOR = ("lr", "weight_decay")


class PlainWeights:
    """What `FlatAdamW` offers beside a step, of an optimiser that sees each weight by itself.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any that steps without a closure.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def ready_gradients(self) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad()

    def update(self) -> None:
        """Take a step."""
        self.optimizer.step()

    def collect_gradients(self) -> None:
        """Do nothing: a gradient that was put in the place of another is the one stepped by."""

    def leave_out_others(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let the next step change these weights alone."""
        chosen = {id(parameter) for parameter in parameters}
        for weight in _members(self.optimizer):
            if id(weight) not in chosen:
                weight.grad = None

    def release(self) -> None:
        """Drop all gradients: a model that is kept needs none."""
        for weight in _members(self.optimizer):
            weight.grad = None

    def moments(self) -> dict[nn.Parameter, dict[str, Any]]:
        """Return the state of each weight that has any."""
        state = self.optimizer.state
        return {w: state[w] for w in _members(self.optimizer) if state.get(w)}

    def adopt(self, moments: dict[nn.Parameter, dict[str, Any]]) -> None:
        """Take copies of such states for these weights."""
        for weight in _members(self.optimizer):
            if weight in moments:
                self.optimizer.state[weight] = {
                    name: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
                    for name, value in moments[weight].items()
                }


def weights_of(optimizer: torch.optim.Optimizer) -> FlatAdamW | PlainWeights:
    """Return what readies, steps and releases the weights of an optimiser."""
    return optimizer if isinstance(optimizer, FlatAdamW) else PlainWeights(optimizer)


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Scale all gradients down to a norm, as one vector; return the norm they had.

    References
    ----------
    Pascanu, Mikolov and Bengio, arXiv 1211.5063; `torch.nn.utils.clip_grad_norm_`.
    """
    return nn.utils.clip_grad_norm_(_members(optimizer), max_norm)


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the gradients that the next step is taken by."""
    return [weight.grad for weight in _members(optimizer) if weight.grad is not None]


def optimizer_settings(settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return the optimiser that these parameters ask for, and its groups of weights."""
    optimizer, decay = settings["optimizer"], settings["weight_decay"]
    has_decay = optimizer is None or takes_decay(optimizer)
    without = {"weight_decay": 0.0} if has_decay else {}
    encoder_alone = settings["aggressive_steps"] > 0

    def undecayed(names: str) -> list[tuple[str, dict[str, float]]]:
        # Each group costs a step as much as some products: none for nothing.
        return [(names, without)] if decay else []

    return {
        "optimizer": FlatAdamW if optimizer is None else optimizer,
        **({"optimizer__fused": has_fused_optimizer(device)} if optimizer is None else {}),
        **({"optimizer__weight_decay": decay} if has_decay else {}),
        "optimizer__param_groups": [
            (
                "decoder.likelihood.*",
                {"lr": VARIANCE_LR_FACTOR * settings["lr"], **without},
            ),
            # A step of the encoder alone wants its weights in groups of their own.
            *(undecayed("encoder.*.bias") if encoder_alone else []),
            *([("encoder.*", {})] if encoder_alone else []),
            *undecayed("*.bias"),
        ],
    }


def takes_decay(optimizer: Callable[..., Any]) -> bool:
    """Whether an optimiser can be given a `weight_decay`."""
    parameters = inspect.signature(optimizer).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return takes_any or "weight_decay" in parameters


def may_draw(optimizer: Callable[..., Any] | None) -> bool:
    """Whether an optimiser may draw from torch's global generator: none of torch's own does."""
    while isinstance(optimizer, functools.partial):
        optimizer = optimizer.func
    module = getattr(optimizer, "__module__", None) or ""
    return optimizer is not None and not module.startswith("torch.optim")


def check_optimizer(optimizer: Callable[..., Any], lr: float, weight_decay: float) -> None:
    """Refuse an optimiser that could not train a net, by a step on weights of no account.

    Parameters
    ----------
    optimizer : callable
        Called as ``optimizer(groups, lr=lr)``, and with `weight_decay` where it takes that.
    lr, weight_decay : float
        Parameters of the estimator.

    Raises
    ------
    ValueError
        If it fails, returns no optimiser, wants a closure, sets what the estimator sets, or
        has no `weight_decay` that was asked for.
    """
    name = getattr(optimizer, "__name__", repr(optimizer))
    if isinstance(optimizer, functools.partial):
        for keyword in OF_ESTIMATOR:
            if keyword in optimizer.keywords:
                raise ValueError(
                    f"optimizer sets {keyword}={optimizer.keywords[keyword]!r}, which is a "
                    f"parameter of the estimator: pass {keyword} there, and leave it out of "
                    "the partial."
                )
    if weight_decay > 0 and not takes_decay(optimizer):
        raise ValueError(
            f"weight_decay={weight_decay:g} needs an optimizer that takes it, and {name} does "
            "not: pass weight_decay=0, or another optimizer."
        )
    settings = {"weight_decay": weight_decay} if takes_decay(optimizer) else {}
    matrix, vector = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    try:
        with private_torch_state(0, "cpu"), torch.enable_grad():
            made = optimizer([{"params": [matrix]}, {"params": [vector]}], lr=lr, **settings)
            if isinstance(made, torch.optim.Optimizer):
                (matrix.sum() + vector.sum()).backward()
                made.step()
    # Whatever it raises: it is not ours.
    except Exception as error:
        raise ValueError(
            "optimizer must make of groups of weights and a learning rate what steps without "
            f"a closure, as torch.optim.SGD does; {name} failed on a matrix and a vector: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ValueError(
            "optimizer must return a torch.optim.Optimizer when it is called with groups of "
            f"weights and lr=..., and {name} returned {type(made).__name__}: pass a class such "
            "as torch.optim.SGD, not an instance."
        )


def _members(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
