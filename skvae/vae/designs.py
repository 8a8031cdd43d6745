"""The margin that is designed before training, where the witness is known by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from skvae._common.progress import say
from skvae.information import teacher_information
from skvae.information.design import Design, design_alpha
from skvae.vae.settings import is_designed_objective

__all__ = ["design_setting", "designed"]

# Rows, evenly spaced, from which a margin is designed.
DESIGN_ROWS = 100_000


def design_setting(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """All that a design follows from, but for the teacher."""
    return (
        settings["witness"],
        settings["witness_scale"],
        settings["beta"],
        settings["alignment_weight"],
        settings["witness_input"],
        is_designed_objective(settings),
    )


def designed(
    settings: Mapping[str, Any],
    T: NDArray,
    average_teacher: NDArray,
    weights: NDArray | None,
) -> Design | None:
    """Design a margin, where the witness is known before training."""
    if (
        settings["witness"] != "simplex"
        or settings["alignment_weight"] == 0
        or not is_designed_objective(settings)
    ):
        return None
    some = slice(None, None, max(1, len(T) // DESIGN_ROWS))
    design = design_alpha(
        T[some],
        settings["witness_scale"],
        settings["beta"],
        settings["alignment_weight"],
        average_teacher,
        settings["witness_input"],
        None if weights is None else weights[some],
    )
    if settings["verbose"]:
        say(
            f"Designed margin at the {settings['witness_input']}: {design.margin:.4f} nats on "
            f"the training rows (proved of what costs no more {design.proved_margin:.4f}, "
            f"alpha {design.alpha:.3f}, I_T {teacher_information(T, weights):.4f})",
            settings["verbose"],
        )
    return design
