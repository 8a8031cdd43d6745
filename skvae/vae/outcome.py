"""What training has made of a net: whether it is finite, and its margin on its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from skvae.exceptions import DivergenceError
from skvae.information import BoundaryStatistics
from skvae.rows.sparse import taken
from skvae.training.batches import TrainingRows
from skvae.training.net import VAENet
from skvae.training.records import advice_on_divergence
from skvae.vae.fitted import Fitted
from skvae.vae.inference import Inference
from skvae.vae.new_rows import HeldOut

__all__ = ["BLOCK_ROWS", "Beginning"]

# Rows whose distributions are worked on at a time.
BLOCK_ROWS = 2**16
# Rows, evenly spaced, by which an overflow is seen.
CHECKED_ROWS = 256


@dataclass(frozen=True)
class Beginning:
    """All that a fit knows before its net is trained.

    Parameters
    ----------
    fitted : Fitted
        Its record so far: the history of what it goes on from, and no margin.
    rows : ndarray or SparseRows of shape (n_samples, n_features)
        Rows of `fit`.
    chosen : ndarray of int or None
        Those that are trained on; None are all.
    T : ndarray of shape (n_chosen, n_components)
        Their teacher distributions.
    weights : ndarray of shape (n_chosen,) or None
        Their weights; None where all weigh the same.
    held_out : TrainingRows or None
        Rows that were held out and that nothing has seen, where there are any.
    owner : str
        Name of the estimator, for errors.
    """

    fitted: Fitted
    rows: Any
    chosen: NDArray | None
    T: NDArray
    weights: NDArray | None
    held_out: TrainingRows | None
    owner: str

    def with_net(self, net: VAENet) -> Fitted:
        """Return what the fit has found if this is the net that it ends with."""
        inference = Inference(net, self.fitted.units, self.fitted.seed, self.owner)
        self._check_finite(inference)
        history = [*self.fitted.history, *net.plain_history()]
        held_out = None
        if self.held_out is not None:
            held_out = HeldOut.of(net, self.held_out, self.fitted.average_teacher)
        settings = {**self.fitted.settings, "precision": net.module__precision}
        return replace(
            self.fitted,
            net=net,
            settings=settings,
            margin=self._margin(inference),
            history=history,
            held_out=held_out,
        )

    def _margin(self, inference: Inference) -> float:
        statistics = BoundaryStatistics()
        for block in gen_batches(len(self.T), BLOCK_ROWS):
            rows = taken(self.rows, block if self.chosen is None else self.chosen[block])
            weights = None if self.weights is None else self.weights[block]
            statistics.update(self.T[block], inference.log_witness(rows, None), weights)
        return statistics.margin

    def _check_finite(self, inference: Inference) -> None:
        # The loss of an epoch is that of the weights before its last step. One pair of draws
        # is enough to see an overflow.
        net = inference.net
        some = taken(self.rows, slice(None, None, max(1, len(self.rows) // CHECKED_ROWS)))
        if not np.isfinite(inference.elbo(some, n_draws=2)).all():
            n_epochs = len(net.history) + net.n_epochs_forgotten_
            raise DivergenceError(
                f"Training diverged in the last step of epoch {n_epochs}: the ELBO is no "
                f"longer finite. {advice_on_divergence(net)}"
            )
