"""A fingerprint of the rows that a model has seen: it tells them again, and keeps no data."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RowFingerprint"]

# Rows kept: 64 kB, exact for up to this many rows and a sample of them beyond.
MAX_KEYS = 4096
# Rows hashed at a time.
BLOCK_ROWS = 128


@dataclass(frozen=True)
class RowFingerprint:
    """The rows with the smallest keys of a set of rows (a bottom-k sketch).

    A row whose key is below the largest one kept was in the set exactly if its key is kept
    with its hash, but for collisions, which have odds of about 1 in 10^15 a row. Keys take
    little time and are alike for some rows that are not; hashes are taken of few rows.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,)
        Sorted and distinct, in uint64; at most 4,096.
    hashes : ndarray of shape (n_keys,)
        Of the row of each key, in uint64.
    complete : bool
        Whether these are the keys of all rows.

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

    keys: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    complete: bool

    @classmethod
    def of(cls, X: ArrayLike) -> RowFingerprint:
        """Take the fingerprint of the rows of X."""
        X = _as_matrix(X)
        distinct, first = np.unique(_keys_of(X), return_index=True)
        kept = first[:MAX_KEYS]
        # Sorted, so that a file is read from one end to the other.
        order = np.argsort(kept)
        hashes = np.empty(len(kept), dtype=np.uint64)
        hashes[order] = _hash_rows(X[kept[order]])
        return cls(distinct[:MAX_KEYS].copy(), hashes, len(distinct) <= MAX_KEYS)

    def __or__(self, other: RowFingerprint) -> RowFingerprint:
        """Fingerprint of the rows of either."""
        limits = [part.keys[-1] for part in (self, other) if not part.complete]
        distinct, first = np.unique(np.concatenate([self.keys, other.keys]), return_index=True)
        hashes = np.concatenate([self.hashes, other.hashes])[first]
        if limits:
            # Above the smaller limit one of the two has forgotten rows.
            known = distinct <= min(limits)
            distinct, hashes = distinct[known], hashes[known]
        complete = not limits and len(distinct) <= MAX_KEYS
        return RowFingerprint(distinct[:MAX_KEYS], hashes[:MAX_KEYS], complete)

    def tell(self, X: ArrayLike) -> tuple[int, int]:
        """Count the rows of X that can be told, and those of them that are in the set."""
        X = _as_matrix(X)
        keys = _keys_of(X)
        n_told = len(keys) if self.complete else int((keys <= self.keys[-1]).sum())
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        alike = np.flatnonzero(self.keys[place] == keys)
        return n_told, int((_hash_rows(X[alike]) == self.hashes[place[alike]]).sum())

    def share_of(self, X: ArrayLike) -> float:
        """Share of the rows of X that are in the set; NaN where none can be told."""
        told, seen = self.tell(X)
        return seen / told if told else float("nan")


def _as_matrix(X: ArrayLike) -> NDArray:
    X = np.asarray(X)
    # An image is the same row, flat or not.
    return X.reshape(len(X), math.prod(X.shape[1:]))


def _keys_of(X: NDArray) -> NDArray[np.uint64]:
    """Take a number of each row that is seldom the same for two."""
    keys = np.empty(len(X), dtype=np.uint64)
    for block, words in _word_blocks(X):
        # The second column of a word has a multiplier of its own: where it lies, a product
        # would keep only one bit of a difference in its sign.
        whole = _weighted_sums(words, stream=0)
        words >>= np.uint64(32)
        keys[block] = whole + _weighted_sums(words, stream=1)
    return _mix(keys)


def _hash_rows(X: NDArray) -> NDArray[np.uint64]:
    """Hash each row so well that no two are likely to have the same."""
    hashes = np.empty(len(X), dtype=np.uint64)
    for block, words in _word_blocks(X):
        words *= _multipliers(words.shape[1], 0)
        hashes[block] = _mix(words).sum(axis=1, dtype=np.uint64)
    return _mix(hashes)


def _word_blocks(X: NDArray) -> Iterator[tuple[slice, NDArray[np.uint64]]]:
    """Yield pairs of columns as 64-bit words, in the precision that all dtypes share.

    The next block is written over the one before.
    """
    n_words = (X.shape[1] + 1) // 2
    buffer = np.empty((min(BLOCK_ROWS, len(X)), 2 * n_words), dtype=np.float32)
    for start in range(0, len(X), BLOCK_ROWS):
        rows = X[start : start + BLOCK_ROWS]
        padded = buffer[: len(rows)]
        padded[:, X.shape[1] :] = 0
        # Adding zero makes the negative zero positive.
        np.add(rows, 0, out=padded[:, : X.shape[1]], dtype=np.float32, casting="same_kind")
        yield slice(start, start + BLOCK_ROWS), padded.view(np.uint64)


def _weighted_sums(words: NDArray[np.uint64], stream: int) -> NDArray[np.uint64]:
    # Of whole numbers a product of matrices takes longer.
    sums: NDArray[np.uint64] = np.einsum("ij,j->i", words, _multipliers(words.shape[1], stream))
    return sums


@functools.lru_cache(maxsize=8)
def _multipliers(n_words: int, stream: int) -> NDArray[np.uint64]:
    """Draw a number for each word; odd ones, so that no two words have one product."""
    drawn = np.random.default_rng(stream).integers(0, 2**63, size=n_words, dtype=np.uint64)
    return drawn * np.uint64(2) + np.uint64(1)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), in place."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
