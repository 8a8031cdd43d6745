"""What searches score and refit by: the ELBO of those candidates that are certified."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints

from skvae._common.parameters import NumberInterval, unfrozen
from skvae.certificate.scorer import ConstantCollapseCertificate
from skvae.exceptions import UncertifiedError, UncertifiedWarning
from skvae.vae.estimator import TeacherGuidedVAE

__all__ = ["best_certified", "certified_elbo_scorer", "elbo_scorer"]

CONSTRAINTS: dict[str, list[Any]] = {
    "tau": [NumberInterval(Real, 0, None, closed="left")],
    "elbo": [str],
    "bound": [str],
    "if_none": [StrOptions({"raise", "warn"})],
}
# Frames from here to the caller of `fit`, past scikit-learn's search.
TO_CALLER = 5
# Below every ELBO that there is, and its square is still a number.
UNCERTIFIED = -1e100


def elbo_scorer(estimator: Any, X: ArrayLike, y: Any = None) -> float:
    """ELBO of the estimator on these rows: a scorer for searches and cross-validation.

    Parameters
    ----------
    estimator : fitted TeacherGuidedVAE, a Pipeline that ends in one, or a search over these
        What is scored.
    X : array-like of shape (n_samples, n_features)
        Rows, best ones that were not in `fit`.
    y : None, default=None
        Ignored; there because searches pass it.

    Returns
    -------
    elbo : float
        As `TeacherGuidedVAE.score`: at beta = 1, in nats a row; higher is better.

    Raises
    ------
    TypeError
        If there is no `TeacherGuidedVAE` in it: its score would be something else.

    See Also
    --------
    best_certified : Choose by it among the candidates that are certified.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> from skvae.model_selection import elbo_scorer
    >>> X = load_iris().data
    >>> vae = TeacherGuidedVAE(max_epochs=5, alignment_weight=0, random_state=0).fit(X[::2])
    >>> elbo_scorer(vae, X[1::2]) == vae.score(X[1::2])
    True
    """
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    model = unfrozen(estimator[-1] if isinstance(estimator, Pipeline) else estimator)
    if not isinstance(model, TeacherGuidedVAE):
        raise TypeError(
            "elbo_scorer scores a TeacherGuidedVAE, or a pipeline that ends in one, got "
            f"{type(model).__name__}."
        )
    return float(estimator.score(X))


def best_certified(
    *, tau: float = 0.0, elbo: str = "elbo", bound: str = "bound", if_none: str = "raise"
) -> Callable[[Mapping[str, Any]], int]:
    """Return what a search refits by: the best ELBO among the candidates that are certified.

    A candidate is certified if in *every* fold its bound is above tau. (A mean above it may
    hide a fold in which the code collapsed.) Among these the highest mean ELBO of held-out
    rows wins, the first of equals. A candidate that could not be fitted or scored in a fold
    cannot win.

    Parameters
    ----------
    tau : float, default=0.0
        Nats, at least 0, that the bound has to exceed. Leave that of the certificate at 0
        then, or it is taken off twice.
    elbo, bound : str, default="elbo" and "bound"
        Names in the `scoring` of the search: of `elbo_scorer`, and of a
        `ConstantCollapseCertificate` with a `confidence`, whose score is a lower bound. Without
        one its score is the margin of the sample, which is above 0 by chance too.
    if_none : {"raise", "warn"}, default="raise"
        Where no candidate is certified: an error, or a warning, and the one whose worst bound
        is the best is fitted.

    Returns
    -------
    refit : callable
        Takes ``cv_results_`` and returns ``best_index_``: for `refit` of `GridSearchCV`,
        `RandomizedSearchCV` and `StackedGridSearchCV`. It can be pickled and cloned.

    Raises
    ------
    ValueError
        If a parameter is out of its range; and in the search if it has no such scores, or no
        candidate has both in every fold.
    UncertifiedError
        In the search, if no candidate is certified. It names the best bound, and its
        ``cv_results_`` has what the search found.

    Warns
    -----
    UncertifiedWarning
        The same, with ``if_none="warn"``.

    See Also
    --------
    certified_elbo_scorer : For searches that take one score, as those that halve do.

    Notes
    -----
    What the bounds say, and what not. Each is of one model, trained in one fold, and is too
    high with a chance of at most ``1 - confidence``, if the teacher was fitted within the fold.
    They are many, and the winner is picked by them: the chance that *some* bound is too high
    is larger, at most ``n_candidates * n_folds * (1 - confidence)``. With
    ``confidence=1 - 0.05 / (n_candidates * n_folds)`` all of them hold together at 0.95
    (Bonferroni), those of the winner among them. The model that is refitted is yet another
    one, of which none of them speaks. Keep rows that the search never sees, and certify
    ``best_estimator_`` on them: one model, one bound, at its full confidence.

    With a callable `refit` scikit-learn sets no ``best_score_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
    >>> from skvae.model_selection import best_certified, elbo_scorer
    >>> teacher = GaussianMixtureTeacher(n_components=3)
    >>> search = GridSearchCV(
    ...     TeacherGuidedVAE(latent_dim=2, teacher=teacher, max_epochs=100, random_state=0),
    ...     {"alignment_weight": [0, 10, 30]},
    ...     scoring={
    ...         "elbo": elbo_scorer,
    ...         "bound": ConstantCollapseCertificate(latent="sample", confidence=0.95),
    ...     },
    ...     refit=best_certified(),
    ...     cv=KFold(2, shuffle=True, random_state=0),
    ... )
    >>> search.fit(load_iris().data).best_params_["alignment_weight"] > 0
    True
    """
    options: dict[str, Any] = {"tau": tau, "elbo": elbo, "bound": bound, "if_none": if_none}
    validate_parameter_constraints(CONSTRAINTS, options, caller_name="best_certified")
    return _BestCertified(**options)


def certified_elbo_scorer(
    certificate: ConstantCollapseCertificate | None = None,
) -> Callable[..., float]:
    """Return a scorer that puts every certified model above every other.

    For searches that go by one score, such as `HalvingGridSearchCV`, which passes over a
    callable `refit` without a word, and Optuna.

    Parameters
    ----------
    certificate : ConstantCollapseCertificate or None, default=None
        With a `confidence`; its `tau` is what a bound has to exceed. None is
        ``ConstantCollapseCertificate(latent="sample", confidence=0.95)``.

    Returns
    -------
    scorer : callable
        Takes an estimator and rows, and returns `elbo_scorer` of them if the bound is above
        tau, else ``-1e100 * (1 + shortfall)`` with the nats that the bound is short of it. It
        can be pickled and cloned.

    Raises
    ------
    TypeError
        If it is no certificate.
    ValueError
        If it has no `confidence`, so that its score is no bound.

    See Also
    --------
    best_certified : For searches that take several scores; what its notes say of many bounds
        is so here too.

    Notes
    -----
    One fold that is not certified takes the mean of all below every ELBO, so a search ranks as
    `best_certified` does, and those that fail by how many folds fail, and by how much.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> from skvae.model_selection import certified_elbo_scorer
    >>> X = load_iris().data
    >>> collapsed = TeacherGuidedVAE(max_epochs=1, alignment_weight=0, random_state=0).fit(X)
    >>> certified_elbo_scorer()(collapsed, X) <= -1e100
    True
    """
    if certificate is None:
        certificate = ConstantCollapseCertificate(latent="sample", confidence=0.95)
    if not isinstance(certificate, ConstantCollapseCertificate):
        raise TypeError(
            "certificate must be a ConstantCollapseCertificate or None, got "
            f"{type(certificate).__name__}."
        )
    certificate._validate_params()
    if certificate.confidence is None:
        raise ValueError(
            "Without a confidence the score of a certificate is the margin of the sample, and "
            "no bound: pass ConstantCollapseCertificate(confidence=0.95)."
        )
    return _CertifiedELBO(certificate)


@dataclass(frozen=True)
class _BestCertified:
    """See `best_certified`."""

    tau: float
    elbo: str
    bound: str
    if_none: str

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        elbos = _of_folds(cv_results, self.elbo).mean(axis=0)
        bounds = _of_folds(cv_results, self.bound).min(axis=0)
        scored = np.flatnonzero(~np.isnan(elbos) & ~np.isnan(bounds))
        if not len(scored):
            raise ValueError(
                f"None of the {len(elbos)} candidates has a score {self.elbo!r} and a score "
                f"{self.bound!r} in every fold: what went wrong was warned of as it did, and "
                'error_score="raise" stops at it.'
            )
        certified = scored[bounds[scored] > self.tau]
        if len(certified):
            return int(certified[np.argmax(elbos[certified])])
        best = int(scored[np.argmax(bounds[scored])])
        message = (
            f"None of the {len(elbos)} candidates is certified in every fold. The best bound, "
            f"in its worst fold, is {bounds[best]:.4g} nats, and tau = {self.tau:g}: that of "
            f"candidate {best}, {cv_results['params'][best]}. Search larger values of "
            "alignment_weight, train longer, or hold out more rows."
        )
        if self.if_none == "raise":
            raise UncertifiedError(message, cv_results)
        warnings.warn(message, UncertifiedWarning, stacklevel=TO_CALLER)
        return best


@dataclass(frozen=True)
class _CertifiedELBO:
    """See `certified_elbo_scorer`."""

    certificate: ConstantCollapseCertificate

    def __call__(self, estimator: Any, X: ArrayLike, y: Any = None) -> float:
        bound = self.certificate.score(estimator, X)
        if bound > 0:
            return elbo_scorer(estimator, X)
        return UNCERTIFIED * (1 - bound)


def _of_folds(cv_results: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """Scores of this name, of shape (n_folds, n_candidates)."""
    of_fold = re.compile(rf"split\d+_test_{re.escape(name)}")
    scores = [column for title, column in cv_results.items() if of_fold.fullmatch(title)]
    if not scores:
        prefix = "mean_test_"
        there = [each.removeprefix(prefix) for each in cv_results if each.startswith(prefix)]
        raise ValueError(
            f"The search has no score {name!r}, but {', '.join(map(repr, there))}. Name them "
            'in its scoring, as in {"elbo": elbo_scorer, "bound": '
            "ConstantCollapseCertificate(confidence=0.95)}, or here, as in "
            'best_certified(elbo="likelihood", bound="certificate").'
        )
    return np.array(scores, dtype=np.float64)
