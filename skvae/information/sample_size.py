"""How many rows a lower bound on the margin would take."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.betting import Mixture, check_share
from skvae.information.bound import BET_SHARES, BET_SPREADS, MIXING, ScoredRows

__all__ = ["needed_of_checked", "rows_needed"]

# Share of the samples of that many rows which are to be certified.
POWER = 0.8
# Rows, evenly spaced, that are worked on: more would not make the answer better.
MOST_ROWS = 2**16
# Beyond so many rows nobody would call a margin there.
MOST_NEEDED = 2**40


def rows_needed(
    T: ArrayLike,
    log_q: ArrayLike,
    reference: ArrayLike,
    confidence: float = 0.95,
    tau: float = 0.0,
    mixing: float = MIXING,
    *,
    sample_weight: ArrayLike | None = None,
    max_weight: float | None = None,
) -> int | None:
    """Rows that a lower bound above tau would take, as far as the rows at hand can tell.

    With so many rows of the same kind, in four samples of five, `margin_lower_bound` by the
    method "e-value" is above `tau`. What the rows do not tell, this does not know: its error is
    that of the margin they have. ``docs/experiments/rows_needed.py`` draws rows of seven
    populations and compares with the number that is found by trying: from a quarter of so many
    rows it was within a factor of two of it for 81% of the samples or more, from half for 92%,
    and its median within 10% (from so few as five rows of a hundred components, 38% above).

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions of two rows or more.
    log_q : array-like of shape (n_samples, n_components) or (n_draws, n_samples, n_components)
        Natural-log probabilities of the student for the same rows, as in
        `margin_lower_bound`.
    reference : array-like of shape (n_components,)
        A distribution without zeros, fixed before the rows were seen.
    confidence : float, default=0.95
        Of the bound, between 0 and 1, both excluded.
    tau : float, default=0.0
        Nats that the bound is to exceed, at least 0.
    mixing : float, default=0.02
        Share of the reference, between 0 and 1, both excluded.
    sample_weight, max_weight : array-like of shape (n_samples,) and float, or None
        Weights of the rows, and what none exceeds, as in `margin_lower_bound`.

    Returns
    -------
    n_rows : int or None
        The number of rows, in all. None where the margin of the mixed witness is not above
        tau on these rows, so that no number would do.

    Raises
    ------
    ValueError
        As for `margin_lower_bound`, and if there is one row only or `tau` is negative.

    Notes
    -----
    The log e-value of ``n`` rows is a sum over them, for each bet ``lambda_j(n)``. Its mean is
    ``n`` times the mean of ``log(1 + lambda_j (phi_i - tau))`` over the rows at hand, and its
    variance ``n`` times theirs; the answer is the least ``n`` at which the mean, less 0.84
    standard deviations, is ``log(1 / (1 - confidence))``. The average teacher of ``m`` rows
    takes ``sum_k Var(T_k) / (2 m Tbar_k)`` nats off a margin, to second order: that of the
    rows at hand is handed back, and that of ``n`` rows taken off.

    References
    ----------
    The bets are those of ``docs/bound.rst``.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import margin_lower_bound, rows_needed
    >>> T = np.tile([[0.9, 0.1], [0.1, 0.9]], (5, 1))
    >>> margin_lower_bound(T, np.log(T), [0.5, 0.5]).lower_bound < 0
    True
    >>> rows_needed(T, np.log(T), [0.5, 0.5])
    45
    >>> T = np.tile(T, (5, 1))
    >>> margin_lower_bound(T, np.log(T), [0.5, 0.5]).lower_bound > 0
    True

    A constant witness that is not the average has no margin on any number of rows:

    >>> rows_needed(T, np.log(np.tile([0.7, 0.3], (len(T), 1))), [0.5, 0.5]) is None
    True
    """
    check_share(confidence, "confidence")
    if not tau >= 0:
        raise ValueError(f"tau must be at least 0, got {tau!r}.")
    mixture = Mixture(reference, mixing)
    rows = ScoredRows(T, log_q, mixture, False, sample_weight, max_weight)
    return _needed(rows, mixture.floor, confidence, tau)


def needed_of_checked(
    T: NDArray[np.float64],
    log_q: list[NDArray[np.float64]],
    reference: ArrayLike,
    confidence: float,
    tau: float,
    weights: NDArray[np.float64] | None = None,
    max_weight: float | None = None,
) -> int | None:
    """`rows_needed` of rows as `skvae.information.boundary.check_pair` returns them.

    The student may be minus infinity where it is sure.
    """
    mixture = Mixture(reference, MIXING)
    rows = ScoredRows(T, log_q, mixture, True, weights, max_weight)
    return _needed(rows, mixture.floor, confidence, tau)


def _needed(rows: ScoredRows, floor: float, confidence: float, tau: float) -> int | None:
    if rows.n_samples < 2:
        raise ValueError("One row has no spread to tell from: pass at least two rows.")
    blocks = [
        (score, T, np.ones(len(score)) if weights is None else weights)
        for score, T, weights in rows
    ]
    thinned = slice(None, None, -(-rows.n_samples // MOST_ROWS))
    # Scores and distributions come times the weights.
    score, T, weights = (np.concatenate(each)[thinned] for each in zip(*blocks, strict=True))
    n_samples, weight = len(score), weights.sum()
    average = T.sum(axis=0) / weight
    used = average > 0
    log_average = np.log(average, out=np.zeros_like(average), where=used)
    # What the average of these rows took off their margin, to second order.
    squares = np.square(T - weights[:, np.newaxis] * average).sum(axis=0)
    taken = 0.5 * np.sum(squares[used] / average[used]) / weight**2
    taken *= n_samples / (n_samples - 1)
    beyond = score - T @ log_average + weights * (taken - tau)
    if beyond.sum() <= 0:
        return None
    n_effective = rows.n_effective / rows.n_samples
    threshold = np.log(1 / (1 - confidence))
    quantile = NormalDist().inv_cdf(POWER)

    def is_enough(n: int) -> bool:
        wanted = np.sqrt(2 * threshold / (n * n_effective)) / BET_SPREADS
        sizes = np.minimum(wanted, 1 / (tau + 1 - floor))
        # Of few rows it may be more than the least margin that a row can have.
        to_be_taken = weights * (taken * n_samples / n)
        returns = 1 + sizes[:, np.newaxis] * (beyond - to_be_taken)
        gains = np.log(np.maximum(returns, np.finfo(np.float64).tiny))
        log_capital = np.log(BET_SHARES) + n * gains.mean(axis=1)
        log_capital -= quantile * np.sqrt(n) * gains.std(axis=1, ddof=1)
        return bool(np.logaddexp.reduce(log_capital) >= threshold)

    enough = 1
    while not is_enough(enough):
        enough *= 2
        if enough > MOST_NEEDED:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        enough, too_few = (middle, too_few) if is_enough(middle) else (enough, middle)
    return enough
