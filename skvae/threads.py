"""Small work on one thread, so that its bits do not depend on how many there are.

A sum split over two threads is added up in another order, and a worker process of
joblib has fewer threads than its parent: without this rule a grid search would give
other last digits with ``n_jobs=2`` than with ``n_jobs=1``. Work too large for the rule
keeps the threads it is given, and repeats to the bit under the same number of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread_if"]


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Hold torch and the numerical libraries to one thread inside, where `small` is true."""
    if not small:
        yield
        return
    n_threads = torch.get_num_threads()
    with _controller().limit(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


@functools.cache
def _controller() -> ThreadpoolController:
    # Listing the loaded libraries takes milliseconds, more than a call on a few rows.
    return ThreadpoolController()
