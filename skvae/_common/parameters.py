"""Parameters of estimators: what is frozen in one, and whether two mean the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Memory
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import Interval

__all__ = ["NumberInterval", "same_settings", "unfrozen"]


class NumberInterval(Interval):
    """`Interval` of scikit-learn, without the truth values that Python takes for numbers.

    Examples
    --------
    >>> from numbers import Integral
    >>> from skvae._common.parameters import NumberInterval
    >>> positive = NumberInterval(Integral, 1, None, closed="left")
    >>> positive.is_satisfied_by(1), positive.is_satisfied_by(True)
    (True, False)
    """

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is a number in the interval."""
        return not isinstance(val, bool) and bool(super().is_satisfied_by(val))


def unfrozen(estimator: Any) -> Any:
    """Return what is in a `FrozenEstimator`, or the estimator itself."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def same_settings(one: Any, other: Any) -> bool:
    """Whether two estimators, or values of their parameters, would fit the same."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    # Equal parameters do not make two fitted estimators the same.
    if isinstance(one, FrozenEstimator):
        return one.estimator is other.estimator
    if isinstance(one, np.random.RandomState):
        return same_settings(one.get_state(), other.get_state())
    if isinstance(one, Memory):
        return one.location == other.location
    if hasattr(one, "get_params"):
        return same_settings(one.get_params(deep=False), other.get_params(deep=False))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_settings(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_settings, one, other))
    return bool(np.array_equal(one, other))
