"""What a witness, or a probe, makes of the codes at one read, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skvae.certificate.evidence import Evidence
from skvae.certificate.probes import probe_in_turn
from skvae.certificate.subjects import Subject
from skvae.exceptions import BrokenBoundError
from skvae.information import BoundaryStatistics, MarginBound
from skvae.information.bound import bound_of_checked
from skvae.information.boundary import check_student, require_information, without_zeros
from skvae.information.sample_size import needed_of_checked

__all__ = ["Reading", "check_chain", "read"]

# Standard errors by which a margin may exceed the rate before it is a bug, and the rows
# from which on a standard error can be relied on for that.
BREACH = 6.0
CHAIN_ROWS = 30

# Confidence, as far as a normal approximation goes, with which a margin is above tau where
# more rows like these would show it.
HARDLY_CHANCE = 0.95
# Between no sample that is certified and all of them there may be a tenth of the rows, and few
# rows do not tell the number to within a tenth.
TO_SPARE = 1.25


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
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows, as they came.
    max_weight : float or None
        What no weight exceeds, as it was known beforehand.
    """

    T: NDArray[np.float64]
    log_q: list[NDArray[np.float64]]
    statistics: list[BoundaryStatistics]
    reference: NDArray[np.float64]
    sample_weight: NDArray[np.float64] | None
    max_weight: float | None

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
        weights = (self.sample_weight, self.max_weight)
        return bound_of_checked(
            self.T, self.log_q, self.reference, confidence, method, *weights
        )

    def rows_needed(
        self, bound: MarginBound, confidence: float, tau: float, n_given: int
    ) -> int | None:
        """Rows to be given for a bound above tau, where this one is not.

        By this witness, where its margin is hardly chance, else by one that is the teacher
        itself: no other could do with less.
        """
        if bound.lower_bound > tau or self.n_samples < 2:
            return None
        needed = self._needed(self.log_q, confidence, tau)
        hardly_chance = self.bound(HARDLY_CHANCE, "normal").lower_bound > tau
        if needed is not None and hardly_chance:
            # These may have been the one sample of five.
            needed = max(needed, self.n_samples + 1)
        else:
            with np.errstate(divide="ignore"):
                needed = self._needed([np.log(self.T)], confidence, tau)
        if needed is None or needed <= self.n_samples:
            return None
        # A probe scores a part of the rows that it is given.
        return math.ceil(TO_SPARE * needed * n_given / self.n_samples)

    def _needed(self, log_q: list[NDArray], confidence: float, tau: float) -> int | None:
        weights = (self.sample_weight, self.max_weight)
        return needed_of_checked(self.T, log_q, self.reference, confidence, tau, *weights)


def read(subject: Subject, latent: str, evidence: Evidence) -> Reading:
    """Return what the subject's witness, or the probe, makes of the codes of a read."""
    T = evidence.T.rows()
    if subject.has_witness:
        uniform = np.full(T.shape[1], 1 / T.shape[1])
        # Any distribution that was fixed before these rows were seen will do.
        reference = getattr(subject.model, "average_teacher_", uniform)
        log_q = [draw.rows() for draw in evidence.log_q[latent]]
        statistics = evidence.statistics[latent]
        sample_weight = subject.sample_weight
    else:
        relative = subject.weights
        probed = [
            probe_in_turn(
                subject.probe,
                codes.rows(),
                T,
                subject.random_state,
                groups=evidence.groups,
                sample_weight=relative,
            )
            for codes in evidence.codes[latent]
        ]
        rows, _, reference = probed[0]
        T = T[rows]
        log_q = [check_student(scores, T.shape) for _, scores, _ in probed]
        scored = None if relative is None else relative[rows]
        statistics = [BoundaryStatistics().update(T, scores, scored) for scores in log_q]
        sample_weight = subject.sample_weight
        sample_weight = None if sample_weight is None else sample_weight[rows]
    information = statistics[0].teacher_information
    n_samples, n_components = T.shape
    require_information(information, n_samples, n_components, subject.of_training[0])
    weights = (sample_weight, subject.max_weight)
    return Reading(T, log_q, statistics, without_zeros(reference), *weights)


def check_chain(at_sample: Reading, evidence: Evidence) -> None:
    """Refuse a margin at the sample that exceeds the rate by more than their errors."""
    if at_sample.n_samples < CHAIN_ROWS:
        return
    rate = evidence.rate or 0.0
    excess = at_sample.margin - rate
    error = at_sample.margin_standard_error + evidence.rate_standard_error
    if excess > BREACH * error + 1e-6:
        raise BrokenBoundError(
            f"The margin at the sample, {at_sample.margin:.4g} nats, exceeds the rate, "
            f"{rate:.4g}, by more than {BREACH:g} standard errors. That cannot be: the witness "
            "sees more than the code, or posterior_kl is not that of the posterior that "
            "witness_log_proba draws from. Please report it."
        )
