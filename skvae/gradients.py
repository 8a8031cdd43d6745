"""Gradients of the terms of the usual objective, in closed form.

`skvae.objective` has the terms. Autograd would find the same, and does wherever one of the
other terms, likelihoods or witnesses is in force: its bookkeeping costs a small net more than
these formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "alignment_gradient",
    "gaussian_gradient",
    "gaussian_variance_gradient",
    "kl_gradient",
]


def gaussian_gradient(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Gradient of `skvae.objective.gaussian_reconstruction` in the decoder's means.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means.
    log_variance : Tensor of shape (n_features,) or ()
        Natural logarithm of the decoder's variances.

    Returns
    -------
    gradient : Tensor of shape (n_samples, n_features)
        ``(mean - x) / variance``.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix C.2, for the term.

    Examples
    --------
    >>> import torch
    >>> from skvae.gradients import gaussian_gradient
    >>> gaussian_gradient(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([0.0]))
    tensor([[2.]])
    """
    return (mean - x).mul_(torch.exp(-log_variance))


def gaussian_variance_gradient(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Gradient of the sum of `skvae.objective.gaussian_reconstruction` in log variances.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means.
    log_variance : Tensor of shape (n_features,)
        Natural logarithm of the decoder's variances.

    Returns
    -------
    gradient : Tensor of shape (n_features,)
        ``(n_samples - sum_i (x_i - mean_i)^2 / variance) / 2``.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix C.2, for the term.

    Examples
    --------
    A variance that is the mean square has none:

    >>> import torch
    >>> from skvae.gradients import gaussian_variance_gradient
    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> gaussian_variance_gradient(x, torch.zeros(2, 1), torch.zeros(1))
    tensor([0.])
    """
    difference = mean - x
    squares = torch.linalg.vecdot(difference, difference, dim=0)
    return 0.5 * (len(x) - squares * torch.exp(-log_variance))


def kl_gradient(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `skvae.objective.kl` in means and log variances.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Means and log variances of the posterior ``q(z|x)``.

    Returns
    -------
    of_mean, of_log_variance : Tensor of shape (n_samples, latent_dim)
        ``mean`` and ``(variance - 1) / 2``.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendix B, for the term.

    Examples
    --------
    >>> import torch
    >>> from skvae.gradients import kl_gradient
    >>> kl_gradient(torch.tensor([[2.0]]), torch.tensor([[0.0]]))
    (tensor([[2.]]), tensor([[0.]]))
    """
    return mean, 0.5 * torch.expm1(log_variance)


def alignment_gradient(T: Tensor, log_q: Tensor) -> Tensor:
    """Gradient of `skvae.objective.alignment` in the logits of a witness.

    Parameters
    ----------
    T : Tensor of shape (n_samples, n_components)
        Teacher distributions; exact zeros are allowed.
    log_q : Tensor of shape (n_samples, n_components)
        Natural-log probabilities of the witness, the log softmax of its logits.

    Returns
    -------
    gradient : Tensor of shape (n_samples, n_components)
        ``q sum(T) - T`` with the sum over each row, which is its weight if rows are weighed.

    References
    ----------
    arXiv 2605.05813, for the term.

    Examples
    --------
    >>> import torch
    >>> from skvae.gradients import alignment_gradient
    >>> alignment_gradient(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]).log())
    tensor([[-0.5000,  0.5000]])
    """
    return log_q.exp().mul_(T.sum(dim=1, keepdim=True)).sub_(T)
