"""How codes lie over the rows: their variances, and what those say of a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CodeSpread"]

# Variance of codes, as a share of their squares, that may be rounding.
ROUNDING = 1e-12


class CodeSpread:
    """Variances of codes, dimension by dimension, summed up block by block.

    Parameters
    ----------
    origin : ndarray of shape (n_codes,)
        A code among them, from which the others are measured.

    Examples
    --------
    Codes of two rows, two deviations of their noise apart:

    >>> import numpy as np
    >>> from skvae.certificate.spread import CodeSpread
    >>> spread = CodeSpread(np.array([-1.0]))
    >>> spread.update(np.array([[-1.0], [1.0]]), np.zeros((2, 1)))
    >>> spread.code_scale
    1.0
    >>> bool(round(spread.information_bound, 4) == round(np.log(2) / 2, 4))
    True
    """

    def __init__(self, origin: NDArray):
        self._origin = origin
        self._n_samples = 0
        self._has_posterior = False
        self._total, self._squares = np.zeros((2, len(origin)))
        self._low, self._high = np.zeros((2, len(origin)))
        self._variances, self._log_variances = np.zeros((2, len(origin)))

    def update(
        self, mean: NDArray, log_variance: NDArray | None, weights: NDArray | None = None
    ) -> None:
        """Add codes, or the means of posteriors with these log variances.

        Weights, of all rows one on average, count in the variances.
        """
        self._n_samples += len(mean)
        weights = np.ones(len(mean)) if weights is None else weights
        with np.errstate(over="ignore"):
            from_origin = mean - self._origin
            self._total += weights @ from_origin
            self._squares += weights @ np.square(from_origin)
        if not np.isfinite(self._squares).all():
            raise ValueError(
                f"The codes are too far apart, up to {np.abs(mean).max():.3g}: their variance "
                "is not a finite float64. Rescale them."
            )
        self._low = np.minimum(self._low, from_origin.min(axis=0))
        self._high = np.maximum(self._high, from_origin.max(axis=0))
        if log_variance is not None:
            self._has_posterior = True
            with np.errstate(over="ignore"):
                self._variances += weights @ np.exp(log_variance)
            self._log_variances += weights @ log_variance

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each dimension over the rows; 0 where it may be rounding."""
        squares = self._squares / self._n_samples
        variance = squares - np.square(self._total / self._n_samples)
        return np.where(variance > ROUNDING * squares, variance, 0.0)

    @property
    def code_scale(self) -> float:
        """Largest standard deviation of a dimension."""
        return float(np.sqrt(self.variance.max()))

    @property
    def dimension_ratio(self) -> float | None:
        """That over the next largest; None where there is none."""
        widths = np.sqrt(np.sort(self.variance)[-2:])
        return float(widths[1] / widths[0]) if len(widths) == 2 and widths[0] > 0 else None

    @property
    def outlier_share(self) -> float | None:
        """Largest share of a dimension's variance that a single row makes, None for two."""
        variance = self.variance
        varies = variance > 0
        if self._n_samples < 3 or not varies.any():
            return None
        mean = self._total / self._n_samples
        farthest = np.maximum(self._high - mean, mean - self._low)[varies]
        # A single row that differs is by itself (n - 1) / n of the sum of squares.
        n = self._n_samples
        shares = np.square(farthest) / (n * variance[varies]) * n / (n - 1)
        return float(shares.max())

    @property
    def information_bound(self) -> float | None:
        """Most that a draw carries of which row it is of, in nats; None without posteriors.

        A sum of ``h(Z_j)``, each at most that of a normal distribution with the variance of the
        draws over all rows, less ``h(Z_j|x)``.
        """
        if not self._has_posterior:
            return None
        widths = self._variances / self._n_samples + self.variance
        bound = 0.5 * float(np.sum(np.log(widths) - self._log_variances / self._n_samples))
        return max(bound, 0.0) if np.isfinite(bound) else None

    @property
    def unit_noise_bound(self) -> float | None:
        """The same of draws with unit variance around codes that have no posteriors."""
        if self._has_posterior:
            return None
        return 0.5 * float(np.log1p(self.variance).sum())
