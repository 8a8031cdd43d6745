"""Parameters of estimators: their checks, what is frozen in one, whether two mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from joblib import Memory
from sklearn.base import _fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.utils import metaestimators
from sklearn.utils._param_validation import Interval

__all__ = ["NumberInterval", "available_if", "fit_context", "same_settings", "unfrozen"]

Method = TypeVar("Method", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator of a `fit`, which to a type checker changes nothing."""
    return _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)


def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator of a method that is not always there, in the same way."""
    return metaestimators.available_if(check)


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
