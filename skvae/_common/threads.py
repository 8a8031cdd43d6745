"""Work on one thread, so that its bits do not depend on how many there are.

A sum split over two threads is added up in another order, and a worker process of
joblib has fewer threads than its parent: without this rule a grid search would give
other last digits with ``n_jobs=2`` than with ``n_jobs=1``. Small work runs on one thread;
large work that falls into independent pieces runs a piece a thread, side by side. Other
work keeps the threads it is given, and repeats to the bit under the same number of them.

A forked process has one thread for all work: those of its parent did not come along, and
torch would wait for them for ever.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = [
    "is_small_table",
    "n_threads",
    "one_thread_if",
    "side_by_side",
    "surely",
    "threads_of_caller",
]

# Entries of a table below which linear algebra gains little from a second thread.
SMALL_TABLE = 2**22

# Libraries, each with the threads that it is to have again.
Limits = list[tuple[Any, int]]


class _Process:
    """Who is held to one thread, and what each BLAS had before: it has one for all callers."""

    def __init__(self) -> None:
        # One of which its holder can be told.
        self.lock: Any = threading.RLock()
        self.stays: dict[object, int] = {}
        self.blas_before: Limits | None = None
        self.is_forked = False


_process = _Process()


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Hold torch and the numerical libraries to one thread inside, where `small` is true."""
    if not (small or _process.is_forked):
        yield
        return
    stay = object()
    # OpenMP and torch count threads for each caller, a BLAS for the whole process.
    restore_caller = threads_of_caller()
    try:
        _process.stays[stay] = threading.get_ident()
        _settle_blas()
        for library in _libraries("openmp"):
            library.set_num_threads(1)
        _set_threads_of_torch(1)
        yield
    finally:
        surely(lambda: _leave(stay), restore_caller)


def threads_of_caller() -> Callable[[], None]:
    """Return what gives the calling thread its threads back, and ends its stays since now."""
    own = threading.get_ident()
    stays = {stay for stay, thread in list(_process.stays.items()) if thread == own}
    openmp: Limits = [(library, library.num_threads) for library in _libraries("openmp")]
    of_torch = n_threads()

    def restore() -> None:
        for stay, thread in list(_process.stays.items()):
            if thread == own and stay not in stays:
                _leave(stay)
        for library, number in openmp:
            if library.num_threads != number:
                library.set_num_threads(number)
        if n_threads() != of_torch:
            _set_threads_of_torch(of_torch)
        # A Ctrl-C may have hit the end of a `with`: others would wait for ever.
        while _process.lock._is_owned():
            _process.lock.release()

    return restore


def surely(*steps: Callable[[], Any]) -> None:
    """Take all of these steps, whatever a person interrupts meanwhile; then let it through.

    A step must bear to be taken again after it was left in the middle.

    Examples
    --------
    >>> from skvae._common.threads import surely
    >>> surely(lambda: print("done"))
    done
    """
    interrupt = None
    for step in steps:
        while True:
            try:
                step()
                break
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


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
    return torch.get_num_threads() if torch and not _process.is_forked else 1


def is_small_table(X: Any) -> bool:
    """Whether a table has too few entries for a second thread."""
    shape = getattr(X, "shape", None)
    if shape is None:
        # Nested sequences: that they are ragged is told elsewhere.
        shape = (len(X), *np.shape(X[0])) if isinstance(X, (list, tuple)) and X else (0,)
    return math.prod(shape) < SMALL_TABLE


def _set_threads_of_torch(number: int) -> None:
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(number)


def _leave(stay: object) -> None:
    _process.stays.pop(stay, None)
    _settle_blas()


def _settle_blas() -> None:
    """Limit every BLAS while anyone stays; the last to leave restores them.

    Whatever was interrupted before, it leaves them as they should be.
    """
    process = _process
    with process.lock:
        if process.stays:
            if process.blas_before is None:
                process.blas_before = [
                    (library, library.num_threads) for library in _libraries("blas")
                ]
            for library, _ in process.blas_before:
                _set_threads_of_blas(library, 1)
        elif process.blas_before is not None:
            for library, number in process.blas_before:
                _set_threads_of_blas(library, number)
            process.blas_before = None


def _set_threads_of_blas(library: Any, number: int) -> None:
    # threadpoolctl, from 3.8 on, ignores all threads but the first that set a limit, as long
    # as that one lives: others may have to restore what it set.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


def _libraries(user_api: str) -> list[Any]:
    controller = _controller(len(sys.modules))
    return [each for each in controller.lib_controllers if each.user_api == user_api]


@functools.lru_cache(maxsize=1)
def _controller(n_modules: int) -> ThreadpoolController:
    # Listing the loaded libraries takes milliseconds, more than a call on a few rows: it is
    # done again where an import may have loaded others.
    return ThreadpoolController()


def _after_fork() -> None:
    """Begin anew in a child: other threads are gone, and the lock may be one of theirs."""
    own = threading.get_ident()
    process = _process
    process.lock = threading.RLock()
    process.is_forked = True
    for stay, thread in list(process.stays.items()):
        if thread != own:
            del process.stays[stay]
    _settle_blas()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
