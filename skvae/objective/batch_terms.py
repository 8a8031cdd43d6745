"""Loss terms that belong to a whole batch of rows, as pure tensor functions, in nats.

What a row adds to them depends on the rows beside it, so none has a value for each row.
`skvae.objective.row_terms` has those that do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = [
    "capacity_gap",
    "floored_rate",
    "has_margin",
    "is_aligned",
    "margin_means",
    "mmd",
    "total_correlation",
]


def floored_rate(kl_per_dimension: Tensor, free_bits: float) -> Tensor:
    """Rate of a batch, each dimension counted for no less than `free_bits`.

    Parameters
    ----------
    kl_per_dimension : Tensor of shape (n_samples, latent_dim)
        Divergence of each dimension of each posterior from the prior, in nats.
    free_bits : float
        Least that a dimension counts for, in nats, at least 0.

    Returns
    -------
    floored_rate : Tensor of shape ()
        ``sum_j max(free_bits, mean_i kl_ij)``. A dimension below the floor has no gradient.

    References
    ----------
    Kingma et al., Improved variational inference with inverse autoregressive flow,
    arXiv 1606.04934, appendix C.8.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import floored_rate
    >>> floored_rate(torch.tensor([[0.0, 3.0], [0.2, 1.0]]), 0.5)
    tensor(2.5000)
    """
    return kl_per_dimension.mean(dim=0).clamp(min=free_bits).sum()


def capacity_gap(rate: Tensor, capacity: float) -> Tensor:
    """Distance of the rate of a batch from a capacity.

    Parameters
    ----------
    rate : Tensor of shape ()
        Mean divergence of the posteriors of the batch from the prior, in nats.
    capacity : float
        What the rate is held to, in nats, at least 0.

    Returns
    -------
    gap : Tensor of shape ()
        ``|rate - capacity|``.

    References
    ----------
    Burgess et al., Understanding disentangling in beta-VAE, arXiv 1804.03599, equation 8,
    of the batch mean.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import capacity_gap
    >>> capacity_gap(torch.tensor(2.0), 5.0)
    tensor(3.)
    """
    return (rate - capacity).abs()


def is_aligned(
    T: Tensor,
    alignment: Tensor,
    target: float,
    weights: Tensor | None = None,
    over_all: Callable[[Sequence[Tensor], Tensor | None], Callable[[], list[Tensor]]]
    | None = None,
) -> Tensor:
    """Whether the margin of a batch is at or above a share of its teacher information.

    Parameters
    ----------
    T : Tensor of shape (n_samples, n_components)
        Teacher distributions of the batch; exact zeros are allowed.
    alignment : Tensor of shape (n_samples,)
        What the witness costs on each row, in nats.
    target : float
        The share, in (0, 1).
    weights : Tensor of shape (n_samples,) or None, default=None
        Positive weights of the rows in every mean; None weighs all alike.
    over_all : callable or None, default=None
        Where these rows are a part of the batch: from means over them, and the sum of their
        weights, if they have any, to what waits for the means over the batch.

    Returns
    -------
    is_aligned : Tensor of shape (), bool
        ``I_T - mean(alignment) >= target I_T``, with ``I_T`` and the average teacher of these
        rows, as the identity behind the margin wants it.

    References
    ----------
    arXiv 2605.05813 for the margin. What it decides is skvae's own, see docs/objectives.rst.

    Examples
    --------
    Two rows that the teacher is sure of, and tells apart, have ``I_T = log 2``:

    >>> import torch
    >>> from skvae.objective import is_aligned
    >>> cost = torch.tensor([0.1, 0.1])
    >>> is_aligned(torch.eye(2), cost, 0.8), is_aligned(torch.eye(2), cost, 0.9)
    (tensor(True), tensor(False))
    """
    means: Sequence[Tensor] = margin_means(T, alignment, weights)
    if over_all is not None:
        means = over_all(means, None if weights is None else weights.sum())()
    return has_margin(means, target)


def margin_means(
    T: Tensor, alignment: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Means over rows that a margin is made of: the teacher, its negative entropy, the cost."""
    if weights is None:
        return T.mean(dim=0), torch.xlogy(T, T).sum() / len(T), alignment.mean()
    # Of the batch itself: the identity asks for one set of rows and one of weights.
    shares = weights / weights.sum()
    return shares @ T, shares @ torch.xlogy(T, T).sum(dim=1), shares @ alignment


def has_margin(means: Sequence[Tensor], target: float) -> Tensor:
    """Whether the margin is at or above a share of the information, given `margin_means`."""
    average, negative_entropy, cost = means
    information = negative_entropy - torch.xlogy(average, average).sum()
    return cost <= (1 - target) * information


