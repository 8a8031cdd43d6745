"""A fingerprint of the rows that a model has seen: it tells them again, and keeps no data."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.rows.tables import as_table

__all__ = ["DistinctRows", "RowFingerprint", "fingerprint_if_numbers"]

# Rows kept: 64 kB, exact for up to this many rows and a sample of them beyond.
MAX_KEYS = 4096
# Numbers hashed at a time: small enough for a processor's cache.
BLOCK_NUMBERS = 2**16
# Columns in the middle of a row that most rows are told apart by, at a share of the cost.
HEAD_COLUMNS = 32
# Rows by which it is told whether a table has columns of many values.
MANY_VALUES_ROWS = 256
HALF_BITS = np.uint64(32)
NO_HEAD = np.uint64(2**32)
LOWER_HALF = np.uint64(2**32 - 1)


@dataclass(frozen=True)
class RowFingerprint:
    """The rows with the smallest keys of a set of rows (a bottom-k sketch).

    A row whose key is below the largest one kept was in the set exactly if its key is kept
    with its hash, but for collisions, which have odds of about 1 in 10^15 a row. Keys take
    little time and are alike for some rows that are not; hashes are taken of few rows. The
    upper half of a key is the row's head, a key of some columns: in the order of keys, and
    in most rows that are not in the set, it decides alone.

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
    >>> from skvae.rows import RowFingerprint
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> RowFingerprint.of(X[:3]).share_of(X[:4])
    0.75
    """

    keys: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    complete: bool

    @classmethod
    def of(cls, X: ArrayLike, chosen: NDArray[np.intp] | None = None) -> RowFingerprint:
        """Take the fingerprint of the rows of X, or of those with the indices `chosen`."""
        X = as_table(X)
        heads = _heads_of(X)
        if chosen is not None:
            # No row has so large a head.
            left_out = np.ones(len(X), dtype=bool)
            left_out[chosen] = False
            heads[left_out] = NO_HEAD
        smallest = np.unique(heads)[:MAX_KEYS]
        largest = smallest[smallest < NO_HEAD][-1]
        rows = np.flatnonzero(heads <= largest)
        distinct, first = np.unique(_keys_of(X, heads, rows), return_index=True)
        n_among = len(X) if chosen is None else len(chosen)
        is_complete = len(distinct) <= MAX_KEYS and len(rows) == n_among
        kept = rows[first[:MAX_KEYS]]
        # Sorted, so that a file is read from one end to the other.
        order = np.argsort(kept)
        hashes = np.empty(len(kept), dtype=np.uint64)
        hashes[order] = _hash_rows(X, kept[order])
        return cls(distinct[:MAX_KEYS].copy(), hashes, is_complete)

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
        is_told, seen = self._tell_each(as_table(X))
        return int(is_told.sum()), len(seen)

    def absent(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Tell which rows of X are surely not in the set; of the others it may not be known."""
        is_told, seen = self._tell_each(as_table(X))
        is_told[seen] = False
        return is_told

    def _tell_each(self, X: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return which rows can be told, and the indices of those that are in the set."""
        heads = _heads_of(X)
        rows = np.flatnonzero(_found(heads, self.keys >> HALF_BITS)[0])
        keys = _keys_of(X, heads, rows)
        is_told = np.ones(len(X), dtype=bool)
        if not self.complete:
            largest = self.keys[-1]
            head = largest >> HALF_BITS
            is_told = heads < head
            is_at_it = heads[rows] == head
            is_told[rows[is_at_it]] = keys[is_at_it] <= largest
        is_alike, place = _found(keys, self.keys)
        candidates = rows[is_alike]
        is_same = _hash_rows(X, candidates) == self.hashes[place[is_alike]]
        return is_told, candidates[is_same]

    def share_of(self, X: ArrayLike) -> float:
        """Share of the rows of X that are in the set; NaN where none can be told."""
        told, seen = self.tell(X)
        return seen / told if told else float("nan")


def fingerprint_if_numbers(
    X: ArrayLike, chosen: NDArray[np.intp] | slice = slice(None)
) -> RowFingerprint | None:
    """Take the fingerprint of rows, or of some of them; None where they hold text."""
    try:
        table = as_table(X)
    except (TypeError, ValueError):
        return None
    if isinstance(chosen, slice):
        chosen = np.arange(len(table))[chosen]
    return RowFingerprint.of(table, chosen)


class DistinctRows:
    """Count rows that differ, as blocks of them come, at eight bytes each.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.fingerprint import DistinctRows
    >>> rows = DistinctRows()
    >>> for block in np.repeat(np.eye(3), 2, axis=0).reshape(3, 2, 3):
    ...     _ = rows.update(block)
    >>> rows.count(), rows.have_many_values
    (3, True)
    """

    def __init__(self) -> None:
        self.have_many_values = False
        self._hashes: list[NDArray[np.uint64]] = []

    def update(self, X: ArrayLike) -> NDArray[np.uint64]:
        """Add a block of rows; return a number for each, the same for those that are alike."""
        X = as_table(X)
        if not self._hashes:
            self.have_many_values = _has_many_values(X[:MANY_VALUES_ROWS])
        hashes = _sums_of(X)
        self._hashes.append(np.unique(hashes))
        return hashes

    def count(self) -> int:
        """Return the number of distinct rows so far."""
        self._hashes = [np.unique(np.concatenate(self._hashes))]
        return len(self._hashes[0])


def _has_many_values(X: NDArray) -> bool:
    """Whether some column tells most distinct rows apart, as measurements do and kinds do not.

    Rows of such a table are not alike by chance.
    """
    if not X.size:
        return False
    columns = np.sort(X, axis=0)
    most = 1 + int((columns[1:] != columns[:-1]).sum(axis=0).max())
    return 2 * most > len(np.unique(_sums_of(X)))


def _found(
    values: NDArray[np.uint64], among: NDArray[np.uint64]
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Tell which values are among sorted ones, and the place of each that is."""
    place = np.searchsorted(among, values).clip(max=len(among) - 1)
    return among[place] == values, place


def _heads_of(X: NDArray) -> NDArray[np.uint64]:
    """Take a number of each row, less than two to the 32nd, by the columns in its middle."""
    start = max(X.shape[1] - HEAD_COLUMNS, 0) // 2
    return _sums_of(X[:, start : start + HEAD_COLUMNS]) >> HALF_BITS


def _keys_of(
    X: NDArray, heads: NDArray[np.uint64], rows: NDArray[np.intp]
) -> NDArray[np.uint64]:
    """Take a number of each of these rows that is seldom the same for two."""
    return heads[rows] << HALF_BITS | _sums_of(X, rows) & LOWER_HALF


def _sums_of(X: NDArray, rows: NDArray[np.intp] | None = None) -> NDArray[np.uint64]:
    """Sum up each row, or each of these, to a number that is seldom the same for two."""
    sums = np.empty(len(X) if rows is None else len(rows), dtype=np.uint64)
    for block, words in _word_blocks(X, rows):
        # The second column of a word has a multiplier of its own: where it lies, a product
        # would keep only one bit of a difference in its sign.
        whole = _weighted_sums(words, stream=0)
        words >>= HALF_BITS
        sums[block] = whole + _weighted_sums(words, stream=1)
    return _mix(sums)


def _hash_rows(X: NDArray, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Hash each of these rows so well that no two are likely to have the same."""
    hashes = np.empty(len(rows), dtype=np.uint64)
    for block, words in _word_blocks(X, rows):
        words *= _multipliers(words.shape[1], 0)
        hashes[block] = _mix(words).sum(axis=1, dtype=np.uint64)
    return _mix(hashes)


def _word_blocks(
    X: NDArray, rows: NDArray[np.intp] | None
) -> Iterator[tuple[slice, NDArray[np.uint64]]]:
    """Yield pairs of columns as 64-bit words, in the precision that all dtypes share.

    The next block is written over the one before.
    """
    n_rows = len(X) if rows is None else len(rows)
    n_words = (X.shape[1] + 1) // 2
    n_block = max(BLOCK_NUMBERS // (2 * n_words), 1)
    buffer = np.empty((min(n_block, n_rows), 2 * n_words), dtype=np.float32)
    for start in range(0, n_rows, n_block):
        block = slice(start, start + n_block)
        chosen = X[block] if rows is None else X[rows[block]]
        padded = buffer[: len(chosen)]
        padded[:, X.shape[1] :] = 0
        # Adding zero makes the negative zero positive.
        kept = padded[:, : X.shape[1]]
        with np.errstate(over="ignore"):
            np.add(chosen, 0, out=kept, dtype=np.float32, casting="same_kind")
        yield block, padded.view(np.uint64)


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
