"""Schedules: what share of the KL weight, and of the learning rate, is in force in a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

__all__ = ["KLSchedule", "LRSchedule", "checked_factor", "schedules_of"]

# Of one cycle, as torch has them by default: the share of the steps in which the learning rate
# rises, and its factors at the first step and at the last.
RISING_SHARE = 0.3
FIRST_FACTOR = 1 / 25
LAST_FACTOR = FIRST_FACTOR / 1e4


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


@dataclass(frozen=True)
class LRSchedule:
    """Learning rate of each step of a training, as a factor on that of the optimiser.

    Parameters
    ----------
    n_steps : int
        Steps of the whole training.
    shape : {"one-cycle", "cosine"} or callable
        "one-cycle" rises from 1/25 to 1 over the first 0.3 of the steps and falls to
        1/250,000, each along half a cosine, as `torch.optim.lr_scheduler.OneCycleLR` does by
        default. "cosine" falls from 1 along half a cosine that would end at 0 one step after
        the last, as `torch.optim.lr_scheduler.CosineAnnealingLR` over `n_steps`. A callable
        is given the share of the steps that have been taken, in [0, 1), and returns the factor.

    References
    ----------
    Smith and Topin, Super-convergence, arXiv 1708.07120 (one cycle); Loshchilov and Hutter,
    SGDR, arXiv 1608.03983, equation 5 (cosine).

    Examples
    --------
    >>> from skvae.training import LRSchedule
    >>> schedule = LRSchedule(n_steps=10, shape="one-cycle")
    >>> [round(schedule.factor(step), 2) for step in range(10)]
    [0.04, 0.52, 1.0, 0.95, 0.81, 0.61, 0.39, 0.19, 0.05, 0.0]
    >>> [LRSchedule(4, lambda progress: 1 - progress).factor(step) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    n_steps: int
    shape: str | Callable[[float], float]

    def factor(self, step: int) -> float:
        """Factor in force in a step, which are counted from 0."""
        if self.shape == "one-cycle":
            return _one_cycle(step, self.n_steps)
        if callable(self.shape):
            return checked_factor(self.shape, step / self.n_steps)
        return _half_cosine(1.0, 0.0, step / self.n_steps)


def schedules_of(settings: Mapping[str, Any], n_steps: int) -> dict[str, Any]:
    """Return the schedules of a training of so many steps; None for what stays as it is."""
    warmup, shape = settings["kl_warmup"], settings["lr_schedule"]
    return {
        "kl_schedule": KLSchedule(n_steps, warmup, settings["kl_cycles"]) if warmup else None,
        "lr_schedule": None if shape is None else LRSchedule(n_steps, shape),
    }


def checked_factor(shape: Callable[[float], float], progress: float) -> float:
    """Return what a user's schedule makes of a share of the steps, or say what is wrong."""
    factor: Any = shape(progress)
    is_number = isinstance(factor, Real) and not isinstance(factor, bool)
    if not is_number or not 0 <= factor < math.inf:
        raise ValueError(
            "lr_schedule must return a finite factor of at least 0 on lr for each share of the "
            f"steps in [0, 1]: for {progress:.4g} it returned {factor!r}."
        )
    return float(factor)


def _one_cycle(step: int, n_steps: int) -> float:
    top, last = RISING_SHARE * n_steps - 1, n_steps - 1
    if step <= top:
        return _half_cosine(FIRST_FACTOR, 1.0, step / top)
    return _half_cosine(1.0, LAST_FACTOR, (step - top) / (last - top))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
