"""The processes that share a fit or a reading: what each takes of a batch, and their sums.

What is decided is decided by figures of all of them, which have the same bits on each.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skvae.exceptions import LostRankError
from skvae.rows.sparse import taken
from skvae.training.launched import OF_WORK, meet

__all__ = ["Ranks", "Share"]

# In a step all ranks are equally far: who does not answer in this time hangs.
OF_STEP = timedelta(seconds=45)
# Seconds that a rank which waits for a sum stays awake.
AWAKE = 0.02
# Seconds in which the others say that they are still there.
ROLL_CALL = 3.0

Value = TypeVar("Value")

# Lets the threads of gloo, and other ranks, have the core.
give_way: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))


@dataclass(frozen=True)
class Share:
    """Rows of a batch, one after the other, that a rank takes.

    Parameters
    ----------
    n_rows : int
        Rows of the batch.
    start, stop : int
        Where its own begin and end.
    """

    n_rows: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Its own rows; where it has none, one that counts for nothing, for steps to take."""
        start = min(self.start, self.n_rows - 1)
        return slice(start, max(self.stop, start + 1))

    @property
    def weight(self) -> float:
        """What its own rows are of the batch, in [0, 1]."""
        return (self.stop - self.start) / self.n_rows

    def placed(self, values: Tensor) -> Tensor:
        """Return what was found of its own rows where they are in the batch, and zeros."""
        if self.weight == 1:
            return values
        placed = values.new_zeros((self.n_rows, *values.shape[1:]))
        if self.weight > 0:
            placed[self.rows] = values
        return placed


