"""What the history of a net has of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from skvae.exceptions import DivergenceError
from skvae.nets.likelihoods import WITH_VARIANCE
from skvae.training.criterion import FURTHER_TERMS, TERMS

__all__ = ["OF_SOME_EPOCHS", "loss_of", "means_of", "plain_records", "record_epoch"]

# Of a certificate: columns that come and go would put a table out of line.
OF_SOME_EPOCHS = ("certified_margin", "certified_lower_bound", "certified_rate")
RECORDED = (
    "loss",
    "elbo",
    *TERMS,
    *FURTHER_TERMS,
    "margin",
    "lower_bound",
    "beta",
    "lr",
    "mutual_information",
    *OF_SOME_EPOCHS,
)


def means_of(net: Any, sums: Tensor, n_rows: int, training: bool) -> dict[str, float]:
    """Return each term of the criterion a row, in the units of the data."""
    means = [total / n_rows for total in sums.tolist()]
    terms = dict(zip(net.criterion_.terms, means, strict=True))
    log_scale_sum = net.log_scale_sum if training else net.held_out_log_scale_sum
    terms["reconstruction"] += log_scale_sum
    if "importance_bound" in terms:
        terms["importance_bound"] -= log_scale_sum
    return terms


def loss_of(net: Any, terms: dict[str, float], training: bool) -> float:
    """Objective that these terms make at the weight in force, held out at the whole one."""
    criterion = net.criterion_
    # Held-out losses are compared between epochs: all at the same beta.
    return criterion.weigh(terms, criterion.effective_beta if training else criterion.beta)


def advice_on_divergence(net: Any) -> str:
    """Return what may help, of what the net has."""
    has_variance = net.module__likelihood in WITH_VARIANCE
    variance = " a larger decoder_variance," if has_variance else " max_grad_norm=1,"
    return f"Try a smaller lr (now {net.lr:g}),{variance} or look for extreme values in X."


def record_epoch(net: Any, terms: dict[str, float], information: float, training: bool) -> None:
    """Record the terms of an epoch, and what follows from them, if all are finite."""
    epoch = net.history[-1, "epoch"]
    for name, value in terms.items():
        if not math.isfinite(value):
            raise DivergenceError(
                f"Training diverged in epoch {epoch}: the {name} term of the "
                f"{'training' if training else 'validation'} loss is {value}. "
                f"{advice_on_divergence(net)}"
            )
    record = {
        "loss": loss_of(net, terms, training),
        "elbo": -(terms["reconstruction"] + terms["rate"]),
        **terms,
        "margin": information - terms["alignment"],
    }
    if training:
        record["beta"] = net.criterion_.effective_beta
        if net.lr_schedule is not None:
            record["lr"] = net.lr * net.lr_schedule.factor(net.n_steps_ - 1)
    prefix = "" if training else "valid_"
    for name, value in record.items():
        net.history.record(prefix + name, value)


def plain_records(history: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """One record an epoch, of numbers alone."""
    return [
        {
            "epoch": record["epoch"],
            **{key: record[key] for key in record if key.removeprefix("valid_") in RECORDED},
            "seconds": record["dur"],
        }
        for record in history
    ]
