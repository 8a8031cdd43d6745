"""Rows as the net is fed them: from memory, or block by block from where they lie."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from skvae.information import teacher_information
from skvae.rows.missing import observed_moments
from skvae.rows.scaling import Standardization
from skvae.rows.sparse import SparseRows, taken
from skvae.training.ranks import Ranks, Share

__all__ = [
    "InMemoryBatches",
    "SparseBatches",
    "StreamedBatches",
    "TrainingRows",
    "copied_ahead",
    "filled_up",
    "free_bytes",
    "is_large",
    "without_single_row",
]

# Bytes of standardised rows up to which they are kept; beyond, each block of rows is
# standardised whenever it is read.
MAX_BYTES = 2**30
# Bytes of a block of standardised rows.
BLOCK_BYTES = 2**26
# Share of a device's free memory that rows and targets may take unasked: the rest is for
# weights, their moments and activations, and for others on the device.
RESIDENT_SHARE = 0.5
# Least weight of a row, where one on average is usual.
LEAST_WEIGHT = 1e-12


def is_large(rows: Any) -> bool:
    """Whether there are too many rows to keep all of them standardised."""
    return 4 * rows.size > MAX_BYTES


def free_bytes(device: torch.device) -> int | None:
    """Memory of a device that tensors can still be put into, or None where it is not known."""
    if device.type == "cuda":
        # What torch holds and does not use is free for its next tensor.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


def copied_ahead(
    batches: Iterable[tuple[Tensor, ...]], device: torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches on a device, each copied there while the one before it is worked on.

    On CUDA nothing waits but the device: the copy is from pinned memory, on a stream of its
    own. Elsewhere a copy is done when it is asked for.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    copies = (_copy(batch, device, stream) for batch in batches)
    ahead = next(copies, None)
    while ahead is not None:
        (batch, copied), ahead = ahead, next(copies, None)
        if copied is not None:
            current = torch.cuda.current_stream(device)
            current.wait_event(copied)
            for tensor in batch:
                # Its memory belongs to the stream of copies, which must not use it again
                # before the step has.
                tensor.record_stream(current)
        yield batch


def filled_up(
    batches: Iterable[tuple[Tensor, ...]], batch_size: int
) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches that all have `batch_size` rows, a short one filled from the first.

    At most ``batch_size - 1`` rows, which are drawn at random where the order is, are met
    twice. The first batch must not be the short one.
    """
    first: tuple[Tensor, ...] | None = None
    for batch in batches:
        first = first or batch
        missing = batch_size - len(batch[0])
        if not missing:
            yield batch
            continue
        yield tuple(
            torch.cat([part, of_first[:missing]])
            for part, of_first in zip(batch, first, strict=True)
        )


def without_single_row(
    batches: Iterable[tuple[Tensor, ...]],
) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches, a last one of a single row joined to the one before it."""
    before: tuple[Tensor, ...] | None = None
    for batch in batches:
        if before is not None and len(batch[0]) == 1 < len(before[0]):
            before = tuple(map(torch.cat, zip(before, batch, strict=True)))
            continue
        if before is not None:
            yield before
        before = batch
    if before is not None:
        yield before


def _copy(
    batch: tuple[Tensor, ...], device: torch.device, stream: torch.cuda.Stream | None
) -> tuple[tuple[Tensor, ...], torch.cuda.Event | None]:
    """Begin to copy a batch; also return what tells that it has arrived."""
    # No stream is no change of stream.
    with torch.cuda.stream(stream):
        moved = tuple(_sent(part, device) for part in batch)
        return moved, None if stream is None else stream.record_event()


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor of the host to a device; on CUDA without waiting for it to arrive."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Shared:
    """Batches of which each rank has a share, where several train a net.

    Attributes
    ----------
    ranks : Ranks or None
        Of the training; None gives whole batches.
    shares : deque of Share
        What was taken of the batches so far, for who takes each out as its batch comes:
        batches may be made ahead.
    """

    ranks: Ranks | None = None

    def __init__(self) -> None:
        self.shares: deque[Share] = deque()

    def own(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the share of what has a row, or an entry, for each row of a batch."""
        if self.ranks is None:
            return parts
        share = self.ranks.share_of(len(parts[0]))
        self.shares.append(share)
        return tuple([part[share.rows] for part in parts])


