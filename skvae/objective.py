"""Loss terms as pure tensor functions: one value a row, in nats, no reduction and no state.

The same functions serve training, `score_samples`, `posterior_kl` and the tests.
The objective of a row is

    reconstruction + beta * kl + alignment_weight * alignment

and its evidence lower bound is ``-(reconstruction + kl)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "alignment",
    "bernoulli_reconstruction",
    "gaussian_reconstruction",
    "kl",
    "kl_per_dimension",
]


def gaussian_reconstruction(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log density of a Gaussian with independent columns.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means.
    log_variance : Tensor of shape (n_features,) or ()
        Natural logarithm of the decoder's variances.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix C.2.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import gaussian_reconstruction
    >>> x = torch.zeros(1, 2)
    >>> gaussian_reconstruction(x, x, torch.zeros(2)).item()  # log(2 pi)
    1.8378770351409912
    """
    n_features = x.shape[1]
    # One product with the precisions, in place of passes over all entries.
    weighted = torch.mv((x - mean).square(), torch.exp(-log_variance).expand(n_features))
    constant = (log_variance + math.log(2 * math.pi)).expand(n_features).sum()
    return 0.5 * (weighted + constant)


def bernoulli_reconstruction(x: Tensor, logits: Tensor) -> Tensor:
    """Negative log likelihood of independent Bernoulli columns.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Rows in [0, 1]; values strictly between are averages over both outcomes.
    logits : Tensor of shape (n_samples, n_features)
        Log odds given by the decoder.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        Cross-entropy in nats, summed over the columns.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix C.1.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import bernoulli_reconstruction
    >>> bernoulli_reconstruction(torch.ones(1, 1), torch.zeros(1, 1)).item()  # log 2
    0.6931471824645996
    """
    cross_entropy = functional.binary_cross_entropy_with_logits
    return cross_entropy(logits, x, reduction="none").sum(dim=1)


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
