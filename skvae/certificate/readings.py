"""What a witness, or a probe, makes of the codes at one read, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skvae.certificate.evidence import Evidence
from skvae.certificate.probes import probe_in_turn
from skvae.certificate.subjects import Subject
from skvae.information import BoundaryStatistics, MarginBound
from skvae.information.bound import bound_of_checked
from skvae.information.boundary import check_student, require_information, without_zeros

__all__ = ["Reading", "read"]


@dataclass(frozen=True)
class Reading:
    """A teacher on some rows, and what a witness made of their codes.

    Parameters
    ----------
    T : ndarray of shape (n_samples, n_components)
        Teacher distributions, checked.
    log_q : list of ndarray of shape (n_samples, n_components)
        Log probabilities of the witness, for each draw of the code, checked.
    statistics : list of BoundaryStatistics
        The sample quantities of each draw.
    reference : ndarray of shape (n_components,)
        A distribution without zeros, fixed before the rows were seen.
    """

    T: NDArray[np.float64]
    log_q: list[NDArray[np.float64]]
    statistics: list[BoundaryStatistics]
    reference: NDArray[np.float64]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.statistics[0].n_samples

    @property
    def teacher_information(self) -> float:
        """``I_T`` of the rows."""
        return self.statistics[0].teacher_information

    @property
    def alignment_cost(self) -> float:
        """Mean cost over the draws."""
        return float(np.mean([draw.alignment_cost for draw in self.statistics]))

    @property
    def margin(self) -> float:
        """Mean margin over the draws."""
        return float(np.mean([draw.margin for draw in self.statistics]))

    @property
    def margin_standard_error(self) -> float:
        """Standard error of a margin, as if the draws of a row were one."""
        return max(draw.margin_standard_error for draw in self.statistics)

    def bound(self, confidence: float, method: str) -> MarginBound:
        """Lower confidence bound on the margin of the population."""
        return bound_of_checked(self.T, self.log_q, self.reference, confidence, method)


def read(subject: Subject, latent: str, evidence: Evidence) -> Reading:
    """Return what the subject's witness, or the probe, makes of the codes of a read."""
    T = evidence.T.rows()
    if subject.has_witness:
        uniform = np.full(T.shape[1], 1 / T.shape[1])
        # Any distribution that was fixed before these rows were seen will do.
        reference = getattr(subject.model, "average_teacher_", uniform)
        log_q = [draw.rows() for draw in evidence.log_q[latent]]
        statistics = evidence.statistics[latent]
    else:
        probed = [
            probe_in_turn(
                subject.probe, codes.rows(), T, subject.random_state, groups=evidence.groups
            )
            for codes in evidence.codes[latent]
        ]
        rows, _, reference = probed[0]
        T = T[rows]
        log_q = [check_student(scores, T.shape) for _, scores, _ in probed]
        statistics = [BoundaryStatistics().update(T, scores) for scores in log_q]
    information = statistics[0].teacher_information
    require_information(information, *T.shape)
    return Reading(T, log_q, statistics, without_zeros(reference))
