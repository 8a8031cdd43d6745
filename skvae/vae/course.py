"""The course of a fit: what is checked, fitted, trained and found, and in which order."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, gen_batches, get_tags
from sklearn.utils.validation import _num_samples, check_consistent_length

from skvae._common.parameters import same_settings, unfrozen
from skvae._common.randomness import derive_seed, draw_seed, private_torch_state
from skvae._common.threads import one_thread_if
from skvae.exceptions import DivergenceError
from skvae.information import (
    BoundaryStatistics,
    best_constant_student,
    teacher_information,
)
from skvae.information.boundary import check_informative
from skvae.information.design import Design, design_alpha
from skvae.information.simplex import analytic_code
from skvae.nets.likelihoods import WITH_VARIANCE
from skvae.nets.own_modules import check_own_modules
from skvae.rows.fingerprint import RowFingerprint, fingerprint_if_numbers
from skvae.rows.frames import is_frame, is_series
from skvae.rows.scaling import Standardization
from skvae.rows.sources import as_rows
from skvae.teachers.fits import fit_teacher, teacher_distributions
from skvae.training.batches import TrainingRows, is_large
from skvae.training.devices import resolve_device
from skvae.training.net import VAENet, build_net
from skvae.training.prefit import prefit_encoder
from skvae.vae.advice import warn_of_seen_rows
from skvae.vae.fitted import NOT_OF_NET, Fitted
from skvae.vae.inference import CHUNK_ROWS, Inference
from skvae.vae.settings import (
    check_against_teacher,
    check_number_of_steps,
    check_settings,
    is_designed_objective,
)
from skvae.vae.warm_start import check_donor, copy_weights

__all__ = ["Course", "GivenRows", "course_of_fit", "finish", "split_rows", "train"]

# Rows whose distributions are worked on at a time.
BLOCK_ROWS = 2**16
# Passes of `partial_fit` that a history keeps: a stream has no end.
MOST_PASSES = 1000
# Rows, evenly spaced, from which a margin is designed.
DESIGN_ROWS = 100_000

Course = Generator[tuple[VAENet, TrainingRows], None, Fitted]


@dataclass(frozen=True)
class GivenRows:
    """Rows that `fit` was given, checked.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        As they came, one image a row: a data frame has its names still.
    rows : ndarray of shape (n_samples, n_features)
        The same as finite floats.
    image_shape : tuple of int or None
        ``(channels, height, width)``; None where they are no images.
    feature_names : ndarray of shape (n_features,) or None
        Names of the columns, where they are all strings.
    owner : str
        Name of the estimator, for errors.
    """

    X: Any
    rows: NDArray
    image_shape: tuple[int, int, int] | None
    feature_names: NDArray | None
    owner: str


def train(course: Course) -> Fitted:
    """Take a whole course, with the training that the net has of its own."""
    with contextlib.closing(course):
        net, rows = next(course)
        with torch.enable_grad():
            net.partial_fit(rows)
        return finish(course)


def finish(course: Course) -> Fitted:
    """Take a course to its end once its net is trained; return what the fit found."""
    try:
        next(course)
    except StopIteration as end:
        fitted: Fitted = end.value
        return fitted
    raise RuntimeError("A course hands over one net, and got to hand over another.")


def course_of_fit(
    parameters: Mapping[str, Any],
    given: GivenRows,
    y: Any,
    X_teacher: Any,
    *,
    donor: Fitted | None = None,
    resume: bool = False,
    one_pass: bool = False,
) -> Course:
    """Fit what has to be fitted, yield what is to be trained, then return what was found.

    Parameters
    ----------
    parameters : mapping
        Constructor parameters of `TeacherGuidedVAE`, each of a valid type and range.
    given : GivenRows
        Training rows.
    y, X_teacher
        As in its `fit`.
    donor : Fitted or None
        What training starts from: the weights, and the teacher where it is kept.
    resume, one_pass : bool
        Whether the donor is the model itself, whose history goes on; whether for one pass, as
        `partial_fit`.
    """
    streaming = resume and one_pass
    rows, image_shape = given.rows, given.image_shape
    if y is not None:
        check_consistent_length(rows, y)
        y = y if is_frame(y) or is_series(y) else np.asarray(as_rows(y))
    if X_teacher is not None:
        X_teacher = as_rows(X_teacher)
        check_consistent_length(rows, X_teacher)
    settings = {**parameters, "image_shape": image_shape}
    architecture = check_settings(settings, rows)
    if donor is not None:
        check_donor(donor, architecture)
    most_epochs = MOST_PASSES if streaming else None
    history = donor.history if donor is not None and resume else []
    n_epochs = donor.n_iter if donor is not None and resume else 0
    if streaming:
        # One more is to come.
        history = history[1 - MOST_PASSES :]
    seed = donor.seed if donor is not None and resume else draw_seed(settings["random_state"])
    check_own_modules(architecture, seed)
    # A data frame reaches the teacher as it came, names and all.
    seen_by_teacher = given.X if is_frame(given.X) else rows
    if X_teacher is not None:
        seen_by_teacher = X_teacher
    teacher_sees = "X" if X_teacher is None else "X_teacher"
    keep_teacher = donor is not None and _keeps_teacher(settings, donor, resume, streaming)
    came_fitted = keep_teacher or isinstance(settings["teacher"], FrozenEstimator)
    teacher_fingerprint: RowFingerprint | None = None
    if donor is not None and keep_teacher:
        teacher_fingerprint = donor.teacher_fingerprint
    elif came_fitted:
        teacher_fingerprint = getattr(settings["teacher"].estimator, "fingerprint_", None)
    chosen = held_out = None
    is_fresh = True
    if settings["early_stopping"] and not one_pass:
        fresh = np.ones(len(rows), dtype=bool)
        if donor is not None:
            fresh &= donor.trained_on.absent(rows)
        if teacher_fingerprint is not None:
            fresh &= _absent(teacher_fingerprint, seen_by_teacher)
        fraction = settings["validation_fraction"]
        chosen, held_out, is_fresh = split_rows(fraction, fresh, seed)
        if not is_fresh:
            warn_of_seen_rows(len(held_out), int(fresh.sum()))
        # Of a teacher that nothing is known of, nobody can say what it has seen.
        is_fresh &= not came_fitted or teacher_fingerprint is not None
    n_rows = len(rows) if chosen is None else len(chosen)
    check_number_of_steps(settings, n_rows)

    if donor is not None:
        units = donor.units
    elif settings["likelihood"] in WITH_VARIANCE:
        units = Standardization.of(rows, chosen)
        if image_shape is not None:
            units = units.pooled(image_shape[0])
    else:
        units = Standardization.identity(rows.shape[1])

    seen = RowFingerprint.of(rows)
    trained_on = seen if chosen is None else RowFingerprint.of(rows, chosen)
    if donor is not None and keep_teacher:
        if donor.teacher_sees != teacher_sees:
            raise ValueError(
                f"The teacher that training continues with was fitted to "
                f"{donor.teacher_sees}, and is now shown {teacher_sees}: pass X_teacher "
                "both times or neither, or another teacher."
            )
        teacher = donor.teacher
    else:
        taught = _rows_for_teacher(settings["max_teacher_rows"], len(rows), chosen, seed)
        teacher = fit_teacher(
            settings["teacher"],
            _safe_indexing(seen_by_teacher, taught),
            None if y is None else _safe_indexing(y, taught),
            seed,
            settings["memory"],
        )
        if not came_fitted:
            is_all = isinstance(taught, slice) or taught is chosen
            if seen_by_teacher is rows and is_all:
                teacher_fingerprint = trained_on
            # Of one that needs no fit the distributions were made elsewhere.
            elif get_tags(teacher).requires_fit:
                teacher_fingerprint = fingerprint_if_numbers(seen_by_teacher, taught)
            if hasattr(teacher, "fingerprint_"):
                # Of the same rows: it is kept, and pickled, once.
                teacher.fingerprint_ = teacher_fingerprint
    # Beyond a size that is held in float64 without a thought.
    dtype = np.float32 if is_large(rows) else np.float64
    T = teacher_distributions(teacher, seen_by_teacher, len(rows), dtype)
    validation = T_held_out = None
    on_device = settings["data_on_device"]
    if chosen is not None:
        T_held_out, T = T[held_out], T[chosen]
        validation = TrainingRows(rows, T_held_out, units, held_out, on_device)
    training = TrainingRows(rows, T, units, chosen, on_device)
    design_setting = _design_setting(settings)
    if donor is not None and streaming:
        information = teacher_information(T)
        average_teacher = donor.average_teacher
        # A margin is designed on the rows that all is fitted to, which these are not.
        design = donor.design if donor.design_setting == design_setting else None
    else:
        information = check_informative(T)
        check_against_teacher(settings, T, T_held_out)
        average_teacher = best_constant_student(T)
        design = _designed(settings, T, average_teacher)

    net = build_net(
        settings,
        architecture,
        units,
        average_teacher,
        n_rows=n_rows,
        seed=seed,
        max_epochs=1 if one_pass else settings["max_epochs"],
        held_out=validation,
        has_bound=is_fresh,
    )
    with _torch_state(settings, seed, n_epochs):
        with one_thread_if(True):
            net.initialize()
            if donor is not None:
                copy_weights(donor.net, net, with_witness=keep_teacher)
            if donor is not None and resume:
                net.resume_from(donor.net, most_epochs)
        if settings["prefit_epochs"] and not resume:
            _prefit(settings, net, training, T, average_teacher, design)
        yield net, training
    net.train_split = None
    if not one_pass:
        # The moments of the optimiser are twice the size of the weights.
        with one_thread_if(True):
            net.initialize_optimizer()
    history = [*history, *net.plain_history()]
    inference = Inference(net, units, seed, given.owner)
    _check_finite(settings, inference, rows, len(net.history) + net.n_epochs_forgotten_)
    return Fitted(
        net=net,
        settings={name: settings[name] for name in settings if name not in NOT_OF_NET},
        teacher=teacher,
        teacher_sees=teacher_sees,
        teacher_information=information,
        average_teacher=average_teacher,
        margin=_margin_of(inference, rows, chosen, T),
        history=history,
        fingerprint=seen if donor is None else donor.fingerprint | seen,
        teacher_fingerprint=teacher_fingerprint,
        trained_on=trained_on if donor is None else donor.trained_on | trained_on,
        image_shape=image_shape,
        n_features_in=rows.shape[1],
        feature_names_in=given.feature_names,
        units=units,
        seed=seed,
        teacher_setting=clone(settings["teacher"], safe=False),
        design=design,
        design_setting=design_setting,
    )


def _torch_state(
    settings: Mapping[str, Any], seed: int, n_epochs: int
) -> contextlib.AbstractContextManager[None]:
    """Keep what modules that are not ours draw, such as dropout, in private."""
    if settings["encoder"] is None and settings["decoder"] in (None, "autoregressive"):
        return contextlib.nullcontext()
    state = derive_seed(seed, "own modules", n_epochs)
    return private_torch_state(state, resolve_device(settings["device"]))


def _rows_for_teacher(
    n_most: int, n_samples: int, chosen: NDArray | None, seed: int
) -> NDArray | slice:
    """Draw the indices of the rows that the teacher is fitted to."""
    if (n_samples if chosen is None else len(chosen)) <= n_most:
        return slice(None) if chosen is None else chosen
    generator = np.random.default_rng(derive_seed(seed, "teacher rows"))
    among = n_samples if chosen is None else chosen
    return np.sort(generator.choice(among, n_most, replace=False))


def _margin_of(
    inference: Inference, rows: NDArray, chosen: NDArray | None, T: NDArray
) -> float:
    statistics = BoundaryStatistics()
    for block in gen_batches(len(T), BLOCK_ROWS):
        block_rows = rows[block] if chosen is None else rows[chosen[block]]
        statistics.update(T[block], inference.log_witness(block_rows, None))
    return statistics.margin


def _check_finite(
    settings: Mapping[str, Any], inference: Inference, rows: NDArray, n_epochs: int
) -> None:
    # The loss of an epoch is that of the weights before its last step. One pair of draws
    # is enough to see an overflow.
    if not np.isfinite(inference.elbo(rows[:CHUNK_ROWS], n_draws=2)).all():
        raise DivergenceError(
            f"Training diverged in the last step of epoch {n_epochs}: the ELBO is no "
            f"longer finite. Try a smaller lr (now {settings['lr']:g}), a larger "
            "decoder_variance, or look for extreme values in X."
        )


def _design_setting(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """All that a design follows from, but for the teacher."""
    return (
        settings["witness"],
        settings["witness_scale"],
        settings["beta"],
        settings["alignment_weight"],
        settings["witness_input"],
        is_designed_objective(settings),
    )


def _designed(
    settings: Mapping[str, Any], T: NDArray, average_teacher: NDArray
) -> Design | None:
    """Design a margin, where the witness is known before training."""
    if (
        settings["witness"] != "simplex"
        or settings["alignment_weight"] == 0
        or not is_designed_objective(settings)
    ):
        return None
    design = design_alpha(
        T[:: max(1, len(T) // DESIGN_ROWS)],
        settings["witness_scale"],
        settings["beta"],
        settings["alignment_weight"],
        average_teacher,
        settings["witness_input"],
    )
    if settings["verbose"]:
        print(
            f"Designed margin at the {settings['witness_input']}: {design.margin:.4f} nats on "
            f"the training rows (proved of what costs no more {design.proved_margin:.4f}, "
            f"alpha {design.alpha:.3f}, I_T {teacher_information(T):.4f})"
        )
    return design


def _prefit(
    settings: Mapping[str, Any],
    net: VAENet,
    training: TrainingRows,
    T: NDArray,
    average_teacher: NDArray,
    design: Design | None,
) -> None:
    alpha = settings["prefit_alpha"]
    if design is not None and alpha == "design":
        alpha = design.alpha
    codes = np.empty((len(T), T.shape[1] - 1), dtype=np.float32)
    for block in gen_batches(len(T), BLOCK_ROWS):
        code = analytic_code(T[block], settings["witness_scale"], average_teacher)
        codes[block] = alpha * code
    variance = 1.0 if design is None else design.variance
    prefit_encoder(net, training, codes, variance, settings["prefit_epochs"])


def _keeps_teacher(
    settings: Mapping[str, Any], donor: Fitted, resume: bool, streaming: bool
) -> bool:
    teacher = settings["teacher"]
    if resume:
        return streaming or same_settings(teacher, donor.teacher_setting)
    return teacher is None or unfrozen(teacher) is unfrozen(donor.teacher)


def _absent(seen: RowFingerprint, rows: Any) -> NDArray[np.bool_]:
    """Tell which rows a teacher has surely not seen; of rows that are no numbers, none."""
    try:
        return seen.absent(rows)
    except (TypeError, ValueError):
        return np.zeros(_num_samples(rows), dtype=bool)


def split_rows(
    validation_fraction: float, fresh: NDArray[np.bool_], seed: int
) -> tuple[NDArray, NDArray, bool]:
    """Draw the rows to hold out among the fresh ones, where these are enough.

    Parameters
    ----------
    validation_fraction : float
        Share of the rows to hold out. Half of it is enough; fewer say too little.
    fresh : ndarray of shape (n_samples,)
        Which rows neither model nor teacher have seen, as far as is known.
    seed : int
        Seed of the fit.

    Returns
    -------
    chosen, held_out : ndarray of int
        Indices, sorted, of the rows to train on and of those that are held out.
    is_fresh : bool
        Whether all that are held out are fresh.
    """
    n_samples = len(fresh)
    n_held_out = max(1, round(validation_fraction * n_samples))
    if n_samples - n_held_out < 2:
        raise ValueError(
            f"Early stopping with validation_fraction={validation_fraction:g} leaves "
            f"{n_samples - n_held_out} of n_samples={n_samples} rows to train on: pass "
            "more rows or early_stopping=False."
        )
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(n_samples)
    candidates = order[fresh[order]]
    is_fresh = len(candidates) >= max(1, n_held_out // 2)
    held_out = (candidates if is_fresh else order)[:n_held_out]
    # Sorted, so that a file is read from one end to the other.
    held_out = np.sort(held_out)
    return np.setdiff1d(order, held_out), held_out, is_fresh
