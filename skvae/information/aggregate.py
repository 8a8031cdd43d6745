"""Mutual information of the rows and their codes, from the aggregated posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mutual_information"]


def mutual_information(
    mean: NDArray, log_variance: NDArray, random_state: int = 0, max_rows: int = 2000
) -> float:
    """Information that a draw of the code has of the row it came from.

    The aggregated posterior is the mixture of the posteriors of these rows; the
    estimate is the mean of ``log q(z_i|x_i) - log mean_j q(z_i|x_j)`` over one draw of
    each row.

    Parameters
    ----------
    mean, log_variance : ndarray of shape (n_samples, latent_dim)
        Posterior means and natural-log variances.
    random_state : int, default=0
        Seed of the draws, and of the choice of rows where there are too many.
    max_rows : int, default=2000
        Rows used at most; the time grows with the square.

    Returns
    -------
    information : float
        In nats. It cannot exceed ``log min(n_samples, max_rows)``: near that value it
        says only that the information is larger than what so few rows can show.

    References
    ----------
    Hoffman and Johnson, ELBO surgery, NIPS workshop 2016.

    Examples
    --------
    Codes that ignore the row have none; well separated ones tell every row apart:

    >>> import numpy as np
    >>> from skvae.information.aggregate import mutual_information
    >>> abs(mutual_information(np.zeros((4, 2)), np.zeros((4, 2)))) < 1e-12
    True
    >>> apart = np.arange(4.0)[:, None] * 1e3
    >>> bool(np.isclose(mutual_information(apart, np.zeros((4, 1))), np.log(4)))
    True
    """
    generator = np.random.default_rng([random_state, *b"aggregate"])
    if len(mean) > max_rows:
        chosen = generator.choice(len(mean), max_rows, replace=False)
        mean, log_variance = mean[chosen], log_variance[chosen]
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    draws = mean + np.exp(0.5 * log_variance) * generator.standard_normal(mean.shape)
    # log q(z_i|x_j) up to the constant that all share, one latent dimension at a time.
    log_density = np.zeros((len(mean), len(mean)))
    for draw, center, log_width in zip(draws.T, mean.T, log_variance.T, strict=True):
        log_density -= 0.5 * ((draw[:, None] - center) ** 2 * np.exp(-log_width) + log_width)
    aggregated = np.logaddexp.reduce(log_density, axis=1) - np.log(len(mean))
    return float(np.mean(np.diag(log_density) - aggregated))
