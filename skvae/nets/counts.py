"""Torch modules of counts: the sizes of rows, and distributions whose rates grow with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skvae.objective.reconstructions import (
    negative_binomial_reconstruction,
    poisson_reconstruction,
)
from skvae.rows.counts import CountUnits

__all__ = ["NegativeBinomialLikelihood", "PoissonLikelihood", "RowSizes"]

# Of the logarithm of a dispersion: beyond, the distribution is all zeros, or a Poisson.
LOG_DISPERSIONS = (-20.0, 20.0)


class RowSizes(nn.Module):
    """Sizes of rows of counts, by which rows of any size can be compared.

    Parameters
    ----------
    counts : CountUnits or None, default=None
        What rows are measured by; None is by nothing.
    """

    typical_size: Tensor

    def __init__(self, counts: CountUnits | None = None):
        super().__init__()
        self.size = None if counts is None else counts.size
        typical = 1.0 if counts is None else counts.typical_size
        # No weight, and known to whoever makes the net.
        self.register_buffer("typical_size", torch.tensor(typical), persistent=False)

    def relative(self, x: Tensor) -> Tensor:
        """Sizes of rows over the typical one, of shape (n_samples, 1)."""
        if isinstance(self.size, int):
            sizes = x[:, self.size, None]
        else:
            sizes = x.sum(dim=1, keepdim=True).clamp(min=1.0)
        return sizes / self.typical_size

    def log_counts(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return ``log(1 + x)`` of counts as rows of the typical size would have them."""
        if self.size is None:
            return torch.log1p(x)
        return torch.log1p(torch.div(x, self.relative(x), out=out), out=out)

    def log_counts_of_typical(self, x: Tensor) -> Tensor:
        """Return ``log(1 + x)`` of rows of the typical size, whatever there is of them yet."""
        return torch.log1p(x)


class CountLikelihood(nn.Module):
    """Independent columns of counts; the decoder gives logarithms of rates.

    They are those of a row of the typical size, over the mean rates that it starts at: the rate
    of a column of a row is ``exp(parameter) * mean rate * size / typical size``. So the
    likelihood is that of rows *given their sizes*, and what is expected or drawn has the
    typical size.

    Parameters
    ----------
    log_variance, log_variance_floor, is_shared
        Of no use here; likelihoods are made alike.
    counts : CountUnits or None, default=None
        Sizes and mean rates; None is neither.
    """

    is_learned = False
    log_rates: Tensor

    def __init__(
        self, log_variance=None, log_variance_floor=None, is_shared=False, counts=None
    ):
        super().__init__()
        self.sizes = RowSizes(counts)
        self.is_started = counts is not None
        if counts is not None:
            log_rates = torch.as_tensor(counts.log_rates, dtype=torch.float32)
            self.register_buffer("log_rates", log_rates, persistent=False)

    def log_mean(self, parameters: Tensor, x: Tensor | None = None) -> Tensor:
        """Log rates of rows of the sizes of `x`, or of the typical size."""
        log_mean = parameters + self.log_rates if self.is_started else parameters
        if x is None or self.sizes.size is None:
            return log_mean
        return log_mean + torch.log(self.sizes.relative(x))

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row of the typical size."""
        return self._of_typical_size(torch.exp(self.log_mean(parameters)))

    def _counted(self, x: Tensor, observed: Tensor | None) -> Tensor | None:
        """Return which entries the sum is over: an exposure is given, and has no density."""
        if not isinstance(self.sizes.size, int):
            return observed
        is_count = torch.arange(x.shape[1], device=x.device) != self.sizes.size
        return is_count.expand(x.shape) if observed is None else observed.bool() & is_count

    def _of_typical_size(self, rows: Tensor) -> Tensor:
        """Give rows the typical exposure, where they are counted by one."""
        if not isinstance(self.sizes.size, int):
            return rows
        is_count = torch.arange(rows.shape[1], device=rows.device) != self.sizes.size
        return torch.where(is_count, rows, self.sizes.typical_size.to(rows.device))


class PoissonLikelihood(CountLikelihood):
    """Independent Poisson columns; the decoder gives the logarithms of their rates."""

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of the observed entries of each row."""
        log_rate = self.log_mean(parameters, x)
        return poisson_reconstruction(x, log_rate, self._counted(x, observed))

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows of the typical size, on the CPU."""
        rates = self.expectation(parameters).cpu()
        return self._of_typical_size(torch.poisson(rates, generator=generator))


class NegativeBinomialLikelihood(CountLikelihood):
    """Independent negative binomial columns; the decoder gives the logarithms of their means.

    Each column learns a dispersion ``r``: its variance is ``mean + mean**2 / r``.

    Parameters
    ----------
    log_variance : sequence of float or None
        Natural logarithms of the dispersions that learning starts at, one a column; None is
        one dispersion for all, from 1.
    log_variance_floor, is_shared, counts
        As in `CountLikelihood`.
    """

    is_learned = True

    def __init__(
        self, log_variance=None, log_variance_floor=None, is_shared=False, counts=None
    ):
        super().__init__(counts=counts)
        start = torch.zeros(1) if log_variance is None else torch.as_tensor(log_variance)
        self.unbounded_log_dispersion = nn.Parameter(start.to(torch.float32).clone())

    @property
    def log_dispersion(self) -> Tensor:
        """Natural logarithm of the dispersion of each column."""
        return self.unbounded_log_dispersion.clamp(*LOG_DISPERSIONS)

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of the observed entries of each row."""
        return negative_binomial_reconstruction(
            x, self.log_mean(parameters, x), self.log_dispersion, self._counted(x, observed)
        )

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows of the typical size, on the CPU: Poisson counts of rates from a gamma."""
        dispersion = self.log_dispersion.exp().cpu().expand(parameters.shape)
        spread = torch._standard_gamma(dispersion.double(), generator=generator) / dispersion
        rates = self.expectation(parameters).cpu() * spread
        drawn = torch.poisson(rates, generator=generator).float()
        return self._of_typical_size(drawn)
