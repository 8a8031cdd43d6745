"""Bets against a claimed margin, and the least they return over all average teachers.

The statements behind this, and their proofs, are in ``docs/bound.rst``: that the return is
an e-value, that its logarithm is convex in the average, and that its value less the gap of
Frank and Wolfe is below the least, wherever the minimisation stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.statistics import BLOCK_ROWS
from skvae.rows.numbers import as_array

__all__ = [
    "Bets",
    "Block",
    "Mixture",
    "Payoff",
    "average_of",
    "check_share",
    "least_log_e_value",
]

# Log e-values are found to within this.
TOLERANCE = 1e-5
MOST_PASSES = 60
# Returns that are multiplied before a logarithm is taken, which costs more than all the
# rest; each is far within the sixteenth root of the range of a float64.
MULTIPLIED = 16
# As for the rows of a teacher: a float32 average strays from one by about 1e-6.
_SUM_TOLERANCE = 1e-5

# The log score of each row by the mixed witness, and the teacher, both times the row's weight,
# and that: a share of the largest weight there can be, or None where all rows have that one.
Block = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]


class Mixture:
    """What the witness is mixed with, and the least margin that a row can then have."""

    def __init__(self, reference: ArrayLike, mixing: float) -> None:
        check_share(mixing, "mixing")
        self._mixing = float(mixing)
        self._reference = _check_reference(reference)
        self.floor = float(np.log(self._mixing) + np.log(self._reference.min()))

    def score(self, T: NDArray[np.float64], log_q: NDArray[np.float64]) -> NDArray[np.float64]:
        if T.shape[1] != len(self._reference):
            raise ValueError(
                f"reference must have one entry per teacher component: expected {T.shape[1]}, "
                f"got {len(self._reference)}. Pass the average of this teacher over its "
                "training rows."
            )
        mixed = (1 - self._mixing) * np.exp(log_q) + self._mixing * self._reference
        return np.einsum("ij,ij->i", T, np.log(mixed))


class Bets(NamedTuple):
    """Bets, each a multiple of a row's margin beyond the claimed one, and their capital."""

    sizes: NDArray[np.float64]
    shares: NDArray[np.float64]


class Payoff(NamedTuple):
    """The log e-value at one average, and what its gradient there says of the least one.

    ``rows_left`` is the number of rows for each bet, each row divided by what it returned:
    with it the derivative of the log e-value in a bet's size is known. Rows count in it by
    their weights; ``idle`` is the same by what these fall short of one.
    """

    average: NDArray[np.float64]
    better_average: NDArray[np.float64]
    gradient: NDArray[np.float64]
    value: float
    gap: float
    rounding: float
    capital: NDArray[np.float64]
    rows_left: NDArray[np.float64]
    idle: NDArray[np.float64]

    @property
    def certified(self) -> float:
        return self.value - self.gap - self.rounding


def least_log_e_value(
    blocks: Iterable[Block],
    bets: Bets,
    m: float,
    average: NDArray[np.float64],
    threshold: float | None = None,
    tolerance: float = TOLERANCE,
) -> Payoff:
    """Minimise the log e-value over all averages, or until its side of the threshold is known.

    The result is below the least value wherever the iteration ends: the function is convex,
    so it is nowhere below its tangent plane.
    """
    best = certified = _payoff(blocks, bets, m, average)
    step = 1.0
    for _ in range(MOST_PASSES):
        enough = max(tolerance / 4, certified.rounding)
        if threshold is not None:
            enough = max(enough, abs(best.value - threshold) / 10)
        if best.gap <= enough:
            break
        trial = _payoff(blocks, bets, m, _step(best.average, best.better_average, step))
        certified = max(certified, trial, key=lambda payoff: payoff.certified)
        # A whole step is too short where the bets are large, and swings about the kink where
        # two bets return the same: the secant of the slopes at both ends says by how much.
        move = trial.average - best.average
        before, after = float(best.gradient @ move), float(trial.gradient @ move)
        # Slopes that are rounding say nothing: a step by them may go anywhere.
        if -before > best.rounding:
            secant = step * before / (before - after) if before < after else 1.0
            step = float(np.clip(secant, 0.1, 3))
        if trial.value <= best.value + best.rounding:
            best = trial
    return certified


