"""Weights of rows: how often each is there in the population that averages are over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.rows.numbers import as_array

__all__ = ["check_weights", "relative_weights", "weighted_mean"]


def check_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64]:
    """Return a weight for each row in float64: finite, not negative, and some positive.

    Examples
    --------
    >>> from skvae.rows.weights import check_weights
    >>> check_weights([1, 0, 2], 3)
    array([1., 0., 2.])
    """
    weights = as_array(sample_weight, "sample_weight")
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have one entry per row, shape ({n_samples},), got shape "
            f"{weights.shape}."
        )
    weights = weights.astype(np.float64)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Entry {row} of sample_weight: weights must be finite and not negative, got "
            f"{weights[row]:g} ({int(bad.sum())} of {n_samples} are affected)."
        )
    if not weights.any():
        raise ValueError(
            "sample_weight is zero for all rows: at least one weight must be above zero."
        )
    return weights


def relative_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """Return weights whose mean is one; None where all are alike, or none were given.

    Examples
    --------
    >>> from skvae.rows.weights import relative_weights
    >>> relative_weights([3, 1], 2)
    array([1.5, 0.5])
    >>> relative_weights([3, 3], 2) is None
    True
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_samples)
    if (weights == weights[0]).all():
        return None
    # By the largest first: a sum of huge weights would be infinite.
    weights /= weights.max()
    return np.asarray(weights / weights.mean())


def weighted_mean(values: NDArray, sample_weight: Any) -> float:
    """Return the mean of a number for each row, by weights where they are given.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.weights import weighted_mean
    >>> weighted_mean(np.array([1.0, 5.0]), [3, 1])
    2.0
    """
    weights = relative_weights(sample_weight, len(values))
    if weights is None:
        return float(values.mean(dtype=np.float64))
    return float(weights @ values) / len(values)
