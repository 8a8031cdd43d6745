"""What the witness of a trained net makes of the rows that were held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from numpy.typing import NDArray

from skvae._common.threads import one_thread_if
from skvae.certificate.readings import Reading
from skvae.information import BoundaryStatistics
from skvae.information.boundary import check_pair, without_zeros
from skvae.training.batches import TrainingRows
from skvae.training.net import VAENet
from skvae.training.stopping import read_witness

__all__ = ["HeldOut"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class HeldOut:
    """What was found of rows that neither the weights nor the teacher were fitted to.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    teacher_information, margin, lower_bound : float
        In nats, the bound at 0.95, at the read that the witness is trained on.
    rows_needed : int or None
        As in `skvae.certificate.CertificateReport`.
    """

    n_samples: int
    teacher_information: float
    margin: float
    lower_bound: float
    rows_needed: int | None

    @classmethod
    def of(cls, net: VAENet, rows: TrainingRows, average_teacher: NDArray) -> Self:
        """Read the rows with the weights that the net has now."""
        with one_thread_if(net.is_small()):
            log_q = read_witness(net, rows)
        T, log_q = check_pair(rows.targets.numpy(), log_q)
        weights = None if rows.weights is None else rows.weights.double().numpy()
        statistics = BoundaryStatistics().update(T, log_q, weights)
        reference = without_zeros(average_teacher)
        reading = Reading(T, [log_q], [statistics], reference, weights, None)
        bound = reading.bound(CONFIDENCE, "e-value")
        needed = reading.rows_needed(bound, CONFIDENCE, 0.0, len(T))
        information = reading.teacher_information
        return cls(len(T), information, reading.margin, bound.lower_bound, needed)
