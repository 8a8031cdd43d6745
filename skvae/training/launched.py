"""Which processes are started together as ranks, and how they come to begin what they share."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from skvae.exceptions import LostRankError

__all__ = ["OF_WORK", "is_shared", "meet", "tell_end"]

# What one of them does for all, as to fit a teacher, or by itself, as what a callback does.
OF_WORK = timedelta(hours=1)
# Keys of how often ranks have come to begin something, and of those whose process has ended.
CAME, GONE = "skvae came", "skvae gone"
# Seconds after which a rank that waits for others to begin says so.
QUIET = 30.0
# Forked children have the groups of their parent, and must leave them alone.
_process_id = os.getpid()
_logger = logging.getLogger("skvae")


def is_shared(distributed: bool | str) -> bool:
    """Whether this process is one of several that share a fit."""
    if not distributed or os.getpid() != _process_id:
        return False
    is_main = threading.current_thread() is threading.main_thread()
    if distributed == "auto" and not is_main:
        return False
    known: Any = sys.modules.get("torch.distributed")
    if known is not None and known.is_available() and known.is_initialized():
        return bool(known.get_world_size() > 1)
    is_launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    is_worker = multiprocessing.parent_process() is not None
    if distributed == "auto":
        # Workers of joblib have the environment of the process that started them.
        is_launched = "TORCHELASTIC_RUN_ID" in os.environ and not is_worker
    if not is_launched:
        if distributed == "auto":
            return False
        raise ValueError(
            "distributed=True wants a process that torchrun has started, or one that has "
            "called torch.distributed.init_process_group: start the script by torchrun "
            "--nproc-per-node=N, or pass distributed=False."
        )
    if int(os.environ["WORLD_SIZE"]) < 2:
        return False
    _begin()
    return True


def meet(store: Any, rank: int, size: int) -> int:
    """Wait until all ranks have come here as often as this one; return how often they had.

    Whoever is interrupted has not come, and all stay equally far.
    """
    atexit.unregister(tell_end)
    atexit.register(tell_end, store, rank)
    start = time.monotonic()
    is_told = False
    try:
        number = (store.add(CAME, 1) - 1) // size
        store.set(f"{CAME} {number} {rank}", "")
        while store.add(CAME, 0) < (number + 1) * size:
            waited = time.monotonic() - start
            gone = [each for each in range(size) if store.check([f"{GONE} {each}"])]
            came = [store.check([f"{CAME} {number} {each}"]) for each in range(size)]
            awaited = ", ".join(str(each) for each in range(size) if not came[each])
            what = (
                f"Rank {rank} of {size} waits for rank {awaited} to call the same: all "
                "ranks make the same calls of fit, partial_fit and over_ranks. For a fit of "
                "its own pass distributed=False."
            )
            if gone or waited > OF_WORK.total_seconds():
                ended = f" Rank {gone[0]} has ended." if gone else ""
                raise LostRankError(f"{what}{ended}")
            if waited > QUIET and not is_told:
                _logger.warning("%s", what)
                is_told = True
            time.sleep(min(0.05, 0.001 + waited / 10))
    except BaseException as error:
        with suppress(RuntimeError):
            store.add(CAME, -1)
        if isinstance(error, RuntimeError) and not isinstance(error, LostRankError):
            raise LostRankError(
                f"Rank {rank} of {size} waited for the others in vain: the process that keeps "
                f"the list of them has ended. ({str(error).splitlines()[0]})"
            ) from error
        raise
    return number


def tell_end(store: Any, rank: int) -> None:
    """Say that the process has ended, for those who wait for it to come."""
    with suppress(RuntimeError):
        store.set(f"{GONE} {rank}", "")


def _begin() -> None:
    """Make the default group of the processes that a launcher has started."""
    import torch.distributed as dist

    store, rank, size = next(dist.rendezvous("env://", timeout=OF_WORK))
    # Torch waits where no signal is heard, and so comes when all are there. A store that
    # outlives a group has its addresses: one that is made after it takes other names.
    number = meet(store, rank, size)
    store = dist.PrefixStore(f"skvae {number}", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=OF_WORK)
