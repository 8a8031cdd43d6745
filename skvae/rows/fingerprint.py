"""A fingerprint of the rows that a model has seen: it tells them again, and keeps no data."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.rows.tables import as_table

__all__ = ["DistinctRows", "RowFingerprint", "fingerprint_if_numbers"]

# Rows up to which all keys are kept, in 2.4 kB, and how many are where there are more.
MOST_ROWS = 400
SAMPLED_ROWS = 256
# Bits of a sieve of all rows, beyond that: 1 kB. One that a row has not set tells it apart.
SIEVE_BITS = 2**13
# A key is the upper 48 bits of a row's hash, in three parts.
PARTS = np.array([32, 16, 0], dtype=np.uint64)
# Numbers hashed at a time: small enough for a processor's cache.
BLOCK_NUMBERS = 2**16
# Rows by which it is told whether a table has columns of many values.
MANY_VALUES_ROWS = 256


@dataclass(frozen=True)
class RowFingerprint:
    """Keys of the rows of a set: of all, up to 400 rows, or the 256 smallest (bottom-k sketch).

    A row whose key is not above the largest one kept was in the set exactly if its key is kept.
    That a row is not in the set is never said of one that is. Of one that is not the other may
    be said, by a collision, with odds of about n in 10^14 for each row that is told, with n
    rows in the set.

    Parameters
    ----------
    keys : ndarray of shape (n_keys, 3)
        Sorted and distinct, in three parts of 16 bits, the highest first.
    sieve : ndarray of shape (1024,)
        Bits that the rows have set, each one by its key; empty where all keys are kept.

    References
    ----------
    Bar-Yossef et al., Counting distinct elements in a data stream, RANDOM 2002; Bloom,
    Space/time trade-offs in hash coding with allowable errors, CACM 13(7), 1970 (the sieve,
    with one hash).

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows import RowFingerprint
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> RowFingerprint.of(X[:3]).share_of(X[:4])
    0.75
    """

    keys: NDArray[np.uint16]
    sieve: NDArray[np.uint8]

    @classmethod
    def of(cls, X: ArrayLike, chosen: NDArray[np.intp] | None = None) -> RowFingerprint:
        """Take the fingerprint of the rows of X, or of those with the indices `chosen`."""
        return cls._of_keys(_keys_of(as_table(X), chosen))

    @classmethod
    def _of_keys(cls, keys: NDArray[np.uint64]) -> RowFingerprint:
        # Many rows are sorted in a second, and searched for the smallest in no time.
        distinct = np.unique(keys) if len(keys) < 2**14 else _smallest(keys)
        if len(distinct) <= MOST_ROWS:
            return cls(_in_parts(distinct), np.empty(0, dtype=np.uint8))
        return cls(_in_parts(distinct[:SAMPLED_ROWS]), _sieve_of(keys))

    @property
    def complete(self) -> bool:
        """Whether these are the keys of all rows."""
        return not len(self.sieve)

    def __or__(self, other: RowFingerprint) -> RowFingerprint:
        """Fingerprint of the rows of either."""
        whole = np.concatenate([_joined(self.keys), _joined(other.keys)])
        if self.complete and other.complete:
            return self._of_keys(whole)
        # Above the smaller limit one of the two has forgotten rows.
        limit = min(_joined(part.keys)[-1] for part in (self, other) if not part.complete)
        distinct = np.unique(whole[whole <= limit])
        sieves = [
            _sieve_of(_joined(part.keys)) if part.complete else part.sieve
            for part in (self, other)
        ]
        return type(self)(_in_parts(distinct[:SAMPLED_ROWS]), sieves[0] | sieves[1])

    def beside(self, other: RowFingerprint) -> tuple[NDArray, NDArray, NDArray]:
        """Return what makes this one of another, which is few bytes where most rows are both's.

        Which keys of the other are its own, its further keys, and the bits of the sieve that
        differ, where both have one.
        """
        own, others = _joined(self.keys), _joined(other.keys)
        shared = np.packbits(np.isin(others, own))
        further = self.keys[~np.isin(own, others)]
        both = len(self.sieve) and len(other.sieve)
        return shared, further, self.sieve ^ other.sieve if both else self.sieve

    @classmethod
    def made_beside(
        cls, other: RowFingerprint, parts: tuple[NDArray, NDArray, NDArray]
    ) -> RowFingerprint:
        """Make the one whose `beside` another these are."""
        shared, further, sieve = parts
        is_shared = np.unpackbits(shared, count=len(other.keys)).astype(bool)
        keys = np.concatenate([_joined(other.keys[is_shared]), _joined(further)])
        both = len(sieve) and len(other.sieve)
        return cls(_in_parts(np.sort(keys)), sieve ^ other.sieve if both else sieve)

    def tell(self, X: ArrayLike) -> tuple[int, int]:
        """Count the rows of X that can be told, and those of them that are in the set."""
        is_told, is_seen = self._tell_each(_keys_of(as_table(X)))
        return int(is_told.sum()), int(is_seen.sum())

    def absent(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Tell which rows of X are surely not in the set; of the others it may not be known."""
        keys = _keys_of(as_table(X))
        is_told, is_seen = self._tell_each(keys)
        is_absent = is_told & ~is_seen
        if not self.complete:
            place, bit = _bits_of(keys)
            is_absent |= self.sieve[place] & bit == 0
        return is_absent

    def _tell_each(
        self, keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows can be told, and which of them are in the set."""
        known = _joined(self.keys)
        if not len(known):
            return np.ones(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)
        place = np.searchsorted(known, keys).clip(max=len(known) - 1)
        is_told = np.ones(len(keys), dtype=bool) if self.complete else keys <= known[-1]
        return is_told, known[place] == keys

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
        rows = as_table(X)
        if not self._hashes:
            self.have_many_values = _has_many_values(rows[:MANY_VALUES_ROWS])
        hashes = _hashes_of(rows)
        self._hashes.append(np.unique(hashes))
        return hashes

    def count(self) -> int:
        """Return the number of distinct rows so far."""
        self._hashes = [np.unique(np.concatenate(self._hashes))]
        return len(self._hashes[0])


def _has_many_values(X: Any) -> bool:
    """Whether some column tells most distinct rows apart, as measurements do and kinds do not.

    Rows of such a table are not alike by chance.
    """
    if not X.size:
        return False
    columns = np.sort(X, axis=0)
    # NaN, which comes last, is no value.
    differs = (columns[1:] != columns[:-1]) & ~np.isnan(columns[1:])
    most = 1 + int(differs.sum(axis=0).max())
    return 2 * most > len(np.unique(_hashes_of(X)))


def _keys_of(X: Any, rows: NDArray[np.intp] | None = None) -> NDArray[np.uint64]:
    """Take a number below two to the 48th of each row, or of each of these."""
    return _hashes_of(X, rows) >> np.uint64(16)


def _smallest(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the smallest keys, more than are ever kept, sorted and distinct."""
    n_most = MOST_ROWS + 1
    while True:
        n_most = min(2 * n_most, len(keys))
        distinct = np.unique(np.partition(keys, n_most - 1)[:n_most])
        # Copies of rows may leave too few.
        if len(distinct) > MOST_ROWS or n_most == len(keys):
            return distinct


def _in_parts(keys: NDArray[np.uint64]) -> NDArray[np.uint16]:
    return (keys[:, None] >> PARTS).astype(np.uint16)


def _joined(parts: NDArray[np.uint16]) -> NDArray[np.uint64]:
    joined: NDArray[np.uint64] = (parts.astype(np.uint64) << PARTS).sum(axis=1, dtype=np.uint64)
    return joined


def _bits_of(keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the byte of a sieve that each key has a bit of, and that bit."""
    places = (keys % np.uint64(SIEVE_BITS)).astype(np.intp)
    return places // 8, np.left_shift(1, places % 8).astype(np.uint8)


def _sieve_of(keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    is_set = np.zeros(SIEVE_BITS, dtype=bool)
    is_set[keys % np.uint64(SIEVE_BITS)] = True
    return np.packbits(is_set, bitorder="little")


def _hashes_of(X: Any, rows: NDArray[np.intp] | None = None) -> NDArray[np.uint64]:
    """Hash each row, or each of these, to a number that is seldom the same for two."""
    hashes = np.empty(len(X) if rows is None else len(rows), dtype=np.uint64)
    for block, words in _word_blocks(X, rows):
        # Two floats mostly differ in their upper bits, as in a sign: of these a product keeps
        # enough only where they lie low.
        sums = _weighted_sums(words, stream=0)
        for stream, shift in enumerate((16, 32), start=1):
            words >>= np.uint64(shift)
            sums += _weighted_sums(words, stream)
        hashes[block] = sums
    return _mix(hashes)


def _word_blocks(
    X: Any, rows: NDArray[np.intp] | None
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
        # A missing entry has one value, whichever of the NaNs it is.
        if np.isnan(kept.min()):
            kept[np.isnan(kept)] = np.nan
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
