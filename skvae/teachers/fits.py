"""Fitting any teacher, once for the same rows if it is kept, and asking it block by block."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, gen_batches, get_tags
from sklearn.utils.validation import check_memory, has_fit_parameter

from skvae._common.randomness import derive_seed, seed_unset_random_states
from skvae._common.threads import is_small_table, one_thread_if
from skvae._version import __version__
from skvae.information.boundary import check_taught, rows_counted_from
from skvae.rows.counts import Size
from skvae.rows.sparse import as_taken_by
from skvae.teachers.mixture import GaussianMixtureTeacher

__all__ = [
    "can_be_weighed",
    "fit_teacher",
    "rows_to_teach",
    "teacher_distributions",
    "wants_frame",
]

# Rows that a teacher is asked about at a time.
BLOCK_ROWS = 2**16


def can_be_weighed(teacher: Any) -> bool:
    """Whether the `fit` of a teacher takes weights of the rows."""
    return has_fit_parameter(teacher, "sample_weight")


def wants_frame(teacher: Any) -> bool:
    """Whether a teacher is shown a table with text and categories as it came.

    A pipeline is, whose steps may look for columns by name, and what says by its tags that it
    takes text or categories; any other is shown numbers.
    """
    while True:
        inner = getattr(teacher, "estimator", getattr(teacher, "teacher", None))
        if inner is None:
            break
        teacher = inner
    if teacher is None or isinstance(teacher, Pipeline):
        return teacher is not None
    tags = get_tags(teacher).input_tags
    return bool(tags.string or tags.categorical)


def rows_to_teach(
    n_most: int,
    n_samples: int,
    chosen: NDArray | None,
    seed: int,
    weights: NDArray | None = None,
) -> NDArray | slice:
    """Draw the indices of the rows that a teacher is fitted to.

    Parameters
    ----------
    n_most, n_samples : int
        Rows to be drawn at the most, and rows that there are.
    chosen : ndarray of int, or None
        Indices of the rows to be drawn among; None is all.
    seed : int
        Seed of the fit.
    weights : ndarray of shape (n_samples,) or None
        Where given, rows are drawn in proportion to them, and may come several times: one of
        weight w, in units of the mean of those it is drawn with, comes w times, but for
        rounding up or down.
    """
    n_there = n_samples if chosen is None else len(chosen)
    if weights is None and n_there <= n_most:
        # An end that is named: scikit-learn 1.8 takes none of a table of Arrow without it.
        return slice(0, n_samples) if chosen is None else chosen
    generator = np.random.default_rng(derive_seed(seed, "teacher rows"))
    if weights is None:
        among = n_samples if chosen is None else chosen
        return np.sort(generator.choice(among, n_most, replace=False))
    among = np.arange(n_samples) if chosen is None else chosen
    # Points at equal distances along all weights laid end to end, from a random start on.
    ends = np.cumsum(weights[among])
    n_drawn = min(n_most, n_there)
    points = (np.arange(n_drawn) + generator.random()) * (ends[-1] / n_drawn)
    return among[np.minimum(np.searchsorted(ends, points, side="right"), n_there - 1)]


def fit_teacher(
    teacher: Any,
    X: Any,
    y: Any,
    seed: int,
    memory: Any = None,
    sample_weight: NDArray | None = None,
    size: Size = None,
) -> Any:
    """Clone `teacher` and fit it; a frozen one is used as it is, None is the default one.

    With a `memory`, as in `sklearn.pipeline.Pipeline`, the same teacher is fitted to the
    same rows once and loaded from then on. Weights are for one that `can_be_weighed`. Rows
    whose counts are in proportion to a `size` are that for each mixture in the teacher that
    was not told otherwise.
    """
    unfitted = GaussianMixtureTeacher() if teacher is None else clone(teacher)
    X = as_taken_by(unfitted, X)
    if isinstance(unfitted, FrozenEstimator):
        return unfitted.fit(X, y)
    seed_unset_random_states(unfitted, seed)
    if size is not None:
        _tell_size(unfitted, size)
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    fit = check_memory(memory).cache(_fit)
    with one_thread_if(is_small_table(X)):
        weights = () if sample_weight is None else (sample_weight,)
        return fit(unfitted, X, y, (__version__, sklearn.__version__), *weights)


def _tell_size(teacher: Any, size: Size) -> None:
    parts = {"": teacher, **teacher.get_params(deep=True)}
    for part in parts.values():
        if isinstance(part, GaussianMixtureTeacher) and part.size == "auto":
            part.set_params(size=size)


def _fit(teacher: Any, X: Any, y: Any, versions: tuple[str, ...], *weights: NDArray) -> Any:
    # The versions keep a cache from outliving the code that filled it.
    return teacher.fit(X, y, sample_weight=weights[0]) if weights else teacher.fit(X, y)


def teacher_distributions(
    teacher: Any, X: Any, n_samples: int, dtype: type = np.float64
) -> NDArray:
    """Return the checked distributions of a fitted teacher for the rows of X.

    Beyond 65,536 rows it is asked block by block, so that what it computes on the way
    takes no more memory however many rows there are.
    """
    with one_thread_if(is_small_table(X)):
        if n_samples <= BLOCK_ROWS:
            T = check_taught(teacher.predict_proba(as_taken_by(teacher, X)), n_samples, teacher)
            return T.astype(dtype, copy=False)
        n_components = None
        for rows in gen_batches(n_samples, BLOCK_ROWS):
            with rows_counted_from(rows.start):
                seen = as_taken_by(teacher, _safe_indexing(X, rows))
                block = teacher.predict_proba(seen)
                block = check_taught(block, rows.stop - rows.start, teacher, n_components)
            if rows.start == 0:
                n_components = block.shape[1]
                T = np.empty((n_samples, n_components), dtype=dtype)
            T[rows] = block
    return T
