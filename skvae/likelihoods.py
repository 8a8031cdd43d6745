"""Torch modules: distributions of a row given what the decoder makes of its code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from skvae.objective import bernoulli_reconstruction, gaussian_reconstruction

__all__ = ["LIKELIHOODS", "BernoulliLikelihood", "GaussianLikelihood", "Likelihood"]


class GaussianLikelihood(nn.Module):
    """Independent Gaussian columns; the decoder gives their means.

    Parameters
    ----------
    log_variance : sequence of float
        Log variance of each column, or one for all, in the units that the net is fed.
    log_variance_floor : sequence of float or None
        None holds `log_variance` fixed; else it is where learning starts, and these are
        what it cannot fall below.
    """

    log_variance_floor: Tensor
    fixed_log_variance: Tensor

    def __init__(self, log_variance, log_variance_floor):
        super().__init__()
        self.is_learned = log_variance_floor is not None
        start = torch.as_tensor(log_variance, dtype=torch.float32)
        if self.is_learned:
            floor = torch.as_tensor(log_variance_floor, dtype=torch.float32)
            self.register_buffer("log_variance_floor", floor)
            self.excess_log_variance = nn.Parameter(start - floor)
        else:
            self.register_buffer("fixed_log_variance", start)

    @property
    def log_variance(self) -> Tensor:
        """Log variance of each column, of shape (n_features,)."""
        if self.is_learned:
            return self.log_variance_floor + functional.softplus(self.excess_log_variance)
        return self.fixed_log_variance

    def reconstruction(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Negative log likelihood of each row."""
        return gaussian_reconstruction(x, parameters, self.log_variance)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        return parameters

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        mean = parameters.cpu()
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float32)
        return mean + torch.exp(0.5 * self.log_variance).cpu() * noise


class BernoulliLikelihood(nn.Module):
    """Independent Bernoulli columns; the decoder gives their log odds."""

    is_learned = False

    def __init__(self, log_variance=None, log_variance_floor=None):
        super().__init__()

    def reconstruction(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Negative log likelihood of each row."""
        return bernoulli_reconstruction(x, parameters)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row."""
        return torch.sigmoid(parameters)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        return torch.bernoulli(self.expectation(parameters).cpu(), generator=generator)


Likelihood = GaussianLikelihood | BernoulliLikelihood

LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "bernoulli": BernoulliLikelihood,
}
