"""Work on one thread, so that its bits do not depend on how many there are.

A sum split over two threads is added up in another order, and a worker process of
joblib has fewer threads than its parent: without this rule a grid search would give
other last digits with ``n_jobs=2`` than with ``n_jobs=1``. Small work runs on one thread;
large work that falls into independent pieces runs a piece a thread, side by side. Other
work keeps the threads it is given, and repeats to the bit under the same number of them.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["is_small_table", "n_threads", "one_thread_if", "side_by_side"]

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
    before = n_threads()
    # OpenMP and torch count threads for each caller, a BLAS for the whole process.
    with _one_blas_thread(), _controller().limit(limits=1, user_api="openmp"):
        _set_threads_of_torch(1)
        try:
            yield
        finally:
            _set_threads_of_torch(before)


@contextmanager
def side_by_side(n_workers: int) -> Iterator[Callable[..., Callable[[], Any]]]:
    """Yield what has a function called by one of so many threads, each on one thread of torch.

    It takes the function and its arguments, and returns a function that waits for the result,
    or raises what the call raised. With less than two workers the call is made when its
    result is asked for, by who asks, with the threads at hand.

    Examples
    --------
    >>> from skvae._common.threads import side_by_side
    >>> with side_by_side(2) as call:
    ...     powers = [call(pow, base, 2) for base in (3, 4)]
    ...     [power() for power in powers]
    [9, 16]
    """
    if n_workers < 2:
        yield functools.partial
        return
    workers = ThreadPoolExecutor(n_workers, initializer=_set_threads_of_torch, initargs=(1,))
    with one_thread_if(True):
        try:
            yield lambda *call: workers.submit(*call).result
        except BaseException:
            # After an error or an interrupt nobody wants the rest.
            workers.shutdown(cancel_futures=True)
            raise
        # Results may still be asked for.
        workers.shutdown()


def n_threads() -> int:
    """Return the number of threads that torch may use for the caller; 1 without torch."""
    # Where torch was never imported it has no threads, and need not be imported for this.
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else 1


def _set_threads_of_torch(number: int) -> None:
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(number)


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
