"""A grid search that trains the candidates of a fold together."""

from __future__ import annotations

import functools
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import delayed

from skvae._common.ambient import undisturbed
from skvae._common.fit_callbacks import fitting, lent, numbered_tasks, task
from skvae._common.parameters import fit_context
from skvae._common.progress import CountedParallel, Progress
from skvae.rows.sources import as_rows
from skvae.training.batches import TrainingRows
from skvae.training.net import VAENet
from skvae.training.stacked import stackable, train_together
from skvae.vae.advice import warn_if_uncertified, warn_of_weak_alignment
from skvae.vae.course import Course, finish
from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.fitted import Fitted

__all__ = ["StackedGridSearchCV"]

# Parameters in which the models of a stack may differ.
FREE = frozenset({"alignment_weight", "beta", "random_state"})
# What a stack leaves out, whether it is asked for by these values or left to the estimator.
WITHOUT = {"early_stopping": False, "ema_decay": None, "precision": "fp32"}
# Those that may have any value, the same in a stack. All others stay at their defaults.
SHARED = frozenset(
    {
        "latent_dim",
        "hidden_layer_sizes",
        "teacher",
        "likelihood",
        "size",
        "decoder_variance",
        "variance_floor",
        "alignment_target",
        "witness_input",
        "witness",
        "witness_scale",
        "prefit_epochs",
        "prefit_alpha",
        "batch_size",
        "max_epochs",
        "lr",
        "weight_decay",
        # Without early stopping these three do nothing.
        "validation_fraction",
        "n_iter_no_change",
        "tol",
        "max_teacher_rows",
        "memory",
        "device",
        "verbose",
    }
)


