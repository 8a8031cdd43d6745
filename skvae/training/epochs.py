"""The records of epochs as few bytes, and back to the bit.

What follows from other columns is predicted from them, a column from its own last value
otherwise, and what is kept are the differences, which are mostly nothing or small.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed_epochs", "unpacked_epochs"]

Columns = Mapping[str, NDArray[np.float64]]
# From the columns of one kind of rows, and their weight of the divergence, to the loss.
Weigh = Callable[[dict[str, Any], Any], Any]
PREFIXES = ("", "valid_")
# Predicted from others, which come before them.
DERIVED = ("elbo", "margin", "loss")
# Binary digits after the point that a sum of float32 may have.
MOST_DIGITS = 44
# zlib makes no more of a byte.
MOST_INFLATED = 1100


def packed_epochs(
    records: Sequence[Mapping[str, Any]],
    weigh: Weigh,
    counts: Mapping[str, int] | None = None,
    shift: float = 0.0,
) -> dict[str, Any]:
    """Return plain values, and one run of bytes, that the records can be made of again.

    Parameters
    ----------
    records : sequence of mappings
        Whole numbers and floats by name, not all of them in every record. What else there is,
        such as what a callback has recorded, is kept as it is.
    weigh : callable
        As `skvae.training.criterion.Criterion.weigh`: what the losses are predicted by. Others
        than it were made by cost bytes, and no bit.
    counts : mapping of str to int or None, default=None
        Rows by prefix, "" and "valid_", that most values are averages over: sums of float32
        have fewer digits than these. A wrong number costs bytes, and no bit.
    shift : float, default=0.0
        What was added to some averages, or subtracted from them.

    Returns
    -------
    packed : dict
        ``n_epochs``, ``columns`` (name, type, mask where some records lack it, and what it is
        an average of), ``information``, ``bytes`` and ``rest``.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    kinds = {
        name: {type(record[name]) for record in records if name in record} for name in names
    }
    regular = [name for name in names if kinds[name] in ({int}, {float})]
    regular = [name for name in regular if _fits(records, name)]
    columns: dict[str, NDArray[np.float64]] = {}
    described, differences = {}, []
    information = {prefix: _information(records, prefix) for prefix in PREFIXES}
    for name in sorted(regular, key=_is_derived):
        is_there = np.array([name in record for record in records])
        values = np.full(len(records), np.nan)
        values[is_there] = [record[name] for record in records if name in record]
        predicted = _predicted(name, columns, information, weigh)
        columns[name] = values
        found, average = values[is_there], None
        if predicted is None:
            average = _average(found, (counts or {}).get(_prefix(name), 0), shift)
        bits = found.view(np.int64) if average is None else _sums(found, *average)
        before = None if predicted is None else predicted[is_there]
        kind = "int" if kinds[name] == {int} else "float"
        mask = None if is_there.all() else np.packbits(is_there).tobytes()
        described[name] = (name, kind, mask, average)
        differences.append(_differences(bits, before))
    rest = [
        {name: value for name, value in record.items() if name not in columns}
        for record in records
    ]
    joined = np.concatenate(differences) if differences else np.empty(0, np.uint64)
    return {
        "n_epochs": len(records),
        # In the order in which they came, and not in that in which they are made.
        "columns": [described.get(name, (name, "rest", None, None)) for name in names],
        "information": information,
        # Bytes of one weight together: the highest are mostly nothing.
        "bytes": zlib.compress(joined.view(np.uint8).reshape(-1, 8).T.tobytes(), 9),
        "rest": rest if any(rest) else None,
    }


def unpacked_epochs(packed: Mapping[str, Any], weigh: Weigh) -> list[dict[str, Any]]:
    """Return the records that `packed_epochs` was given."""
    n_epochs = packed["n_epochs"]
    names = [name for name, *_ in packed["columns"]]
    described = [column for column in packed["columns"] if column[1] != "rest"]
    described.sort(key=lambda column: _is_derived(column[0]))
    if n_epochs > MOST_INFLATED * len(packed["bytes"]):
        raise ValueError("a history is said to be longer than its bytes can be")
    there = [
        np.ones(n_epochs, dtype=bool)
        if mask is None
        else np.unpackbits(np.frombuffer(mask, np.uint8), count=n_epochs).astype(bool)
        for _, _, mask, _ in described
    ]
    n_values = sum(int(is_there.sum()) for is_there in there)
    content = zlib.decompressobj().decompress(packed["bytes"], 8 * n_values + 1)
    if len(content) != 8 * n_values:
        raise ValueError("a history has other bytes than values")
    joined = np.frombuffer(content, np.uint8).reshape(8, -1).T.copy().view(np.uint64)[:, 0]
    columns: dict[str, NDArray[np.float64]] = {}
    made: list[dict[str, Any]] = [{} for _ in range(n_epochs)]
    for (name, kind, _, average), is_there in zip(described, there, strict=True):
        differences, joined = np.split(joined, [int(is_there.sum())])
        predicted = _predicted(name, columns, packed["information"], weigh)
        bits = _undone(differences, None if predicted is None else predicted[is_there])
        values = bits.view(np.float64) if average is None else _averaged(bits, *average)
        columns[name] = np.full(n_epochs, np.nan)
        columns[name][is_there] = values
        plain = values.astype(np.int64).tolist() if kind == "int" else values.tolist()
        for epoch, value in zip(np.flatnonzero(is_there).tolist(), plain, strict=True):
            made[epoch][name] = value
    for record, more in zip(made, packed["rest"] or [{}] * n_epochs, strict=True):
        record.update(more)
    return [{name: record[name] for name in names if name in record} for record in made]


