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
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.statistics import BLOCK_ROWS, checked_blocks

__all__ = ["MarginBound", "SequentialMargin", "margin_lower_bound"]

# A bet is best where its spread is the standard deviation of the rows' margins, which is
# not known beforehand: the capital is spread over these, most of it where it mostly lies.
_BET_SPREADS = np.array([0.12, 0.3, 0.6, 1.2, 2.4])
_BET_SHARES = np.array([0.1, 0.35, 0.35, 0.15, 0.05])
# Fractions of the largest allowed bet, for a number of rows that is not known beforehand.
_BET_FRACTIONS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])
# Log e-values are found to within this; the bound is then found to far less.
_TOLERANCE = 1e-5
_MOST_PASSES = 60
# As for the rows of a teacher: a float32 average strays from one by about 1e-6.
_SUM_TOLERANCE = 1e-5


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
    """

    lower_bound: float
    log_e_value: float | None


def margin_lower_bound(
    T: ArrayLike,
    log_q: ArrayLike,
    reference: ArrayLike,
    confidence: float = 0.95,
    mixing: float = 0.02,
    method: Literal["e-value", "normal"] = "e-value",
) -> MarginBound:
    """Lower confidence bound on the margin of a student in the population.

    The bound is on the margin of the *mixed* witness ``(1 - mixing) q + mixing reference``,
    which is constant if and only if ``q`` is, and reads nothing that ``q`` does not. If ``q``
    reads a draw of the code, it is a lower bound on the information ``I(C; Z)`` between the
    teacher's component and the code. It is no bound on the margin of ``q`` itself, which may
    be lower without limit where ``q`` is sure and wrong on rare rows.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions of rows drawn independently from the population, after
        teacher, student and reference were fixed. Exact zeros are allowed.
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

    Returns
    -------
    bound : MarginBound
        The bound, in nats, and the e-value against a margin of zero.

    Raises
    ------
    ValueError
        If ``T`` or ``log_q`` is refused by `alignment_cost`, the reference is no
        distribution over the same components or has zeros, or another parameter is out
        of its range.

    Notes
    -----
    The rows are read several times in small blocks. Beside its inputs, which may be memory
    maps, the function holds one float64 a row.

    References
    ----------
    Waudby-Smith and Ramdas, JRSS B 86(1), 2024 (arXiv 2010.09686) for bounds by betting;
    Vovk and Wang, Annals of Statistics 49(3), 2021, for e-values; Frank and Wolfe, Naval
    Research Logistics Quarterly 3, 1956, for the gap that certifies the least e-value.
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
    _check_share(confidence, "confidence")
    if method not in ("e-value", "normal"):
        raise ValueError(f'method must be "e-value" or "normal", got {method!r}.')
    mixture = _Mixture(reference, mixing)
    rows = _Rows(T, log_q, mixture)
    if method == "normal":
        return _normal_bound(rows, confidence, mixture.floor)
    return _e_value_bound(rows, confidence, mixture.floor)