class InMemoryBatches(Shared):
    """Batches cut from tensors by index, in place of a DataLoader's rows one by one.

    Parameters
    ----------
    rows : Tensor of shape (n_samples, n_features)
        Standardised rows.
    targets : Tensor of shape (n_samples, n_targets)
        What is wanted of them, on the same device: their teacher distributions.
    batch_size : int
        Rows in a batch; the last one may be smaller.
    device : torch.device or None, default=None
        Where each batch is copied to, one ahead. None is where the rows are.
    weights : Tensor of shape (n_samples,) or None, default=None
        What the rows count, beside them: the third part of a batch where they are given.
    """

    def __init__(self, rows, targets, batch_size, device=None, weights=None):
        super().__init__()
        self.rows = rows
        self.targets = targets
        self.weights = weights
        self._parts = (rows, targets) if weights is None else (rows, targets, weights)
        self.batch_size = batch_size
        self.device = rows.device if device is None else device
        self._copies = device is not None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def teacher_information(self) -> float:
        """Information of the teacher whose distributions are the targets."""
        return _information(self.targets, self.weights)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield all rows once, in the order of a permutation drawn from `generator`."""
        order = torch.randperm(len(self.rows), generator=generator)
        batches = (
            tuple([part.index_select(0, chosen) for part in self._parts])
            for (chosen,) in map(
                self.own, _sent(order, self.rows.device).split(self.batch_size)
            )
        )
        return copied_ahead(batches, self.device) if self._copies else batches

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        parts = zip(*(part.split(self.batch_size) for part in self._parts), strict=True)
        batches = itertools.starmap(self.own, parts)
        return copied_ahead(batches, self.device) if self._copies else batches


class TrainingRows(Dataset):
    """Rows and what is wanted of them, wherever they lie.

    On an accelerator the standardised rows and their targets are put into its memory once
    where they are resident, block by block. All others are fed from the host: up to 1 GiB of
    standardised rows is kept in memory there, and larger tables stay where they are, in
    memory or mapped from a file, and are standardised as they are read. So are sparse rows,
    which are made dense a batch at a time.

    Parameters
    ----------
    rows : ndarray or SparseRows of shape (n_rows, n_features)
        Rows in the units of the data.
    targets : ndarray of shape (n_samples, n_targets)
        What is wanted of the chosen rows: their teacher distributions.
    units : Standardization
        From the units of the data to those of the net.
    chosen : ndarray of shape (n_samples,) or None
        Indices of the rows that are meant; None is all.
    on_device : bool or "auto", default="auto"
        Whether rows are resident on an accelerator. "auto" is if they and their targets take
        no more than half of its free memory when first asked for, or no more than 1 GiB
        where that is not known.
    weights : ndarray of shape (n_samples,) or None, default=None
        What the chosen rows count, one on average; None is one each.
    has_missing : bool, default=False
        Whether entries may be NaN, and leave the density of their rows.
    """

    def __init__(
        self,
        rows: Any,
        targets: NDArray,
        units: Standardization,
        chosen: NDArray[np.intp] | None = None,
        on_device: bool | str = "auto",
        weights: NDArray[np.float64] | None = None,
        has_missing: bool = False,
    ):
        self.rows = rows
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.float32))
        self.weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        self.units = units
        # In their order on disk.
        self.chosen = chosen
        self.on_device = on_device
        self.has_missing = has_missing
        self._resident: bool | None = None
        self._rows_on_device: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def block(self, start: int, stop: int) -> Tensor:
        """Return some of the chosen rows, standardised; not to be written to.

        Where they are as the net wants them already, they are no copy.
        """
        return self._standardised_at(slice(start, stop))

    def at(self, places: Tensor) -> Tensor:
        """Return the chosen rows at these places, standardised."""
        return self._standardised_at(places.numpy())

    def _standardised_at(self, places: slice | NDArray) -> Tensor:
        rows = taken(self.rows, places if self.chosen is None else self.chosen[places])
        if isinstance(rows, SparseRows):
            return torch.from_numpy(self.units.apply(rows))
        # torch has no tensor that is read-only.
        as_wanted = rows.dtype == np.float32 and rows.flags.carray
        if as_wanted and self.units.is_identity:
            return torch.from_numpy(rows)
        return torch.from_numpy(self.units.apply(rows))

    @cached_property
    def log_scale_sum(self) -> float:
        """Sum of the log units of what was observed of a row, on average over the rows.

        What takes the mean log density of standardised rows to the units of the data.
        """
        if not self.has_missing or self.units.is_identity:
            return self.units.log_scale_sum
        weights = None if self.weights is None else self.weights.double().numpy()
        observed = observed_moments(self.rows, self.chosen, weights)
        return float(observed.share @ np.log(self.units.scale))

    @property
    def block_rows(self) -> int:
        """Rows that are read at a time."""
        return max(1, BLOCK_BYTES // (4 * self.rows.shape[1]))

    @cached_property
    def _standardised(self) -> Tensor:
        return self.block(0, len(self))

    def batches(
        self, batch_size: int, device: str | torch.device, targets: Tensor | None = None
    ) -> InMemoryBatches | StreamedBatches:
        """Return batches of the rows beside their targets, or beside other ones."""
        targets = self.targets if targets is None else targets
        device = torch.device(device)
        if self._resident is None:
            self._resident = self._is_resident(device)
        weights = self.weights
        if self._resident:
            weights = None if weights is None else weights.to(device)
            rows = self._rows_on(device)
            return InMemoryBatches(rows, targets.to(device), batch_size, None, weights)
        if isinstance(self.rows, SparseRows):
            return SparseBatches(self, targets, batch_size, device)
        if is_large(self.rows):
            return StreamedBatches(self, targets, batch_size, device)
        return InMemoryBatches(self._standardised, targets, batch_size, device, weights)

    def _is_resident(self, device: torch.device) -> bool:
        if device.type == "cpu":
            return not (is_large(self.rows) or isinstance(self.rows, SparseRows))
        if self.on_device != "auto":
            return bool(self.on_device)
        free = free_bytes(device)
        if free is None:
            return not is_large(self.rows)
        needed = 4 * (len(self) * self.rows.shape[1] + self.targets.numel())
        return needed <= RESIDENT_SHARE * free

    def _rows_on(self, device: torch.device) -> Tensor:
        """Return all rows on the device: the same tensor each time."""
        if device.type == "cpu":
            return self._standardised
        if self._rows_on_device is None:
            rows = torch.empty(len(self), self.rows.shape[1], device=device)
            for start in range(0, len(self), self.block_rows):
                block = self.block(start, start + self.block_rows)
                rows[start : start + len(block)] = block
            self._rows_on_device = rows
        return self._rows_on_device


class StreamedBatches(Shared):
    """Batches of rows that are read and standardised a block at a time.

    The order is random among blocks and within each, in place of one permutation of all
    rows, so that a file is read in long stretches.

    Parameters
    ----------
    source : TrainingRows
        Where the rows are.
    targets : Tensor of shape (n_samples, n_targets)
        What is wanted of them.
    batch_size : int
        Rows in a batch; the last one of the last block may be smaller.
    device : torch.device
        Where batches go, a block at a time. A CUDA device works on the batches of one block
        while the next is read.
    """

    def __init__(self, source, targets, batch_size, device):
        super().__init__()
        self.source = source
        self.targets = targets
        self.batch_size = batch_size
        self.device = device
        # Whole batches, so that none but the very last is short.
        self.block_rows = max(1, source.block_rows // batch_size) * batch_size

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def teacher_information(self) -> float:
        """Information of the teacher whose distributions are the targets."""
        return _information(self.targets, self.source.weights)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield all rows once, in an order drawn from `generator`."""
        starts = range(0, len(self), self.block_rows)
        for number in torch.randperm(len(starts), generator=generator).tolist():
            parts = self._read(starts[number])
            order = torch.randperm(len(parts[0]), generator=generator)
            for (chosen,) in map(self.own, _sent(order, self.device).split(self.batch_size)):
                yield tuple([part.index_select(0, chosen) for part in parts])

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(self), self.block_rows):
            parts = self._read(start)
            batches = zip(*(part.split(self.batch_size) for part in parts), strict=True)
            yield from itertools.starmap(self.own, batches)

    def _read(self, start: int) -> list[Tensor]:
        stop = min(start + self.block_rows, len(self))
        parts = [self.source.block(start, stop), self.targets[start:stop]]
        if self.source.weights is not None:
            parts.append(self.source.weights[start:stop])
        return [_sent(part, self.device) for part in parts]


class SparseBatches(StreamedBatches):
    """Batches of sparse rows, each made dense and standardised as it is read.

    In training their order is that of `InMemoryBatches`: one permutation of all rows.

    Parameters
    ----------
    source, targets, batch_size, device
        As in `StreamedBatches`.
    """

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Yield all rows once, in the order of a permutation drawn from `generator`."""
        order = torch.randperm(len(self), generator=generator)
        weights = self.source.weights
        for (chosen,) in map(self.own, order.split(self.batch_size)):
            parts = [self.source.at(chosen), self.targets[chosen]]
            if weights is not None:
                parts.append(weights[chosen])
            yield tuple([_sent(part, self.device) for part in parts])


def _information(targets: Tensor, weights: Tensor | None) -> float:
    in_numpy = None if weights is None else weights.numpy(force=True)
    return teacher_information(targets.numpy(force=True), in_numpy)
