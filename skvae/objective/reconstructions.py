"""Reconstruction terms: negative log likelihoods of rows in nats, as pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "bernoulli_reconstruction",
    "categorical_reconstruction",
    "continuous_bernoulli_reconstruction",
    "gaussian_reconstruction",
    "laplace_reconstruction",
    "log_sinhc",
    "negative_binomial_reconstruction",
    "poisson_reconstruction",
    "student_t_reconstruction",
    "summed",
]

# From here on Stirling's series has all digits of float32.
LARGE_DISPERSION = 10.0


def summed(terms: Tensor, observed: Tensor | None) -> Tensor:
    """Sum over the columns of a row, of those that are observed.

    Parameters
    ----------
    terms : Tensor of shape (n_samples, n_features)
        Negative log densities of the entries.
    observed : Tensor of bool, of shape (n_samples, n_features), or None
        Which entries there are; None is all.

    Returns
    -------
    sums : Tensor of shape (n_samples,)
        Columns that are independent given the code leave the density of a row where they are
        integrated over: what is left is the density of the observed entries.

    References
    ----------
    Nazabal, Olmos, Ghahramani and Valera, HI-VAE, arXiv 1807.03653; Mattei and Frellsen, MIWAE,
    arXiv 1812.02633.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective.reconstructions import summed
    >>> summed(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False]]))
    tensor([1.])
    """
    if observed is not None:
        terms = torch.where(observed, terms, 0.0)
    return terms.sum(dim=1)


def gaussian_reconstruction(
    x: Tensor, mean: Tensor, log_variance: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log density of a Gaussian with independent columns.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means.
    log_variance : Tensor of shape (n_features,) or ()
        Natural logarithm of the decoder's variances.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        Entries of `x` that count; None is all. Where one does not, `x` is any finite number.

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
    squares = functional.mse_loss(mean.expand_as(x), x, reduction="none")
    constants = log_variance + math.log(2 * math.pi)
    return 0.5 * _weighed(squares, torch.exp(-log_variance), constants, observed)


def _weighed(
    distances: Tensor, precisions: Tensor, constants: Tensor, observed: Tensor | None
) -> Tensor:
    """Sum of ``precision * distance + constant`` over the columns, those that are observed."""
    n_features = distances.shape[1]
    precisions, constants = precisions.expand(n_features), constants.expand(n_features)
    # One product with the precisions, in place of passes over all entries.
    if observed is None:
        return torch.mv(distances, precisions) + constants.sum()
    there = observed.to(distances.dtype)
    return torch.mv(distances * there, precisions) + torch.mv(there, constants)


def bernoulli_reconstruction(
    x: Tensor, logits: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log likelihood of independent Bernoulli columns.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Rows in [0, 1]; values strictly between are averages over both outcomes.
    logits : Tensor of shape (n_samples, n_features)
        Log odds given by the decoder.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        As in `gaussian_reconstruction`.

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
    return summed(cross_entropy(logits, x, reduction="none"), observed)


def laplace_reconstruction(
    x: Tensor, mean: Tensor, log_variance: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log density of a Laplace distribution with independent columns.

    Parameters
    ----------
    x, mean : Tensor of shape (n_samples, n_features)
        Rows and the decoder's means, which are medians too.
    log_variance : Tensor of shape (n_features,) or ()
        Natural logarithm of the decoder's variances: of ``2 b^2`` for a scale ``b``.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        As in `gaussian_reconstruction`.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Kotz, Kozubowski and Podgorski, The Laplace Distribution and Generalizations, 2001,
    section 2.1.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import laplace_reconstruction
    >>> x = torch.zeros(1, 1)
    >>> laplace_reconstruction(x, x, torch.zeros(1)).item()  # log(2) / 2
    0.3465735912322998
    """
    log_scale = 0.5 * (log_variance - math.log(2))
    precisions, constants = torch.exp(-log_scale), log_scale + math.log(2)
    return _weighed((x - mean).abs(), precisions, constants, observed)


def log_sinhc(x: Tensor) -> Tensor:
    """Logarithm of ``sinh(x) / x``, to full precision everywhere.

    Parameters
    ----------
    x : Tensor
        Of any shape.

    Returns
    -------
    value : Tensor of the same shape
        At least 0; 0 at 0.

    Examples
    --------
    >>> import torch
    >>> from skvae.objective.reconstructions import log_sinhc
    >>> log_sinhc(torch.tensor([0.0, 1e4]))
    tensor([   0.0000, 9990.0967])
    """
    size = x.abs()
    is_small = size < 0.5
    # Each branch is kept off the range of the other, where its gradient is no number.
    square = torch.where(is_small, size, 0.0).square()
    # Bernoulli numbers give the coefficients; the next term is below 1e-10.
    series = square * (
        1 / 6
        + square * (-1 / 180 + square * (1 / 2835 + square * (-1 / 37800 + square / 467775)))
    )
    large = torch.where(is_small, 1.0, size)
    closed = large - torch.log(2 * large) + torch.log1p(-torch.exp(-2 * large))
    return torch.where(is_small, series, closed)


