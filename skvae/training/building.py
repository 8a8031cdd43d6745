"""The net that an estimator's parameters describe, with the callbacks of its training."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray
from skorch.callbacks import Callback
from skorch.helper import predefined_split

from skvae.nets.likelihoods import starting_variances
from skvae.nets.networks import VariationalAutoencoder
from skvae.rows.counts import CountUnits
from skvae.rows.scaling import Standardization
from skvae.training.aggressive import AggressivePhase
from skvae.training.batches import TrainingRows
from skvae.training.checkpoints import Checkpoint
from skvae.training.criterion import Criterion
from skvae.training.devices import resolve_device
from skvae.training.events import named_callbacks
from skvae.training.guard import Guard
from skvae.training.net import VAENet
from skvae.training.own_optimizer import optimizer_settings
from skvae.training.schedules import schedules_of
from skvae.training.stopping import HeldOutBound, StopOnPlateau

__all__ = ["build_net"]

# Modes of `torch.compile` by what is asked for.
COMPILE_MODES = {False: None, True: "default"}
# Constructor parameters of the estimator that its criterion has too.
CRITERION_SETTINGS = (
    "beta",
    "alignment_weight",
    "alignment_target",
    "free_bits",
    "kl_capacity",
    "mmd_weight",
    "tc_weight",
    "n_importance_samples",
)


def build_net(
    settings: dict[str, Any],
    architecture: dict[str, Any],
    units: Standardization,
    average_teacher: NDArray,
    *,
    counts: CountUnits | None = None,
    n_rows: int,
    seed: int,
    max_epochs: int,
    held_out: TrainingRows | None = None,
    has_bound: bool = True,
    log_scale_sum: float | None = None,
    steps: NDArray | float = 0.0,
    checkpoint: Checkpoint | None = None,
) -> VAENet:
    """Return the net that an estimator's parameters describe, not yet initialised.

    Parameters
    ----------
    settings : dict
        Constructor parameters of `TeacherGuidedVAE`.
    architecture : dict
        As `skvae.vae.settings.check_settings` returns it.
    units : Standardization
        From the units of the data to those of the net.
    average_teacher : ndarray of shape (n_components,)
        ``Tbar`` of the training rows.
    counts : CountUnits or None
        What rows of counts are measured by.
    n_rows : int
        Training rows, those held out not among them.
    seed, max_epochs : int
        Seed of all streams, and passes over the rows.
    held_out : TrainingRows or None
        Rows to validate and stop by.
    has_bound : bool
        Whether a lower bound on the margin is recorded of them, as of rows that nothing has
        seen.
    log_scale_sum : float or None
        That of the rows to train on, where it is not the same of all rows, as with missing
        entries.
    steps : ndarray of shape (n_features,) or 0
        As in `skvae.nets.likelihoods.starting_variances`.
    checkpoint : Checkpoint or None
        What keeps the state of the training.
    """
    device = resolve_device(settings["device"])
    guard = settings["guard"]
    callbacks: list[tuple[str, Callback]] = []
    guests = named_callbacks(settings["callbacks"])
    if held_out is not None:
        stop = StopOnPlateau(settings["n_iter_no_change"], settings["tol"], guard)
        callbacks += [("bound", HeldOutBound())] if has_bound else []
        callbacks += [*guests, ("stop", stop)]
    else:
        callbacks += guests
    if guard is not None:
        callbacks.insert(0, ("guard", Guard(guard)))
    aggressive_steps = settings["aggressive_steps"]
    if aggressive_steps:
        callbacks.insert(0, ("aggressive", AggressivePhase()))
    if checkpoint is not None:
        # The last: what the others found in an epoch belongs to its state.
        callbacks.append(("checkpoint", checkpoint))
    log_variance, log_variance_floor = starting_variances(
        architecture["likelihood"],
        settings["decoder_variance"],
        units,
        settings["variance_floor"],
        steps,
    )
    net = VAENet(
        module=VariationalAutoencoder,
        **{f"module__{name}": value for name, value in architecture.items()},
        module__log_variance=log_variance,
        module__log_variance_floor=log_variance_floor,
        module__average_teacher=average_teacher,
        module__witness=settings["witness"],
        module__witness_scale=settings["witness_scale"],
        module__witness_input=settings["witness_input"],
        module__precision=settings["precision"],
        module__counts=counts,
        module__seed=seed,
        module__is_variance_shared=settings["decoder_variance"] == "shared",
        criterion=Criterion,
        **{f"criterion__{name}": settings[name] for name in CRITERION_SETTINGS},
        criterion__n_rows=n_rows,
        **optimizer_settings(settings, device),
        lr=settings["lr"],
        max_epochs=max_epochs,
        batch_size=settings["batch_size"],
        train_split=None if held_out is None else predefined_split(held_out),
        callbacks=callbacks,
        device=device,
        verbose=settings["verbose"],
        seed=seed,
        log_scale_sum=units.log_scale_sum if log_scale_sum is None else log_scale_sum,
        held_out_log_scale_sum=(units if held_out is None else held_out).log_scale_sum,
        **schedules_of(settings, max_epochs * math.ceil(n_rows / settings["batch_size"])),
        compile_mode=COMPILE_MODES.get(settings["compile"], settings["compile"]),
        aggressive_steps=aggressive_steps,
        ema_decay=settings["ema_decay"],
        max_grad_norm=settings["max_grad_norm"],
    )
    net.guests_ = tuple(name for name, _ in guests)
    return net
