"""A fingerprint of the rows that a model has seen: it tells them again, and keeps no data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RowFingerprint"]

# Hashes kept: 32 kB, exact for up to this many rows and a sample of them beyond.
MAX_HASHES = 4096
# Rows hashed at a time.
BLOCK_ROWS = 256


@dataclass(frozen=True)
class RowFingerprint:
    """The smallest hashes of a set of rows (a bottom-k sketch).

    A row whose hash is below the largest one kept was in the set exactly if its hash is
    kept, but for collisions, which have odds of about 1 in 10^15 a row.

    Parameters
    ----------
    hashes : ndarray of shape (n_hashes,)
        Sorted and distinct, in uint64; at most 4,096.
    complete : bool
        Whether these are the hashes of all rows.

    References
    ----------
    Bar-Yossef et al., Counting distinct elements in a data stream, RANDOM 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.fingerprint import RowFingerprint
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> RowFingerprint.of(X[:3]).share_of(X[:4])
    0.75
    """

    hashes: NDArray[np.uint64]
    complete: bool

    @classmethod
    def of(cls, X: ArrayLike) -> RowFingerprint:
        """Take the fingerprint of the rows of X."""
        return cls._smallest(_hash_rows(X), complete=True)

    def __or__(self, other: RowFingerprint) -> RowFingerprint:
        """Fingerprint of the rows of either."""
        limits = [part.hashes[-1] for part in (self, other) if not part.complete]
        hashes = np.concatenate([self.hashes, other.hashes])
        if limits:
            # Above the smaller limit one of the two has forgotten rows.
            hashes = hashes[hashes <= min(limits)]
        return self._smallest(hashes, complete=not limits)

    def tell(self, X: ArrayLike) -> tuple[int, int]:
        """Count the rows of X that can be told, and those of them that are in the set."""
        hashes = _hash_rows(X)
        if not self.complete:
            hashes = hashes[hashes <= self.hashes[-1]]
        return len(hashes), int(np.isin(hashes, self.hashes).sum())

    def share_of(self, X: ArrayLike) -> float:
        """Share of the rows of X that are in the set; NaN where none can be told."""
        told, seen = self.tell(X)
        return seen / told if told else float("nan")

    @classmethod
    def _smallest(cls, hashes: NDArray[np.uint64], complete: bool) -> RowFingerprint:
        distinct = np.unique(hashes)
        return cls(distinct[:MAX_HASHES].copy(), complete and len(distinct) <= MAX_HASHES)


def _hash_rows(X: ArrayLike) -> NDArray[np.uint64]:
    """Hash each row, in the precision that all dtypes share."""
    X = np.asarray(X)
    # An image is the same row, flat or not.
    X = X.reshape(len(X), math.prod(X.shape[1:]))
    n_words = (X.shape[1] + 1) // 2
    # Odd multipliers make each pair of columns a bijection of 64-bit words.
    multipliers = np.random.default_rng(0).integers(
        0, 2**63, size=n_words, dtype=np.uint64
    ) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(X), dtype=np.uint64)
    for start in range(0, len(X), BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS]
        padded = np.zeros((len(block), 2 * n_words), dtype=np.float32)
        # Adding zero makes the negative zero positive.
        np.add(block, 0, out=padded[:, : X.shape[1]], dtype=np.float32, casting="same_kind")
        words = _mix(padded.view(np.uint64) * multipliers)
        hashes[start : start + BLOCK_ROWS] = words.sum(axis=1, dtype=np.uint64)
    return _mix(hashes)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), in place."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
