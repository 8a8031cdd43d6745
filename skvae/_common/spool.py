"""Rows gathered block by block: in memory while they are few, in a temporary file beyond."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSpool"]

# Bytes of rows held in memory.
MAX_BYTES = 2**24


class RowSpool:
    """Blocks of rows of one width, joined without holding them all in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae._common.spool import RowSpool
    >>> spool = RowSpool()
    >>> for block in np.arange(6.0).reshape(3, 1, 2):
    ...     spool.append(block)
    >>> spool.rows().shape
    (3, 2)
    """

    def __init__(self):
        self._blocks: list[NDArray[np.float64]] = []
        self._bytes = 0
        self._n_columns = 0
        self._file = None

    def append(self, block: NDArray) -> None:
        """Add a block of rows, as float64."""
        block = np.ascontiguousarray(block, dtype=np.float64)
        self._n_columns = block.shape[1]
        self._bytes += block.nbytes
        self._blocks.append(block)
        if self._file is not None or self._bytes > MAX_BYTES:
            if self._file is None:
                # It lives as long as the map of it does.
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
            for waiting in self._blocks:
                self._file.write(waiting.tobytes())
            self._blocks.clear()

    def rows(self) -> NDArray[np.float64]:
        """Return all rows, as an array or a read-only map of the temporary file."""
        if self._file is None:
            return np.concatenate(self._blocks)
        self._file.flush()
        shape = (self._bytes // (8 * self._n_columns), self._n_columns)
        return np.memmap(self._file, dtype=np.float64, mode="r", shape=shape)
