"""TeacherSearch: choose a teacher by what its codes would be worth, before any is trained."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skvae._common.fit_callbacks import CallbackSupportMixin, fitting, numbered_tasks, task
from skvae._common.parameters import NumberInterval, fit_context
from skvae._common.progress import CountedParallel, Progress, say
from skvae._common.randomness import derive_seed, draw_seed
from skvae._common.threads import one_thread_if
from skvae.files.saved import Saved
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.frames import is_frame, is_series
from skvae.rows.sources import RowsLike, as_rows
from skvae.rows.sparse import SparseRows, as_taken_by, matrix_of
from skvae.rows.tables import check_rows, check_table
from skvae.teachers.candidates import Candidate, check_labels, list_candidates, shared_fits
from skvae.teachers.choice import give_scores, scorer, warn_of_failures, winner
from skvae.teachers.fits import fit_teacher, teacher_distributions
from skvae.teachers.measures import NO_MEASURES, SCORES, teacher_measures

__all__ = ["TeacherSearch"]

# Share of the rows that are not held out that a refit sees.
_SUBSAMPLE = 0.8


class TeacherSearch(Saved, CallbackSupportMixin, BaseEstimator):
    """Search over teachers for one that says much, evenly, repeatably and at little cost.

    Each candidate is fitted `n_refits` times, to random subsamples of the rows that are
    not held out, and judged on the held-out rows; no autoencoder is trained. The best is
    then fitted to all rows. The same subsamples serve every candidate, and
    candidates that differ only in `temperature` and `floor` share their fits.

    Parameters
    ----------
    candidates : dict, estimator, list of dicts and estimators, or None, default=None
        A dict is a grid, as in `sklearn.model_selection.ParameterGrid`, over the
        parameters of `GaussianMixtureTeacher`, `random_state` among them if wished. An
        estimator has `fit` and `predict_proba`; a classifier needs y, and one in a
        `sklearn.frozen.FrozenEstimator` is judged as it is, with stability 1. None is a
        grid for the shape of X, of mixtures on standardised columns; see Notes.
    scoring : str, callable or None, default=None
        Higher is better. A str names a column of `results_`; a callable is given a row of
        it as a dict, without its score and rank, and returns a float. None is
        ``stability * balance * (margin - rate / 10)``; see Notes.
    n_refits : int, default=3
        Fits of each candidate in the search, at least 2: stability compares them.
    validation_fraction : float, default=0.25
        Share of the rows held out, drawn at random, in (0, 1).
    n_teachers : int, default=1
        Number of teachers, each from a search of its own with its own held-out rows,
        subsamples and seeds. Where the rows have one plain clustering that is among the
        candidates, the three may say much the same.
    max_rows : int or None, default=10_000
        Rows that a search looks at, drawn at random where there are more, at least 4;
        None looks at all. The winners are fitted to all rows all the same.
    n_jobs : int or None, default=None
        Number of workers, as in joblib. Changes no bit of the result: each fit of the
        search has one thread.
    memory : str, path, joblib.Memory or None, default=None
        Where to keep fitted candidates, as in `sklearn.pipeline.Pipeline`. Of use with a
        fixed `random_state`.
    random_state : int, RandomState instance or None, default=None
        Drives the rows and every `random_state` of a candidate that is None. The global
        NumPy state is neither read nor changed.
    verbose : int or bool, default=0
        0 is silent; 1 a line on stderr that is rewritten, with the time left; 2 a line on
        stdout for each fit that candidates share, and for each winner. Both also through the
        logger "skvae".

    Attributes
    ----------
    best_teacher_ : estimator
        The teacher with the best score, fitted to all rows.
    best_index_ : int
        Its row in `results_`.
    best_score_ : float
        Its score.
    best_params_ : dict
        Its values in the grid that it came from; empty for a candidate that was given as
        an estimator.
    teachers_ : list of estimator
        The winner of each search, fitted to all rows.
    results_ : dict of list
        One row a candidate and search, for ``pandas.DataFrame(search.results_)``:
        ``search`` and ``candidate``, numbers from 0; ``teacher``, how it prints;
        ``params``, as in `best_params_`; ``n_components``; the averages over the refits of
        ``teacher_information`` (nats), ``energy`` (squared nats, about the average
        teacher), ``balance`` (in (0, 1]), ``margin`` and ``rate`` (nats);
        ``stability`` (at most 1, about 0 for chance); ``score``; ``rank`` in its search,
        from 1; ``problem``, what speaks against it, or an empty string.
    fingerprint_ : RowFingerprint
        Hashes that tell the rows of `fit` from others; no data.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in `fit`, where they are all strings.

    See Also
    --------
    GaussianMixtureTeacher : What a grid is over.
    TemperedTeacher : A floor for candidates that give probabilities of zero.

    Notes
    -----
    With ``T`` the distributions of a refit for the held-out rows, ``Tbar`` their average:

    - ``balance = exp(H(Tbar)) / K``: the share of the components that are in use;
    - ``stability``: the mean over pairs of refits of the adjusted mutual information
      (Vinh, Epps and Bailey, 2010) of the most probable components;
    - ``margin`` and ``rate``: what `skvae.information.design_alpha` designs for a simplex
      witness of scale 2 that answers ``Tbar`` to the code 0, at ``beta = 1`` and
      ``alignment_weight = 10``.

    The last two are what the codes of that teacher are worth and what they cost, where
    the witness reads the posterior mean. One nat of alignment weighs as much as ten of
    rate, so ``margin - rate / 10`` is a net worth in nats: it rewards information, and
    charges for log odds that only a long code can reach. Where components are empty, or
    other rows give another clustering, that worth is not to be had on new rows: hence the
    two factors in front. A teacher with zeros has score
    -inf, a constant one cannot win under any scoring.

    The score counts no clusters. A finer teacher that other rows confirm carries more
    nats, and wins; for clusters that come back and no others, ask for
    ``scoring="stability"``. Where `temperature` and `floor` are in a grid,
    ten to one mostly favours the sharper.

    The grid that None stands for has ``pca_components`` 8 and 24 (all columns where there
    are fewer), ``n_components`` 3, 5, 10 and 20 (those with at least 12 rows a component in
    a subsample, else 2) and ``covariance_type`` "spherical" and "tied", each with
    ``temperature`` and ``floor`` of 1 and 0.01, 2 and 0.01, 1 and 0.05. A simplex witness
    needs ``latent_dim >= n_components - 1``: with one give grids of your own, or 19
    dimensions.

    Where scikit-learn has callbacks (from 1.9 on), those of `set_callbacks` are told of each
    fit of the search, and of the winners.

    References
    ----------
    arXiv 2605.18224 (energy of a teacher, design of a margin).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherSearch
    >>> X = load_iris().data
    >>> search = TeacherSearch({"n_components": [2, 3, 8]}, random_state=0).fit(X)
    >>> search.predict_proba(X).shape == (150, search.best_params_["n_components"])
    True
    >>> sorted(search.results_["rank"])
    [1, 2, 3]
    """

    _file_kind: ClassVar[str] = "search"
    _takes_sparse_rows: ClassVar[bool] = True
    # Each refit of a candidate has a seed of its own.
    _seeds_its_parts: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict] = {
        "candidates": [dict, list, tuple, HasMethods(["fit", "predict_proba"]), None],
        "scoring": [StrOptions(set(SCORES)), callable, None],
        "n_refits": [NumberInterval(Integral, 2, None, closed="left")],
        "validation_fraction": [NumberInterval(Real, 0, 1, closed="neither")],
        "n_teachers": [NumberInterval(Integral, 1, None, closed="left")],
        "max_rows": [NumberInterval(Integral, 4, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "memory": [None, str, os.PathLike, HasMethods(["cache"])],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        candidates: Any = None,
        *,
        scoring: str | Callable[[dict[str, Any]], float] | None = None,
        n_refits: int = 3,
        validation_fraction: float = 0.25,
        n_teachers: int = 1,
        max_rows: int | None = 10_000,
        n_jobs: int | None = None,
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.candidates = candidates
        self.scoring = scoring
        self.n_refits = n_refits
        self.validation_fraction = validation_fraction
        self.n_teachers = n_teachers
        self.max_rows = max_rows
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: RowsLike, y: Any = None) -> TeacherSearch:
        """Search, and fit the best candidate to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, at least four, of finite numbers. A data frame reaches the candidates as
            it is, and `skvae.rows.SparseRows` stay sparse.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for the candidates that are classifiers.

        Returns
        -------
        self : TeacherSearch
            The fitted search. When an error is raised it is as it was before.

        Raises
        ------
        ValueError
            If no candidate can be fitted and scored, with the reason of each; if a
            classifier is among them and there is no y; if there are too few rows.
        ConstantTeacherError
            If every candidate says the same of every row.

        Warns
        -----
        FitFailedWarning
            If some of the candidates cannot be fitted.
        """
        with fitting(self, X, y, n_tasks=2) as context:
            X = X if isinstance(X, SparseRows) else as_rows(X)
            floats = [np.float64, np.float32]
            rows = check_table(X, "X", dtype=floats, ensure_min_samples=4, estimator=self)
            if y is not None:
                check_consistent_length(rows, y)
                y = y if is_frame(y) or is_series(y) else np.asarray(y)
            seen = X if is_frame(X) else matrix_of(rows)
            seed = draw_seed(self.random_state)
            plans = [
                self._plan(len(rows), derive_seed(seed, "search", number))
                for number in range(self.n_teachers)
            ]
            n_fitted = len(plans[0].subsamples[0])
            candidates = list_candidates(self.candidates, n_fitted, rows.shape[1])
            check_labels(candidates, y)
            fit = functools.partial(fit_teacher, memory=self.memory)
            table = self._measure(fit, candidates, plans, seen, y, context)
            winners = [winner(search) for search in table]
            everything = list(itertools.chain(*table))
            warn_of_failures(everything)
            for search, best in zip(table, winners, strict=True):
                row = search[best]
                say(
                    f"Teacher search {row['search']} chose candidate {best}, {row['teacher']}, "
                    f"with a score of {row['score']:.4g}.",
                    self.verbose,
                )
            with task(context, self, "fit-winners"):
                teachers = [
                    candidates[winner].finish(
                        fit(candidates[winner].stripped, seen, y, plan.final_seed)
                    )
                    for winner, plan in zip(winners, plans, strict=True)
                ]
            validate_data(self, matrix_of(X), skip_check_array=True)
            scores = [
                search[winner]["score"] for search, winner in zip(table, winners, strict=True)
            ]
            best = int(np.argmax(scores))
            self.results_ = {name: [row[name] for row in everything] for name in everything[0]}
            self.teachers_ = teachers
            self.fingerprint_ = RowFingerprint.of(rows)
            self.best_teacher_ = teachers[best]
            self.best_index_ = best * len(candidates) + winners[best]
            self.best_score_ = scores[best]
            self.best_params_ = candidates[winners[best]].params
        return self

    def _plan(self, n_samples: int, seed: int) -> _Plan:
        """Draw the rows and seeds of one search."""
        order = np.random.default_rng(derive_seed(seed, "rows")).permutation(n_samples)
        order = order[: self.max_rows]
        n_held_out = max(2, round(self.validation_fraction * len(order)))
        n_fitted = round(_SUBSAMPLE * (len(order) - n_held_out))
        if n_fitted < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction:g} of {len(order)} rows leaves "
                f"{max(n_fitted, 0)} to fit a candidate to, and two are needed: pass more rows "
                "or a smaller fraction."
            )
        others = order[n_held_out:]
        subsamples = [
            np.random.default_rng(derive_seed(seed, "subsample", number)).permutation(others)
            for number in range(self.n_refits)
        ]
        return _Plan(
            np.sort(order[:n_held_out]),
            [np.sort(subsample[:n_fitted]) for subsample in subsamples],
            [derive_seed(seed, "refit", number) for number in range(self.n_refits)],
            derive_seed(seed, "final"),
        )

    def _measure(
        self,
        fit: Callable,
        candidates: list[Candidate],
        plans: list[_Plan],
        X: Any,
        y: Any,
        context: Any,
    ) -> list[list[dict[str, Any]]]:
        """Rows of `results_`, for each search and each candidate."""
        groups = shared_fits(candidates)
        jobs = [(plan, group) for plan in plans for group in groups]
        with (
            task(context, self, "search", len(jobs), sequential=False) as searching,
            Progress(self.verbose, len(jobs), "Teacher search", "fit") as progress,
        ):
            calls = numbered_tasks(searching, self, "measure-candidates", len(jobs))
            outcomes = iter(
                CountedParallel(progress, n_jobs=self.n_jobs)(
                    delayed(call)(
                        _measure_together, fit, [candidates[i] for i in group], plan, X, y
                    )
                    for call, (plan, group) in zip(calls, jobs, strict=True)
                )
            )
        table = []
        for number in range(len(plans)):
            measures: dict[int, dict[str, Any]] = {}
            for group in groups:
                measures.update(zip(group, next(outcomes), strict=True))
            rows = [
                {
                    "search": number,
                    "candidate": index,
                    "teacher": candidate.name,
                    "params": candidate.params,
                    **measures[index],
                }
                for index, candidate in enumerate(candidates)
            ]
            give_scores(rows, scorer(self.scoring))
            table.append(rows)
        return table

    def predict_proba(self, X: RowsLike) -> NDArray[np.float64]:
        """Ask the best teacher.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            ``predict_proba`` of `best_teacher_`.
        """
        check_is_fitted(self)
        with config_context(array_api_dispatch=False):
            rows = check_rows(self, X, dtype=[np.float64, np.float32], reset=False)
            asked = as_taken_by(self.best_teacher_, X if is_frame(X) else rows)
            return self.best_teacher_.predict_proba(asked)


@dataclass(frozen=True)
class _Plan:
    """Rows and seeds of one search, the same for all candidates."""

    held_out: NDArray[np.intp]
    subsamples: list[NDArray[np.intp]]
    refit_seeds: list[int]
    final_seed: int


def _measure_together(
    fit: Callable, candidates: list[Candidate], plan: _Plan, X: Any, y: Any
) -> list[dict[str, Any]]:
    """Measures of candidates that one fit serves, or what went wrong with all of them."""
    try:
        # A worker has fewer threads than its parent, and a sum over two has other bits.
        with one_thread_if(True):
            held_out = _safe_indexing(X, plan.held_out)
            refits = [
                fit(
                    candidates[0].stripped,
                    _safe_indexing(X, subsample),
                    None if y is None else _safe_indexing(y, subsample),
                    seed,
                )
                for subsample, seed in zip(plan.subsamples, plan.refit_seeds, strict=True)
            ]
            return [
                teacher_measures(
                    [
                        teacher_distributions(
                            candidate.finish(refit), held_out, len(plan.held_out)
                        )
                        for refit in refits
                    ]
                )
                for candidate in candidates
            ]
    # Whatever a candidate raises, the others may still win.
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        return [{**NO_MEASURES, "problem": problem} for _ in candidates]
