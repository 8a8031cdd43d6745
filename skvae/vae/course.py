"""The course of a fit: what is checked, fitted, trained and set, and in which order."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils.validation import check_consistent_length, validate_data

from skvae._common.parameters import same_settings, unfrozen
from skvae._common.randomness import derive_seed, draw_seed, private_torch_state
from skvae.exceptions import DivergenceError
from skvae.information import (
    BoundaryStatistics,
    best_constant_student,
    teacher_information,
)
from skvae.information.boundary import check_informative
from skvae.information.simplex import analytic_code, design_alpha
from skvae.nets.likelihoods import WITH_VARIANCE
from skvae.nets.own_modules import check_own_modules
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.images import flatten_images, resolve_image_shape
from skvae.rows.scaling import Standardization
from skvae.rows.sources import as_rows
from skvae.teachers.fits import fit_teacher, teacher_distributions
from skvae.training.batches import TrainingRows, is_large
from skvae.training.devices import resolve_device
from skvae.training.net import VAENet, build_net
from skvae.training.prefit import prefit_encoder
from skvae.vae.inference import CHUNK_ROWS
from skvae.vae.settings import (
    check_against_teacher,
    check_number_of_steps,
    check_settings,
    is_designed_objective,
)
from skvae.vae.warm_start import check_donor, copy_weights

if TYPE_CHECKING:
    from skvae.vae.estimator import TeacherGuidedVAE

__all__ = ["course_of_fit", "split_rows", "train"]

# Rows whose distributions are worked on at a time.
BLOCK_ROWS = 2**16
# Rows, evenly spaced, from which a margin is designed.
DESIGN_ROWS = 100_000


def train(
    estimator: TeacherGuidedVAE,
    X: Any,
    y: Any,
    X_teacher: Any,
    *,
    donor: TeacherGuidedVAE | None,
    resume: bool = False,
    one_pass: bool = False,
) -> None:
    """Take the whole course, with the training that the net has of its own.

    Parameters
    ----------
    estimator : TeacherGuidedVAE
        What is fitted: its parameters are read, and its fitted attributes set at the end.
    X, y, X_teacher
        As in its `fit`.
    donor : TeacherGuidedVAE or None
        Fitted estimator whose weights training starts from: itself where it continues.
    resume, one_pass : bool
        Whether it continues with its own history; whether for one pass, as `partial_fit`.
    """
    course = course_of_fit(
        estimator, X, y, X_teacher, donor=donor, resume=resume, one_pass=one_pass
    )
    with contextlib.closing(course):
        for net, rows in course:
            with torch.enable_grad():
                net.partial_fit(rows)


def course_of_fit(
    estimator: TeacherGuidedVAE,
    X: Any,
    y: Any,
    X_teacher: Any,
    *,
    donor: TeacherGuidedVAE | None,
    resume: bool = False,
    one_pass: bool = False,
) -> Generator[tuple[VAENet, TrainingRows]]:
    """Fit what has to be fitted, yield what is to be trained, then set the attributes.

    Parameters are those of `train`.
    """
    streaming = resume and one_pass
    X = as_rows(X)
    image_shape = estimator.image_shape
    if image_shape is None and donor is not None:
        image_shape = donor.image_shape_
    image_shape = resolve_image_shape(image_shape, estimator.architecture, X)
    X = flatten_images(X, image_shape)
    rows = validate_data(
        estimator,
        X,
        dtype=[np.float64, np.float32],
        reset=not resume,
        ensure_min_samples=1 if streaming else 2,
    )
    if y is not None:
        check_consistent_length(rows, y)
        y = y if hasattr(y, "iloc") else np.asarray(as_rows(y))
    if X_teacher is not None:
        X_teacher = as_rows(X_teacher)
        check_consistent_length(rows, X_teacher)
    settings = {**estimator.get_params(deep=False), "image_shape": image_shape}
    architecture = check_settings(settings, rows)
    if donor is not None:
        check_donor(donor, X, architecture)
    seed = estimator._seed if resume else draw_seed(estimator.random_state)
    check_own_modules(architecture, seed)
    chosen = held_out = None
    if estimator.early_stopping and not one_pass:
        chosen, held_out = split_rows(estimator, len(rows), seed)
    n_rows = len(rows) if chosen is None else len(chosen)
    check_number_of_steps(settings, n_rows)

    if donor is not None:
        units = donor._units
    elif estimator.likelihood in WITH_VARIANCE:
        units = Standardization.of(rows, chosen)
        if image_shape is not None:
            units = units.pooled(image_shape[0])
    else:
        units = Standardization.identity(rows.shape[1])

    # A data frame reaches the teacher as it came, names and all.
    seen_by_teacher = X if hasattr(X, "iloc") else rows
    if X_teacher is not None:
        seen_by_teacher = X_teacher
    teacher_sees = "X" if X_teacher is None else "X_teacher"
    keep_teacher = _keeps_teacher(estimator, donor, streaming)
    if donor is not None and keep_teacher:
        if donor.teacher_sees_ != teacher_sees:
            raise ValueError(
                f"The teacher that training continues with was fitted to "
                f"{donor.teacher_sees_}, and is now shown {teacher_sees}: pass X_teacher "
                "both times or neither, or another teacher."
            )
        teacher = donor.teacher_
    else:
        taught = _rows_for_teacher(estimator, len(rows), chosen, seed)
        teacher = fit_teacher(
            estimator.teacher,
            _safe_indexing(seen_by_teacher, taught),
            None if y is None else _safe_indexing(y, taught),
            seed,
            estimator.memory,
        )
    # Beyond a size that is held in float64 without a thought.
    dtype = np.float32 if is_large(rows) else np.float64
    T = teacher_distributions(teacher, seen_by_teacher, len(rows), dtype)
    validation = T_held_out = None
    if chosen is not None:
        T_held_out, T = T[held_out], T[chosen]
        validation = TrainingRows(rows, T_held_out, units, held_out, estimator.data_on_device)
    training = TrainingRows(rows, T, units, chosen, estimator.data_on_device)
    if streaming:
        information = teacher_information(T)
        average_teacher = estimator.average_teacher_
    else:
        information = check_informative(T)
        check_against_teacher(settings, T, T_held_out)
        average_teacher = best_constant_student(T)
    if not streaming or estimator._design_setting != _design_setting_of(estimator):
        _design(estimator, None if streaming else T, average_teacher)

    net = build_net(
        settings,
        architecture,
        units,
        average_teacher,
        n_rows=n_rows,
        seed=seed,
        max_epochs=1 if one_pass else estimator.max_epochs,
        held_out=validation,
    )
    with _torch_state(estimator, seed, len(estimator.history_) if resume else 0):
        net.initialize()
        if donor is not None:
            copy_weights(donor.net_, net, with_witness=keep_teacher)
        if resume:
            net.resume_from(estimator.net_)
        elif estimator.prefit_epochs:
            _prefit(estimator, net, training, T, average_teacher)
        yield net, training
    net.train_split = None

    estimator.net_ = net
    estimator.teacher_ = teacher
    estimator.teacher_sees_ = teacher_sees
    estimator.history_ = [
        *(estimator.history_ if resume else []),
        *net.plain_history(len(estimator.history_) if resume else 0),
    ]
    estimator.n_iter_ = len(estimator.history_)
    estimator.average_teacher_ = average_teacher
    estimator.teacher_information_ = information
    estimator.image_shape_ = image_shape
    estimator._units = units
    estimator._seed = seed
    estimator._teacher_setting = clone(estimator.teacher, safe=False)
    estimator._n_features_out = estimator.latent_dim
    _check_finite(estimator, rows)
    estimator.margin_ = _margin_of(estimator, rows, chosen, T)
    seen = RowFingerprint.of(rows)
    estimator.fingerprint_ = seen if donor is None else donor.fingerprint_ | seen


def _torch_state(
    estimator: TeacherGuidedVAE, seed: int, n_epochs: int
) -> contextlib.AbstractContextManager[None]:
    """Keep what modules that are not ours draw, such as dropout, in private."""
    if estimator.encoder is None and estimator.decoder in (None, "autoregressive"):
        return contextlib.nullcontext()
    state = derive_seed(seed, "own modules", n_epochs)
    return private_torch_state(state, resolve_device(estimator.device))


def _rows_for_teacher(
    estimator: TeacherGuidedVAE, n_samples: int, chosen: NDArray | None, seed: int
) -> NDArray | slice:
    """Draw the indices of the rows that the teacher is fitted to."""
    if (n_samples if chosen is None else len(chosen)) <= estimator.max_teacher_rows:
        return slice(None) if chosen is None else chosen
    generator = np.random.default_rng(derive_seed(seed, "teacher rows"))
    among = n_samples if chosen is None else chosen
    return np.sort(generator.choice(among, estimator.max_teacher_rows, replace=False))


def _margin_of(
    estimator: TeacherGuidedVAE, rows: NDArray, chosen: NDArray | None, T: NDArray
) -> float:
    statistics = BoundaryStatistics()
    for block in gen_batches(len(T), BLOCK_ROWS):
        block_rows = rows[block] if chosen is None else rows[chosen[block]]
        statistics.update(T[block], estimator._inference.log_witness(block_rows, None))
    return statistics.margin


def _check_finite(estimator: TeacherGuidedVAE, rows: NDArray) -> None:
    # The loss of an epoch is that of the weights before its last step. One pair of draws
    # is enough to see an overflow.
    if not np.isfinite(estimator._inference.elbo(rows[:CHUNK_ROWS], n_draws=2)).all():
        raise DivergenceError(
            f"Training diverged in the last step of epoch {estimator.n_iter_}: the ELBO is no "
            f"longer finite. Try a smaller lr (now {estimator.lr:g}), a larger "
            "decoder_variance, or look for extreme values in X."
        )


def _design_setting_of(estimator: TeacherGuidedVAE) -> tuple[Any, ...]:
    return (
        estimator.witness,
        estimator.witness_scale,
        estimator.beta,
        estimator.alignment_weight,
        estimator.witness_input,
        is_designed_objective(estimator.get_params(deep=False)),
    )


def _design(estimator: TeacherGuidedVAE, T: NDArray | None, average_teacher: NDArray) -> None:
    """Promise a margin, where the witness is known and so are the rows."""
    estimator._design_setting = _design_setting_of(estimator)
    # Of an earlier fit with other settings.
    for name in ("design_", "designed_margin_"):
        estimator.__dict__.pop(name, None)
    if (
        T is not None
        and estimator.witness == "simplex"
        and estimator.alignment_weight > 0
        and is_designed_objective(estimator.get_params(deep=False))
    ):
        estimator.design_ = design_alpha(
            T[:: max(1, len(T) // DESIGN_ROWS)],
            estimator.witness_scale,
            estimator.beta,
            estimator.alignment_weight,
            average_teacher,
            estimator.witness_input,
        )
        estimator.designed_margin_ = estimator.design_.margin
        if estimator.verbose:
            print(
                f"Designed margin at the {estimator.witness_input}: "
                f"{estimator.designed_margin_:.4f} nats (alpha {estimator.design_.alpha:.3f}, "
                f"I_T {teacher_information(T):.4f})"
            )


def _prefit(
    estimator: TeacherGuidedVAE,
    net: VAENet,
    training: TrainingRows,
    T: NDArray,
    average_teacher: NDArray,
) -> None:
    if estimator.prefit_alpha == "design":
        alpha, variance = estimator.design_.alpha, estimator.design_.variance
    else:
        alpha = estimator.prefit_alpha
        variance = estimator.design_.variance if hasattr(estimator, "design_") else 1.0
    codes = np.empty((len(T), T.shape[1] - 1), dtype=np.float32)
    for block in gen_batches(len(T), BLOCK_ROWS):
        code = analytic_code(T[block], estimator.witness_scale, average_teacher)
        codes[block] = alpha * code
    prefit_encoder(net, training, codes, variance, estimator.prefit_epochs)


def _keeps_teacher(
    estimator: TeacherGuidedVAE, donor: TeacherGuidedVAE | None, streaming: bool
) -> bool:
    if donor is None:
        return False
    if donor is estimator:
        return streaming or same_settings(estimator.teacher, estimator._teacher_setting)
    return estimator.teacher is None or unfrozen(estimator.teacher) is unfrozen(donor.teacher_)


def split_rows(
    estimator: TeacherGuidedVAE, n_samples: int, seed: int
) -> tuple[NDArray, NDArray]:
    """Return indices, sorted, of the rows to train on and of those that are held out."""
    n_held_out = max(1, round(estimator.validation_fraction * n_samples))
    if n_samples - n_held_out < 2:
        raise ValueError(
            f"Early stopping with validation_fraction={estimator.validation_fraction:g} leaves "
            f"{n_samples - n_held_out} of n_samples={n_samples} rows to train on: pass "
            "more rows or early_stopping=False."
        )
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(n_samples)
    # Sorted, so that a file is read from one end to the other.
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])