def continuous_bernoulli_reconstruction(
    x: Tensor, logits: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log density of independent continuous Bernoulli columns.

    With log odds ``a`` the density on [0, 1] is ``a exp(a x) / (exp(a) - 1)``: an
    exponential distribution cut off at one.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Rows in [0, 1].
    logits : Tensor of shape (n_samples, n_features)
        Log odds given by the decoder.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        As in `gaussian_reconstruction`.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Loaiza-Ganem and Cunningham, The continuous Bernoulli, NeurIPS 2019.

    Examples
    --------
    Log odds of 0 make every x as likely:

    >>> import torch
    >>> from skvae.objective import continuous_bernoulli_reconstruction
    >>> continuous_bernoulli_reconstruction(torch.tensor([[0.3]]), torch.zeros(1, 1))
    tensor([0.])
    """
    # (exp(a) - 1) / a = exp(a / 2) sinh(a / 2) / (a / 2).
    return summed((0.5 - x) * logits + log_sinhc(0.5 * logits), observed)


def poisson_reconstruction(
    x: Tensor, log_rate: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log likelihood of independent Poisson columns.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Counts.
    log_rate : Tensor of shape (n_samples, n_features)
        Natural logarithm of the rates, given by the decoder.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        As in `gaussian_reconstruction`.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Gopalan, Hofman and Blei, Scalable recommendation with hierarchical Poisson
    factorization, UAI 2015 (Poisson columns given a code).

    Examples
    --------
    >>> import torch
    >>> from skvae.objective import poisson_reconstruction
    >>> poisson_reconstruction(torch.tensor([[0.0]]), torch.zeros(1, 1))
    tensor([1.])
    """
    return summed(torch.exp(log_rate) - x * log_rate + torch.lgamma(x + 1), observed)


def negative_binomial_reconstruction(
    x: Tensor, log_mean: Tensor, log_dispersion: Tensor, observed: Tensor | None = None
) -> Tensor:
    """Negative log likelihood of independent negative binomial columns.

    With mean ``m`` and dispersion ``r`` the probability of a count ``x`` is
    ``G(x + r) / (G(r) x!) * (r / (r + m))**r * (m / (r + m))**x``, where ``G`` is the gamma
    function: a Poisson count whose rate is drawn from a gamma distribution of shape ``r``. Its
    variance is ``m + m**2 / r``.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Counts.
    log_mean : Tensor of shape (n_samples, n_features)
        Natural logarithm of the means, given by the decoder.
    log_dispersion : Tensor of shape (n_features,) or (1,)
        Natural logarithm of the dispersions; the larger, the closer to a Poisson.
    observed : Tensor of bool, of shape (n_samples, n_features), or None, default=None
        As in `gaussian_reconstruction`.

    Returns
    -------
    reconstruction : Tensor of shape (n_samples,)
        ``-log p(x|z)`` in nats, summed over the columns.

    References
    ----------
    Hilbe, Negative Binomial Regression, 2nd edition, 2011, section 8.2 (NB2); Lopez et al.,
    Deep generative modeling for single-cell transcriptomics, Nature Methods 15, 2018.

    Examples
    --------
    With a dispersion of 1 it is geometric: a mean of 1 makes zero as likely as all else.

    >>> import torch
    >>> from skvae.objective import negative_binomial_reconstruction
    >>> zero = torch.zeros(1, 1)
    >>> negative_binomial_reconstruction(zero, zero, torch.zeros(1)).item()  # log 2
    0.6931471824645996
    """
    dispersion = torch.exp(log_dispersion)
    ratio = log_mean - log_dispersion
    costs = (
        # r log(1 + m / r) and x log(1 + r / m), without a sum that would round r away.
        dispersion * functional.softplus(ratio)
        + x * functional.softplus(-ratio)
        + torch.lgamma(x + 1)
        - _log_rising(dispersion, x)
    )
    return summed(costs, observed)


def _log_rising(start: Tensor, n: Tensor) -> Tensor:
    """Logarithm of ``G(start + n) / G(start)``, to full precision for a large start too.

    There the difference of two logarithms of the gamma function has lost its digits.
    """
    is_small = start < LARGE_DISPERSION
    # Each branch is kept off the range of the other, where its gradient is no number.
    small = torch.where(is_small, start, 1.0)
    exact = torch.lgamma(small + n) - torch.lgamma(small)
    large = torch.where(is_small, LARGE_DISPERSION, start)
    # Stirling's series: the next term is below 1e-7.
    total = large + n
    series = (
        (large - 0.5) * torch.log1p(n / large)
        + n * (torch.log(total) - 1)
        + (1 / total - 1 / large) / 12
        - (1 / total**3 - 1 / large**3) / 360
    )
    return torch.where(is_small, exact, series)


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
        observed = observed.bool()
        x = torch.where(observed, x, 0.0)
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
    return summed(terms, observed)


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
        observed = observed.bool()
        x = torch.where(observed[..., None], x, 0.0)
    # Zero times the minus infinity of a level that is not there is no number.
    picked = torch.where(x > 0, x * logits, 0.0).sum(dim=2)
    terms = torch.logsumexp(logits, dim=2) - picked
    return summed(terms, observed)
