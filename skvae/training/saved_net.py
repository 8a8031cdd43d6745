"""A trained net as plain values and arrays, and the net that they make again."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.history import History
from skorch.utils import get_map_location
from torch import Tensor, nn
from torch.amp import GradScaler

from skvae._common.randomness import derive_seed, private_torch_state
from skvae._common.threads import one_thread_if
from skvae.nets.networks import ModuleDecoder, ModuleEncoder
from skvae.nets.witnesses import HIDDEN_UNITS
from skvae.rows.counts import CountUnits
from skvae.rows.scaling import Standardization
from skvae.training.building import build_net
from skvae.training.epochs import packed_epochs, unpacked_epochs
from skvae.training.net import VAENet
from skvae.training.own_optimizer import weights_of

__all__ = ["net_made_of", "state_of_net", "weigher"]

# Arguments of the module that the estimator's parameters do not say alone.
ARCHITECTURE = (
    "n_features",
    "latent_dim",
    "architecture",
    "hidden_layer_sizes",
    "likelihood",
    "missing",
    "image_shape",
    "channels",
    "encoder",
    "decoder",
)
# What training leaves behind, as far as it has.
LEFT_BEHIND = (
    "interrupted_",
    "is_aggressive_",
    "n_epochs_forgotten_",
    "n_epochs_resumed_",
    "n_held_out_",
    "n_steps_",
)
# Where modules that are not ours lie.
OWN_LAYERS = {"encoder": "encoder.layers.1", "decoder": "decoder.layers"}
# Of these NumPy has no type: float32 has all their values.
WITHOUT_NUMPY = (torch.bfloat16,)


def state_of_net(net: VAENet, *, with_modules: bool) -> dict[str, Any]:
    """Return what a trained net is made of, beside the settings that it was built by.

    Parameters
    ----------
    net : VAENet
        After training: it has no rows any more.
    with_modules : bool
        Whether modules of a user's own are kept as they are, or by their weights alone.
    """
    module = net.module_
    own = _own_modules(module)
    kept = own if with_modules else {}
    state = {
        "architecture": {name: getattr(net, f"module__{name}") for name in ARCHITECTURE},
        "average_teacher": net.module__average_teacher,
        "counts": _packed(net.module__counts),
        "n_rows": net.criterion__n_rows,
        "max_epochs": net.max_epochs,
        "device": str(net.device),
        "kl_fraction": net.criterion_.kl_fraction,
        "left_behind": {name: vars(net)[name] for name in LEFT_BEHIND if name in vars(net)},
        "weights": {
            name: _plain(name, value)
            for name, value in module.state_dict().items()
            if not _is_within(name, kept)
        },
        "moments": _moments(net),
        "scaler": _scaler_state(net),
        "history": packed_epochs(
            [
                {name: value for name, value in record.items() if name != "batches"}
                for record in net.history
            ],
            weigher(net),
            {"": net.criterion__n_rows, "valid_": getattr(net, "n_held_out_", 0)},
            net.log_scale_sum,
        ),
        "modules": {
            # A pickle of a module that is on a GPU is read by machines that have one.
            name: copy.deepcopy(part).cpu() if torch.device(net.device).type != "cpu" else part
            for name, part in kept.items()
        },
    }
    return state


def net_made_of(
    state: Mapping[str, Any],
    settings: Mapping[str, Any],
    units: Standardization,
    seed: int,
    device: str | None = None,
) -> VAENet:
    """Make a net of what `state_of_net` returned.

    Parameters
    ----------
    state : mapping
        What it is made of. Where it has no modules of a user's own, those in its architecture
        are taken, and given its weights.
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE` that it was built by.
    units : Standardization
        From the units of the data to those of the net.
    seed : int
        Seed of all streams.
    device : str or None, default=None
        Where the net is to be. None is where it was, or the CPU where that is not there.
    """
    # Files of models from before there was a choice say nothing of it.
    architecture = {"missing": "error", **state["architecture"]}
    _check_sizes(state, settings)
    if device is None:
        device = str(get_map_location(state["device"]))
    own = state["modules"]
    net = build_net(
        {**settings, "device": device, "callbacks": None},
        {**architecture, **own},
        units,
        state["average_teacher"],
        # What was saved before there were sizes has none.
        counts=CountUnits(*state["counts"]) if state.get("counts") else None,
        n_rows=state["n_rows"],
        seed=seed,
        max_epochs=state["max_epochs"],
    )
    # A module of someone else may draw when it is made, or tried.
    has_own = architecture["encoder"] is not None or architecture["decoder"] not in (
        None,
        "autoregressive",
    )
    private = private_torch_state(derive_seed(seed, "loaded"))
    with one_thread_if(True), private if has_own else contextlib.nullcontext():
        net.initialize()
        for name in own:
            setattr(net, f"module__{name}", architecture[name])
        _load_weights(net.module_, state["weights"], own)
        _adopt_moments(net, state["moments"])
    net.criterion_.kl_fraction = state["kl_fraction"]
    net.module_.eval()
    for name, value in state["left_behind"].items():
        if name in LEFT_BEHIND:
            setattr(net, name, value)
    if state["scaler"] is not None:
        net.scaler_ = GradScaler(torch.device(device).type, enabled=bool(state["scaler"]))
        net.scaler_.load_state_dict(state["scaler"])
    records = unpacked_epochs(state["history"], weigher(net))
    net.history_ = History({"batches": [], **record} for record in records)
    return net


def _packed(counts: CountUnits | None) -> list[Any] | None:
    return None if counts is None else [counts.size, counts.typical_size, counts.log_rates]


def _own_modules(module: Any) -> dict[str, nn.Module]:
    """Modules of a user's own in a net, by what they are for."""
    kinds = {"encoder": ModuleEncoder, "decoder": ModuleDecoder}
    return {
        name: module.get_submodule(OWN_LAYERS[name])
        for name, kind in kinds.items()
        if type(getattr(module, name)) is kind
    }


def _is_within(name: str, parts: Mapping[str, Any]) -> bool:
    return any(name.startswith(f"{OWN_LAYERS[part]}.") for part in parts)


def _plain(name: str, value: Any) -> NDArray:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} of the net is a {type(value).__name__}, and not a tensor.")
    value = value.float() if value.dtype in WITHOUT_NUMPY else value
    array: NDArray = value.numpy(force=True)
    return array


def weigher(net: VAENet) -> Any:
    """Return what makes the loss of the terms of an epoch, held-out ones without a weight."""

    def weigh(terms: dict[str, Any], beta: Any) -> Any:
        return net.criterion_.weigh(terms, net.criterion_.beta if beta is None else beta)

    return weigh


def _moments(net: VAENet) -> dict[str, dict[str, Any]]:
    """Moments of the optimiser by the names of the weights: after `fit` there are none."""
    moments = weights_of(net.optimizer_).moments()
    return {
        name: {
            # An optimiser of a user's own may count in numbers of Python.
            key: _plain(key, value) if isinstance(value, Tensor) else value
            for key, value in moments[weight].items()
        }
        for name, weight in net.module_.named_parameters()
        if weight in moments
    }


def _adopt_moments(net: VAENet, moments: Mapping[str, Mapping[str, Any]]) -> None:
    if not moments:
        return
    adopted: dict[Any, dict[str, Any]] = {}
    for name, weight in net.module_.named_parameters():
        if name not in moments:
            continue
        state = adopted[weight] = {}
        for key, value in moments[name].items():
            if not isinstance(value, np.ndarray):
                state[key] = value
                continue
            # A count of steps is where the kernel looks for it.
            is_fused = getattr(net, "optimizer__fused", False)
            tensor = torch.tensor(
                value, device=weight.device if value.ndim or is_fused else None
            )
            # In the layout of the weight, as it was.
            is_alike = tensor.shape == weight.shape and value.ndim
            state[key] = torch.empty_like(weight).copy_(tensor) if is_alike else tensor
    weights_of(net.optimizer_).adopt(adopted)


def _scaler_state(net: VAENet) -> dict[str, Any] | None:
    scaler = getattr(net, "scaler_", None)
    return None if scaler is None else scaler.state_dict()


def _load_weights(
    module: nn.Module, weights: Mapping[str, NDArray], own: Mapping[str, nn.Module]
) -> None:
    expected = {name for name in module.state_dict() if not _is_within(name, own)}
    if expected != weights.keys():
        differing = ", ".join(sorted(expected ^ weights.keys())[:3])
        raise ValueError(f"the weights are not those of the net: they differ in {differing}")
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    module.load_state_dict(tensors, strict=False)


def _check_sizes(state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a net of far more weights than there are, before memory is taken for it."""
    architecture, weights = state["architecture"], state["weights"]
    latent_dim, n_components = architecture["latent_dim"], len(state["average_teacher"])
    sizes = [*architecture["hidden_layer_sizes"], *architecture["channels"], latent_dim]
    if architecture["architecture"] == "conv":
        _, height, width = architecture["image_shape"]
        n_stages = len(architecture["channels"])
        sizes.insert(-1, sizes[-2] * -(-height >> n_stages) * -(-width >> n_stages))
    else:
        sizes.insert(0, architecture["n_features"])
    if min(sizes) < 1 or len(sizes) > 2 + len(weights):
        raise ValueError(f"no net has layers of {sizes[:9]}")
    needed = [one * other for one, other in itertools.pairwise(sizes)]
    if architecture["encoder"] is not None:
        needed = []
    needed.append(
        {
            "simplex": (n_components - 1) * n_components,
            "mlp": HIDDEN_UNITS * (latent_dim + n_components),
        }.get(settings["witness"], latent_dim * n_components)
    )
    there = sum(array.size for array in weights.values())
    if sum(needed) > there:
        raise ValueError(f"a net of {sum(needed)} weights or more has no more than {there}")