class SequentialMargin:
    """Evidence for a margin that may be watched while rows come in, and stopped at any time.

    Let rows come in batches. The rows of a batch are drawn independently from one
    population, given all that was before; the teacher, the reference, ``mixing`` and
    ``null_margin`` are fixed in advance, and the witness of a batch before the batch is
    seen (it may have learnt from earlier batches). Suppose that no witness used has, mixed
    with the reference, a population margin above ``null_margin``. Then, for every
    ``alpha``, the probability that `log_e_value` ever reaches ``log(1 / alpha)`` is at most
    ``alpha``. So on reaching it one may conclude, at that level, that *some* witness used
    has a larger margin; if all were the same, that one has.

    Parameters
    ----------
    reference : array-like of shape (n_components,)
        A distribution without zeros, fixed before the first batch was seen.
    mixing : float, default=0.02
        Share of the reference in the mixed witness, between 0 and 1, both excluded.
    null_margin : float, default=0.0
        Margin to be exceeded, in nats, above ``log(mixing) + log(min(reference))``.

    Attributes
    ----------
    n_samples : int
        Number of rows so far.
    log_e_value : float
        Natural logarithm of the e-value of all rows so far, 0 before the first.

    Raises
    ------
    ValueError
        If the reference has zeros or is no distribution, or a parameter is out of its range.

    Notes
    -----
    The population's average teacher is not known, and the e-value is the least over all
    averages. The least is over the rows together, so all rows are kept: ``n_components + 1``
    float64 numbers each.

    References
    ----------
    Ville, Etude critique de la notion de collectif, 1939, for the inequality; Ramdas et
    al., Statistical Science 38(4), 2023 (arXiv 2210.01948) for its use. The proof is in
    ``docs/bound.rst``.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import SequentialMargin
    >>> watch = SequentialMargin(reference=[0.5, 0.5])
    >>> T = np.tile([[0.9, 0.1], [0.1, 0.9]], (20, 1))
    >>> while watch.log_e_value < np.log(20):
    ...     watch = watch.update(T, np.log(T))
    >>> watch.n_samples
    80
    """

    def __init__(
        self, reference: ArrayLike, mixing: float = 0.02, null_margin: float = 0.0
    ) -> None:
        self._mixture = _Mixture(reference, mixing)
        if not self._mixture.floor < null_margin < np.inf:
            raise ValueError(
                f"null_margin must be finite and above {self._mixture.floor:.4g} nats, below "
                f"which no margin can be at this mixing and reference, got {null_margin!r}."
            )
        self._null_margin = float(null_margin)
        largest = 1 / (self._null_margin + 1 - self._mixture.floor)
        shares = np.full(len(_BET_FRACTIONS), 1 / len(_BET_FRACTIONS))
        self._bets = _Bets(largest * _BET_FRACTIONS, shares)
        self._blocks: list[_Block] = []
        self._log_e_value: float | None = 0.0

    def update(self, T: ArrayLike, log_q: ArrayLike) -> Self:
        """Add a batch of fresh rows.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Teacher distributions of the batch.
        log_q : array-like of shape (n_samples, n_components)
            Natural-log probabilities of the student for the same rows.

        Returns
        -------
        self : SequentialMargin
            This object, with the rows added.

        Raises
        ------
        ValueError
            As for `margin_lower_bound`. No row is added then.
        """
        checked = list(checked_blocks(T, log_q))
        fresh = [(self._mixture.score(*pair), pair[0]) for pair in checked]
        for score, teacher in fresh:
            # Batches of a few rows are joined, or a pass over many would be all overhead.
            while self._blocks and len(self._blocks[-1][0]) <= len(score) <= BLOCK_ROWS // 2:
                earlier_score, earlier_teacher = self._blocks.pop()
                score = np.concatenate([earlier_score, score])
                teacher = np.concatenate([earlier_teacher, teacher])
            self._blocks.append((score, teacher))
        self._log_e_value = None
        return self

    @property
    def n_samples(self) -> int:
        return sum(len(score) for score, _ in self._blocks)

    @property
    def log_e_value(self) -> float:
        if self._log_e_value is None:
            average = _average(teacher for _, teacher in self._blocks)
            least = _least_log_e_value(self._blocks, self._bets, self._null_margin, average)
            self._log_e_value = least.certified
        return self._log_e_value


# The expected log score of the mixed witness, and the teacher, of some rows.
_Block = tuple[NDArray[np.float64], NDArray[np.float64]]


class _Mixture:
    """What the witness is mixed with, and the least margin that a row can then have."""

    def __init__(self, reference: ArrayLike, mixing: float) -> None:
        _check_share(mixing, "mixing")
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


class _Rows:
    """Rows as blocks that can be read again and again; of each row only the score is kept."""

    def __init__(self, T: ArrayLike, log_q: ArrayLike, mixture: _Mixture) -> None:
        self._T = np.asarray(T)
        # A list of maps is left as it is: an array of it would be read into memory.
        several = isinstance(log_q, (list, tuple)) and np.ndim(log_q[0] if log_q else 0) == 2
        draws: Any = log_q if several else np.asarray(log_q)
        if not several and draws.ndim != 3:
            draws = [draws]
        if not len(draws):
            raise ValueError(f"log_q must hold at least one draw, got shape {np.shape(log_q)}.")
        scores = [
            [mixture.score(*pair) for pair in checked_blocks(self._T, draw)] for draw in draws
        ]
        self._scores = [np.mean(block, axis=0) for block in zip(*scores, strict=True)]
        self.n_samples = len(self._T)

    def __iter__(self) -> Iterator[_Block]:
        for index, score in enumerate(self._scores):
            start = index * BLOCK_ROWS
            T = np.asarray(self._T[start : start + BLOCK_ROWS], dtype=np.float64)
            yield score, T / T.sum(axis=1, keepdims=True)


class _Bets(NamedTuple):
    """Bets, each a multiple of a row's margin beyond the claimed one, and their capital."""

    sizes: NDArray[np.float64]
    shares: NDArray[np.float64]


class _Payoff(NamedTuple):
    """The log e-value at one average, and what its gradient there says of the least one.

    ``rows_left`` is the number of rows for each bet, each row divided by what it returned:
    with it the derivative of the log e-value in a bet's size is known.
    """

    average: NDArray[np.float64]
    better_average: NDArray[np.float64]
    gradient: NDArray[np.float64]
    value: float
    gap: float
    rounding: float
    capital: NDArray[np.float64]
    rows_left: NDArray[np.float64]

    @property
    def certified(self) -> float:
        return self.value - self.gap - self.rounding


