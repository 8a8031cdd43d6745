"""Fitting any teacher, once for the same rows if it is kept, and asking it block by block."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils.validation import check_memory

from skvae._common.randomness import seed_unset_random_states
from skvae._common.threads import is_small_table, one_thread_if
from skvae._version import __version__
from skvae.information.boundary import check_taught, rows_counted_from
from skvae.teachers.mixture import GaussianMixtureTeacher

__all__ = ["fit_teacher", "teacher_distributions"]

# Rows that a teacher is asked about at a time.
BLOCK_ROWS = 2**16


def fit_teacher(teacher: Any, X: Any, y: Any, seed: int, memory: Any = None) -> Any:
    """Clone `teacher` and fit it; a frozen one is used as it is, None is the default one.

    With a `memory`, as in `sklearn.pipeline.Pipeline`, the same teacher is fitted to the
    same rows once and loaded from then on.
    """
    unfitted = GaussianMixtureTeacher() if teacher is None else clone(teacher)
    if isinstance(unfitted, FrozenEstimator):
        return unfitted.fit(X, y)
    seed_unset_random_states(unfitted, seed)
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    fit = check_memory(memory).cache(_fit)
    with one_thread_if(is_small_table(X)):
        return fit(unfitted, X, y, (__version__, sklearn.__version__))


def _fit(teacher: Any, X: Any, y: Any, versions: tuple[str, ...]) -> Any:
    # The versions keep a cache from outliving the code that filled it.
    return teacher.fit(X, y)


def teacher_distributions(
    teacher: Any, X: Any, n_samples: int, dtype: type = np.float64
) -> NDArray:
    """Return the checked distributions of a fitted teacher for the rows of X.

    Beyond 65,536 rows it is asked block by block, so that what it computes on the way
    takes no more memory however many rows there are.
    """
    with one_thread_if(is_small_table(X)):
        if n_samples <= BLOCK_ROWS:
            T = check_taught(teacher.predict_proba(X), n_samples, teacher)
            return T.astype(dtype, copy=False)
        n_components = None
        for rows in gen_batches(n_samples, BLOCK_ROWS):
            with rows_counted_from(rows.start):
                block = teacher.predict_proba(_safe_indexing(X, rows))
                block = check_taught(block, rows.stop - rows.start, teacher, n_components)
            if rows.start == 0:
                n_components = block.shape[1]
                T = np.empty((n_samples, n_components), dtype=dtype)
            T[rows] = block
    return T