def _step(
    average: NDArray[np.float64], better_average: NDArray[np.float64], step: float
) -> NDArray[np.float64]:
    """Go towards a better average by a power of the ratio, which stays within the simplex."""
    ratio = np.divide(better_average, average, out=np.ones_like(average), where=average > 0)
    # Any point serves; the clip keeps the power finite.
    moved = average * np.clip(ratio, 0.01, 100) ** step
    return moved / moved.sum()


def _payoff(
    blocks: Iterable[Block], bets: Bets, m: float, average: NDArray[np.float64]
) -> Payoff:
    sizes = bets.sizes[:, np.newaxis]
    # No row uses a component of average zero: it enters no return, and the least return
    # leaves it without weight. Any finite logarithm serves, and its weight stays zero.
    used = average > 0
    average = np.where(used, np.clip(average, np.finfo(np.float64).tiny, 1.0), 0.0)
    log_average = np.log(average, out=np.zeros_like(average), where=used)
    log_returns, rows_left, idle = np.zeros((3, len(sizes)))
    teacher_left = np.zeros((len(sizes), len(average)))
    n_samples = n_blocks = 0
    furthest = 0.0
    for score, T, weights in blocks:
        beyond = score - T @ log_average - (m if weights is None else m * weights)
        returns = 1 + sizes * beyond
        log_returns += _log_products(returns)
        left = 1 / returns
        if weights is None:
            rows_left += left.sum(axis=1)
        else:
            rows_left += left @ weights
            idle += left @ (1 - weights)
        teacher_left += left @ T
        n_samples += len(score)
        n_blocks += 1
        furthest = max(furthest, float(np.abs(beyond).max()))
    log_capital = log_returns + np.log(bets.shares)
    peak = log_capital.max()
    capital = np.exp(log_capital - peak)
    value = peak + np.log(capital.sum())
    capital /= capital.sum()
    weight = float((capital * bets.sizes) @ rows_left)
    weighted_teacher = (capital * bets.sizes) @ teacher_left
    gradient = -np.divide(weighted_teacher, average, out=np.zeros_like(average), where=used)
    gap = -gradient.min() - weight
    # A generous bound on what rounding did: a unit in the last place for each of the
    # operations on each row, whose error no bet enlarges, and for each addition.
    scale = 1 + np.abs(log_average).max() + furthest + abs(m)
    units = n_samples * (len(average) + 16) * scale + (BLOCK_ROWS + n_blocks) * weight
    return Payoff(
        average=average,
        better_average=weighted_teacher / weighted_teacher.sum(),
        gradient=gradient,
        value=float(value),
        gap=float(gap),
        rounding=float(np.finfo(np.float64).eps * units),
        capital=capital,
        rows_left=rows_left,
        idle=idle,
    )


def _log_products(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the product of each row of positive numbers."""
    n_whole = returns.shape[1] // MULTIPLIED * MULTIPLIED
    whole = returns[:, :n_whole].reshape(len(returns), MULTIPLIED, -1).prod(axis=1)
    rest = returns[:, n_whole:].prod(axis=1)
    return np.log(whole).sum(axis=1) + np.log(rest)


def average_of(teachers: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = sum(T.sum(axis=0) for T in teachers)
    return total / np.sum(total)


def _check_reference(reference: ArrayLike) -> NDArray[np.float64]:
    values = as_array(reference, "reference").astype(np.float64, copy=False)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"reference must have shape (n_components,), got shape {values.shape}: it is one "
            "distribution, such as the average of the teacher over the training rows."
        )
    if not np.isfinite(values).all() or abs(values.sum() - 1) > _SUM_TOLERANCE:
        raise ValueError(
            "reference must be a distribution, finite entries that sum to one, got "
            f"{np.array2string(values, threshold=12)}."
        )
    if (values <= 0).any():
        raise ValueError(
            "reference must be positive everywhere, or the mixed witness could still be sure "
            f"of something impossible, got {np.array2string(values, threshold=12)}. Mix it "
            "with the uniform distribution first: 0.99 * reference + 0.01 / n_components."
        )
    return values / values.sum()


def check_share(value: Any, name: str) -> None:
    # Some numbers between the two are 0 or 1 to a float64 that is told how far they are off.
    if not (isinstance(value, (float, np.floating)) and 0 < value < 1 and 0 < 1 - value < 1):
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}.")
