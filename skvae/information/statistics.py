"""The boundary of rows that come in batches, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.boundary import check_pair, rows_counted_from
from skvae.rows.numbers import as_array
from skvae.rows.weights import check_weights

__all__ = ["BoundaryStatistics", "TeacherBlock"]

# Small enough to stay in a processor's cache, and for plain sums within a block to keep
# twelve digits; large enough that the loop over blocks costs nothing beside the sums.
BLOCK_ROWS = 4096


class TeacherBlock(NamedTuple):
    """Checked teacher rows, and the sums in which no student has a part.

    Attributes
    ----------
    T, logarithm : ndarray of shape (n_samples, n_components)
        Distributions, and their logarithms; any finite number where T is zero.
    negative_entropy : float
        Sum of the negative entropies of the rows.
    total : ndarray of shape (n_components,)
        Sum of the rows.
    products : ndarray of shape (n_components ** 2,)
        Sums of the products of any two columns.
    weights : ndarray of shape (n_samples,) or None
        What the rows count in these sums, and the square of it in the products; None is one.
    """

    T: NDArray[np.float64]
    logarithm: NDArray[np.float64]
    negative_entropy: float
    total: NDArray[np.float64]
    products: NDArray[np.float64]
    weights: NDArray[np.float64] | None

    @classmethod
    def of(
        cls, T: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> TeacherBlock:
        """Sum up rows as `skvae.information.boundary.check_teacher` returns them."""
        log_T = _log_or_zero(T)
        negative_entropies = np.einsum("ij,ij->i", T, log_T)
        if weights is None:
            negative_entropy = float(negative_entropies.sum())
            return cls(T, log_T, negative_entropy, T.sum(axis=0), (T.T @ T).ravel(), None)
        weighted = weights[:, np.newaxis] * T
        products = (weighted.T @ weighted).ravel()
        return cls(
            T, log_T, float(weights @ negative_entropies), weights @ T, products, weights
        )


class BoundaryStatistics:
    """Sums from which the boundary of any number of rows can be told.

    The sums of two sets of rows add up to those of both, so rows may come in batches of
    any size and order, or be summed by several processes and merged: the quantities are
    those of all rows as one sample, to within 1e-12. (The average of the margins of
    batches is another quantity: each batch has its own best constant student.) The sums
    are compensated, and take ``n_components ** 2`` numbers however many rows there are. Rows
    may have weights; a row without one has weight 1.

    Attributes
    ----------
    n_samples : int
        Number of rows so far.
    teacher_information, alignment_cost, margin : float
        ``I_T``, ``L`` and ``G = I_T - L`` of all rows so far, in nats.
    best_constant_student : ndarray of shape (n_components,)
        The average of the teacher over all rows so far.
    margin_standard_error : float
        Standard error of the margin, in nats.

    References
    ----------
    arXiv 2605.05813 for the quantities; Neumaier, ZAMM 54(1), 1974, for the sums.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import BoundaryStatistics, margin
    >>> T = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> batches = BoundaryStatistics().update(T[:2], np.log(T[:2])).update(T[2:], np.log(T[2:]))
    >>> batches.n_samples
    3
    >>> abs(batches.margin - margin(T, np.log(T))) < 1e-12
    True
    """

    def __init__(self) -> None:
        self._n_samples = 0
        self._n_components = 0
        # The sums are total + carry: the carry holds what rounding took from the total.
        self._total: NDArray[np.float64] = np.zeros(0)
        self._carry: NDArray[np.float64] = np.zeros(0)

    def update(
        self, T: ArrayLike, log_q: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Add rows.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Teacher distributions, one row each on the simplex.
        log_q : array-like of shape (n_samples, n_components)
            Natural-log probabilities of the student for the same rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0 and not all 0, on one scale for all batches: a row
            of weight 2 counts as two, which the standard error takes for one observation all
            the same. None is a weight of 1 each.

        Returns
        -------
        self : BoundaryStatistics
            These statistics, with the rows added.

        Raises
        ------
        ValueError
            As for `alignment_cost`, and if the number of components is not that of the
            rows before. The statistics are then what they were.
        """
        added = BoundaryStatistics()
        weights = None
        for T_block, log_q_block in checked_blocks(T, log_q):
            if sample_weight is not None and weights is None:
                weights = check_weights(sample_weight, len(as_array(T, "T")))
            start = added.n_samples
            of_block = None if weights is None else weights[start : start + len(T_block)]
            added.add_checked(TeacherBlock.of(T_block, of_block), log_q_block)
        return self.merge(added)

    def add_checked(self, teacher: TeacherBlock, log_q: NDArray[np.float64]) -> Self:
        """Add a block of rows as `skvae.information.boundary.check_pair` returns them.

        Parameters
        ----------
        teacher : TeacherBlock
            Teacher distributions of the block, and what follows from them.
        log_q : ndarray of shape (n_samples, n_components)
            Log probabilities of the student.

        Returns
        -------
        self : BoundaryStatistics
            These statistics, with the block added.
        """
        block = BoundaryStatistics()
        block._n_samples, block._n_components = teacher.T.shape
        block._total = _sums(teacher, log_q)
        block._carry = np.zeros_like(block._total)
        return self.merge(block)

    def merge(self, other: BoundaryStatistics) -> Self:
        """Add the rows that other statistics were made of; those are left as they are.

        Parameters
        ----------
        other : BoundaryStatistics
            Statistics of other rows, with the same teacher and student.

        Returns
        -------
        self : BoundaryStatistics
            These statistics, with the rows of the others added.

        Raises
        ------
        ValueError
            If both hold rows and the numbers of components differ.
        """
        if not other._n_samples:
            return self
        if not self._n_samples:
            self._n_components = other._n_components
            self._total, self._carry = np.zeros((2, len(other._total)))
        if other._n_components != self._n_components:
            raise ValueError(
                f"These statistics are of K = {self._n_components} teacher components, and "
                f"the rows to be added have K = {other._n_components}. Only rows of one "
                "teacher can be added up: begin new statistics for another."
            )
        self._n_samples += other._n_samples
        self._total, lost = _two_sum(self._total, other._total)
        self._carry = self._carry + other._carry + lost
        return self

    def __add__(self, other: BoundaryStatistics) -> BoundaryStatistics:
        if not isinstance(other, BoundaryStatistics):
            return NotImplemented
        return BoundaryStatistics().merge(self).merge(other)

    def __repr__(self) -> str:
        return (
            f"BoundaryStatistics(n_samples={self._n_samples}, "
            f"n_components={self._n_components})"
        )

    @property
    def n_samples(self) -> int:
        """Number of rows so far."""
        return self._n_samples

    @property
    def best_constant_student(self) -> NDArray[np.float64]:
        """Average teacher of the rows, of shape (n_components,)."""
        return self._moments().average

    @property
    def teacher_information(self) -> float:
        """Cost of the best constant student less the least cost, I_T, in nats."""
        moments = self._moments()
        average = moments.average
        return max(float(moments.negative_entropy - average @ _log_or_zero(average)), 0.0)

    @property
    def alignment_cost(self) -> float:
        """Cross-entropy of the student less the entropy of the teacher, in nats."""
        return max(float(self._moments().cost), 0.0)

    @property
    def margin(self) -> float:
        """Teacher information less alignment cost, in nats."""
        moments = self._moments()
        score, average = moments.score, moments.average
        return float(score - average @ _log_or_zero(average))

    @property
    def margin_standard_error(self) -> float:
        """Standard error of the margin; nan for one row, which has no spread.

        By the delta method, the error in the average teacher counts at first order just
        as it does in ``mean_i phi_i``, ``phi_i = sum_k T_ik (log q_ik - log Tbar_k)``, with
        ``Tbar`` held fixed: so this is the standard error of that mean, which for weighted rows
        is a ratio of two sums.
        """
        at = self._moments()
        if self._n_samples < 2:
            return float("nan")
        log_average = _log_or_zero(at.average)
        margin = at.score - at.average @ log_average
        square = (
            at.score_squared
            - 2 * at.score_teacher @ log_average
            + log_average @ at.teacher_teacher @ log_average
        )
        # With no weights both are what they are of one row: the margin, and one.
        mean = at.score_again - at.average_again @ log_average
        variance = max(float(square - margin * (2 * mean - margin * at.weight_again)), 0.0)
        return float(np.sqrt(variance / (at.weight * (self._n_samples - 1) / self._n_samples)))

    def _moments(self) -> _Moments:
        if not self._n_samples:
            raise ValueError("There are no rows yet: call update with at least one row first.")
        K = self._n_components
        sums = self._total + self._carry
        weight = float(sums[-1])
        scalars, average, score_teacher, teacher_teacher, again, average_again, _ = np.split(
            sums / weight, np.cumsum([4, K, K, K * K, 2, K])
        )
        products = teacher_teacher.reshape(K, K)
        of_one = (score_teacher, products, again[0], again[1], average_again, weight)
        return _Moments(scalars[0], scalars[1], scalars[2], scalars[3], average, *of_one)


