"""What is left to us: how long to train, in which batches, judged how, to which margin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["holds_out", "with_budget"]

# Steps for 1,000 rows; their number grows with the root of the rows.
STEPS = 4000
# Rows from which some are held out: a tenth of them says whether training still helps.
LEAST_ROWS = 75
# Batches of an epoch that small tables are cut into, and the sizes in between.
BATCHES = 8
LEAST_BATCH, LARGEST_BATCH = 16, 128
# Steps, and epochs, without improvement before stopping: on tables of repeated values the ELBO
# may stand still for hundreds of steps before it rises again.
PATIENCE = 1000
LEAST_EPOCHS = 5
# Share of the teacher information that is margin enough.
TARGET = 0.9
# Of the moving average of the weights: it reaches back some 250 steps.
EMA_DECAY = 0.98 ** (1 / 5)


def holds_out(settings: Mapping[str, Any], fresh: NDArray[np.bool_]) -> bool:
    """Whether early stopping holds rows out.

    Parameters
    ----------
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`, which says what the rule is.
    fresh : ndarray of shape (n_samples,)
        Which rows neither the model nor its teacher has seen, as far as is known.
    """
    if settings["early_stopping"] != "auto":
        return bool(settings["early_stopping"])
    enough = fresh.sum() >= max(LEAST_ROWS, len(fresh) / 2)
    return bool(enough) and settings["kl_warmup"] < 1


def with_budget(settings: Mapping[str, Any], n_rows: int, is_judged: bool) -> dict[str, Any]:
    """Return the settings with numbers in place of "auto".

    Parameters
    ----------
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`, which says what the rules are.
    n_rows : int
        Training rows, those held out not among them.
    is_judged : bool
        Whether rows are held out.
    """
    settings = dict(settings)
    if settings["batch_size"] == "auto":
        size = 2 ** math.floor(math.log2(max(1, n_rows / BATCHES)))
        settings["batch_size"] = min(max(size, LEAST_BATCH), LARGEST_BATCH)
    n_batches = math.ceil(n_rows / settings["batch_size"])
    if settings["max_epochs"] == "auto":
        n_steps = STEPS * math.sqrt(n_rows / 1000)
        settings["max_epochs"] = max(1, math.ceil(n_steps / n_batches))
    if settings["n_iter_no_change"] == "auto":
        settings["n_iter_no_change"] = max(LEAST_EPOCHS, math.ceil(PATIENCE / n_batches))
    if settings["ema_decay"] == "auto":
        settings["ema_decay"] = EMA_DECAY if is_judged else None
    if settings["alignment_target"] == "auto":
        # A margin that is designed for a fixed witness is one of a pull that never ends.
        has_margin = settings["witness"] != "simplex" and settings["batch_size"] > 1
        settings["alignment_target"] = TARGET if has_margin else None
    settings["early_stopping"] = is_judged
    return settings
