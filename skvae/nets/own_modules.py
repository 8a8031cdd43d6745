"""A user's own encoder and decoder: built in private, and tried before training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from skvae._common.randomness import derive_seed, private_torch_state
from skvae._common.threads import one_thread_if
from skvae.nets.missing import shape_encoded

__all__ = [
    "check_made",
    "check_own_modules",
    "is_same_part",
    "multiply_adds",
    "normalises_batches",
    "own_module",
    "single_row_explained",
]

# Rows that a module is tried on.
TRIAL_ROWS = 2


def own_module(
    part: Any, name: str, shape: tuple[int, ...], latent_dim: int, seed: int
) -> nn.Module:
    """Return a new module: a copy of an instance, or what a class or a factory makes.

    Parameters
    ----------
    part : nn.Module, or callable
        An instance is copied, weights and all; anything else is called as
        ``part(shape, latent_dim)``. What it draws from torch's global generator is drawn
        from a private state.
    name : {"encoder", "decoder"}
        What it is for.
    shape : tuple of int
        ``(n_features,)``, or ``(channels, height, width)`` of images.
    latent_dim : int
        Width of the code.
    seed : int
        Drives the initial weights.
    """
    if isinstance(part, nn.Module):
        return copy.deepcopy(part).cpu()
    with private_torch_state(derive_seed(seed, name)):
        module = part(shape, latent_dim)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{name} must be a torch.nn.Module, or a class or function that returns one when "
            f"it is called with the shape of a row and latent_dim; {part!r} returned "
            f"{type(module).__name__}."
        )
    return module.cpu()


def check_own_modules(architecture: dict[str, Any], seed: int) -> list[nn.Module]:
    """Refuse modules that do not map two rows, or two codes, to what they should.

    Parameters
    ----------
    architecture : dict
        As `skvae.vae.settings.check_settings` returns it.
    seed : int
        Seed of the estimator.

    Returns
    -------
    modules : list of nn.Module
        Those that are a user's own, as they were tried.
    """
    modules = []
    shape = architecture["image_shape"] or (architecture["n_features"],)
    latent_dim = architecture["latent_dim"]
    if architecture["encoder"] is not None:
        encoded = shape_encoded(shape, architecture["missing"])
        module = own_module(architecture["encoder"], "encoder", encoded, latent_dim, seed)
        modules.append(module)
        found = _tried(module, "encoder", encoded, seed)
        wanted = (TRIAL_ROWS, 2 * latent_dim)
        halves = ((TRIAL_ROWS, latent_dim),) * 2
        if found not in (wanted, halves):
            raise ValueError(
                f"encoder must map {TRIAL_ROWS} rows of shape {encoded} to a tensor of shape "
                f"{wanted} (means, then log variances), or to a tuple of two of shape "
                f"{halves[0]}; it returned {found}."
            )
    if architecture["decoder"] not in (None, "autoregressive"):
        module = own_module(architecture["decoder"], "decoder", shape, latent_dim, seed)
        modules.append(module)
        found = _tried(module, "decoder", (latent_dim,), seed)
        flat = (TRIAL_ROWS, architecture["n_features"])
        if found not in (flat, (TRIAL_ROWS, *shape)):
            choice = " or ".join(map(str, dict.fromkeys([flat, (TRIAL_ROWS, *shape)])))
            raise ValueError(
                f"decoder must map {TRIAL_ROWS} codes of latent_dim={latent_dim} to a tensor "
                f"of shape {choice}; it returned {found}."
            )
    return modules


def is_same_part(one: Any, other: Any) -> bool:
    """Whether the weights of one part of a net fit the other."""
    if one is other:
        return True
    if isinstance(one, nn.Module) and type(one) is type(other):
        return _weight_shapes(one) == _weight_shapes(other)
    # A copy of a partial function is not equal to it.
    if isinstance(one, partial) and isinstance(other, partial):
        return (
            is_same_part(one.func, other.func)
            and len(one.args) == len(other.args)
            and all(map(is_same_part, one.args, other.args))
            and one.keywords.keys() == other.keywords.keys()
            and all(is_same_part(one.keywords[k], other.keywords[k]) for k in one.keywords)
        )
    if isinstance(one, (np.ndarray, Tensor)):
        return type(one) is type(other) and np.array_equal(one, other)
    return bool(one == other)


def check_made(name: str, n_rows: int, *made: Tensor) -> None:
    """Refuse what a module made that has not a row for each that it was given."""
    for part in made:
        if part.shape[0] != n_rows or part.shape != made[0].shape:
            shapes = " and ".join(str(tuple(each.shape)) for each in made)
            raise ValueError(
                f"{name} must return a row for each that it is given, all of one width: it was "
                f"given {n_rows} and returned {shapes}."
            )


def multiply_adds(module: nn.Module, *inputs: Tensor, is_of_user: bool = True) -> int:
    """Count the multiply-adds of a pass of a module over these rows.

    Weights that are used at many places of an image count each time.
    """
    # A module of a user need not bear another thread than the caller's.
    if is_of_user:
        return _count(module, inputs)
    # In a thread of its own, which no Ctrl-C reaches: the counter is a mode of torch, and stays
    # on for good where its end is interrupted.
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(_count, module, inputs).result()


def _count(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    was_training = module.training
    with one_thread_if(True), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    module.train(was_training)
    return counter.get_total_flops() // 2


def normalises_batches(module: nn.Module) -> bool:
    """Whether a module has layers that a batch of a single row may be too little for."""
    return any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())


@contextmanager
def single_row_explained() -> Iterator[None]:
    """Say what to do where a layer cannot be trained on a batch of a single row."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "A module with batch normalisation cannot be trained on a batch of one row, which "
            "has no spread: pass batch_size of at least 2, and at least two rows, or normalise "
            f"otherwise, as torch.nn.LayerNorm does. {error}"
        ) from error


def _tried(module: nn.Module, name: str, shape: tuple[int, ...], seed: int) -> Any:
    """Shape of what a module makes of zeros, or a tuple of shapes."""
    try:
        # A lazy layer draws its weights now.
        with (
            one_thread_if(True),
            torch.no_grad(),
            private_torch_state(derive_seed(seed, name)),
        ):
            made = module.eval()(torch.zeros(TRIAL_ROWS, *shape))
    except Exception as error:
        raise ValueError(
            f"{name} fails on a tensor of shape {(TRIAL_ROWS, *shape)}: {error}"
        ) from error
    if isinstance(made, tuple):
        return tuple(tuple(getattr(part, "shape", ())) for part in made)
    return tuple(getattr(made, "shape", ()))


def _weight_shapes(module: nn.Module) -> dict[str, tuple[int, ...] | str]:
    """Shapes of the weights; of those that have none yet, what the layer says of itself."""
    return {
        name: repr(module.get_submodule(name.rpartition(".")[0]))
        if is_lazy(weight)
        else tuple(weight.shape)
        for name, weight in module.state_dict().items()
    }
