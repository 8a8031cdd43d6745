"""Mutual information of the rows and their codes, from the aggregated posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from skvae.rows.numbers import as_array
from skvae.rows.weights import relative_weights

__all__ = ["PosteriorSample", "RowSample", "mutual_information"]

# Rows that the aggregated posterior is made of; the time grows with the square.
MAX_ROWS = 2000
# Draws whose densities are taken at a time: few enough to stay in a processor's cache.
BLOCK_ROWS = 64
# Squared distance in posterior deviations up to which a product of matrices keeps six digits
# of a nat.
MAX_REACH = 1e9


def mutual_information(
    mean: NDArray,
    log_variance: NDArray,
    random_state: int = 0,
    sample_weight: ArrayLike | None = None,
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
        Seed of the draws.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0, in the mixture and in the mean; None
        weighs all alike.

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
    >>> from skvae.information import mutual_information
    >>> abs(mutual_information(np.zeros((4, 2)), np.zeros((4, 2)))) < 1e-12
    True
    >>> apart = np.arange(4.0)[:, None] * 1e3
    >>> bool(np.isclose(mutual_information(apart, np.zeros((4, 1))), np.log(4)))
    True
    """
    mean, log_variance = (
        as_array(values, name).astype(np.float64)
        for values, name in ((mean, "mean"), (log_variance, "log_variance"))
    )
    weights = relative_weights(sample_weight, len(mean))
    if weights is not None:
        kept = weights > 0
        mean, log_variance, weights = mean[kept], log_variance[kept], weights[kept]
        weights /= weights.sum()
    generator = np.random.default_rng([random_state, *b"aggregate"])
    draws = mean + np.exp(0.5 * log_variance) * generator.standard_normal(mean.shape)
    log_densities = _LogDensities(mean, log_variance)
    total = 0.0
    for block in gen_batches(len(mean), BLOCK_ROWS):
        log_density = log_densities(draws[block])
        own = np.diagonal(log_density, block.start).copy()
        if weights is not None:
            log_density += np.log(weights * len(mean))
        peak = log_density.max(axis=1)
        log_density -= peak[:, None]
        # What float32 loses of numbers up to one is lost in the digits of their logarithm
        # that a sample of rows says nothing of; it takes a fraction of the time.
        relative = np.exp(log_density.astype(np.float32)).mean(axis=1, dtype=np.float64)
        gains = own - (peak + np.log(relative))
        total += float(np.sum(gains) if weights is None else weights[block] @ gains)
    return total / len(mean) if weights is None else total


class _LogDensities:
    """``log q(z|x_j)`` of draws z, up to the constant that all share."""

    def __init__(self, mean: NDArray, log_variance: NDArray):
        self._origin = mean.mean(axis=0)
        self._mean = mean - self._origin
        self._log_variance = log_variance
        self._precision = np.exp(-log_variance)
        # The density is linear in the squares of a draw, the draw, and one.
        squares = (np.square(self._mean) * self._precision).sum(axis=1)
        self._factors = np.column_stack(
            [
                -0.5 * self._precision,
                self._mean * self._precision,
                -0.5 * (squares + log_variance.sum(axis=1)),
            ]
        ).T

    def __call__(self, draws: NDArray) -> NDArray[np.float64]:
        """Return them in shape (n_draws, n_samples)."""
        draws = draws - self._origin
        reach = np.square(draws).max(initial=0.0) * self._precision.max(initial=0.0)
        if reach < MAX_REACH:
            powers = np.column_stack([np.square(draws), draws, np.ones(len(draws))])
            return powers @ self._factors
        # Squares so far apart that their differences would be rounding: one dimension at a
        # time.
        log_density = np.zeros((len(draws), len(self._mean)))
        for draw, center, log_width in zip(
            draws.T, self._mean.T, self._log_variance.T, strict=True
        ):
            log_density -= 0.5 * (
                (draw[:, None] - center) ** 2 * np.exp(-log_width) + log_width
            )
        return log_density


class RowSample:
    """Some of the rows of a stream, every row with the same chance, in their order.

    Parameters
    ----------
    random_state : int
        Seed of the choice, which the size of the batches does not change.
    max_rows : int
        Rows kept at most.

    Attributes
    ----------
    arrays : tuple of ndarray
        What was kept, an array for each that was offered; empty before the first rows.

    References
    ----------
    Efraimidis and Spirakis, Information Processing Letters 97(5), 2006 (random keys).

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information.aggregate import RowSample
    >>> sample = RowSample(random_state=0, max_rows=3)
    >>> for batch in np.arange(8.0).reshape(4, 2):
    ...     sample.update(batch, -batch)
    >>> kept, negative = sample.arrays
    >>> len(kept), bool((kept == -negative).all())
    (3, True)
    """

    def __init__(self, random_state: int, max_rows: int):
        self.max_rows = max_rows
        self.arrays: tuple[NDArray, ...] = ()
        self._generator = np.random.default_rng([random_state, *b"keys"])
        self._keys = np.empty(0)

    def update(self, *arrays: NDArray) -> None:
        """Offer more rows: arrays of equal length, as many at every call."""
        keys = self._generator.random(len(arrays[0]))
        if len(self._keys) == self.max_rows:
            # Of a long stream most rows are passed over, and need not be copied first.
            is_candidate = keys < self._keys.max()
            keys, arrays = keys[is_candidate], tuple(array[is_candidate] for array in arrays)
        self._keys = np.concatenate([self._keys, keys])
        joined = arrays
        if self.arrays:
            joined = tuple(map(np.concatenate, zip(self.arrays, arrays, strict=True)))
        kept = np.sort(np.argsort(self._keys)[: self.max_rows])
        self._keys = self._keys[kept]
        self.arrays = tuple(array[kept] for array in joined)


class PosteriorSample:
    """Posteriors of some of the rows of a stream, every row with the same chance.

    Parameters
    ----------
    random_state : int, default=0
        Seed of the choice, and of the draws of the estimate.
    max_rows : int, default=2000
        Rows kept at most.

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
        self._sample = RowSample(random_state, max_rows)

    @property
    def mean(self) -> NDArray | None:
        """Means of the posteriors kept; None before the first."""
        return self._sample.arrays[0] if self._sample.arrays else None

    @property
    def log_variance(self) -> NDArray | None:
        """Natural-log variances of the posteriors kept; None before the first."""
        return self._sample.arrays[1] if self._sample.arrays else None

    def update(
        self, mean: NDArray, log_variance: NDArray, weights: NDArray | None = None
    ) -> None:
        """Offer the posteriors of more rows, with weights at every call or at none."""
        parts = (mean, log_variance) if weights is None else (mean, log_variance, weights)
        self._sample.update(*parts)

    def mutual_information(self) -> float | None:
        """Estimate of `mutual_information` from the rows kept; None before the first."""
        if self.mean is None or self.log_variance is None:
            return None
        weights = self._sample.arrays[2] if len(self._sample.arrays) > 2 else None
        return mutual_information(self.mean, self.log_variance, self.random_state, weights)
