"""Distributions that are given with the rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from skvae.files.saved import Saved
from skvae.information.boundary import check_teacher

__all__ = ["PrecomputedTeacher"]


class PrecomputedTeacher(Saved, BaseEstimator):
    """Teacher whose distributions are given with the rows, as their `X_teacher`.

    For soft targets that come from elsewhere: an annotation, a language model, a
    clustering made by another program. It needs no fit; once fitted, it insists on the
    number of components.

    Attributes
    ----------
    n_components_ : int
        Number of components, K, seen in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import PrecomputedTeacher, TeacherGuidedVAE
    >>> X = np.vstack([np.zeros((20, 2)), np.ones((20, 2))])
    >>> T = np.repeat([[0.9, 0.1], [0.1, 0.9]], 20, axis=0)
    >>> vae = TeacherGuidedVAE(teacher=PrecomputedTeacher(), latent_dim=1, random_state=0)
    >>> vae.fit(X, X_teacher=T).margin_ > 0
    True
    """

    _file_kind: ClassVar[str] = "teacher"

    def fit(self, T: ArrayLike, y: Any = None) -> PrecomputedTeacher:
        """Remember how many components there are.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Distributions, one row each on the simplex.
        y : None, default=None
            Ignored; there for consistency with scikit-learn.

        Returns
        -------
        self : PrecomputedTeacher
            The fitted teacher.
        """
        self.n_components_ = check_teacher(T).shape[1]
        return self

    def predict_proba(self, T: ArrayLike) -> NDArray[np.float64]:
        """Return the distributions as they are.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Distributions, one row each on the simplex.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            The same, in float64.
        """
        T = check_teacher(T)
        if T.shape[1] != getattr(self, "n_components_", T.shape[1]):
            raise ValueError(
                f"Expected distributions over n_components={self.n_components_}, got an array "
                f"of shape {T.shape}."
            )
        return T

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
