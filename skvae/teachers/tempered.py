"""Any teacher, softened and kept off zero."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from skvae._common.parameters import NumberInterval, fit_context
from skvae.files.saved import Saved
from skvae.information.boundary import check_teacher
from skvae.rows.fingerprint import fingerprint_if_numbers

__all__ = ["TemperedTeacher", "temper"]


class TemperedTeacher(Saved, BaseEstimator):
    """Any estimator with predict_proba as a teacher, softened and kept off zero.

    With the probabilities ``p_k(x)`` of the inner teacher and its K components the
    teacher is

        T(k|x) = (1 - floor) * p_k(x)**(1/temperature) / sum_j p_j(x)**(1/temperature)
                 + floor / K.

    A classifier that was trained well is sure of most rows, and a tree or a mixture gives
    probabilities of exactly zero, whose log odds are infinite: a temperature above 1 and a
    positive floor leave a teacher that a code can match at finite cost.

    Parameters
    ----------
    teacher : estimator with fit and predict_proba
        A classifier, a mixture, a pipeline that ends in one. Cloned and fitted; one in a
        `sklearn.frozen.FrozenEstimator` is used as it is.
    temperature : float, default=1.0
        Positive. Above 1 the probabilities are softened, below 1 sharpened. One of exactly
        zero stays so until the floor is added.
    floor : float, default=0.01
        Weight of the uniform distribution, in [0, 1).

    Attributes
    ----------
    teacher_ : estimator
        The fitted inner teacher.
    fingerprint_ : RowFingerprint or None
        Hashes that tell the rows of `fit` from others; no data. None where rows hold text, or
        the inner teacher came fitted and has none.
    classes_ : ndarray of shape (n_components,)
        The classes, where the inner teacher is a classifier.
    n_features_in_ : int
        Number of columns seen in `fit`, where the inner teacher counts them.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in `fit`, where the inner teacher keeps them.

    References
    ----------
    Hinton, Vinyals and Dean, arXiv 1503.02531 (temperature).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skvae import TemperedTeacher
    >>> X, y = load_iris(return_X_y=True)
    >>> tree = DecisionTreeClassifier(random_state=0)
    >>> TemperedTeacher(tree, floor=0.03).fit(X, y).predict_proba(X[:1]).round(2)
    array([[0.98, 0.01, 0.01]])
    """

    _file_kind: ClassVar[str] = "teacher"

    _parameter_constraints: ClassVar[dict] = {
        "teacher": [HasMethods(["fit", "predict_proba"])],
        "temperature": [NumberInterval(Real, 0, None, closed="neither")],
        "floor": [NumberInterval(Real, 0, 1, closed="left")],
    }
    _applied_after_fit: ClassVar[dict[str, float]] = {"temperature": 1.0, "floor": 0.0}

    def __init__(self, teacher: Any, *, temperature: float = 1.0, floor: float = 0.01) -> None:
        self.teacher = teacher
        self.temperature = temperature
        self.floor = floor

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None) -> TemperedTeacher:
        """Fit a clone of the inner teacher.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, passed on as they are.
        y : array-like of shape (n_samples,) or None, default=None
            Passed on: labels where the inner teacher is a classifier.

        Returns
        -------
        self : TemperedTeacher
            The fitted teacher.
        """
        self.teacher_ = clone(self.teacher).fit(X, y)
        came_fitted = isinstance(self.teacher_, FrozenEstimator)
        self.fingerprint_ = (
            getattr(self.teacher_.estimator, "fingerprint_", None)
            if came_fitted
            else fingerprint_if_numbers(X)
        )
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Teacher distributions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, passed on as they are.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            One distribution a row; no entry is below ``floor / n_components``.

        Raises
        ------
        ValueError
            If the inner teacher's rows are no distributions.
        """
        check_is_fitted(self)
        with np.errstate(divide="ignore"):
            scores = np.log(check_teacher(self.teacher_.predict_proba(X)))
        return temper(scores, self.temperature, self.floor)

    @property
    def _takes_sparse_rows(self) -> bool:
        return getattr(self.teacher, "_takes_sparse_rows", False)

    @property
    def classes_(self) -> NDArray:
        """Classes of the fitted teacher, if it has any."""
        return self.teacher_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the teacher was fitted to."""
        return self.teacher_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray:
        """Names of the columns that the teacher was fitted to, if they have any."""
        return self.teacher_.feature_names_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.teacher)
        tags.input_tags = inner.input_tags
        tags.target_tags = inner.target_tags
        # The tags of a pipeline do not say that its last step needs labels.
        tags.target_tags.required = not isinstance(self.teacher, FrozenEstimator) and (
            inner.target_tags.required or is_classifier(self.teacher)
        )
        tags.classifier_tags = inner.classifier_tags
        return tags


def temper(scores: NDArray, temperature: float, floor: float) -> NDArray[np.float64]:
    """Softmax of unnormalised log probabilities at a temperature, over a floor."""
    scores = (scores - scores.max(axis=1, keepdims=True)).astype(np.float64)
    # Far components have a probability of zero, whatever NumPy is set to raise outside.
    with np.errstate(under="ignore"):
        tempered = np.exp(scores / temperature)
        tempered /= tempered.sum(axis=1, keepdims=True)
        return (1 - floor) * tempered + floor / scores.shape[1]
