"""Reconstruction terms of tables with columns of several kinds; pure functions of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["categorical_reconstruction", "student_t_reconstruction"]


def student_t_reconstruction(
    x: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    degrees: Tensor,
    observed: Tensor | None = None,
) -> Tensor:
    """Negative log density of Student's t distribution with independent columns.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means.
    log_variance : Tensor of shape (n_features,) or ()
        Natural logarithm of the decoder's variances: of ``s^2 d / (d - 2)`` for a scale ``s``.
    degrees : Tensor of shape (n_features,) or ()
        Degrees of freedom ``d``, above 2.
    observed : Tensor of shape (n_samples, n_features) or None, default=None
        Which entries are observed: the others leave the sum. None is all.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Lange, Little and Taylor, Robust statistical modeling using the t distribution, Journal of
    the American Statistical Association 84(408), 1989, section 2.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import student_t_reconstruction
    >>> x = torch.zeros(1, 1)
    >>> student_t_reconstruction(x, x, torch.zeros(1), torch.tensor([3.0]))  # log(pi / 2)
    tensor([0.4516])
    """
    if observed is not None:
        # What is not observed may be NaN, and so would be gradients through it.
        x = torch.where(observed.bool(), x, 0.0)
    log_scale = 0.5 * (log_variance + torch.log1p(-2 / degrees))
    squares = ((x - mean) * torch.exp(-log_scale)).square()
    half = 0.5 * (degrees + 1)
    constant = (
        torch.lgamma(0.5 * degrees)
        - torch.lgamma(half)
        + 0.5 * torch.log(degrees * math.pi)
        + log_scale
    )
    terms = half * torch.log1p(squares / degrees) + constant
    if observed is not None:
        terms = torch.where(observed.bool(), terms, 0.0)
    return terms.sum(dim=1)


def categorical_reconstruction(
    x: Tensor, logits: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log likelihood of independent categorical columns.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_columns, n_levels)
        A one among zeros for each column, or the shares of an average over several.
    logits : Tensor of shape (n_samples, n_columns, n_levels)
        Unnormalised log probabilities given by the decoder; minus infinity for a level that a
        column has not.
    observed : Tensor of shape (n_samples, n_columns) or None, default=None
        Which entries are observed: the others leave the sum. None is all.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        Cross-entropy in nats, summed over the columns.

    References
    ----------
    Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.4.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import categorical_reconstruction
    >>> x = torch.tensor([[[0.0, 1.0]]])
    >>> categorical_reconstruction(x, torch.zeros(1, 1, 2))  # log 2
    tensor([0.6931])
    """
    if observed is not None:
        x = torch.where(observed.bool()[..., None], x, 0.0)
    # Zero times the minus infinity of a level that is not there is no number.
    picked = torch.where(x > 0, x * logits, 0.0).sum(dim=2)
    terms = torch.logsumexp(logits, dim=2) - picked
    if observed is not None:
        terms = torch.where(observed.bool(), terms, 0.0)
    return terms.sum(dim=1)
