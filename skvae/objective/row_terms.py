"""Loss terms as pure tensor functions: one value a row, in nats, no reduction and no state.

The same functions serve training, `score_samples`, `posterior_kl` and the tests.
The objective of a row is

    reconstruction + beta * kl + alignment_weight * alignment

and its evidence lower bound is ``-(reconstruction + kl)``. `skvae.objective.reconstructions`
has the first term, of each likelihood.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "alignment",
    "importance_bound",
    "kl",
    "kl_per_dimension",
]


def importance_bound(
    reconstruction: Tensor, latent: Tensor, mean: Tensor, log_variance: Tensor
) -> Tensor:
    """Importance-weighted lower bound on the log density of each row.

    Parameters
    ----------
    reconstruction : Tensor of shape (n_draws, n_samples)
        ``-log p(x|z)`` in nats at each draw of the code.
    latent : Tensor of shape (n_draws, n_samples, latent_dim)
        The draws, from the posterior.
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Means and log variances of the posterior ``q(z|x)``.

    Returns
    -------
    bound : Tensor of shape (n_samples,)
        ``log mean_k p(x|z_k) p(z_k) / q(z_k|x)`` in nats. In expectation it rises with
        `n_draws` from the ELBO towards ``log p(x)``.

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, arXiv 1509.00519,
    equation 8.

    Examples
    --------
    At the prior the weights are the likelihoods:

    >>> import torch
    >>> from skvae.objective import importance_bound
    >>> reconstruction = -torch.log(torch.tensor([[0.2], [0.6]]))
    >>> prior = torch.zeros(1, 1)
    >>> importance_bound(reconstruction, torch.randn(2, 1, 1), prior, prior).exp()
    tensor([0.4000])
    """
    noise_square = (latent - mean).square() * torch.exp(-log_variance)
    # log p(z) - log q(z|x): the constants of the two normals cancel.
    log_ratio = 0.5 * (noise_square + log_variance - latent.square()).sum(dim=2)
    log_weights = log_ratio - reconstruction
    return torch.logsumexp(log_weights, dim=0) - math.log(len(latent))


def kl_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of each latent dimension of the posterior from the standard normal.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Means and log variances of the posterior ``q(z|x)``.

    Returns
    -------
    kl : Tensor of shape (n_samples, latent_dim)
        ``KL(N(mean, variance) || N(0, 1))`` in nats, at least 0 up to rounding.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix B.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import kl_per_dimension
    >>> kl_per_dimension(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
    tensor([[0., 2.]])
    """
    # expm1 keeps the digits of a posterior that has all but reached the prior.
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of the posterior from the standard normal prior; its mean is the rate.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Means and log variances of the posterior ``q(z|x)``.

    Returns
    -------
    kl : Tensor of shape (n_samples,)
        ``KL(q(z|x) || N(0, I))`` in nats, summed over the latent dimensions.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix B.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import kl
    >>> kl(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2))
    tensor([2.5000])
    """
    return kl_per_dimension(mean, log_variance).sum(dim=1)


def alignment(T: Tensor, log_q: Tensor) -> Tensor:
    """Divergence of the witness from the teacher, teacher first.

    Parameters
    ----------
    T : Tensor of shape (n_samples, n_components)
        Teacher distributions; exact zeros are allowed.
    log_q : Tensor of shape (n_samples, n_components)
        Natural-log probabilities of the witness.

    Returns
    -------
    alignment : Tensor of shape (n_samples,)
        ``KL(T || q)`` in nats.

    References
    ----------
    arXiv 2605.05813. `skvae.information.alignment_cost` is its mean, in float64.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import alignment
    >>> T = torch.tensor([[1.0, 0.0]])
    >>> alignment(T, torch.log(torch.tensor([[0.5, 0.5]]))).item()
    0.6931471824645996
    """
    return (torch.xlogy(T, T) - T * log_q).sum(dim=1)
