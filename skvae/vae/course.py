"""The course of a fit: what is checked, fitted, trained and found, and in which order."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, gen_batches, get_tags
from sklearn.utils.validation import _num_samples

from skvae._common.parameters import same_settings, unfrozen
from skvae._common.randomness import derive_seed, draw_seed, private_torch_state
from skvae._common.threads import one_thread_if
from skvae.information import best_constant_student, teacher_information
from skvae.information.boundary import check_informative
from skvae.information.design import Design
from skvae.information.simplex import analytic_code
from skvae.nets.likelihoods import OF_COUNTS, Kinds, with_variance
from skvae.nets.own_modules import check_own_modules
from skvae.rows.counts import CountUnits, position_of_size
from skvae.rows.fingerprint import RowFingerprint, fingerprint_if_numbers
from skvae.rows.missing import observed_moments, require_observed, with_filled
from skvae.rows.scaling import Standardization, steps_of
from skvae.rows.sparse import matrix_of
from skvae.teachers.fits import (
    can_be_weighed,
    fit_teacher,
    rows_to_teach,
    teacher_distributions,
    wants_frame,
)
from skvae.teachers.missing import FilledRows, bears_missing
from skvae.training.batches import TrainingRows, is_large
from skvae.training.building import build_net
from skvae.training.devices import resolve_device
from skvae.training.distributed import reading_over
from skvae.training.net import VAENet
from skvae.training.prefit import prefit_encoder
from skvae.training.ranks import Ranks
from skvae.vae.advice import warn_of_seen_rows
from skvae.vae.budget import holds_out, with_budget
from skvae.vae.checkpoints import open_checkpoint, what_is_taught
from skvae.vae.designs import design_setting, designed
from skvae.vae.fitted import NOT_OF_NET, Fitted
from skvae.vae.given import GivenRows, weights_of
from skvae.vae.held_out import split_rows
from skvae.vae.outcome import BLOCK_ROWS, Beginning
from skvae.vae.ranks import check_shared, settings_of_rank
from skvae.vae.settings import (
    check_against_teacher,
    check_number_of_steps,
    check_settings,
    may_draw_from_torch,
)
from skvae.vae.warm_start import check_donor, copy_weights

__all__ = ["Course", "course_of_fit", "finish", "train"]

# Passes of `partial_fit` that a history keeps: a stream has no end.
MOST_PASSES = 1000

Course = Generator[tuple[VAENet, TrainingRows], None, Fitted]


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
    *,
    donor: Fitted | None = None,
    resume: bool = False,
    one_pass: bool = False,
    as_model: Callable[[Fitted], Any] | None = None,
    ranks: Ranks | None = None,
) -> Course:
    """Fit what has to be fitted, yield what is to be trained, then return what was found.

    Parameters
    ----------
    parameters : mapping
        Constructor parameters of `TeacherGuidedVAE`, each of a valid type and range.
    given : GivenRows
        Training rows, and what else there is of them.
    donor : Fitted or None
        What training starts from: the weights, and the teacher where it is kept.
    resume, one_pass : bool
        Whether the donor is the model itself, whose history goes on; whether for one pass, as
        `partial_fit`.
    as_model : callable or None
        From what a fit has found to an estimator, for callbacks that ask for one on the way.
    ranks : Ranks or None
        Who shares the fit: all go this way together, and what takes long and does not depend
        on the rows of a batch is done by the first.
    """
    once = _alone if ranks is None else ranks.from_first
    streaming = resume and one_pass
    rows, image_shape = given.rows, given.image_shape
    y, X_teacher, weights = given.y, given.X_teacher, given.weights
    columns = given.columns
    settings = {**parameters, "image_shape": image_shape}
    if ranks is not None:
        settings = settings_of_rank(ranks, settings, donor)
    size = position_of_size(settings["size"], rows.shape[1], given.feature_names)
    if settings["missing"] == "mask" and size == "total":
        # What a row has in all is not known of one that lacks an entry.
        size = None
    architecture = check_settings(settings, rows, size, columns)
    has_counts = architecture["likelihood"] in OF_COUNTS
    if donor is not None:
        check_donor(donor, architecture, size if has_counts else None)
    most_epochs = MOST_PASSES if streaming else None
    history = donor.history if donor is not None and resume else []
    n_epochs = donor.n_iter if donor is not None and resume else 0
    if streaming:
        # One more is to come.
        history = history[1 - MOST_PASSES :]
    checkpoint = None
    if settings["checkpoint"] is not None and not one_pass:
        checkpoint = open_checkpoint(settings, given, donor, ranks)
    seed = draw_seed(settings["random_state"])
    seed = once(partial(int, seed))
    if donor is not None and resume:
        seed = donor.seed
    elif checkpoint is not None and checkpoint.found is not None:
        seed = checkpoint.found["seed"]
    modules = check_own_modules(architecture, seed)
    teacher_sees = "X" if X_teacher is None else "X_teacher"
    keep_teacher = donor is not None and _keeps_teacher(settings, donor, resume, streaming)
    came_fitted = keep_teacher or isinstance(settings["teacher"], FrozenEstimator)
    # A data frame reaches the teacher as it came, names and all.
    seen_by_teacher = matrix_of(given.X)
    sees_encoded = False
    if X_teacher is not None:
        seen_by_teacher = X_teacher
    elif columns is not None:
        shown_to = donor.teacher if donor is not None and keep_teacher else settings["teacher"]
        sees_encoded = not wants_frame(shown_to)
        seen_by_teacher = rows if sees_encoded else given.X
    teacher_fingerprint: RowFingerprint | None = None
    if donor is not None and keep_teacher:
        teacher_fingerprint = donor.teacher_fingerprint
    elif came_fitted:
        teacher_fingerprint = getattr(settings["teacher"].estimator, "fingerprint_", None)
        if columns is not None and not (sees_encoded or columns.is_numeric):
            # It was taken of other numbers than the rows are told by here.
            teacher_fingerprint = None
    chosen = held_out = None
    is_fresh = True
    if settings["early_stopping"] and not one_pass:
        fresh = np.ones(len(rows), dtype=bool)
        if donor is not None:
            fresh &= donor.trained_on.absent(rows)
        if teacher_fingerprint is not None:
            fresh &= _absent(teacher_fingerprint, rows if X_teacher is None else X_teacher)
        if holds_out(settings, fresh):
            fraction = settings["validation_fraction"]
            chosen, held_out, is_fresh = split_rows(fraction, fresh, seed)
            if not is_fresh:
                warn_of_seen_rows(len(held_out), int(fresh.sum()))
            # Of a teacher that nothing is known of, nobody can say what it has seen.
            is_fresh &= not came_fitted or teacher_fingerprint is not None
    n_rows = len(rows) if chosen is None else len(chosen)
    settings = with_budget(settings, n_rows, is_judged=chosen is not None)
    check_number_of_steps(settings, n_rows)
    if ranks is not None:
        check_shared(ranks, settings, modules)

    has_missing = settings["missing"] == "mask"
    fill = donor.fill if donor is not None and keep_teacher else None
    moments = None
    if has_missing and not keep_teacher:
        moments = observed_moments(rows, chosen, weights_of(weights, chosen))
        require_observed(moments, given.encoded_names)
        is_whole = columns is not None and not sees_encoded
        if X_teacher is None and not is_whole and not bears_missing(settings["teacher"]):
            fill = moments.mean
    if donor is not None:
        units = donor.units
    else:
        units = Standardization.identity(rows.shape[1])
        has_variance = with_variance(architecture["likelihood"], rows.shape[1])
        if has_variance.any():
            units = (
                Standardization.of(rows, chosen, weights_of(weights, chosen))
                if moments is None
                else Standardization.of_observed(moments)
            )
        if not has_variance.all():
            units = units.only(has_variance)
        elif image_shape is not None:
            units = units.pooled(image_shape[0])
    counts = None if donor is None else donor.net.module__counts
    if donor is None and has_counts:
        counts = CountUnits.of(rows, size, chosen, weights_of(weights, chosen))

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
        n_most, takes_weights = (
            settings["max_teacher_rows"],
            can_be_weighed(settings["teacher"]),
        )
        by = None if takes_weights else weights
        taught = rows_to_teach(n_most, len(rows), chosen, seed, by)
        shown = _safe_indexing(seen_by_teacher, taught)
        fit_one = partial(
            fit_teacher,
            settings["teacher"],
            shown if fill is None else with_filled(shown, fill),
            None if y is None else _safe_indexing(y, taught),
            seed,
            settings["memory"],
            weights[taught] if weights is not None and takes_weights else None,
            # Another view of the rows need be no counts.
            None if counts is None or X_teacher is not None else counts.size,
        )
        # One that came fitted each rank has already, and it is known again by what it is.
        teacher = fit_one() if came_fitted else once(fit_one)
        if not came_fitted:
            is_all = isinstance(taught, slice) or taught is chosen
            told_by = matrix_of(rows) if X_teacher is None else X_teacher
            if seen_by_teacher is matrix_of(rows) and is_all:
                teacher_fingerprint = trained_on
            # Of one that needs no fit the distributions were made elsewhere.
            elif get_tags(teacher).requires_fit:
                teacher_fingerprint = fingerprint_if_numbers(told_by, taught)
            if hasattr(teacher, "fingerprint_"):
                # Of the same rows: it is kept, and pickled, once.
                teacher.fingerprint_ = teacher_fingerprint
    # Beyond a size that is held in float64 without a thought.
    dtype = np.float32 if is_large(rows) else np.float64
    asked = teacher if fill is None else FilledRows(teacher, fill)
    T = teacher_distributions(asked, seen_by_teacher, len(rows), dtype)
    validation = T_held_out = aside = None
    on_device = settings["data_on_device"]
    if chosen is not None:
        T_held_out, T = T[held_out], T[chosen]
        weights, aside = weights_of(weights, chosen), weights_of(weights, held_out)
        validation = TrainingRows(
            rows, T_held_out, units, held_out, on_device, aside, has_missing
        )
    training = TrainingRows(rows, T, units, chosen, on_device, weights, has_missing)
    if checkpoint is not None:
        checkpoint.begin(seed, what_is_taught(T))
    setting_of_design = design_setting(settings)
    if donor is not None and streaming:
        information = teacher_information(T, weights)
        average_teacher = donor.average_teacher
        # A margin is designed on the rows that all is fitted to, which these are not.
        design = donor.design if donor.design_setting == setting_of_design else None
    else:
        information = check_informative(T, weights)
        check_against_teacher(settings, (T, weights), (T_held_out, aside))
        average_teacher = best_constant_student(T, weights)
        design = designed(settings, T, average_teacher, weights)

    net = build_net(
        settings,
        architecture,
        units,
        average_teacher,
        counts=counts,
        n_rows=n_rows,
        seed=seed,
        max_epochs=1 if one_pass else settings["max_epochs"],
        held_out=validation,
        has_bound=is_fresh,
        log_scale_sum=training.log_scale_sum,
        steps=_steps(settings, architecture["likelihood"], rows, chosen),
        checkpoint=checkpoint,
    )
    begun = Fitted(
        net=net,
        settings={name: settings[name] for name in settings if name not in NOT_OF_NET},
        teacher=teacher,
        teacher_sees=teacher_sees,
        teacher_information=information,
        average_teacher=average_teacher,
        margin=math.nan,
        history=history,
        fingerprint=seen if donor is None else donor.fingerprint | seen,
        teacher_fingerprint=teacher_fingerprint,
        trained_on=trained_on if donor is None else donor.trained_on | trained_on,
        image_shape=image_shape,
        n_features_in=given.n_features_in,
        feature_names_in=given.feature_names,
        units=units,
        seed=seed,
        teacher_setting=clone(settings["teacher"], safe=False),
        design=design,
        design_setting=setting_of_design,
        columns=columns,
        fill=fill,
    )
    told_by = validation if is_fresh else None
    beginning = Beginning(begun, rows, chosen, T, weights, told_by, given.owner)
    if as_model is not None:
        net.tell_model(lambda copied: as_model(beginning.with_net(copied)))
    with _torch_state(settings, seed, n_epochs):
        with one_thread_if(True):
            net.initialize()
            net.ranks_ = ranks
            net.take_precision(once(lambda: net.module__precision))
            if donor is not None:
                copy_weights(donor.net, net, with_witness=keep_teacher)
            if donor is not None and resume:
                net.resume_from(donor.net, most_epochs)
        if checkpoint is not None and checkpoint.found is not None:
            checkpoint.restore(net)
        elif settings["prefit_epochs"] and not resume:
            _prefit(settings, net, training, T, average_teacher, design)
        yield net, training
        if ranks is not None and net.interrupted_:
            # The others are in the middle of a step, and have another model.
            raise KeyboardInterrupt("Interrupted: the checkpoint, if there is one, resumes.")
        if checkpoint is not None and not net.interrupted_:
            checkpoint.write(net, is_complete=True)
    net.train_split = None
    net.forget_callbacks()
    if not one_pass:
        # The moments of the optimiser are twice the size of the weights.
        with one_thread_if(True):
            net.initialize_optimizer()
    with contextlib.nullcontext() if ranks is None else reading_over(ranks):
        return beginning.with_net(net)


def _alone(make: Callable[[], Any]) -> Any:
    return make()


def _steps(
    settings: Mapping[str, Any], likelihood: Kinds, rows: Any, chosen: NDArray | None
) -> NDArray | float:
    """Return the steps of the columns, where a learned variance asks for them."""
    is_learned = settings["decoder_variance"] == "learned"
    if not (is_learned and with_variance(likelihood, rows.shape[1]).any()):
        return 0.0
    return steps_of(rows, chosen) if settings["variance_floor"] == "auto" else 0.0


def _torch_state(
    settings: Mapping[str, Any], seed: int, n_epochs: int
) -> contextlib.AbstractContextManager[None]:
    """Keep what modules and optimisers that are not ours draw, such as dropout, in private."""
    if not may_draw_from_torch(settings):
        return contextlib.nullcontext()
    state = derive_seed(seed, "own modules", n_epochs)
    return private_torch_state(state, resolve_device(settings["device"]))


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