class StackedGridSearchCV(GridSearchCV):
    """Grid search over a `TeacherGuidedVAE` whose small models are trained together.

    The candidates of a fold that differ in `alignment_weight`, `beta` and `random_state`
    alone are one computation on stacked weights: what a step costs beside its arithmetic
    is paid once for all of them. Each has its own order of the rows and its own noise, and
    ends as it would by itself, up to rounding.

    Parameters
    ----------
    estimator : TeacherGuidedVAE
        Without `guard` or `warm_start`. Candidates are trained on all rows of a fold, without
        early stopping, without an average of the weights and in ``precision="fp32"``, also
        where these are "auto"; the best one is fitted to all rows as it is.
    param_grid : dict or list of dict
        As in `GridSearchCV`, over any parameters of `estimator` but those. Candidates that
        differ in others than the three above are in stacks of their own.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in `GridSearchCV`; None is the estimator's `score`.
    n_jobs : int or None, default=None
        Folds that are trained at a time.
    refit : bool, str or callable, default=True
        As in `GridSearchCV`.
    cv : int, cross-validation generator, iterable or None, default=None
        As in `GridSearchCV`.
    verbose : int or bool, default=0
        0 is silent; 1 a line on stderr that is rewritten, a step for each fold that is
        trained; 2 a line on stdout for each of them, and then those of `GridSearchCV`, whose
        times are of the scores alone. The `verbose` of the estimator tells of the epochs of
        a stack.
    pre_dispatch : int or str, default="2*n_jobs"
        As in `GridSearchCV`, of folds.
    error_score : "raise" or float, default=nan
        As in `GridSearchCV`.
    return_train_score : bool, default=False
        As in `GridSearchCV`.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in `GridSearchCV`. A fit time is that of the candidate's share: its own
        preparation, and the time of its stack over the number of models there.
    best_estimator_ : TeacherGuidedVAE
        Fitted to all rows by its own `fit`.
    best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_
        As in `GridSearchCV`.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in `fit`, where they are all strings.

    See Also
    --------
    TeacherGuidedVAE : Whose `memory` keeps teachers between searches.

    Notes
    -----
    All candidates of a fold are in memory at the same time, each with the rows of the fold.
    `fit` takes no `sample_weight`: search with `GridSearchCV`.
    Where `memory` is None, equal teachers (with an integer `random_state`: all of a fold)
    are fitted once a fold all the same.

    Where scikit-learn has callbacks, those of `set_callbacks` are told of each fold, and of
    scores and refit. Skorch's are refused: a stack has no events of its own.

    It pays where a step is short and a stack is large: small nets, small batches, six
    candidates or more, on the CPU. The benchmarks in the documentation have the figures.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import KFold
    >>> from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
    >>> from skvae.model_selection import StackedGridSearchCV
    >>> vae = TeacherGuidedVAE(
    ...     latent_dim=2,
    ...     hidden_layer_sizes=(16,),
    ...     teacher=GaussianMixtureTeacher(n_components=3),
    ...     max_epochs=100,
    ...     device="cpu",
    ...     random_state=0,
    ... )
    >>> search = StackedGridSearchCV(
    ...     vae,
    ...     {"alignment_weight": [10.0, 30.0], "beta": [0.5, 1.0]},
    ...     scoring=ConstantCollapseCertificate(),
    ...     cv=KFold(3, shuffle=True, random_state=0),
    ... )
    >>> bool(search.fit(load_iris().data).best_score_ > 0)
    True
    """

    @property
    def n_features_in_(self) -> int:
        """Number of columns seen in `fit`."""
        return super().n_features_in_

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None, *, groups: Any = None) -> StackedGridSearchCV:
        """Train and score all candidates, and fit the best one to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a teacher or a splitter that asks for them.
        groups : array-like of shape (n_samples,) or None, default=None
            For a splitter that asks for them.

        Returns
        -------
        self : StackedGridSearchCV
            The fitted search. When an error is raised it is as it was before.

        Raises
        ------
        TypeError
            If `estimator` is no `TeacherGuidedVAE`.
        ValueError
            If a candidate has a setting that cannot be trained in a stack, or the estimator
            callbacks of its own; nothing is fitted.

        Warns
        -----
        FitFailedWarning
            If some of the candidates cannot be fitted, and `error_score` is a number.
        """
        candidates = list(ParameterGrid(self.param_grid))
        _check_stackable(self.estimator, candidates)
        # Rows of a store are cut into folds as well as those of an array.
        X, y = indexable(as_rows(X), y)
        splits = list(check_cv(self.cv, y).split(X, y, groups))
        with fitting(self, X, y, 2) as context:
            with (
                task(context, self, "train", len(splits), sequential=False) as training,
                Progress(self.verbose, len(splits), "Stacked search", "fold") as progress,
            ):
                calls = numbered_tasks(training, self, "fold", len(splits))
                folds = CountedParallel(
                    progress, n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch
                )(
                    delayed(call)(
                        _fit_fold,
                        self.estimator,
                        candidates,
                        X,
                        y,
                        train,
                    )
                    for call, (train, _) in zip(calls, splits, strict=True)
                )
            seconds = np.array([[outcome.seconds for outcome in fold] for fold in folds])
            base = _Candidate(**clone(self.estimator).get_params(deep=False))
            # In the order of the search: candidate by candidate, each on all folds.
            base._outcomes = deque(
                fold[number] for number in range(len(candidates)) for fold in folds
            )
            # A model that was scored is kept no longer.
            del folds
            parameters = {
                **self.get_params(deep=False),
                "estimator": base,
                "cv": splits,
                "n_jobs": None,
                # What takes time was told: at 1 there would be a line when it is over.
                "verbose": self.verbose if self.verbose > 1 else 0,
            }
            search = GridSearchCV(**parameters)
            with (
                lent(context, self, "score-and-refit", search),
                # In this process, which the outcomes are in, and one at a time: whatever
                # backend of joblib the caller has chosen.
                joblib.parallel_config(backend="threading", n_jobs=1),
            ):
                search.fit(X, y)
            search.cv_results_["mean_fit_time"] = seconds.mean(axis=0)
            search.cv_results_["std_fit_time"] = seconds.std(axis=0)
            found = {name: value for name, value in vars(search).items() if name.endswith("_")}
            self.__dict__.update(found)
        return self


class _Outcome(NamedTuple):
    """What became of a candidate on a fold, and how long it took."""

    result: Fitted | Exception
    seconds: float


class _Candidate(TeacherGuidedVAE):
    """An estimator whose `fit` takes the next outcome of the stacks, while there are any."""

    _outcomes: deque[_Outcome]

    def __sklearn_clone__(self):
        twin = super().__sklearn_clone__()
        twin._outcomes = self._outcomes
        return twin

    def fit(self, X: Any, y: Any = None, *views: Any, **weights: Any) -> TeacherGuidedVAE:
        outcomes = self.__dict__.pop("_outcomes")
        # From here on it is an ordinary estimator, for scorers and for whoever keeps it.
        self.__class__ = TeacherGuidedVAE
        if not outcomes:
            return self.fit(X, y, *views, **weights)
        result = outcomes.popleft().result
        if isinstance(result, Exception):
            raise result
        self._adopt(result)
        return self


