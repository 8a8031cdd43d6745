"""Mutual information of the rows and their codes, from the aggregated posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PosteriorSample", "mutual_information"]

# Rows that the aggregated posterior is made of; the time grows with the square.
MAX_ROWS = 2000
# Squared distance in posterior deviations up to which a product of matrices keeps six digits
# of a nat.
MAX_REACH = 1e9


def mutual_information(mean: NDArray, log_variance: NDArray, random_state: int = 0) -> float:
    """Information that a draw of the code has of the row it came from.

    The aggregated posterior is the mixture of the posteriors of these rows; the
    estimate is the mean of ``log q(z_i|x_i) - log mean_j q(z_i|x_j)`` over one draw of
    each row.

    Parameters
    ----------
    mean, log_variance : ndarray of shape (n_samples, latent_dim)
        Posterior means and natural-log variances.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    information : float
        In nats. It cannot exceed ``log(n_samples)``: near that value it says only that
        the information is larger than what so few rows can show.

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
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    generator = np.random.default_rng([random_state, *b"aggregate"])
    draws = mean + np.exp(0.5 * log_variance) * generator.standard_normal(mean.shape)
    log_density = _log_densities(draws, mean, log_variance)
    peak = log_density.max(axis=1)
    aggregated = peak + np.log(np.exp(log_density - peak[:, None]).mean(axis=1))
    return float(np.mean(np.diag(log_density) - aggregated))


def _log_densities(draws: NDArray, mean: NDArray, log_variance: NDArray) -> NDArray[np.float64]:
    """``log q(z_i|x_j)`` up to the constant that all share, of shape (n, n)."""
    precision = np.exp(-log_variance)
    origin = mean.mean(axis=0)
    draws, mean = draws - origin, mean - origin
    reach = np.square(draws).max(initial=0.0) * precision.max(initial=0.0)
    if reach < MAX_REACH:
        distances = np.square(draws) @ precision.T - 2 * draws @ (mean * precision).T
        distances += (np.square(mean) * precision).sum(axis=1)
        return -0.5 * (distances + log_variance.sum(axis=1))
    # Squares so far apart that their differences would be rounding: one dimension at a time.
    log_density = np.zeros((len(mean), len(mean)))
    for draw, center, log_width in zip(draws.T, mean.T, log_variance.T, strict=True):
        log_density -= 0.5 * ((draw[:, None] - center) ** 2 * np.exp(-log_width) + log_width)
    return log_density


class PosteriorSample:
    """Posteriors of some of the rows of a stream, every row with the same chance.

    Parameters
    ----------
    random_state : int, default=0
        Seed of the choice, and of the draws of the estimate.
    max_rows : int, default=2000
        Rows kept at most.

    References
    ----------
    Efraimidis and Spirakis, Information Processing Letters 97(5), 2006 (random keys).

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information.aggregate import PosteriorSample
    >>> sample = PosteriorSample(max_rows=3)
    >>> for mean in np.arange(8.0).reshape(4, 2, 1):
    ...     sample.update(mean, np.zeros_like(mean))
    >>> sample.mean.shape
    (3, 1)
    """

    def __init__(self, random_state=0, max_rows=MAX_ROWS):
        self.random_state = random_state
        self.max_rows = max_rows
        self.mean: NDArray | None = None
        self.log_variance: NDArray | None = None
        self._generator = np.random.default_rng([random_state, *b"keys"])
        self._keys = np.empty(0)

    def update(self, mean: NDArray, log_variance: NDArray) -> None:
        """Offer the posteriors of more rows."""
        self._keys = np.concatenate([self._keys, self._generator.random(len(mean))])
        if self.mean is not None and self.log_variance is not None:
            mean = np.concatenate([self.mean, mean])
            log_variance = np.concatenate([self.log_variance, log_variance])
        kept = np.sort(np.argsort(self._keys)[: self.max_rows])
        self._keys, self.mean, self.log_variance = (
            self._keys[kept],
            mean[kept],
            log_variance[kept],
        )

    @property
    def mutual_information(self) -> float | None:
        """Estimate of `mutual_information` from the rows kept; None before the first."""
        if self.mean is None or self.log_variance is None:
            return None
        return mutual_information(self.mean, self.log_variance, self.random_state)