def mmd(latent: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy between draws of the code and the prior.

    The kernel is ``exp(-|z - z'|^2 / (2 latent_dim))``. Its expectations under the
    standard normal are known, so that no draws of the prior are needed.

    Parameters
    ----------
    latent : Tensor of shape (n_samples, latent_dim)
        One draw of the code of each row.
    weights : Tensor of shape (n_samples,) or None, default=None
        Positive weights of the rows in the aggregated posterior; None weighs all alike. A pair
        has the product of two, over the sum of such products.

    Returns
    -------
    mmd : Tensor of shape ()
        Unbiased estimate (the pairs of a row with itself are left out; with weights unbiased
        but for the ratio of sums) of the squared
        discrepancy between the aggregated posterior and the prior: it falls a little below 0
        now and then. Fewer than two rows have no pair, and give 0.

    References
    ----------
    Gretton et al., A kernel two-sample test, JMLR 13, 2012, lemma 6; Zhao, Song and Ermon,
    InfoVAE, AAAI 2019, arXiv 1706.02262.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import mmd
    >>> code = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    >>> abs(mmd(code).item()) < 0.001, mmd(code + 3).item() > 0.5
    (True, True)
    """
    n_rows, latent_dim = latent.shape
    if n_rows < 2:
        return latent.new_zeros(())
    squares = latent.square().sum(dim=1)
    distances = squares[:, None] + squares - 2 * latent @ latent.T
    kernel = torch.exp(-distances.clamp(min=0.0) / (2 * latent_dim))
    # Gaussian integrals of a kernel of variance latent_dim.
    shrinkage = (latent_dim / (latent_dim + 1)) ** (latent_dim / 2)
    with_prior = torch.exp(-squares / (2 * (latent_dim + 1)))
    if weights is None:
        among_codes = (kernel.sum() - kernel.diagonal().sum()) / (n_rows * (n_rows - 1))
        across = shrinkage * with_prior.mean()
    else:
        pairs = torch.outer(weights, weights).fill_diagonal_(0.0)
        among_codes = (pairs * kernel).sum() / pairs.sum()
        across = shrinkage * (weights @ with_prior) / weights.sum()
    among_prior = (latent_dim / (latent_dim + 2)) ** (latent_dim / 2)
    return among_codes - 2 * across + among_prior


def total_correlation(
    latent: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    n_rows: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Dependence between the dimensions of the aggregated posterior, from one batch.

    Parameters
    ----------
    latent : Tensor of shape (n_samples, latent_dim)
        One draw of the code of each row.
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Means and log variances of the posterior ``q(z|x)``.
    n_rows : int
        Rows that the aggregated posterior is made of, of which the batch is a sample.
    weights : Tensor of shape (n_samples,) or None, default=None
        Positive weights of the rows, one on average over all `n_rows`; None is one each.

    Returns
    -------
    total_correlation : Tensor of shape ()
        Estimate of ``KL(q(z) || prod_j q(z_j))`` in nats. The row that a draw came from
        counts for one of `n_rows`, the others of the batch for all the rest, alike: the
        densities are unbiased, their logarithms are not, and small batches give too much.
        A single row gives 0.

    References
    ----------
    Chen et al., Isolating sources of disentanglement in VAEs, NeurIPS 2018, arXiv
    1802.04942, appendix C.2 (stratified sampling; here averaged over which of the other rows
    has the weight of its own there).

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import total_correlation
    >>> noise = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> code, narrow = noise.expand(-1, 2), torch.full((1000, 2), -6.0)
    >>> total_correlation(code, code, narrow, 1000).item() > 1
    True
    """
    n_batch = len(latent)
    if n_batch < 2:
        return latent.new_zeros(())
    # Up to a constant of each dimension, which cancels.
    log_density = -0.5 * (
        (latent[:, None] - mean).square() * torch.exp(-log_variance) + log_variance
    )
    if weights is None:
        n_rows = max(n_rows, n_batch)
        others = math.log((n_rows - 1) / (n_rows * (n_batch - 1)))
        own = -math.log(n_rows) - others
        log_weights = others + own * torch.eye(
            n_batch, dtype=latent.dtype, device=latent.device
        )
    else:
        share = weights / weights.sum().clamp(min=n_rows)
        beside = weights.repeat(n_batch, 1).fill_diagonal_(0.0)
        beside = beside / beside.sum(dim=1, keepdim=True)
        log_weights = torch.log((1 - share)[:, None] * beside + torch.diag(share))
    joint = torch.logsumexp(log_weights + log_density.sum(dim=2), dim=1)
    marginals = torch.logsumexp(log_weights[:, :, None] + log_density, dim=1)
    dependence = joint - marginals.sum(dim=1)
    return dependence.mean() if weights is None else (weights * dependence).mean()
