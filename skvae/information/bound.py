"""Lower confidence bounds on the margin of the population the rows were drawn from.

The margin of a sample speaks of that sample. The bounds here speak of the population, and
hold at every number of rows: they come from an e-value, a bet against "the margin is at
most m" whose expected return is at most one, so that a return of 20 happens by chance at
most once in 20 times. What the bets need and the rows do not tell is the average of the
teacher over the population; the least return over all averages does without it. The
statements and their proofs are in ``docs/bound.rst``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.betting import (
    MOST_PASSES,
    TOLERANCE,
    Bets,
    Block,
    Mixture,
    average_of,
    check_share,
    least_log_e_value,
)
from skvae.information.statistics import BLOCK_ROWS, checked_blocks, plain_blocks
from skvae.rows.numbers import as_array
from skvae.rows.weights import check_weights

__all__ = [
    "MarginBound",
    "ScoredRows",
    "bound_of_checked",
    "largest_weight",
    "margin_lower_bound",
]

# A bet is best where its spread is the standard deviation of the rows' margins, which is
# not known beforehand: the capital is spread over these, most of it where it mostly lies.
BET_SPREADS = np.array([0.12, 0.3, 0.6, 1.2, 2.4])
BET_SHARES = np.array([0.1, 0.35, 0.35, 0.15, 0.05])
# The bound is found to within so many nats.
PRECISION = 2e-7
# Share of the reference in the mixed witness.
MIXING = 0.02


@dataclass(frozen=True)
class MarginBound:
    """A lower confidence bound on the population margin of the mixed witness, in nats.

    Attributes
    ----------
    lower_bound : float
        The bound. It is below the margin of the mixed witness on the sample, and at
        least ``log(mixing) + log(min(reference))``, which no margin can be below and
        which so says nothing.
    log_e_value : float or None
        Natural logarithm of the e-value against "the population margin of the mixed
        witness is at most zero": evidence that the code is not constant. It is at most
        zero for a constant witness whatever the rows; ``exp(-log_e_value)``, or 1 if that
        is more, is a p-value. The bets behind it are set for the number of rows and the
        confidence. None for the normal approximation, which has no e-value.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import margin_lower_bound
    >>> T = np.eye(3)[np.arange(300) % 3]
    >>> log_q = np.log(0.8 * T + 0.2 / 3)
    >>> bound = margin_lower_bound(T, log_q, np.full(3, 1 / 3))
    >>> bound.lower_bound > 0, bound.log_e_value > 0
    (True, True)
    """

    lower_bound: float
    log_e_value: float | None


def margin_lower_bound(
    T: ArrayLike,
    log_q: ArrayLike,
    reference: ArrayLike,
    confidence: float = 0.95,
    mixing: float = MIXING,
    method: str = "e-value",
    sample_weight: ArrayLike | None = None,
    max_weight: float | None = None,
) -> MarginBound:
    """Lower confidence bound on the margin of a student in the population.

    The bound is on the margin of the *mixed* witness ``(1 - mixing) q + mixing reference``,
    which is constant if and only if ``q`` is, and reads nothing that ``q`` does not. If ``q``
    reads a draw of the code, it is a lower bound on the information ``I(C; Z)`` between the
    teacher's component and the code. It is no bound on the margin of ``q`` itself, which may
    be lower without limit where ``q`` is sure and wrong on rare rows. The rows may also be
    independent and differently distributed, or drawn without replacement, and where the
    student reads a draw of the code they may be any fixed rows: ``docs/bound.rst`` says which
    population it is then a bound for.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions of rows drawn independently from the population, after
        teacher, student and reference were fixed; a copy of a row is no independent row.
        Exact zeros are allowed.
    log_q : array-like of shape (n_samples, n_components) or (n_draws, n_samples, n_components)
        Natural-log probabilities of the student for the same rows. Where it reads several
        draws of each code, the log scores of a row are averaged over them: that is one
        number a row, as independent between rows as with a single draw.
    reference : array-like of shape (n_components,)
        A distribution without zeros, fixed before these rows were seen: the average of the
        teacher over the training rows serves.
    confidence : float, default=0.95
        Between 0 and 1, both excluded. The bound exceeds the population margin with
        probability at most ``1 - confidence``.
    mixing : float, default=0.02
        Share of the reference, between 0 and 1, both excluded. More makes the bound
        tighter and the mixed witness poorer.
    method : {"e-value", "normal"}, default="e-value"
        The e-value is valid at every number of rows. The normal approximation (delta
        method) is tighter and errs more often than it says where few rows decide; for
        one row it says nothing.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0; None weighs all alike. The bound is then
        for a population in which a row is as often as its weight says, and which one that is
        depends on `max_weight`. A row counts as one observation, whatever its weight.
    max_weight : float or None, default=None
        A number that no weight in the population exceeds, known before the rows were drawn.
        With it the weights may be any function of the row (a ratio of densities, say), and the
        population is that of the rows, reweighted. None takes the weights for given, as those
        of strata are, or of rows that are fixed: the population is the mixture of what each row
        was drawn from, in the proportions of the weights at hand. Without weights no effect.

    Returns
    -------
    bound : MarginBound
        The bound, in nats, and the e-value against a margin of zero.

    Raises
    ------
    ValueError
        If ``T`` or ``log_q`` is refused by `alignment_cost`, the reference is no
        distribution over the same components or has zeros, a weight is refused or above
        `max_weight`, or another parameter is out of its range.

    Notes
    -----
    The rows are read several times in small blocks. Beside its inputs, which may be memory
    maps, the function holds one float64 a row.

    References
    ----------
    Waudby-Smith and Ramdas, JRSS B 86(1), 2024 (arXiv 2010.09686) for bounds by betting;
    Vovk and Wang, Annals of Statistics 49(3), 2021, for e-values; Frank and Wolfe, Naval
    Research Logistics Quarterly 3, 1956, for a sure lower bound on the least e-value.
    The rest is derived in ``docs/bound.rst``.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import margin_lower_bound
    >>> T = np.tile([[0.9, 0.1], [0.1, 0.9]], (500, 1))
    >>> bound = margin_lower_bound(T, np.log(T), reference=[0.5, 0.5])
    >>> round(bound.lower_bound, 2), bound.log_e_value > 3
    (0.35, True)

    A constant witness never gets anywhere:

    >>> log_q = np.log(np.full_like(T, 0.5))
    >>> bound = margin_lower_bound(T, log_q, reference=[0.5, 0.5])
    >>> bound.lower_bound < 0, bound.log_e_value <= 0
    (True, True)
    """
    settings = (confidence, mixing, method)
    return _bound(T, log_q, reference, *settings, sample_weight, max_weight, checked=False)


def bound_of_checked(
    T: NDArray[np.float64],
    log_q: list[NDArray[np.float64]],
    reference: ArrayLike,
    confidence: float,
    method: str,
    weights: NDArray[np.float64] | None = None,
    max_weight: float | None = None,
) -> MarginBound:
    """`margin_lower_bound` of rows as `skvae.information.boundary.check_pair` returns them."""
    settings = (confidence, MIXING, method)
    return _bound(T, log_q, reference, *settings, weights, max_weight, checked=True)


def _bound(
    T: ArrayLike,
    log_q: ArrayLike,
    reference: ArrayLike,
    confidence: float,
    mixing: float,
    method: str,
    sample_weight: ArrayLike | None,
    max_weight: float | None,
    checked: bool,
) -> MarginBound:
    check_share(confidence, "confidence")
    if method not in ("e-value", "normal"):
        raise ValueError(f'method must be "e-value" or "normal", got {method!r}.')
    mixture = Mixture(reference, mixing)
    rows = ScoredRows(T, log_q, mixture, checked, sample_weight, max_weight)
    if method == "normal":
        return _normal_bound(rows, confidence, mixture.floor)
    return _e_value_bound(rows, confidence, mixture.floor)


class ScoredRows:
    """Rows as blocks that can be read again and again; of each row only the score is kept."""

    def __init__(
        self,
        T: ArrayLike,
        log_q: ArrayLike,
        mixture: Mixture,
        checked: bool = False,
        sample_weight: ArrayLike | None = None,
        max_weight: float | None = None,
    ) -> None:
        self._T = as_array(T, "T")
        self._checked = checked
        # A list of maps is left as it is: an array of it would be read into memory.
        several = isinstance(log_q, (list, tuple)) and np.ndim(log_q[0] if log_q else 0) == 2
        draws: Any = log_q if several else as_array(log_q, "log_q")
        if not several and draws.ndim != 3:
            draws = [draws]
        if not len(draws):
            raise ValueError(f"log_q must hold at least one draw, got shape {np.shape(log_q)}.")
        blocks = plain_blocks if checked else checked_blocks
        scores = [[mixture.score(*pair) for pair in blocks(self._T, draw)] for draw in draws]
        self._scores = [np.mean(block, axis=0) for block in zip(*scores, strict=True)]
        self.n_samples = len(self._T)
        # As many rows of the largest weight have the same sum of squares.
        self.n_effective = float(self.n_samples)
        self._weights: NDArray[np.float64] | None = None
        if sample_weight is not None:
            weights = check_weights(sample_weight, self.n_samples)
            largest = largest_weight(weights, max_weight)
            if (weights != largest).any():
                self._weights = weights / largest
                # Weights that are random are not known when the bets are set.
                if max_weight is None:
                    self.n_effective = float(self._weights @ self._weights)

    def __iter__(self) -> Iterator[Block]:
        for index, score in enumerate(self._scores):
            rows = slice(index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS)
            T = np.asarray(self._T[rows], dtype=np.float64)
            T = T if self._checked else T / T.sum(axis=1, keepdims=True)
            if self._weights is None:
                yield score, T, None
            else:
                weights = self._weights[rows]
                yield weights * score, weights[:, np.newaxis] * T, weights


def largest_weight(weights: NDArray[np.float64], max_weight: float | None) -> float:
    """Return what weights are a share of, or refuse one that is above it."""
    if max_weight is None:
        return float(weights.max())
    if not (np.isfinite(max_weight) and max_weight >= weights.max()):
        raise ValueError(
            f"max_weight={max_weight!r} must be finite and no less than any weight in the "
            f"population, and the largest of these rows is {weights.max():g}."
        )
    return float(max_weight)


def _normal_bound(rows: ScoredRows, confidence: float, floor: float) -> MarginBound:
    if rows.n_samples == 1:
        return MarginBound(floor, None)
    margin, spread = _margin_and_spread(rows, average_of(T for _, T, _ in rows))
    slack = NormalDist().inv_cdf(confidence) * spread / np.sqrt(rows.n_samples - 1)
    return MarginBound(max(floor, float(margin - slack)), None)


def _e_value_bound(rows: ScoredRows, confidence: float, floor: float) -> MarginBound:
    """Find the largest margin that is rejected; all below it are, as returns fall with it."""
    n_samples = rows.n_samples
    threshold = float(np.log(1 / (1 - confidence)))
    wanted = np.sqrt(2 * threshold / rows.n_effective) / BET_SPREADS
    average = average_of(T for _, T, _ in rows)
    margin, spread = _margin_and_spread(rows, average)
    rejected, accepted = -np.inf, margin
    tolerance = TOLERANCE
    m = max(floor, margin - 3 * spread / np.sqrt(n_samples))
    for _ in range(MOST_PASSES):
        largest = 1 / (m + 1 - floor)
        bets = Bets(np.minimum(wanted, largest), BET_SHARES)
        least = least_log_e_value(rows, bets, m, average, threshold, tolerance)
        average = least.average
        excess = least.certified - threshold
        if excess >= 0:
            rejected = m
        else:
            accepted = m
        lowest = max(rejected, floor)
        if 0 <= excess <= tolerance or accepted - lowest <= 1e-12:
            break
        fall = np.where(wanted < largest, least.rows_left, n_samples - least.idle)
        slope = float(least.capital @ (bets.sizes * fall))
        # The more rows, the steeper: a log e-value to five digits would be a bound to ten.
        tolerance = max(TOLERANCE, PRECISION * slope)
        m += (excess - tolerance / 2) / slope
        if m <= floor and rejected < floor:
            m = floor
        elif not lowest < m < accepted:
            m = (lowest + accepted) / 2
    lower_bound = max(rejected, floor)
    bets = Bets(np.minimum(wanted, 1 / (1 - floor)), BET_SHARES)
    log_e_value = least_log_e_value(rows, bets, 0.0, average).certified
    # The two were found to within a tolerance each; as returns fall with the margin, what
    # either proves of the other is proved.
    if lower_bound >= 0:
        log_e_value = max(log_e_value, threshold)
    elif log_e_value >= threshold:
        # Zero itself is rejected: the margin is above it.
        lower_bound = float(np.finfo(np.float64).tiny)
    return MarginBound(float(lower_bound), float(log_e_value))


def _margin_and_spread(
    rows: Iterable[Block], average: NDArray[np.float64]
) -> tuple[float, float]:
    """Weighted margin, and what over the root of the number of rows is its error."""
    log_average = np.log(average, out=np.zeros_like(average), where=average > 0)
    n_samples = 0
    # Of the rows' margins and of one: sums by the weights, and by their squares.
    total = squares = total_again = weight = weight_again = 0.0
    for score, T, weights in rows:
        row_margins = score - T @ log_average
        total += float(row_margins.sum())
        squares += float(row_margins @ row_margins)
        n_samples += len(score)
        if weights is not None:
            total_again += float(row_margins @ weights)
            weight += float(weights.sum())
            weight_again += float(weights @ weights)
    if not weight:
        margin = total / n_samples
        return margin, max(squares / n_samples - margin**2, 0.0) ** 0.5
    margin = total / weight
    variance = squares - 2 * margin * total_again + margin**2 * weight_again
    return margin, max(n_samples * variance, 0.0) ** 0.5 / weight