class Ranks:
    """The processes that have a fit, or a reading, in common.

    Parameters
    ----------
    device : str, default="cpu"
        As the parameter of the estimator: where tensors may be that are added up.
    """

    def __init__(self, device: str = "cpu"):
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # Of the batch at hand.
        self.share: Share | None = None
        on_gpu = device != "cpu" and torch.cuda.is_available() and dist.is_nccl_available()
        of_step = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        self._store: Any = dist.distributed_c10d._get_default_store()
        self._groups: tuple[Any, ...] = ()
        # All gradients, one behind the other.
        self._joined: Tensor | None = None
        # The name of the next group, which is the same on all ranks.
        self._name = "skvae"
        meet(self._store, self.rank, self.size)
        with self._telling():
            of_work = dist.new_group(timeout=OF_WORK, backend="gloo")
            self._groups = (of_work, dist.new_group(timeout=OF_STEP, backend=of_step))
            self._name = f"skvae {of_work.group_name}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that fits the teacher, writes files and tells of it."""
        return self.rank == 0

    def device_of(self, device: str) -> str:
        """Return the GPU of this rank where "auto" or "cuda" means one."""
        if device not in ("auto", "cuda") or not torch.cuda.is_available():
            return device
        number = int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count()
        return f"cuda:{number}"

    def share_of(self, n_rows: int) -> Share:
        """Return what this rank takes of so many rows: as much as the others, or one more."""
        first, last = (n_rows * place // self.size for place in (self.rank, self.rank + 1))
        return Share(n_rows, first, last)

    def total(self, tensor: Tensor, *, in_step: bool = True) -> Tensor:
        """Return the sum over the ranks, which has the same bits on all of them.

        Outside of a step others may have work of their own, and are waited for longer.
        """
        summed = tensor.detach().clone()
        with self._telling():
            self._summed(summed, in_step=in_step)()
        return summed

    def means(
        self, parts: Sequence[Tensor], weight: Tensor | None = None
    ) -> Callable[[], list[Tensor]]:
        """Begin to add up means over a batch; return what waits for them.

        Parameters
        ----------
        parts : sequence of Tensor
            Means over its own rows.
        weight : Tensor of shape () or None, default=None
            What these weigh together; None weighs all rows alike.
        """
        share = cast(Share, self.share)
        packed = torch.cat([part.detach().reshape(-1) for part in parts])
        if weight is None:
            packed.mul_(share.weight)
        else:
            weight = (weight * (share.weight > 0)).view(1)
            packed = torch.cat([packed * weight, weight])
        with self._telling():
            # Taken out to be waited for: a sum that failed must not be held on to.
            begun = [self._summed(packed)]

        def wait() -> list[Tensor]:
            with self._telling():
                begun.pop()()
            found = packed if weight is None else packed[:-1] / packed[-1]
            places = found.split([part.numel() for part in parts])
            return [each.view(part.shape) for each, part in zip(places, parts, strict=True)]

        return wait

    def add_up(self, gradients: Iterable[Tensor]) -> None:
        """Put the gradients of the mean over the batch in place of those over its own rows."""
        own = list(gradients)
        sizes = [gradient.numel() for gradient in own]
        if self._joined is None or len(self._joined) != sum(sizes):
            self._joined = own[0].new_empty(sum(sizes))
        torch.cat([gradient.reshape(-1) for gradient in own], out=self._joined)
        self._joined.mul_(cast(Share, self.share).weight)
        with self._telling():
            self._summed(self._joined)()
        for gradient, part in zip(own, self._joined.split(sizes), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def any(self, flag: bool, *, in_step: bool = False) -> bool:
        """Whether it is so on any rank; in a step, where nobody has to be waited for."""
        return bool(self.total(torch.tensor(float(flag)), in_step=in_step) > 0)

    def of_all(self, value: Value, call: str) -> list[Value]:
        """Return what each rank has, in their order.

        Parameters
        ----------
        value : object
            What this one has.
        call : str
            In the middle of which call this is, which has to be the same on all ranks.
        """
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        with self._telling():
            dist.all_gather_object(found, (call, value), group=self._groups[0])
        for rank, (other, _) in enumerate(found):
            if other != found[0][0]:
                raise ValueError(
                    f"Rank 0 is at {found[0][0]}, and rank {rank} at {other}: between them "
                    "all ranks make the same calls, in the same order. What one of them does "
                    "alone belongs outside of over_ranks, or wants distributed=False."
                )
        return [each for _, each in found]

    def in_order(self, own: list[NDArray], rows: Any, call: str, model: int) -> list[NDArray]:
        """Return what was found of all rows, given what was of those that were its own.

        Parameters
        ----------
        own : list of ndarray
            What was found.
        rows : array-like
            All rows.
        call : str
            What was looked for.
        model : int
            Tells the model that was asked from others.
        """
        ends = taken(rows, [0, len(rows) - 1]) if len(rows) else None
        read = self.of_all((own, (len(rows), joblib.hash(ends)), model), call)
        if len({of_rank for *_, of_rank in read}) > 1:
            raise ValueError(
                "Inside of over_ranks all ranks read by one model, and these have different "
                "ones: fit it by all together, or load the same file on each."
            )
        found = [part for *part, _ in read]
        if len({told for _, told in found}) > 1:
            raise ValueError(
                "Inside of over_ranks all ranks read the same rows, and share them out: read "
                "rows of its own outside, and put the results in order by rows_of_all_ranks."
            )
        parts = [part for part, _ in found if part]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Return what the first rank makes, which is made once."""
        import torch.distributed as dist

        made: list[Any] = [make() if self.is_first else None]
        with self._telling():
            dist.broadcast_object_list(
                made, src=0, group=self._groups[0], device=torch.device("cpu")
            )
        return cast(Value, made[0])

    def equalise(self, module: nn.Module) -> None:
        """Give the weights of the first rank to all."""
        with torch.no_grad():
            own = [value for value in module.state_dict().values() if value.numel()]
            of_first = self.from_first(lambda: [value.cpu() for value in own])
            for value, other in zip(own, of_first, strict=True):
                value.copy_(other)

    def leave(self, error: BaseException | None = None) -> None:
        """Close all that there is between the ranks: who waits for this one is told why."""
        import torch.distributed as dist

        if error is not None and not isinstance(error, LostRankError):
            self._tell(f"{type(error).__name__}: {error}"[:500])
        groups, self._groups = self._groups, ()
        for group in groups:
            dist.destroy_process_group(group)

    def _summed(self, tensor: Tensor, *, in_step: bool = True) -> Callable[[], object]:
        """Begin to put the sum over the ranks in place of a tensor; return what waits for it.

        What `torch.distributed.all_reduce` does without its checks and its log, which cost a
        third of the sum of a few numbers.
        """
        work = self._groups[in_step].allreduce([tensor])
        # For a GPU its own queue waits.
        return work.wait if tensor.is_cuda else partial(_wait_awake, work)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say of a call that failed which rank it waited for."""
        try:
            yield
        except RuntimeError as error:
            # Without the place in its source that gloo begins with, and its good wishes.
            said = str(error).splitlines()[0].rpartition("] ")[2].partition(". This is")[0]
            # What failed, and its traceback, would hold on to the groups.
            traceback.clear_frames(error.__traceback__)
            error = error.with_traceback(None)
            raise LostRankError(self._what_is_lost(said)) from error

    def _tell(self, what: str) -> None:
        # Where the store was in the process that is lost, nothing can be told.
        with suppress(RuntimeError):
            self._store.set(f"{self._name} {self.rank}", what)

    def _what_is_lost(self, error: str) -> str:
        self._tell("")
        # A sum hears of neighbours alone: those who wait for this rank learn of it so.
        self.leave()
        found: dict[int, str] = {}
        end = time.monotonic() + ROLL_CALL
        while time.monotonic() < end and not any(found.values()) and len(found) < self.size:
            try:
                for rank in range(self.size):
                    key = f"{self._name} {rank}"
                    if rank not in found and self._store.check([key]):
                        found[rank] = self._store.get(key).decode()
            except RuntimeError:
                # Nobody can ask, where it was the first rank that kept the list.
                found = {}
                break
            time.sleep(0.05)
        failed = [f"rank {rank} failed with {said}" for rank, said in found.items() if said]
        missing = [str(rank) for rank in range(self.size) if rank not in found]
        if failed:
            what = "; ".join(failed)
        elif found and missing:
            what = f"rank {', '.join(missing)} has died, or does not answer"
        else:
            what = "another has died, or does not answer"
        return (
            f"Rank {self.rank} of {self.size} waited for the others in vain: "
            f"{what.rstrip('.')}. Fitted again, on any number of ranks, a fit with a "
            f"checkpoint goes on from its last one. ({error})"
        )


def _wait_awake(work: Any) -> None:
    """Wait for a sum of gloo, a while without going to sleep.

    For a sum its threads wake each other several times. A core on which all sleep is halted,
    and a virtual one may be lent to others: to have it back takes longer than the sum.
    """
    end = time.monotonic() + AWAKE
    while not work.is_completed() and time.monotonic() < end:
        give_way()
    work.wait()