class _Moments(NamedTuple):
    """Sums over rows, over the sum of their weights.

    Of what is squared or multiplied by another the sums are of squared weights, and `again` the
    plain quantities with squared weights: what the spread of the rows takes.
    """

    cost: float
    negative_entropy: float
    score: float
    score_squared: float
    average: NDArray[np.float64]
    score_teacher: NDArray[np.float64]
    teacher_teacher: NDArray[np.float64]
    score_again: float
    weight_again: float
    average_again: NDArray[np.float64]
    weight: float


def checked_blocks(
    T: ArrayLike, log_q: ArrayLike
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the rows block by block, checked and normalised in float64.

    Only one block is in float64 at a time, so memory-mapped arrays may be larger than memory.
    """
    T, log_q = as_array(T, "T"), as_array(log_q, "log_q")
    if T.ndim != 2 or log_q.shape != T.shape or len(T) <= BLOCK_ROWS:
        yield check_pair(T, log_q)
        return
    for start in range(0, len(T), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        with rows_counted_from(start):
            checked = check_pair(T[block], log_q[block])
        yield checked


def plain_blocks(
    T: NDArray[np.float64], log_q: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield rows that were checked before in the blocks of `checked_blocks`."""
    for start in range(0, len(T), BLOCK_ROWS):
        yield T[start : start + BLOCK_ROWS], log_q[start : start + BLOCK_ROWS]


def _sums(teacher: TeacherBlock, log_q: NDArray[np.float64]) -> NDArray[np.float64]:
    T, weights = teacher.T, teacher.weights
    score = np.einsum("ij,ij->i", T, log_q)
    cost = np.einsum("ij,ij->i", T, teacher.logarithm - log_q)
    if weights is None:
        scalars = [cost.sum(), teacher.negative_entropy, score.sum(), score @ score]
        sums = [scalars, teacher.total, score @ T, teacher.products]
        return np.concatenate([*sums, [scalars[2], len(T)], teacher.total, [len(T)]])
    squares = weights * weights
    weighted = weights * score
    scalars = [weights @ cost, teacher.negative_entropy, weighted.sum(), weighted @ weighted]
    sums = [scalars, teacher.total, (squares * score) @ T, teacher.products]
    again = [squares @ score, squares.sum()]
    return np.concatenate([*sums, again, squares @ T, [weights.sum()]])


def _two_sum(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Return the rounded sum and, exactly, what the rounding took from it (Knuth)."""
    total = x + y
    y_kept = total - x
    return total, (x - (total - y_kept)) + (y - y_kept)


def _log_or_zero(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # Where p is zero it is multiplied by zero later on: any finite value serves.
    return np.log(p, out=np.zeros_like(p), where=p > 0)