def _normal_bound(rows: _Rows, confidence: float, floor: float) -> MarginBound:
    if rows.n_samples == 1:
        return MarginBound(floor, None)
    margin, spread = _margin_and_spread(rows, _average(T for _, T in rows))
    slack = NormalDist().inv_cdf(confidence) * spread / np.sqrt(rows.n_samples - 1)
    return MarginBound(max(floor, float(margin - slack)), None)


def _e_value_bound(rows: _Rows, confidence: float, floor: float) -> MarginBound:
    """Find the largest margin that is rejected; all below it are, as returns fall with it."""
    n_samples = rows.n_samples
    threshold = float(np.log(1 / (1 - confidence)))
    wanted = np.sqrt(2 * threshold / n_samples) / _BET_SPREADS
    average = _average(T for _, T in rows)
    margin, spread = _margin_and_spread(rows, average)
    rejected, accepted = -np.inf, margin
    m = max(floor, margin - 3 * spread / np.sqrt(n_samples))
    for _ in range(_MOST_PASSES):
        largest = 1 / (m + 1 - floor)
        bets = _Bets(np.minimum(wanted, largest), _BET_SHARES)
        least = _least_log_e_value(rows, bets, m, average, threshold)
        average = least.average
        excess = least.certified - threshold
        if excess >= 0:
            rejected = m
        else:
            accepted = m
        lowest = max(rejected, floor)
        if 0 <= excess <= _TOLERANCE or accepted - lowest <= 1e-12:
            break
        fall = np.where(wanted < largest, least.rows_left, n_samples)
        m += (excess - _TOLERANCE / 2) / float(least.capital @ (bets.sizes * fall))
        if m <= floor and rejected < floor:
            m = floor
        elif not lowest < m < accepted:
            m = (lowest + accepted) / 2
    lower_bound = max(rejected, floor)
    bets = _Bets(np.minimum(wanted, 1 / (1 - floor)), _BET_SHARES)
    log_e_value = _least_log_e_value(rows, bets, 0.0, average).certified
    # The two were found to within a tolerance each; as returns fall with the margin, either
    # certifies what it implies for the other.
    if lower_bound >= 0:
        log_e_value = max(log_e_value, threshold)
    elif log_e_value >= threshold:
        lower_bound = 0.0
    return MarginBound(float(lower_bound), float(log_e_value))


def _least_log_e_value(
    blocks: Iterable[_Block],
    bets: _Bets,
    m: float,
    average: NDArray[np.float64],
    threshold: float | None = None,
) -> _Payoff:
    """Minimise the log e-value over all averages, or until its side of the threshold is known.

    The result is certified wherever the iteration ends: the function is convex, so it is
    nowhere below its tangent plane.
    """
    best = certified = _payoff(blocks, bets, m, average)
    step = 1.0
    for _ in range(_MOST_PASSES):
        enough = max(_TOLERANCE / 4, certified.rounding)
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
        step = float(np.clip(step * before / (before - after), 0.1, 3)) if before < after else 1
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
    blocks: Iterable[_Block], bets: _Bets, m: float, average: NDArray[np.float64]
) -> _Payoff:
    sizes = bets.sizes[:, np.newaxis]
    # No row uses a component of average zero: it enters no return, and the least return
    # leaves it without weight. Any finite logarithm serves, and its weight stays zero.
    used = average > 0
    average = np.where(used, np.clip(average, np.finfo(np.float64).tiny, 1.0), 0.0)
    log_average = np.log(average, out=np.zeros_like(average), where=used)
    log_returns, rows_left = np.zeros((2, len(sizes)))
    teacher_left = np.zeros((len(sizes), len(average)))
    n_samples = n_blocks = 0
    furthest = 0.0
    for score, T in blocks:
        beyond = score - T @ log_average - m
        gain = sizes * beyond
        log_returns += np.log1p(gain).sum(axis=1)
        left = 1 / (1 + gain)
        rows_left += left.sum(axis=1)
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
    return _Payoff(
        average=average,
        better_average=weighted_teacher / weighted_teacher.sum(),
        gradient=gradient,
        value=float(value),
        gap=float(gap),
        rounding=float(np.finfo(np.float64).eps * units),
        capital=capital,
        rows_left=rows_left,
    )


def _average(teachers: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = sum(T.sum(axis=0) for T in teachers)
    return total / np.sum(total)


def _margin_and_spread(
    rows: Iterable[_Block], average: NDArray[np.float64]
) -> tuple[float, float]:
    log_average = np.log(average, out=np.zeros_like(average), where=average > 0)
    n_samples = 0
    total = squares = 0.0
    for score, T in rows:
        row_margins = score - T @ log_average
        total += float(row_margins.sum())
        squares += float(row_margins @ row_margins)
        n_samples += len(score)
    margin = total / n_samples
    return margin, max(squares / n_samples - margin**2, 0.0) ** 0.5


def _check_reference(reference: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(reference, dtype=np.float64)
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


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}.")
