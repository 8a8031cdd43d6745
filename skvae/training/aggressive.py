"""Aggressive training: the encoder is taken ahead of the decoder as long as that informs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from skvae._common.randomness import torch_generator
from skvae.information.aggregate import mutual_information
from skvae.training.batches import InMemoryBatches, StreamedBatches, TrainingRows

__all__ = ["AggressivePhase", "is_aggressive", "with_encoder_steps"]

# Rows, evenly spaced, that the mutual information is measured on.
INFORMATION_ROWS = 2000


def is_aggressive(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether the phase goes on after these epochs.

    It goes on from the start until the first epoch after which the mutual information
    is not above that of the epoch before (0 before the first), and does not come back.

    Parameters
    ----------
    history : sequence of mappings
        Records of the epochs so far, with ``mutual_information`` in nats where the phase was
        on.

    Returns
    -------
    is_aggressive : bool
        True also where no epoch has been aggressive yet.

    References
    ----------
    He et al., Lagging inference networks and posterior collapse in variational
    autoencoders, ICLR 2019, arXiv 1901.05534, algorithm 1.

    Examples
    --------
    >>> from skvae.training import is_aggressive
    >>> rising = [{"mutual_information": 0.1}, {"mutual_information": 0.3}]
    >>> is_aggressive(rising), is_aggressive([*rising, {"mutual_information": 0.2}])
    (True, False)
    """
    seen = [
        (epoch, record["mutual_information"])
        for epoch, record in enumerate(history)
        if "mutual_information" in record
    ]
    if not seen:
        return True
    last_epoch, last = seen[-1]
    before = seen[-2][1] if len(seen) > 1 else 0.0
    return last_epoch == len(history) - 1 and last > before


class AggressivePhase(Callback):
    """Measure the mutual information after each epoch of the phase, and end it by that."""

    def on_train_begin(self, net, **kwargs):
        """Begin, or go on from the last epoch of the history."""
        net.is_aggressive_ = is_aggressive(net.history)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Record `mutual_information`, of held-out rows where there are any."""
        if not net.is_aggressive_:
            return
        rows = dataset_train if dataset_valid is None else dataset_valid
        net.history.record("mutual_information", rows_information(net, rows))
        net.is_aggressive_ = is_aggressive(net.history)


def rows_information(net: Any, rows: TrainingRows) -> float:
    """Mutual information of some rows, evenly spaced, and draws of their codes, in nats."""
    picked = np.arange(0, len(rows), max(1, len(rows) // INFORMATION_ROWS))
    chosen = picked if rows.chosen is None else rows.chosen[picked]
    some = TrainingRows(rows.rows, rows.targets.numpy()[picked], rows.units, chosen)
    weights = None if rows.weights is None else rows.weights.numpy()[picked]
    encoder = net.module_.encoder
    encoder.eval()
    with torch.inference_mode():
        posteriors = [
            torch.cat(encoder(x), dim=1) for x, _ in some.batches(net.batch_size, net.device)
        ]
    mean, log_variance = torch.cat(posteriors).chunk(2, dim=1)
    return mutual_information(
        mean.numpy(force=True), log_variance.numpy(force=True), net.seed, weights
    )


def with_encoder_steps(
    net: Any,
    batches: Iterator[tuple[Tensor, ...]],
    rows: InMemoryBatches | StreamedBatches,
    n_steps: int,
    epoch: int,
) -> Iterator[tuple[Tensor, ...]]:
    """Take encoder-only steps before each batch is handed on.

    Parameters
    ----------
    net : VAENet
        Its encoder is changed, and nothing else.
    batches : iterator of tuples of Tensor
        Batches of the epoch.
    rows : InMemoryBatches or StreamedBatches
        Where the batches of the further steps come from, in an order of their own.
    n_steps : int
        Steps before each batch.
    epoch : int
        Number of the epoch, which the random streams are named by.
    """
    order = torch_generator(net.seed, "encoder shuffle", epoch)
    noise = torch_generator(net.seed, "encoder noise", epoch, device=rows.device)
    further = endless(net, rows, order)
    for batch in batches:
        for _ in range(n_steps):
            net.encoder_step(next(further), noise)
        yield batch


def endless(
    net: Any, rows: InMemoryBatches | StreamedBatches, order: torch.Generator
) -> Iterator[tuple[Tensor, ...]]:
    while True:
        yield from net.shuffled(rows, order)
