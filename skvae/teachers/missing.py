"""Teachers of rows with missing entries: who bears them, and filled rows for who does not."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skvae.rows.missing import with_filled

__all__ = ["FilledRows", "bears_missing"]

# Where the imputers of scikit-learn are, which take longer to import than to name.
IMPUTERS = "sklearn.impute."


def bears_missing(teacher: Any) -> bool:
    """Whether a teacher is shown rows with missing entries as they are.

    It is by the tag ``input_tags.allow_nan``. A pipeline of scikit-learn has no such tag of its
    own: it bears them if all of its steps do, or all up to the first imputer.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.impute import SimpleImputer
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.pipeline import make_pipeline
    >>> from skvae.teachers.missing import bears_missing
    >>> bears_missing(HistGradientBoostingClassifier()), bears_missing(GaussianMixture())
    (True, False)
    >>> bears_missing(make_pipeline(SimpleImputer(), GaussianMixture()))
    True
    """
    if teacher is None:
        return False
    inner = getattr(teacher, "estimator", None)
    if isinstance(inner, Pipeline):
        teacher = inner
    if not isinstance(teacher, Pipeline):
        return bool(get_tags(teacher).input_tags.allow_nan)
    for _, step in teacher.steps:
        if step in (None, "passthrough"):
            continue
        if not bears_missing(step):
            return False
        if type(step).__module__.startswith(IMPUTERS):
            return True
    return True


class FilledRows:
    """A fitted teacher that is asked of rows whose missing entries are filled.

    Parameters
    ----------
    teacher : fitted estimator with predict_proba
        One that does not bear missing entries.
    values : ndarray of shape (n_features,)
        What they are filled with.
    """

    def __init__(self, teacher: Any, values: NDArray):
        self.teacher = teacher
        self.values = values

    def predict_proba(self, X: Any) -> Any:
        """Ask the teacher of rows, an array or a frame."""
        return self.teacher.predict_proba(with_filled(X, self.values))
