"""Starting from the weights of a model that was fitted before."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from skvae._common.parameters import unfrozen
from skvae._common.threads import one_thread_if
from skvae.nets.own_modules import is_same_part
from skvae.nets.witnesses import begin_witness
from skvae.rows.counts import Size
from skvae.training.net import VAENet
from skvae.vae.fitted import Fitted

__all__ = [
    "check_columns",
    "check_donor",
    "copy_weights",
    "resolve_donor",
    "with_fresh_witness",
    "without_ancestors",
]


def resolve_donor(warm_start: Any, kind: type) -> Any:
    """Return the fitted estimator in `warm_start`, or None where it is a truth value."""
    if isinstance(warm_start, (bool, np.bool_)):
        return None
    donor = unfrozen(warm_start)
    if not isinstance(donor, kind):
        raise TypeError(
            f"warm_start must be True, False or a fitted {kind.__name__} (plain or in a "
            f"sklearn.frozen.FrozenEstimator), got {type(donor).__name__}."
        )
    try:
        check_is_fitted(donor)
    except NotFittedError as error:
        raise NotFittedError(
            f"warm_start holds a {kind.__name__} that is not fitted. Fit it first. If it was "
            "fitted, it was cloned since (GridSearchCV and cross_validate clone): pass "
            "warm_start=sklearn.frozen.FrozenEstimator(fitted), which survives cloning."
        ) from error
    return donor


def without_ancestors(warm_start: Any) -> Any:
    """Return a donor without what it once started from, which nobody asks for any more.

    A chain of models, each started from the one before, would be pickled as a whole.
    """
    donor = unfrozen(warm_start)
    if isinstance(donor, (bool, np.bool_)):
        return warm_start
    alone = copy.copy(donor).set_params(warm_start=False)
    return FrozenEstimator(alone) if isinstance(warm_start, FrozenEstimator) else alone


def check_columns(donor: Any, X: Any) -> None:
    """Refuse, or warn of, rows whose columns are named otherwise than those of the donor."""
    if np.shape(X)[1] == donor.n_features_in_:
        _check_feature_names(donor, X, reset=False)


def check_donor(donor: Fitted, architecture: dict[str, Any], size: Size) -> None:
    """Refuse a donor whose layers are not those of the model to be trained."""
    of_donor = {name: getattr(donor.net, f"module__{name}") for name in architecture}
    counts = donor.net.module__counts
    of_donor["size"] = None if counts is None else counts.size
    for name, wanted in {**architecture, "size": size}.items():
        found = of_donor[name]
        if not is_same_part(found, wanted):
            raise ValueError(
                f"The weights to start from do not fit: {name} is {found!r} in the fitted "
                f"model and {wanted!r} in the one to be trained. Give both the same "
                f"{name}, or pass warm_start=False."
            )


def copy_weights(source: Any, target: Any, *, with_witness: bool) -> None:
    """Copy encoder and decoder weights, and the witness's, from one net into another.

    A decoder variance is copied where both learn theirs, for the same columns, and a witness
    where both train the same kind; fixed ones are settings of the model to be trained.
    """
    parts = ["encoder", "decoder.layers"]
    if with_witness and source.module__witness == target.module__witness != "simplex":
        parts.append("witness")
    for part in parts:
        weights = source.module_.get_submodule(part).state_dict()
        target.module_.get_submodule(part).load_state_dict(weights)
    if source.module__is_variance_shared == target.module__is_variance_shared:
        learned = dict(source.module_.decoder.likelihood.named_parameters())
        with torch.no_grad():
            for name, parameter in target.module_.decoder.likelihood.named_parameters():
                if name in learned and learned[name].shape == parameter.shape:
                    parameter.copy_(learned[name])


def with_fresh_witness(net: VAENet, average_teacher: NDArray) -> VAENet:
    """Return a copy of a net whose witness is the best constant student of a teacher."""
    with one_thread_if(True):
        net = copy.deepcopy(net)
        witness = begin_witness(
            net.module__witness,
            net.module_.latent_dim,
            average_teacher,
            net.module__witness_scale,
            net.module__seed,
        )
        net.module_.witness = witness.to(net.device)
    return net
