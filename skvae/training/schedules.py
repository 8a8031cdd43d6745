"""The KL schedule: what share of the KL weight is in force in each step of a training."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KLSchedule"]


@dataclass(frozen=True)
class KLSchedule:
    """Rise from nothing to the whole weight, once or in equal cycles.

    Parameters
    ----------
    n_steps : int
        Steps of the whole training, at least `n_cycles`.
    warmup : float
        Share of a cycle in which the weight rises, in (0, 1].
    n_cycles : int, default=1
        Cycles that the training is cut into.

    References
    ----------
    Bowman et al., Generating sentences from a continuous space, CoNLL 2016 (one rise); Fu
    et al., Cyclical annealing schedule, NAACL 2019, arXiv 1903.10145, equation 6.

    Examples
    --------
    >>> from skvae.training import KLSchedule
    >>> schedule = KLSchedule(n_steps=8, warmup=0.5, n_cycles=2)
    >>> [schedule.fraction(step) for step in range(8)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0]
    """

    n_steps: int
    warmup: float
    n_cycles: int = 1

    def fraction(self, step: int) -> float:
        """Share in force in a step, which are counted from 0."""
        # In whole numbers as far as they go: a cycle need not be a whole number of steps.
        position = step * self.n_cycles % self.n_steps / self.n_steps
        return min(1.0, position / self.warmup)

    def is_over(self, step: int) -> bool:
        """Whether the last rise has ended: the share is whole in this step and after it."""
        return step * self.n_cycles >= (self.n_cycles - 1) * self.n_steps and (
            self.fraction(step) == 1
        )
