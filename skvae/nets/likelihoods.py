"""Torch modules: distributions of a row given what the decoder makes of its code."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from skvae.objective.row_terms import (
    bernoulli_reconstruction,
    continuous_bernoulli_reconstruction,
    gaussian_reconstruction,
    laplace_reconstruction,
    poisson_reconstruction,
)
from skvae.rows.scaling import Standardization

__all__ = [
    "LIKELIHOODS",
    "WITH_VARIANCE",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "GaussianLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "PoissonLikelihood",
    "starting_variances",
]

# A learned variance stays above this fraction of the column's own variance, and above that of
# rounding to the column's own steps, where this is no more than that fraction.
VARIANCE_FLOOR = 1e-6
LARGEST_FLOOR = 1e-2

# Log odds that are as good as zero, and can be divided by.
SMALLEST_LOGIT = 1e-30


class ColumnVariances(nn.Module):
    """Log variances of the columns, fixed or learned, the same at every code.

    Parameters
    ----------
    log_variance : sequence of float
        Log variance of each column, or one for all, in the units that the net is fed.
    log_variance_floor : sequence of float or None
        None holds `log_variance` fixed; else it is where learning starts, and these are
        what it cannot fall below.
    is_shared : bool, default=False
        Whether all columns learn one excess over their floors, that of the first column to
        start with.
    """

    log_variance_floor: Tensor
    fixed_log_variance: Tensor

    def __init__(self, log_variance, log_variance_floor, is_shared=False):
        super().__init__()
        self.is_learned = log_variance_floor is not None
        start = torch.as_tensor(log_variance, dtype=torch.float32)
        if self.is_learned:
            floor = torch.as_tensor(log_variance_floor, dtype=torch.float32)
            self.register_buffer("log_variance_floor", floor)
            excess = start - floor
            self.excess_log_variance = nn.Parameter(excess[:1] if is_shared else excess)
        else:
            self.register_buffer("fixed_log_variance", start)

    @property
    def log_variance(self) -> Tensor:
        """Log variance of each column, of shape (n_features,)."""
        if self.is_learned:
            return self.log_variance_floor + functional.softplus(self.excess_log_variance)
        return self.fixed_log_variance

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        return parameters


class GaussianLikelihood(ColumnVariances):
    """Independent Gaussian columns; the decoder gives their means."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, of its observed entries if they are told."""
        return gaussian_reconstruction(x, parameters, self.log_variance, observed)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        mean = parameters.cpu()
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float32)
        return mean + torch.exp(0.5 * self.log_variance).cpu() * noise


class LaplaceLikelihood(ColumnVariances):
    """Independent Laplace columns; the decoder gives their means."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, of its observed entries if they are told."""
        return laplace_reconstruction(x, parameters, self.log_variance, observed)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        mean = parameters.cpu()
        # The difference of two exponential variables.
        waits = torch.empty(2, *mean.shape, dtype=torch.float32)
        first, second = waits.exponential_(generator=generator)
        return mean + torch.exp(0.5 * self.log_variance).cpu() / 2**0.5 * (first - second)


class WithoutVariance(nn.Module):
    """A likelihood that the decoder's output determines."""

    is_learned = False

    def __init__(self, log_variance=None, log_variance_floor=None, is_shared=False):
        super().__init__()


class BernoulliLikelihood(WithoutVariance):
    """Independent Bernoulli columns; the decoder gives their log odds."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, of its observed entries if they are told."""
        return bernoulli_reconstruction(x, parameters, observed)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        return torch.sigmoid(parameters)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        return torch.bernoulli(self.expectation(parameters).cpu(), generator=generator)


class ContinuousBernoulliLikelihood(WithoutVariance):
    """Independent continuous Bernoulli columns; the decoder gives their log odds."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, of its observed entries if they are told."""
        return continuous_bernoulli_reconstruction(x, parameters, observed)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        half = (0.5 * parameters).abs()
        # coth(h) - 1/h, and the head of its series where the difference loses its digits.
        large = half.clamp(min=0.3)
        closed = 1 / torch.tanh(large) - 1 / large
        square = half.square()
        series = half * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
        langevin = torch.where(half < 0.3, series, closed)
        return 0.5 * (1 + torch.sign(parameters) * langevin)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        logits = parameters.cpu()
        uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float32)
        # The inverse of the distribution function, from the end that is the likelier one.
        slope = -logits.abs().clamp(min=SMALLEST_LOGIT)
        distance = torch.log1p(uniform * torch.expm1(slope)) / slope
        return torch.where(logits > 0, 1 - distance, distance)


class PoissonLikelihood(WithoutVariance):
    """Independent Poisson columns; the decoder gives the logarithms of their rates."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, of its observed entries if they are told."""
        return poisson_reconstruction(x, parameters, observed)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        return torch.exp(parameters)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        return torch.poisson(self.expectation(parameters).cpu(), generator=generator)


Likelihood = (
    GaussianLikelihood
    | LaplaceLikelihood
    | BernoulliLikelihood
    | ContinuousBernoulliLikelihood
    | PoissonLikelihood
)

LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "poisson": PoissonLikelihood,
}
# These have a variance in the units of the data: their columns are standardised.
WITH_VARIANCE = ("gaussian", "laplace")


def starting_variances(
    likelihood: str,
    decoder_variance: float | str,
    units: Standardization,
    variance_floor: float | str = VARIANCE_FLOOR,
    steps: NDArray[np.float64] | float = 0.0,
) -> tuple[NDArray | None, NDArray | None]:
    """Log variances of the columns in the units of the net, and floors if they are learned.

    Parameters
    ----------
    likelihood, decoder_variance, variance_floor
        As in `TeacherGuidedVAE`.
    units : Standardization
        From the units of the data to those of the net.
    steps : ndarray of shape (n_features,) or 0
        Of the columns, as `skvae.rows.scaling.steps_of` finds them, for an automatic floor.
        What is rounded to steps has a variance of a twelfth of their square (Sheppard,
        Proceedings of the London Mathematical Society 29, 1898).
    """
    if likelihood not in WITH_VARIANCE:
        return None, None
    log_squares = 2 * np.log(units.scale)
    least = VARIANCE_FLOOR if variance_floor == "auto" else float(variance_floor)
    if decoder_variance == "learned":
        shares = np.full(len(units.scale), least)
        if variance_floor == "auto":
            shares = np.clip(np.square(steps / units.scale) / 12, least, LARGEST_FLOOR)
        floor = np.where(units.constant, 0.0, np.log(shares))
        return np.zeros(len(units.scale)), floor
    if decoder_variance == "shared":
        # All columns learn one variance in the units of the data: it starts at their average.
        varying = ~units.constant | units.constant.all()
        start = np.log(np.square(units.scale[varying]).mean()) - log_squares
        # Its floor is one as well, whatever the steps of the columns.
        return start, start + math.log(least)
    return math.log(float(decoder_variance)) - log_squares, None
