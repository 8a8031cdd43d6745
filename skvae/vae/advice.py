"""What a fit warns of, and a notebook shows of it: settings, an interruption, the margin."""

from __future__ import annotations

import warnings
from typing import Any

from skvae.exceptions import (
    InterruptedFitWarning,
    SeenRowsWarning,
    SlowPrecisionWarning,
    UncertifiedWarning,
    WeakAlignmentWarning,
)
from skvae.information.boundary import LITTLE_INFORMATION
from skvae.training.devices import has_products_in, resolve_device
from skvae.vae.new_rows import HeldOut

__all__ = [
    "margin_html",
    "warn_if_uncertified",
    "warn_if_unguarded",
    "warn_of_interruption",
    "warn_of_seen_rows",
    "warn_of_slow_precision",
    "warn_of_weak_alignment",
]

# Share of the teacher information below which a margin is next to nothing.
LITTLE = 0.1
# Frames from here to the caller of `fit`, past the method and its parameter checks.
TO_CALLER = 4


def warn_of_weak_alignment(estimator: Any) -> None:
    # A rate that costs nothing, or that is asked for, lets no code be too dear.
    has_free_rate = estimator.free_bits > 0 or estimator.kl_capacity is not None
    if estimator.guard is not None or has_free_rate:
        return
    if 0 < estimator.alignment_weight <= estimator.beta:
        warnings.warn(
            f"alignment_weight={estimator.alignment_weight:g} is not above "
            f"beta={estimator.beta:g}: where the decoder gains nothing from the code, collapse "
            "is the optimum. Ten times beta is a good start.",
            WeakAlignmentWarning,
            stacklevel=TO_CALLER,
        )


def warn_of_seen_rows(n_held_out: int, n_fresh: int) -> None:
    warnings.warn(
        f"Early stopping is to hold out {n_held_out} rows, and no more than {n_fresh} are "
        "known to be new to the model and the teacher that training starts with: it decides "
        "by rows that were trained on, and no bound is recorded of them. Add rows that "
        "neither has seen, or pass early_stopping=False.",
        SeenRowsWarning,
        stacklevel=TO_CALLER + 2,
    )


def warn_of_slow_precision(estimator: Any) -> None:
    if estimator.precision == "auto":
        return
    if not has_products_in(estimator.precision, resolve_device(estimator.device)):
        warnings.warn(
            f'This processor has no matrix products in precision="{estimator.precision}", and '
            'works them out many times slower than in float32: pass precision="fp32".',
            SlowPrecisionWarning,
            stacklevel=TO_CALLER,
        )


def warn_of_interruption(estimator: Any) -> None:
    if estimator.net_.interrupted_:
        warnings.warn(
            f"Training was interrupted after {estimator.n_iter_} whole epochs; the model "
            "trained so far is kept.",
            InterruptedFitWarning,
            stacklevel=TO_CALLER,
        )


def warn_if_unguarded(estimator: Any, first: int) -> None:
    if estimator.guard is None:
        return
    margins = [
        record.get("valid_margin", record["margin"]) for record in estimator.history_[first:]
    ]
    if margins and max(margins) < estimator.guard:
        warnings.warn(
            f"No epoch reached guard={estimator.guard:g} nats (the best had "
            f"{max(margins):.3g}), so the KL weight was held back throughout: train longer "
            f"(max_epochs, lr), raise alignment_weight (now {estimator.alignment_weight:g}), "
            "or guard less.",
            UncertifiedWarning,
            stacklevel=TO_CALLER,
        )


