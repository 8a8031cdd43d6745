"""What a fit warns of: settings, an interruption, a margin that is not there."""

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
from skvae.training.devices import has_products_in, resolve_device

__all__ = [
    "warn_if_uncertified",
    "warn_if_unguarded",
    "warn_of_interruption",
    "warn_of_seen_rows",
    "warn_of_slow_precision",
    "warn_of_weak_alignment",
]

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
    if estimator.alignment_weight > 0 and estimator.margin_ <= 0:
        warnings.warn(
            f"Not certified: the margin on the training rows is {estimator.margin_:.3g} nats "
            f"of I_T = {estimator.teacher_information_:.3g}. Train longer (max_epochs, lr), or "
            f"raise alignment_weight (now {estimator.alignment_weight:g}) further above beta "
            f"(now {estimator.beta:g}).",
            UncertifiedWarning,
            stacklevel=TO_CALLER,
        )