def _fits(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column has no whole number that a float would round."""
    values = [record[name] for record in records if name in record]
    return all(type(value) is float or abs(value) < 2**53 for value in values)


def _prefix(name: str) -> str:
    return name.removesuffix(name.removeprefix("valid_"))


def _is_derived(name: str) -> int:
    bare = name.removeprefix("valid_")
    return 1 + DERIVED.index(bare) if bare in DERIVED else 0


def _information(records: Sequence[Mapping[str, Any]], prefix: str) -> float:
    """Information of the teacher, which margin and alignment add up to, but for rounding."""
    pairs = [
        (record[f"{prefix}margin"], record[f"{prefix}alignment"])
        for record in records
        if {f"{prefix}margin", f"{prefix}alignment"} <= record.keys()
    ]
    if not pairs:
        return 0.0
    near = [sum(pairs[0])]
    for _ in range(2):
        near = [math.nextafter(near[0], -math.inf), *near, math.nextafter(near[-1], math.inf)]
    gains, costs = np.array(pairs, dtype=np.float64).T
    with np.errstate(all="ignore"):
        return float(max(near, key=lambda total: np.sum(total - costs == gains)))


def _predicted(
    name: str, columns: Columns, information: Mapping[str, float], weigh: Weigh
) -> NDArray[np.float64] | None:
    """Return what a column follows from; None where it is a column of its own."""
    prefix = _prefix(name)
    known = {
        each.removeprefix(prefix): column
        for each, column in columns.items()
        if _prefix(each) == prefix
    }
    try:
        with np.errstate(all="ignore"):
            match name.removeprefix(prefix):
                case "elbo":
                    return -(known["reconstruction"] + known["rate"])
                case "margin":
                    return information[prefix] - known["alignment"]
                case "loss":
                    loss = weigh(known, None if prefix else known["beta"])
                    return np.asarray(loss, dtype=np.float64)
    except KeyError:
        # Of epochs that were trained by other settings.
        return None
    return None


def _average(
    values: NDArray[np.float64], count: int, shift: float
) -> tuple[int, float, int] | None:
    """Return what a column is an average of, if it is one: count, shift and binary digits."""
    if not (count and len(values) and np.isfinite(values).all()):
        return None
    for added in dict.fromkeys((0.0, shift, -shift)):
        for digits in range(MOST_DIGITS):
            average = count, added, digits
            sums = _sums(values, *average)
            if np.abs(sums).max() >= 2**53:
                break
            if np.array_equal(_averaged(sums, *average).view(np.int64), values.view(np.int64)):
                return average
    return None


def _sums(
    values: NDArray[np.float64], count: int, shift: float, digits: int
) -> NDArray[np.int64]:
    """Return the sums that values are averages of, in units of a power of a half."""
    with np.errstate(over="ignore"):
        sums = np.ldexp((values - shift) * count, digits)
    return np.rint(np.clip(sums, -(2.0**60), 2.0**60)).astype(np.int64)


def _averaged(
    sums: NDArray[np.int64], count: int, shift: float, digits: int
) -> NDArray[np.float64]:
    return np.ldexp(sums.astype(np.float64), -digits) / count + shift


def _differences(
    bits: NDArray[np.int64], predicted: NDArray[np.float64] | None
) -> NDArray[np.uint64]:
    """Differences from what is predicted, or from the value before; small ones near zero."""
    if predicted is None:
        differences = np.diff(bits, prepend=np.int64(0))
    else:
        differences = bits - np.ascontiguousarray(predicted).view(np.int64)
    # Small ones of either sign have nothing in their upper bytes.
    return (differences << 1 ^ differences >> 63).view(np.uint64)


def _undone(
    differences: NDArray[np.uint64], predicted: NDArray[np.float64] | None
) -> NDArray[np.int64]:
    signs = (differences & np.uint64(1)).view(np.int64)
    signed = (differences >> np.uint64(1)).view(np.int64) ^ -signs
    if predicted is None:
        return np.cumsum(signed, dtype=np.int64)
    bits: NDArray[np.int64] = signed + np.ascontiguousarray(predicted).view(np.int64)
    return bits
