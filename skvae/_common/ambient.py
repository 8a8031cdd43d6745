"""What is set outside does not reach inside, and nothing that is set inside stays."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import sklearn

from skvae._common.threads import surely, threads_of_caller

__all__ = [
    "denormals_are_zero",
    "termination_is_interrupt",
    "unchanged_on_error",
    "undisturbed",
]

ACCELERATORS = ("cuda", "mps")
# Below the least normal float64.
DENORMAL = 5e-324


class _NoWarning(Warning):
    """Never given."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the modes that torch is in outside, and put back what an interrupt left changed.

    Autocasting, a default device and inference mode would change what is computed inside, or
    break it; so would ``np.seterr(under="raise")``, as probabilities may be next to nothing.
    A Ctrl-C may hit another context manager as it ends, so that it does not: the threads, the
    gradient mode, denormal numbers, the levels of `torch.vmap`, scikit-learn's configuration
    and the filters of warnings are then made again what they were. Code of others that cannot
    end what it had not yet begun answers a Ctrl-C with an error of its own: it is raised as
    the Ctrl-C that it was.

    Examples
    --------
    >>> import torch
    >>> from skvae._common.ambient import undisturbed
    >>> with torch.inference_mode(), undisturbed():
    ...     torch.is_inference_mode_enabled()
    False
    """
    torch = sys.modules.get("torch")
    restore = [threads_of_caller(), *_settings_of_caller(torch)]
    try:
        with ExitStack() as modes:
            if torch is not None:
                _leave_modes(torch, modes)
            if np.geterr()["under"] != "ignore":
                modes.enter_context(np.errstate(under="ignore"))
            yield
    except Exception as error:
        interrupt = error.__context__
        if not isinstance(interrupt, KeyboardInterrupt) or error.__suppress_context__:
            raise
        surely(*restore)
        raise interrupt from None
    except BaseException as interrupt:
        # A context manager that was cut short as it ended ends when it is forgotten: now, or
        # it would change again what is put back.
        traceback.clear_frames(interrupt.__traceback__)
        surely(*restore)
        raise


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Fit an estimator `undisturbed`; where that raises, leave it as it was."""
    before = vars(estimator).copy()

    def restore() -> None:
        vars(estimator).update(before)
        for name in vars(estimator).keys() - before.keys():
            delattr(estimator, name)

    try:
        with (
            termination_is_interrupt(),
            undisturbed(),
            sklearn.config_context(array_api_dispatch=False),
        ):
            yield
    except BaseException:
        surely(restore)
        raise


@contextmanager
def termination_is_interrupt() -> Iterator[None]:
    """Take SIGTERM, by which schedulers end a program, as Ctrl-C is taken.

    In the main thread of the main process, where nobody else has a use for it: a worker
    that its pool ends has to end.

    Examples
    --------
    >>> import os, signal
    >>> from skvae._common.ambient import termination_is_interrupt
    >>> with termination_is_interrupt():
    ...     try:
    ...         os.kill(os.getpid(), signal.SIGTERM)
    ...     except KeyboardInterrupt:
    ...         print("interrupted")
    interrupted
    """
    is_main = (
        threading.current_thread() is threading.main_thread()
        and multiprocessing.current_process().name == "MainProcess"
    )
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
    finally:
        surely(lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def denormals_are_zero() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return DENORMAL * 1.0 == 0.0


def _leave_modes(torch: Any, modes: ExitStack) -> None:
    # Each costs time of its own where it is entered, and few callers have set any.
    if torch.is_inference_mode_enabled():
        modes.enter_context(torch.inference_mode(False))
    for kind in ("cpu", *ACCELERATORS):
        if torch.is_autocast_enabled(kind):
            modes.enter_context(torch.autocast(kind, enabled=False))
    # Torch 2.5 cannot say which is the default after it was set to None.
    if torch.empty(0).device.type != "cpu":
        modes.enter_context(torch.device("cpu"))


def _settings_of_caller(torch: Any) -> list[Callable[[], Any]]:
    """Return what makes each setting again what it is now."""
    config = sklearn.get_config()
    filters: Any = warnings.filters
    show = warnings.showwarning

    def restore_warnings() -> None:
        if warnings.filters is not filters:
            warnings.filters = filters
            # To be told that its filters are others: what it keeps of them is no longer true.
            warnings.simplefilter("ignore", _NoWarning)
            filters.remove(("ignore", None, _NoWarning, None, 0))
        warnings.showwarning = show

    steps = [lambda: sklearn.set_config(**config), restore_warnings]
    if torch is not None:
        with_gradients = torch.is_grad_enabled()
        without_denormals = denormals_are_zero()
        functorch = torch._C._functorch
        depth = functorch.get_dynamic_layer_stack_depth()
        steps.append(lambda: torch.set_grad_enabled(with_gradients))
        steps.append(lambda: torch.set_flush_denormal(without_denormals))
        steps.append(lambda: functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth))
    return steps
