"""From the units of the data to the units that a net trains well in, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

from skvae.rows.missing import ObservedMoments
from skvae.rows.sparse import SparseRows, taken

__all__ = [
    "Standardization",
    "check_spread",
    "fit_scaler",
    "pool",
    "shares_unit",
    "steps_of",
]

# Rows standardised at a time: few enough to stay in a processor's cache.
BLOCK_ROWS = 128
# Centres and scales with which float32 neither overflows nor loses its last digits.
FLOAT32_CENTER = 1e30
FLOAT32_SCALES = (1e-30, 1e30)
# Share of the columns that their effective number reaches where they share a unit.
EVEN_SHARE = 0.5
# Rows that scikit-learn takes the moments of at a time: it copies them in float64.
MOMENT_ROWS = 2**14
# Rows, evenly spaced, whose values are told apart; what is nearer than the digits of float32 is
# one value, computed in two ways.
ROUNDED_ROWS = 1000
SAME_VALUE = 4 * float(np.finfo(np.float32).eps)
# Numbers of a table up to which that takes no time that counts.
SMALL_TABLE = 2**20
# Numbers whose moments are taken at a time beyond it: few enough for a processor's cache.
BLOCK_SIZE = 2**16
# Rows, evenly spaced, whose mean a table is shifted by before its moments are summed.
SHIFT_ROWS = 128
# Deviations from the mean up to which such a shift costs no digit that counts.
NEAR = 8
# Columns of sparse rows that are looked at together.
COLUMNS_OF_SPARSE = 500


@dataclass(frozen=True)
class Standardization:
    """Centre and scale of each column, in float64.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        What is subtracted from a column, and what it is then divided by; positive.
    constant : ndarray of shape (n_features,)
        True where a column did not vary, and its scale of one is a stand-in.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    constant: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        X: Any,
        chosen: NDArray[np.intp] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Standardization:
        """Mean and standard deviation of each column; a scale of one where it is constant.

        Of the rows with the indices `chosen`, and with weights, where these are given.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scaler = StandardScaler(with_mean=not isinstance(X, SparseRows))
            fit_scaler(scaler, X, chosen, weights)
            deviation = np.sqrt(scaler.var_)
        check_spread(scaler)
        return cls(scaler.mean_, scaler.scale_, scaler.scale_ != deviation)

    @classmethod
    def of_observed(cls, moments: ObservedMoments) -> Standardization:
        """Mean and standard deviation of the entries of each column that were observed."""
        _check_variances(moments.variance)
        # What varies by no more than rounding.
        rounding = 8 * np.finfo(np.float64).eps * np.abs(moments.mean)
        constant = moments.variance <= rounding**2
        scale = np.where(constant, 1.0, np.sqrt(moments.variance))
        return cls(moments.mean, scale, constant)

    @classmethod
    def identity(cls, n_features: int) -> Standardization:
        """Leave the columns as they are."""
        return cls(np.zeros(n_features), np.ones(n_features), np.zeros(n_features, dtype=bool))

    def only(self, of: NDArray[np.bool_]) -> Standardization:
        """Leave all columns as they are but these."""
        return Standardization(
            np.where(of, self.center, 0.0), np.where(of, self.scale, 1.0), self.constant & of
        )

    def pooled(self, n_channels: int) -> Standardization:
        """Let the columns of each channel share their centre and scale.

        Pixel by pixel the noise of a border that is nearly black would be blown up to the
        size of the picture, and a shift of the picture would change its contrast: a
        convolution uses the same weights everywhere.

        Parameters
        ----------
        n_channels : int
            The columns are this many runs of equal length.
        """
        center = self.center.reshape(n_channels, -1)
        variance = np.where(self.constant, 0.0, self.scale**2).reshape(n_channels, -1)
        mean = center.mean(axis=1, keepdims=True)
        scale = np.sqrt((variance + (center - mean) ** 2).mean(axis=1, keepdims=True))
        scale[scale == 0] = 1.0
        shape = center.shape
        return Standardization(
            np.broadcast_to(mean, shape).flatten(),
            np.broadcast_to(scale, shape).flatten(),
            self.constant,
        )

    @cached_property
    def is_identity(self) -> bool:
        """Whether columns are left as they are."""
        return bool(np.all(self.center == 0) and np.all(self.scale == 1))

    @property
    def log_scale_sum(self) -> float:
        """Log determinant of the scaling: takes log densities back to the units of X."""
        return float(np.log(self.scale).sum())

    def apply(self, X: Any, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return X standardised, a block of rows at a time, in `out` where it is given."""
        standardised = np.empty(X.shape, dtype=np.float32) if out is None else out
        if X.dtype == np.float32 and self.suits_float32:
            self._apply_in_float32(X, standardised)
            return standardised
        # In float64: float32 cannot tell 1e6 from 1e6 + 0.01. It cannot tell a quotient from
        # a product with the reciprocal either, which takes less time.
        reciprocal = 1 / self.scale
        buffer = np.empty((min(BLOCK_ROWS, len(X)), *X.shape[1:]))
        for start in range(0, len(X), BLOCK_ROWS):
            rows = X[start : start + BLOCK_ROWS]
            # NumPy is slower where it casts and computes in one step.
            scaled = buffer[: len(rows)]
            scaled[...] = rows
            scaled -= self.center
            scaled *= reciprocal
            # What is too large for float32 becomes infinite; the encoder has a bound for it.
            with np.errstate(over="ignore"):
                standardised[start : start + BLOCK_ROWS] = scaled
        return standardised

    def _apply_in_float32(self, X: Any, standardised: NDArray) -> None:
        """Standardise float32 rows in half the time, to the last digits of float32."""
        center = self.center.astype(np.float32)
        # The difference of two float32 numbers that are near each other is exact: only what
        # the rounding of the centre left is to be made good.
        reciprocal = 1 / self.scale
        left = (center - self.center) * reciprocal
        made_good, factor = (
            torch.from_numpy(values.astype(np.float32)) for values in (left, reciprocal)
        )
        for start in range(0, len(X), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            # In NumPy, which reads what may not be written to; the rest in one pass.
            np.subtract(X[block], center, out=standardised[block])
            scaled = torch.from_numpy(standardised[block])
            torch.addcmul(made_good, scaled, factor, out=scaled)

    @cached_property
    def suits_float32(self) -> bool:
        """Whether float32 has centres and scales without overflow and without loss."""
        least, greatest = FLOAT32_SCALES
        return bool(
            np.all(np.abs(self.center) < FLOAT32_CENTER)
            and np.all(self.scale > least)
            and np.all(self.scale < greatest)
        )

    def restore(self, standardised: NDArray) -> NDArray[np.float64]:
        """Take standardised rows back to the units of X."""
        restored = standardised * self.scale
        restored += self.center
        return restored


def steps_of(X: Any, chosen: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
    """Least distance between two values of each column.

    A density that is narrower than the steps of its column describes the steps.

    Parameters
    ----------
    X : ndarray or SparseRows of shape (n_samples, n_features)
        Rows, of which up to 1,000, evenly spaced, are looked at.
    chosen : ndarray of shape (n_chosen,) or None, default=None
        Rows that count; None is all.

    Returns
    -------
    steps : ndarray of shape (n_features,)
        In the units of X; 0 where no two values differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.scaling import steps_of
    >>> steps_of(np.array([[0.0, 7.0], [1.0, 7.0], [3.0, 7.0]]))
    array([1., 0.])
    """
    rows = np.arange(len(X)) if chosen is None else chosen
    some = rows[:: -(-len(rows) // ROUNDED_ROWS)]
    if isinstance(X, SparseRows):
        columns = X.matrix[some].tocsc()
        # As many at a time as are never much, dense.
        blocks = gen_batches(X.shape[1], COLUMNS_OF_SPARSE)
        return np.concatenate([_steps_of(columns[:, block].toarray()) for block in blocks])
    return _steps_of(X[some])


def _steps_of(some: NDArray) -> NDArray[np.float64]:
    ordered = np.sort(np.asarray(some, dtype=np.float64), axis=0)
    gaps = np.diff(ordered, axis=0)
    gaps[~(gaps > SAME_VALUE * np.fmax.reduce(np.abs(ordered), axis=0))] = np.inf
    least = gaps.min(axis=0, initial=np.inf)
    return np.where(np.isfinite(least), least, 0.0)


def check_spread(scaler: StandardScaler) -> None:
    """Refuse columns whose variance leaves floating point."""
    _check_variances(scaler.var_)


def _check_variances(variances: NDArray) -> None:
    is_finite = np.isfinite(variances)
    if not is_finite.all():
        raise ValueError(
            f"Column {int(np.argmin(is_finite))} of X is too spread out: its variance is not a "
            "finite float64. Rescale or clip it."
        )


def fit_scaler(
    scaler: StandardScaler,
    X: Any,
    chosen: NDArray[np.intp] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> StandardScaler:
    """Fit a scaler to a table, or to the rows of it with the indices `chosen`, by weights.

    Parameters
    ----------
    scaler : StandardScaler
        Not fitted yet. For `SparseRows` one that leaves the centre where it is, and knows it
        all the same.
    X : ndarray or SparseRows of shape (n_samples, n_features)
        Finite rows.
    chosen : ndarray of int or None, default=None
        Those that count; None are all.
    weights : ndarray of shape (n_chosen,) or None, default=None
        Their weights, not all 0; None weighs all alike.
    """
    n_rows = len(X) if chosen is None else len(chosen)
    if isinstance(X, SparseRows) or n_rows * X.shape[1] <= SMALL_TABLE:
        for block in gen_batches(n_rows, MOMENT_ROWS):
            rows = taken(X, block if chosen is None else chosen[block])
            if isinstance(rows, SparseRows):
                # Of float32 the moments would be float32.
                rows = rows.matrix.astype(np.float64, copy=False)
            scaler.partial_fit(rows, sample_weight=None if weights is None else weights[block])
        return scaler
    mean, variance = _moments(X, chosen, weights)
    weight = n_rows if weights is None else weights.sum()
    # What scikit-learn takes for the rounding of a constant.
    rounding = weight * np.finfo(np.float64).eps
    is_constant = variance <= rounding * variance + (rounding * mean) ** 2
    scaler.mean_, scaler.var_ = mean, variance
    scaler.scale_ = np.where(is_constant, 1.0, np.sqrt(variance))
    scaler.n_samples_seen_, scaler.n_features_in_ = weight, X.shape[1]
    return scaler


def _moments(
    X: NDArray, chosen: NDArray[np.intp] | None, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each column, block by block, in float64.

    Of columns that are shifted to near their means the mean of squares less the squared mean
    is the variance to all digits.

    References
    ----------
    Chan, Golub and LeVeque, Algorithms for computing the sample variance, The American
    Statistician 37 (1983).
    """
    n_rows = len(X) if chosen is None else len(chosen)
    some = np.arange(0, n_rows, max(1, n_rows // SHIFT_ROWS))
    shift = X[some if chosen is None else chosen[some]].mean(axis=0, dtype=np.float64)
    mean, variance = _shifted_moments(X, chosen, weights, shift)
    # Further than rounding, of a column that hardly varies.
    distance = np.abs(mean) - NEAR * np.sqrt(variance)
    if (distance > SHIFT_ROWS * np.finfo(np.float64).eps * np.abs(shift)).any():
        # Few of the rows have most of the weight.
        shift += mean
        mean, variance = _shifted_moments(X, chosen, weights, shift)
    return shift + mean, variance


def _shifted_moments(
    X: NDArray,
    chosen: NDArray[np.intp] | None,
    weights: NDArray[np.float64] | None,
    shift: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each column less its shift."""
    n_features = X.shape[1]
    n_rows = len(X) if chosen is None else len(chosen)
    size = max(1, BLOCK_SIZE // n_features)
    buffer = np.empty((size, n_features))
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    for block in gen_batches(n_rows, size):
        rows = X[block] if chosen is None else X[chosen[block]]
        shifted = buffer[: len(rows)]
        shifted[...] = rows
        shifted -= shift
        if weights is None:
            sums += shifted.sum(axis=0)
            squares += np.einsum("ij,ij->j", shifted, shifted)
        else:
            weighed = shifted * weights[block][:, None]
            sums += weighed.sum(axis=0)
            squares += np.einsum("ij,ij->j", weighed, shifted)
    weight = n_rows if weights is None else weights.sum()
    mean = sums / weight
    return mean, np.maximum(squares / weight - mean**2, 0)


def shares_unit(scaler: StandardScaler) -> bool:
    """Whether the columns vary as columns of one unit do: none of them, or few, by far more.

    The effective number of columns, ``sum(v)**2 / sum(v**2)`` of their variances, is at least
    half of those that vary.
    """
    variances = _variances(scaler)
    variances = variances[variances > 0]
    if not variances.size:
        return False
    # Squares of what is large leave floating point.
    shares = variances / variances.max()
    effective = shares.sum() ** 2 / np.square(shares).sum()
    return bool(effective >= EVEN_SHARE * shares.size)


def pool(scaler: StandardScaler) -> None:
    """Let all columns of a fitted scaler share one scale: the root of the average variance."""
    variances = _variances(scaler)
    varying = variances > 0
    if varying.any():
        largest = variances.max()
        average = largest * (variances[varying] / largest).mean()
        scaler.scale_ = np.full_like(scaler.scale_, np.sqrt(average))


def _variances(scaler: StandardScaler) -> NDArray[np.float64]:
    """Variances of the columns, zero where they are no more than rounding."""
    is_constant = scaler.scale_ != np.sqrt(scaler.var_)
    return np.where(is_constant, 0.0, scaler.var_)