class _Memory:
    """Results by what a function was called with, as `joblib.Memory`, but for a fold alone."""

    def __init__(self):
        self.results: dict[str, Any] = {}

    def cache(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def cached(*args):
            key = joblib.hash((function.__qualname__, args))
            if key not in self.results:
                self.results[key] = function(*args)
            return self.results[key]

        return cached


class _Fit:
    """The fit of one candidate, with the training left to others."""

    net: VAENet
    rows: TrainingRows
    _course: Course

    def __init__(self, estimator: TeacherGuidedVAE):
        self.estimator = estimator
        self.error: Exception | None = None
        self.seconds = 0.0

    def begin(self, X: Any, y: Any, memory: _Memory) -> None:
        """Do all that comes before the training."""
        estimator = self.estimator
        estimator._validate_params()
        warn_of_weak_alignment(estimator)
        asked = {name: getattr(estimator, name) for name in (*WITHOUT, "memory")}
        kept = memory if estimator.memory is None else estimator.memory
        try:
            estimator.set_params(**WITHOUT, memory=kept)
            self._course = estimator._course(X, y, None, {})
            self.net, self.rows = next(self._course)
        finally:
            estimator.set_params(**asked)

    def end(self) -> None:
        """Do all that comes after it."""
        self.estimator._adopt(finish(self._course))
        warn_if_uncertified(self.estimator)

    def attempt(self, step: Callable[..., None], *args: Any) -> None:
        """Take a step, if none has failed; note its time, and what went wrong."""
        if self.error is not None:
            return
        start = time.perf_counter()
        try:
            step(*args)
        # Whatever a candidate raises, the others may still be fitted.
        except Exception as error:
            self.error = error
        self.seconds += time.perf_counter() - start

    @property
    def outcome(self) -> _Outcome:
        """What is left of it."""
        return _Outcome(self.error or self.estimator._fitted, self.seconds)


def _check_stackable(estimator: Any, candidates: Sequence[dict[str, Any]]) -> None:
    if type(estimator) is not TeacherGuidedVAE:
        raise TypeError(
            "StackedGridSearchCV trains TeacherGuidedVAE and nothing else, got "
            f"{type(estimator).__name__}: search with GridSearchCV."
        )
    if getattr(estimator, "_skl_callbacks", []):
        raise ValueError(
            "Callbacks that are set on the estimator would not be told of the epochs of a "
            "stack: set them on the search, or search with GridSearchCV."
        )
    defaults = TeacherGuidedVAE().get_params(deep=False)
    for candidate in candidates:
        for name, value in _with(estimator, candidate).get_params(deep=False).items():
            is_left_out = name in WITHOUT and value == WITHOUT[name]
            is_default = repr(value) == repr(defaults[name])
            if name not in FREE | SHARED and not is_default and not is_left_out:
                raise ValueError(
                    f"{name}={value!r} cannot be trained in a stack: leave it at "
                    f"{defaults[name]!r}, or search with GridSearchCV."
                )


def _with(estimator: TeacherGuidedVAE, candidate: dict[str, Any]) -> TeacherGuidedVAE:
    return clone(estimator).set_params(**clone(candidate, safe=False))


def _fit_fold(
    estimator: TeacherGuidedVAE,
    candidates: Sequence[dict[str, Any]],
    X: Any,
    y: Any,
    train: NDArray[np.intp],
) -> list[_Outcome]:
    """Fit all candidates to the rows of one fold."""
    # Cut here: all folds are sent the same rows, which an engine sends once.
    X, y = _safe_indexing(X, train), None if y is None else _safe_indexing(y, train)
    memory = _Memory()
    fits = [_Fit(_with(estimator, candidate)) for candidate in candidates]
    with undisturbed(), config_context(array_api_dispatch=False):
        stacks: dict[Any, list[_Fit]] = defaultdict(list)
        for fit in fits:
            fit.attempt(fit.begin, X, y, memory)
            if fit.error is None:
                stacks[stackable(fit.net)].append(fit)
        for stack in stacks.values():
            start = time.perf_counter()
            errors = train_together([fit.net for fit in stack], [fit.rows for fit in stack])
            seconds = (time.perf_counter() - start) / len(stack)
            for fit, error in zip(stack, errors, strict=True):
                fit.error = error
                fit.seconds += seconds
        for fit in fits:
            fit.attempt(fit.end)
    return [fit.outcome for fit in fits]
