"""Rows as the net is fed them: from memory, or block by block from where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from skvae.information import teacher_information
from skvae.scaling import Standardization

__all__ = ["InMemoryBatches", "StreamedBatches", "TrainingRows", "is_large"]

# Bytes of standardised rows up to which they are kept; beyond, each block of rows is
# standardised whenever it is read.
MAX_BYTES = 2**30
# Bytes of a block of standardised rows.
BLOCK_BYTES = 2**26


def is_large(rows: NDArray) -> bool:
    """Whether there are too many rows to keep all of them standardised."""
    return 4 * rows.size > MAX_BYTES


class InMemoryBatches:
    """Batches cut from tensors by index, in place of a DataLoader's rows one by one.

    Parameters
    ----------
    rows : Tensor of shape (n_samples, n_features)
        Standardised rows, on the device of the model.
    targets : Tensor of shape (n_samples, n_targets)
        What is wanted of them, on the same device: their teacher distributions.
    batch_size : int
        Rows in a batch; the last one may be smaller.
    """

    def __init__(self, rows, targets, batch_size):
        self.rows = rows
        self.targets = targets
        self.batch_size = batch_size
        self.device = rows.device

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def teacher_information(self) -> float:
        """Information of the teacher whose distributions are the targets."""
        return teacher_information(self.targets.numpy(force=True))

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows once, in the order of a permutation drawn from `generator`."""
        order = torch.randperm(len(self.rows), generator=generator).to(self.device)
        for chosen in order.split(self.batch_size):
            yield self.rows.index_select(0, chosen), self.targets.index_select(0, chosen)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(
            self.rows.split(self.batch_size), self.targets.split(self.batch_size), strict=True
        )


class TrainingRows(Dataset):
    """Rows and what is wanted of them, wherever they lie.

    Up to 1 GiB of standardised rows is kept in memory. Larger tables stay where they are, in
    memory or mapped from a file, and are standardised as they are read.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Rows in the units of the data.
    targets : ndarray of shape (n_samples, n_targets)
        What is wanted of the chosen rows: their teacher distributions.
    units : Standardization
        From the units of the data to those of the net.
    chosen : ndarray of shape (n_samples,) or None
        Indices of the rows that are meant; None is all.
    """

    def __init__(
        self,
        rows: NDArray,
        targets: NDArray,
        units: Standardization,
        chosen: NDArray[np.intp] | None = None,
    ):
        self.rows = rows
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.float32))
        self.units = units
        # In their order on disk.
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.targets)

    def block(self, start: int, stop: int) -> Tensor:
        """Return some of the chosen rows, standardised."""
        if self.chosen is None:
            return torch.from_numpy(self.units.apply(self.rows[start:stop]))
        return torch.from_numpy(self.units.apply(self.rows[self.chosen[start:stop]]))

    @cached_property
    def _standardised(self) -> Tensor:
        return self.block(0, len(self))

    def batches(
        self, batch_size: int, device: str, targets: Tensor | None = None
    ) -> InMemoryBatches | StreamedBatches:
        """Return batches of the rows beside their targets, or beside other ones."""
        targets = self.targets if targets is None else targets
        if is_large(self.rows):
            return StreamedBatches(self, targets, batch_size, device)
        return InMemoryBatches(self._standardised.to(device), targets.to(device), batch_size)


class StreamedBatches:
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
    device : str
        Where batches go.
    """

    def __init__(self, source, targets, batch_size, device):
        self.source = source
        self.targets = targets
        self.batch_size = batch_size
        self.device = torch.device(device)
        n_features = source.rows.shape[1]
        # Whole batches, so that none but the very last is short.
        in_block = max(1, BLOCK_BYTES // (4 * n_features * batch_size))
        self.block_rows = in_block * batch_size

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def teacher_information(self) -> float:
        """Information of the teacher whose distributions are the targets."""
        return teacher_information(self.targets.numpy())

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows once, in an order drawn from `generator`."""
        starts = range(0, len(self), self.block_rows)
        for number in torch.randperm(len(starts), generator=generator).tolist():
            rows, targets = self._read(starts[number])
            order = torch.randperm(len(rows), generator=generator).to(self.device)
            for chosen in order.split(self.batch_size):
                yield rows.index_select(0, chosen), targets.index_select(0, chosen)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), self.block_rows):
            rows, targets = self._read(start)
            yield from zip(
                rows.split(self.batch_size), targets.split(self.batch_size), strict=True
            )

    def _read(self, start: int) -> tuple[Tensor, Tensor]:
        stop = min(start + self.block_rows, len(self))
        targets = self.targets[start:stop]
        return self.source.block(start, stop).to(self.device), targets.to(self.device)
