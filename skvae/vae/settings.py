"""What settings of the estimator may be, and which contradict each other, rows or teacher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import HasMethods, StrOptions

from skvae._common.parameters import NumberInterval
from skvae.information import teacher_information
from skvae.nets.likelihoods import OF_COUNTS, WITH_VARIANCE, Kinds, with_variance
from skvae.nets.mixed import KINDS
from skvae.rows.columns import Columns
from skvae.rows.counts import Size
from skvae.rows.sparse import SparseRows
from skvae.training.own_optimizer import may_draw
from skvae.vae.training_settings import check_training

__all__ = [
    "PARAMETER_CONSTRAINTS",
    "check_against_teacher",
    "check_count",
    "check_number_of_steps",
    "check_settings",
    "check_support",
    "is_designed_objective",
    "may_draw_from_torch",
]

AUTO = StrOptions({"auto"})
# Types and ranges of the constructor parameters, each by itself.
PARAMETER_CONSTRAINTS: dict[str, list[Any]] = {
    # Wider codes than this are a slip, and would take memory before they are told.
    "latent_dim": [NumberInterval(Integral, 1, 2**16, closed="both")],
    "hidden_layer_sizes": ["array-like", Integral],
    "architecture": [StrOptions({"dense", "conv"})],
    "image_shape": ["array-like", None],
    "channels": ["array-like", Integral],
    "encoder": [callable, None],
    "decoder": [callable, StrOptions({"autoregressive"}), None],
    "teacher": [HasMethods(["fit", "predict_proba"]), None],
    "alignment_weight": [NumberInterval(Real, 0, None, closed="left")],
    "alignment_target": [NumberInterval(Real, 0, 1, closed="neither"), AUTO, None],
    "beta": [NumberInterval(Real, 0, None, closed="left")],
    "kl_warmup": [NumberInterval(Real, 0, 1, closed="both")],
    "kl_cycles": [NumberInterval(Integral, 1, None, closed="left")],
    "free_bits": [NumberInterval(Real, 0, None, closed="left")],
    "kl_capacity": [NumberInterval(Real, 0, None, closed="left"), None],
    "mmd_weight": [NumberInterval(Real, 0, None, closed="left")],
    "tc_weight": [NumberInterval(Real, 0, None, closed="left")],
    "n_importance_samples": [NumberInterval(Integral, 1, None, closed="left")],
    "aggressive_steps": [NumberInterval(Integral, 0, None, closed="left")],
    "likelihood": [StrOptions({*KINDS, "auto"}), tuple, Mapping],
    "size": [str, Integral, None],
    "decoder_variance": [
        NumberInterval(Real, 0, None, closed="neither"),
        StrOptions({"learned", "shared"}),
    ],
    "missing": [StrOptions({"error", "mask"})],
    "variance_floor": [NumberInterval(Real, 0, 1, closed="neither"), StrOptions({"auto"})],
    "witness_input": [StrOptions({"sample", "mean"})],
    "witness": [StrOptions({"linear", "mlp", "simplex"})],
    "witness_scale": [NumberInterval(Real, 0, None, closed="neither")],
    "prefit_epochs": [NumberInterval(Integral, 0, None, closed="left")],
    "prefit_alpha": [NumberInterval(Real, 0, None, closed="neither"), StrOptions({"design"})],
    "guard": [NumberInterval(Real, 0, None, closed="left"), None],
    "batch_size": [NumberInterval(Integral, 1, None, closed="left"), AUTO],
    "max_epochs": [NumberInterval(Integral, 1, None, closed="left"), AUTO],
    "lr": [NumberInterval(Real, 0, None, closed="neither")],
    "weight_decay": [NumberInterval(Real, 0, None, closed="left")],
    "optimizer": [callable, None],
    "lr_schedule": [StrOptions({"one-cycle", "cosine"}), callable, None],
    "max_grad_norm": [NumberInterval(Real, 0, None, closed="neither"), None],
    "callbacks": [list, tuple, None],
    "ema_decay": [NumberInterval(Real, 0, 1, closed="neither"), AUTO, None],
    "early_stopping": ["boolean", AUTO],
    "validation_fraction": [NumberInterval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [NumberInterval(Integral, 1, None, closed="left"), AUTO],
    "tol": [NumberInterval(Real, 0, None, closed="left")],
    "warm_start": ["boolean", HasMethods(["fit", "witness_log_proba"])],
    "max_teacher_rows": [NumberInterval(Integral, 2, None, closed="left")],
    "memory": [None, str, os.PathLike, HasMethods(["cache"])],
    "checkpoint": [None, str, os.PathLike],
    "checkpoint_every": [NumberInterval(Integral, 1, None, closed="left"), timedelta],
    "device": [str],
    "data_on_device": ["boolean", StrOptions({"auto"})],
    "distributed": ["boolean", AUTO],
    "precision": [StrOptions({"auto", "fp32", "bf16", "fp16"})],
    "compile": ["boolean", StrOptions({"default", "reduce-overhead", "max-autotune"})],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}

# Rows that are looked through at a time.
BLOCK_ROWS = 4096


def check_settings(
    settings: Mapping[str, Any], rows: Any, size: Size, columns: Columns | None = None
) -> dict[str, Any]:
    """Refuse settings that contradict each other or the rows; return the architecture.

    Parameters
    ----------
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`, each of a valid type and range;
        ``image_shape`` as it was found.
    rows : ndarray or SparseRows of shape (n_samples, n_encoded)
        Training rows.
    size : "total", int or None
        What ``size`` means for these columns.
    columns : Columns or None, default=None
        Where the columns are of several kinds, what made these of the rows that came.

    Returns
    -------
    architecture : dict
        ``n_features``, ``latent_dim``, ``architecture``, ``hidden_layer_sizes``,
        ``likelihood``, ``missing``, ``image_shape``, ``channels``, ``encoder`` and
        ``decoder``; empty sizes for layers that the architecture has not.
    """
    likelihood = settings["likelihood"] if columns is None else columns.net_likelihood
    if settings["missing"] == "mask" and isinstance(size, int):
        raise ValueError(
            f"size={settings['size']!r} is a column of exposures, and what is imputed would "
            'have the typical one: with missing="mask" pass size=None.'
        )
    if likelihood not in OF_COUNTS and settings["size"] not in ("total", None):
        raise ValueError(
            f"size={settings['size']!r} names what counts are in proportion to, and "
            f"likelihood={_quoted(settings['likelihood'])} has none, or other columns beside "
            'them: leave it at "total", or use likelihood="poisson" or "negative_binomial".'
        )
    check_support(likelihood, rows, size, columns)
    has_variance = with_variance(likelihood, rows.shape[1]).any()
    if not has_variance and settings["decoder_variance"] != "learned":
        raise ValueError(
            f"A decoder with likelihood={_quoted(settings['likelihood'])} has no variance to "
            f"set, got decoder_variance={settings['decoder_variance']!r}: leave it at "
            '"learned", or use likelihood="gaussian".'
        )
    if settings["decoder"] == "autoregressive" and columns and not columns.is_numeric:
        raise ValueError(
            'decoder="autoregressive" gives one column of numbers after the other, and a '
            "categorical column is several of them at once: pass decoder=None."
        )
    if settings["missing"] == "mask" and settings["decoder"] == "autoregressive":
        raise ValueError(
            'missing="mask" leaves missing entries out of a density that is a product over the '
            "columns, and an autoregressive decoder gives each column given those before it, "
            'which may be missing: pass another decoder, or impute X and pass missing="error".'
        )
    hidden_layer_sizes = _widths(settings, "hidden_layer_sizes")
    channels = _widths(settings, "channels")
    is_conv = settings["architecture"] == "conv"
    if is_conv and not channels:
        raise ValueError('architecture="conv" needs at least one stage, got channels=().')
    _check_divergence(settings)
    _check_schedule(settings)
    _check_batch_terms(settings)
    _check_prefit(settings)
    _check_guard(settings)
    check_training(settings)
    return {
        "n_features": rows.shape[1],
        "latent_dim": settings["latent_dim"],
        "architecture": settings["architecture"],
        "hidden_layer_sizes": () if is_conv else hidden_layer_sizes,
        "likelihood": likelihood,
        "missing": settings["missing"],
        "image_shape": settings["image_shape"],
        "channels": channels if is_conv else (),
        "encoder": settings["encoder"],
        "decoder": settings["decoder"],
    }


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")


def check_against_teacher(
    settings: Mapping[str, Any],
    training: tuple[NDArray, NDArray | None],
    held_out: tuple[NDArray | None, NDArray | None],
) -> None:
    """Refuse settings that cannot work with this teacher of the rows, given with weights."""
    n_components = training[0].shape[1]
    if settings["witness"] == "simplex" and settings["latent_dim"] < n_components - 1:
        raise ValueError(
            f"A simplex witness of K = {n_components} components reads K - 1 = "
            f"{n_components - 1} dimensions of the code, got "
            f"latent_dim={settings['latent_dim']}: raise latent_dim, take a teacher with "
            'fewer components, or witness="linear" or "mlp".'
        )
    guard = settings["guard"]
    if guard is None:
        return
    T_held_out, weights = held_out
    rows = "training" if T_held_out is None else "held-out"
    information = (
        teacher_information(*training)
        if T_held_out is None
        else teacher_information(T_held_out, weights)
    )
    if guard >= information:
        raise ValueError(
            f"guard={guard:g} nats can never be reached: no margin is above the teacher "
            f"information, I_T = {information:.4g} on the {rows} rows. Guard less than that, "
            "or pass more rows."
        )


def check_number_of_steps(settings: Mapping[str, Any], n_rows: int) -> None:
    """Refuse more cycles of the KL weight than there are steps on so many training rows."""
    n_steps = settings["max_epochs"] * -(-n_rows // settings["batch_size"])
    if settings["kl_cycles"] > n_steps:
        raise ValueError(
            f"kl_cycles={settings['kl_cycles']} are more than the {n_steps} steps of this "
            "training (max_epochs times the batches of an epoch): ask for fewer cycles, or "
            "train longer."
        )


def check_support(
    likelihood: Kinds, rows: Any, size: Size = None, columns: Columns | None = None
) -> None:
    """Refuse rows that the likelihood, of counts with these sizes, gives no density.

    NaN is no entry.
    """
    if columns is not None and not isinstance(likelihood, str):
        for column, block in zip(columns.columns, columns.blocks, strict=True):
            try:
                check_support(column.likelihood, rows[:, block])
            except ValueError as error:
                raise ValueError(f"Column {column.name!r} of X: {error}") from error
        return
    if likelihood in WITH_VARIANCE:
        return
    if likelihood in OF_COUNTS and isinstance(size, int):
        is_sparse = isinstance(rows, SparseRows)
        smallest = (rows.column(size) if is_sparse else rows[:, size]).min()
        if not smallest > 0:
            raise ValueError(
                f"size={size} is the column of the sizes of the rows, which must be positive, "
                f"got {smallest:g}: leave out the rows that nothing was counted in."
            )
        rows = rows.without_column(size) if is_sparse else np.delete(rows, size, axis=1)
    if isinstance(rows, SparseRows):
        low, high = rows.min(), rows.max()
    else:
        low, high = np.fmin.reduce(rows, axis=None), np.fmax.reduce(rows, axis=None)
    if likelihood in ("bernoulli", "continuous_bernoulli") and (low < 0 or high > 1):
        raise ValueError(
            f'likelihood="{likelihood}" wants X in [0, 1], got values from {low:g} to '
            f'{high:g}: rescale X, or use likelihood="gaussian".'
        )
    if likelihood in OF_COUNTS and (low < 0 or _has_fractions(rows)):
        found = f"a least value of {low:g}" if low < 0 else "fractions"
        raise ValueError(
            f'likelihood="{likelihood}" wants counts in X, whole numbers of at least 0, got '
            f'{found}: pass the raw counts, or use likelihood="gaussian".'
        )


def _quoted(likelihood: Any) -> str:
    return f'"{likelihood}"' if isinstance(likelihood, str) else repr(likelihood)


def _has_fractions(rows: Any) -> bool:
    if isinstance(rows, SparseRows):
        rows = rows.matrix.data[:, None]
    blocks = (rows[block] for block in gen_batches(len(rows), BLOCK_ROWS))
    return any((block > np.floor(block)).any() for block in blocks)


def may_draw_from_torch(settings: Mapping[str, Any]) -> bool:
    """Whether modules, or an optimiser, that are not ours have a part in training."""
    has_own_layers = settings["encoder"] is None and settings["decoder"] in (
        None,
        "autoregressive",
    )
    return not has_own_layers or may_draw(settings["optimizer"])


def is_designed_objective(settings: Mapping[str, Any]) -> bool:
    """Whether beta weighs the rate itself, and alignment alone acts against it, throughout.

    That is what a design needs.
    """
    return (
        settings["free_bits"] == 0
        and settings["kl_capacity"] is None
        and settings["alignment_target"] in (None, "auto")
        and settings["mmd_weight"] == 0
        and settings["tc_weight"] == 0
        and settings["n_importance_samples"] == 1
    )


def _check_divergence(settings: Mapping[str, Any]) -> None:
    """Let the divergence from the prior enter the objective as one thing."""
    free_bits, capacity = settings["free_bits"], settings["kl_capacity"]
    if free_bits > 0 and capacity is not None:
        raise ValueError(
            f"free_bits={free_bits:g} lets the rate be up to a floor, and "
            f"kl_capacity={capacity:g} holds it to a value: pass free_bits=0 or "
            "kl_capacity=None."
        )
    n_draws = settings["n_importance_samples"]
    if n_draws > 1:
        others = {
            "beta": settings["beta"] != 1,
            "free_bits": free_bits > 0,
            "kl_capacity": capacity is not None,
            "kl_warmup": settings["kl_warmup"] > 0,
            "guard": settings["guard"] is not None,
            "mmd_weight": settings["mmd_weight"] > 0,
            "tc_weight": settings["tc_weight"] > 0,
        }
        for name in filter(others.get, others):
            raise ValueError(
                f"n_importance_samples={n_draws} trains on a bound that has no KL term of its "
                f"own to change, got {name}={settings[name]!r}: pass n_importance_samples=1, "
                f"or leave {name} at its default."
            )
    if settings["beta"] > 0:
        return
    needing = {
        "free_bits": free_bits > 0,
        "kl_capacity": capacity is not None,
        "kl_warmup": settings["kl_warmup"] > 0,
        "aggressive_steps": settings["aggressive_steps"] > 0,
    }
    for name in filter(needing.get, needing):
        raise ValueError(
            f"{name}={settings[name]!r} changes how the divergence from the prior acts, and "
            f"with beta=0 it does not act at all: pass a positive beta, or leave {name} at "
            "its default."
        )


def _check_schedule(settings: Mapping[str, Any]) -> None:
    warmup = settings["kl_warmup"]
    if settings["kl_cycles"] > 1 and warmup == 0:
        raise ValueError(
            f"kl_cycles={settings['kl_cycles']} repeats a warm-up that kl_warmup=0 leaves out: "
            "pass kl_warmup=0.5, or kl_cycles=1."
        )
    if warmup > 0 and settings["kl_capacity"] == 0:
        raise ValueError(
            f"kl_warmup={warmup:g} raises the capacity up to kl_capacity=0, where it is: pass "
            "kl_capacity=None to have the weight rise, or kl_warmup=0."
        )
    if warmup > 0 and settings["guard"] is not None:
        raise ValueError(
            f"guard={settings['guard']:g} and kl_warmup={warmup:g} both set the KL weight in "
            "force: pass guard=None or kl_warmup=0."
        )
    if warmup == 1 and settings["early_stopping"] not in (False, "auto"):
        raise ValueError(
            "early_stopping counts epochs after the last warm-up, and kl_warmup=1 leaves none: "
            "pass a smaller kl_warmup, or early_stopping=False."
        )


def _check_batch_terms(settings: Mapping[str, Any]) -> None:
    for name in ("mmd_weight", "tc_weight"):
        if settings[name] > 0 and settings["batch_size"] == 1:
            raise ValueError(
                f"{name}={settings[name]:g} compares the rows of a batch, and batch_size=1 "
                f"leaves nothing to compare: pass a larger batch_size, or {name}=0."
            )
    if settings["alignment_target"] not in (None, "auto") and settings["batch_size"] == 1:
        raise ValueError(
            f"alignment_target={settings['alignment_target']:g} is a share of the teacher "
            "information of a batch, and a batch of one row has none: pass a larger "
            "batch_size, or alignment_target=None."
        )
    if settings["tc_weight"] > 0 and settings["latent_dim"] == 1:
        raise ValueError(
            f"tc_weight={settings['tc_weight']:g} weighs the dependence between dimensions of "
            "the code, and latent_dim=1 has one: pass a larger latent_dim, or tc_weight=0."
        )


def _widths(settings: Mapping[str, Any], name: str) -> tuple[int, ...]:
    given = settings[name]
    widths = (given,) if isinstance(given, Integral) else tuple(given)
    if not all(
        isinstance(width, (int, np.integer)) and not isinstance(width, bool) and width > 0
        for width in widths
    ):
        raise ValueError(f"{name} must hold positive integers, got {settings[name]!r}.")
    return widths


def _check_prefit(settings: Mapping[str, Any]) -> None:
    if not settings["prefit_epochs"]:
        return
    if settings["witness"] != "simplex":
        raise ValueError(
            f"prefit_epochs={settings['prefit_epochs']} needs a witness that is known before "
            f'training, got witness={settings["witness"]!r}: pass witness="simplex", or '
            "prefit_epochs=0."
        )
    if settings["prefit_alpha"] == "design" and settings["alignment_weight"] == 0:
        raise ValueError(
            'prefit_alpha="design" weighs alignment against the prior, and with '
            "alignment_weight=0 the design is the constant code: pass a positive "
            "alignment_weight, or a number as prefit_alpha."
        )
    if settings["prefit_alpha"] == "design" and not is_designed_objective(settings):
        raise ValueError(
            'prefit_alpha="design" is where alignment and beta times the rate balance, which '
            "alignment_target, free_bits, kl_capacity, mmd_weight, tc_weight and "
            "n_importance_samples change: leave them at their defaults, or pass a number as "
            "prefit_alpha."
        )


def _check_guard(settings: Mapping[str, Any]) -> None:
    if settings["guard"] is None:
        return
    if settings["alignment_weight"] == 0:
        raise ValueError(
            f"guard={settings['guard']:g} guards a margin that alignment_weight=0 never "
            "builds: pass a positive alignment_weight, or guard=None."
        )
    if settings["beta"] == 0:
        raise ValueError(
            f"guard={settings['guard']:g} holds the KL weight back, and beta=0 leaves nothing "
            "to hold: pass a positive beta, or guard=None."
        )
    if settings["kl_capacity"] is not None:
        raise ValueError(
            f"guard={settings['guard']:g} holds back a KL weight that pulls the code towards "
            f"the prior, and kl_capacity={settings['kl_capacity']:g} makes it push too: pass "
            "kl_capacity=None or guard=None."
        )
