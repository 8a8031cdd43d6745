"""Torch modules: distributions of a row given what the decoder makes of its code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from skvae.nets.counts import NegativeBinomialLikelihood, PoissonLikelihood
from skvae.objective.reconstructions import (
    bernoulli_reconstruction,
    continuous_bernoulli_reconstruction,
    gaussian_reconstruction,
    laplace_reconstruction,
    student_t_reconstruction,
)
from skvae.rows.scaling import Standardization

__all__ = [
    "LIKELIHOODS",
    "OF_COUNTS",
    "WITH_VARIANCE",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "GaussianLikelihood",
    "Kinds",
    "LaplaceLikelihood",
    "Likelihood",
    "NegativeBinomialLikelihood",
    "PoissonLikelihood",
    "StudentTLikelihood",
    "starting_variances",
    "with_variance",
]

# A learned variance stays above this fraction of the column's own variance, and above that of
# rounding to the column's own steps, where this is no more than that fraction.
VARIANCE_FLOOR = 1e-6
LARGEST_FLOOR = 0.2

# Log odds that are as good as zero, and can be divided by.
SMALLEST_LOGIT = 1e-30

# Learned degrees of freedom: where they start, and what they stay above, to have a variance.
FIRST_DEGREES = 8.0
LEAST_DEGREES = 2.01


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


class StudentTLikelihood(ColumnVariances):
    """Independent columns of Student's t distribution; the decoder gives their means.

    Parameters
    ----------
    log_variance, log_variance_floor, is_shared
        As in `ColumnVariances`.
    degrees : float or None, default=None
        Degrees of freedom, above 2; None learns those of each column.
    """

    def __init__(self, log_variance, log_variance_floor, is_shared=False, degrees=None):
        super().__init__(log_variance, log_variance_floor, is_shared)
        self.given_degrees = degrees
        if degrees is None:
            # The inverse of softplus.
            excess = math.log(math.expm1(FIRST_DEGREES - LEAST_DEGREES))
            self.excess_degrees = nn.Parameter(torch.full(np.shape(log_variance), excess))

    @property
    def degrees(self) -> Tensor:
        """Degrees of freedom, of shape (n_features,) where they are learned."""
        if self.given_degrees is None:
            return LEAST_DEGREES + functional.softplus(self.excess_degrees)
        return torch.tensor(self.given_degrees, device=self.log_variance.device)

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row."""
        return student_t_reconstruction(
            x, parameters, self.log_variance, self.degrees, observed
        )

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU (Bailey, Mathematics of Computation 62(206), 1994)."""
        mean, degrees = parameters.cpu(), self.degrees.cpu()
        waits, turns = torch.empty(2, *mean.shape, dtype=torch.float32)
        waits.exponential_(generator=generator)
        turns.uniform_(generator=generator)
        radius = torch.sqrt(degrees * torch.expm1(2 * waits / degrees))
        scale = torch.exp(0.5 * (self.log_variance.cpu() + torch.log1p(-2 / degrees)))
        return mean + scale * radius * torch.cos(2 * math.pi * turns)


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


Likelihood = (
    GaussianLikelihood
    | LaplaceLikelihood
    | StudentTLikelihood
    | BernoulliLikelihood
    | ContinuousBernoulliLikelihood
    | NegativeBinomialLikelihood
    | PoissonLikelihood
)

LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
    "student_t": StudentTLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
    "poisson": PoissonLikelihood,
}
# Of these the rates may grow with the sizes of the rows.
OF_COUNTS = ("negative_binomial", "poisson")
# These have a variance in the units of the data: their columns are standardised.
WITH_VARIANCE = ("gaussian", "laplace", "student_t")

# What a net is told of its columns: one likelihood of all, or of each its likelihood, how many
# columns of the net it is, and what is given of it.
Kinds = str | Sequence[tuple[str, int, Any]]


def with_variance(likelihood: Kinds, n_features: int) -> NDArray[np.bool_]:
    """Tell which columns of a net have a variance in the units of the data."""
    if isinstance(likelihood, str):
        return np.full(n_features, likelihood in WITH_VARIANCE)
    return np.concatenate(
        [np.full(width, name in WITH_VARIANCE) for name, width, _ in likelihood]
    )


def starting_variances(
    likelihood: Kinds,
    decoder_variance: float | str,
    units: Standardization,
    variance_floor: float | str = VARIANCE_FLOOR,
    steps: NDArray[np.float64] | float = 0.0,
) -> tuple[NDArray | None, NDArray | None]:
    """Log variances of the columns in the units of the net, and floors if they are learned.

    Of negative binomial columns the logarithms of the dispersions; of columns of other kinds
    they mean nothing.

    Parameters
    ----------
    likelihood : str or sequence of (str, int, object)
        As in `skvae.nets.networks.VariationalAutoencoder`.
    decoder_variance, variance_floor
        As in `TeacherGuidedVAE`.
    units : Standardization
        From the units of the data to those of the net.
    steps : ndarray of shape (n_features,) or 0
        Of the columns, as `skvae.rows.scaling.steps_of` finds them, for an automatic floor.
        What is rounded to steps has a variance of a twelfth of their square (Sheppard,
        Proceedings of the London Mathematical Society 29, 1898).
    """
    if likelihood == "negative_binomial":
        # A dispersion of one for each column.
        return np.zeros(len(units.scale)), None
    has_variance = with_variance(likelihood, len(units.scale))
    if not has_variance.any():
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
        varying = has_variance & ~units.constant
        varying = varying if varying.any() else has_variance
        start = np.log(np.square(units.scale[varying]).mean()) - log_squares
        # Its floor is one as well, whatever the steps of the columns.
        return start, start + math.log(least)
    return math.log(float(decoder_variance)) - log_squares, None
