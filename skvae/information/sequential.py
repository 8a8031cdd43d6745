"""Evidence for a margin that may be watched while rows come in."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from skvae.information.betting import Bets, Block, Mixture, average_of, least_log_e_value
from skvae.information.bound import ScoredRows
from skvae.information.statistics import BLOCK_ROWS

__all__ = ["SequentialMargin"]

# Fractions of the largest allowed bet, for a number of rows that is not known beforehand.
_BET_FRACTIONS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])


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

    Where the witness reads draws of the code, rows of different batches need draws of their
    own, as those of one batch do: noise that comes again in every batch, as from a fixed seed,
    does not average out, and is taken for evidence. `ConstantCollapseCertificate.update` draws
    anew for every row.

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
        self._mixture = Mixture(reference, mixing)
        if not self._mixture.floor < null_margin < np.inf:
            raise ValueError(
                f"null_margin must be finite and above {self._mixture.floor:.4g} nats, below "
                f"which no margin can be at this mixing and reference, got {null_margin!r}."
            )
        self._null_margin = float(null_margin)
        largest = 1 / (self._null_margin + 1 - self._mixture.floor)
        shares = np.full(len(_BET_FRACTIONS), 1 / len(_BET_FRACTIONS))
        self._bets = Bets(largest * _BET_FRACTIONS, shares)
        self._blocks: list[Block] = []
        self._log_e_value: float | None = 0.0

    def update(self, T: ArrayLike, log_q: ArrayLike) -> Self:
        """Add a batch of fresh rows.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Teacher distributions of the batch.
        log_q : array-like of shape ([n_draws,] n_samples, n_components)
            Natural-log probabilities of the student for the same rows. The log scores of a
            row are averaged over its draws, as by `margin_lower_bound`.

        Returns
        -------
        self : SequentialMargin
            This object, with the rows added.

        Raises
        ------
        ValueError
            As for `margin_lower_bound`. No row is added then.
        """
        for score, teacher, _ in ScoredRows(T, log_q, self._mixture):
            # Batches of a few rows are joined, or a pass over many would be all overhead.
            while self._blocks and len(self._blocks[-1][0]) <= len(score) <= BLOCK_ROWS // 2:
                earlier_score, earlier_teacher, _ = self._blocks.pop()
                score = np.concatenate([earlier_score, score])
                teacher = np.concatenate([earlier_teacher, teacher])
            self._blocks.append((score, teacher, None))
        self._log_e_value = None
        return self

    @property
    def n_samples(self) -> int:
        """Number of rows so far."""
        return sum(len(score) for score, _, _ in self._blocks)

    @property
    def log_e_value(self) -> float:
        """Log of the evidence against a margin of at most zero; natural logarithm."""
        if self._log_e_value is None:
            average = average_of(teacher for _, teacher, _ in self._blocks)
            least = least_log_e_value(self._blocks, self._bets, self._null_margin, average)
            self._log_e_value = least.certified
        return self._log_e_value