def warn_if_uncertified(estimator: Any) -> None:
    if not estimator.alignment_weight > 0:
        return
    held_out = estimator._fitted.held_out
    if held_out is not None and held_out.lower_bound <= 0:
        if estimator.early_stopping == "auto" and _are_too_few(estimator, held_out):
            # They are there to stop by. Nobody has asked what they show, and more would.
            return
        message = (
            f"Not certified: the 0.95 lower bound on the margin is {held_out.lower_bound:.3g} "
            f"nats on the {held_out.n_samples} held-out rows, whose margin is "
            f"{held_out.margin:.3g} of I_T = {held_out.teacher_information:.3g}, with the "
            f"weights that were kept. {_advice(estimator, held_out)}"
        )
    elif held_out is None and estimator.margin_ <= 0:
        message = (
            f"Not certified: the margin on the training rows is {estimator.margin_:.3g} nats "
            f"of I_T = {estimator.teacher_information_:.3g}. Train longer (max_epochs, lr), or "
            f"raise alignment_weight (now {estimator.alignment_weight:g}) further above beta "
            f"(now {estimator.beta:g})."
        )
    else:
        return
    warnings.warn(message, UncertifiedWarning, stacklevel=TO_CALLER)


def margin_html(estimator: Any) -> str:
    """Return a line on the margin of a fitted estimator, for a notebook; else nothing.

    It is no verdict: early stopping has chosen the weights by the rows that it held out.
    """
    fitted = getattr(estimator, "_fitted", None)
    if fitted is None:
        return ""
    rows, margin, information = "training", estimator.margin_, estimator.teacher_information_
    if fitted.held_out is not None:
        rows, margin = "held-out", fitted.held_out.margin
        information = fitted.held_out.teacher_information
    return (
        f"<p>Margin on the {rows} rows: {margin:.3g} of I_T = {information:.3g} nats "
        f'<meter min="0" max="{information:.6g}" value="{margin:.6g}"></meter>. Whether the '
        "code is certified say fresh rows: "
        "<code>ConstantCollapseCertificate().certify(vae, X_test)</code>.</p>"
    )


def _are_too_few(estimator: Any, held_out: HeldOut) -> bool:
    """Whether the margin of the held-out rows is there, and more of them would show it."""
    enough = LITTLE * estimator.teacher_information_
    return held_out.rows_needed is not None and held_out.margin > enough


def _rises(history: list[dict[str, float]]) -> bool:
    """Whether no epoch had a greater margin of the held-out rows than the last one."""
    margins = [record["valid_margin"] for record in history if "valid_margin" in record]
    return bool(margins) and margins[-1] == max(margins)


def _advice(estimator: Any, held_out: HeldOut) -> str:
    """Say what to do where the bound of the held-out rows is not above zero."""
    in_training = estimator.teacher_information_
    if in_training <= LITTLE_INFORMATION:
        return (
            f"In the training rows the teacher saw {in_training:.3g} nats, and no margin can "
            "exceed that: look for extreme values in X, beside which all other rows are alike, "
            "or take another teacher (TeacherSearch finds one)."
        )
    if held_out.teacher_information < in_training / 2:
        return (
            f"In the training rows the teacher saw {in_training:.3g} nats: it fits them too "
            "closely, or these are too few. Take a teacher of fewer components, or hold out "
            f"more rows (validation_fraction, now {estimator.validation_fraction:g})."
        )
    if _are_too_few(estimator, held_out):
        return (
            f"So few rows cannot show it: certify {held_out.rows_needed:,} or more that were "
            "not in fit, or hold out as many (validation_fraction, now "
            f"{estimator.validation_fraction:g})."
        )
    # Of all epochs, if one was trained: the weights that are kept may be those of the first.
    most, most_held_out = (
        max((record.get(name, 0.0) for record in estimator.history_), default=0.0)
        for name in ("margin", "valid_margin")
    )
    longer = (
        f"Train longer (n_iter_no_change, now {estimator.n_iter_no_change}; max_epochs; lr), "
        f"or raise alignment_weight (now {estimator.alignment_weight:g}) further above beta "
        f"(now {estimator.beta:g})."
    )
    if most_held_out > LITTLE * in_training:
        return f"Another epoch had {most_held_out:.3g}, and a higher loss. {longer}"
    # Held-out rows lag behind the others from the first epoch on, and the more so as they are
    # judged by an average of the weights: while their margin rises it is no fit too close.
    if most > LITTLE * in_training and not _rises(estimator.history_):
        return (
            f"On the training rows it came to {most:.3g}: model or teacher fit them too "
            "closely. Take a teacher of fewer components, or more rows."
        )
    return longer
