"""Small work on one thread, so that its bits do not depend on how many there are.

A sum split over two threads is added up in another order, and a worker process of
joblib has fewer threads than its parent: without this rule a grid search would give
other last digits with ``n_jobs=2`` than with ``n_jobs=1``. Work too large for the rule
keeps the threads it is given, and repeats to the bit under the same number of them.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["is_small_table", "one_thread_if"]

# Entries of a table below which linear algebra gains little from a second thread.
SMALL_TABLE = 2**22

_lock = threading.Lock()
_inside = 0
_blas_limit = ExitStack()


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Hold torch and the numerical libraries to one thread inside, where `small` is true."""
    if not small:
        yield
        return
    # Where torch was never imported it has no threads, and need not be imported for this.
    torch = sys.modules.get("torch")
    n_threads = torch.get_num_threads() if torch else 1
    # OpenMP and torch count threads for each caller, a BLAS for the whole process.
    with _one_blas_thread(), _controller().limit(limits=1, user_api="openmp"):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(n_threads)


def is_small_table(X: Any) -> bool:
    """Whether a table has too few entries for a second thread."""
    return bool(np.size(X) < SMALL_TABLE)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Limit the BLAS while anyone is inside; the last to leave restores it."""
    global _inside
    with _lock:
        if _inside == 0:
            _blas_limit.enter_context(_controller().limit(limits=1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _blas_limit.close()


@functools.cache
def _controller() -> ThreadpoolController:
    # Listing the loaded libraries takes milliseconds, more than a call on a few rows.
    return ThreadpoolController()
