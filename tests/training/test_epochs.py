"""Records of epochs come back to the bit, from few bytes."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvae.training.criterion import Criterion
from skvae.training.epochs import packed_epochs, unpacked_epochs
from skvae.training.records import plain_records

NAMES = (
    "epoch",
    "loss",
    "elbo",
    "reconstruction",
    "rate",
    "alignment",
    "margin",
    "beta",
    "dur",
)
NAMES += tuple(f"valid_{name}" for name in NAMES[1:8])
values = st.floats() | st.integers(-(2**53) + 1, 2**53 - 1)
odd = st.none() | st.text() | st.integers() | st.booleans() | st.just(np.float64(0.1))


def weigh(terms, beta):
    criterion = Criterion(2.0, 10.0)
    return criterion.weigh(terms, criterion.beta if beta is None else beta)


def bits(records):
    def of(value):
        return struct.pack("<d", value) if type(value) is float else (type(value), value)

    return [[(name, of(value)) for name, value in record.items()] for record in records]


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, values) | {"odd": odd}),
        max_size=6,
    ),
    st.integers(0, 200),
    st.floats(allow_nan=False),
)
def test_any_records_come_back_in_every_bit(records, count, shift):
    names = list(dict.fromkeys(name for record in records for name in record))
    ordered = [{name: record[name] for name in names if name in record} for record in records]
    packed = packed_epochs(records, weigh, {"": count, "valid_": 7}, shift)
    assert bits(unpacked_epochs(packed, weigh)) == bits(ordered)


def trained(n_epochs, n_rows=1620, shift=1.25):
    """Make records such as a training leaves: averages of sums of float32, and the rest."""
    rng = np.random.default_rng(0)
    records = []
    for epoch in range(1, n_epochs + 1):
        sums = rng.standard_normal((3, 13)).astype(np.float32) * 90 + 900 / epoch
        terms = dict(
            zip(("reconstruction", "rate", "alignment"), sums.astype(np.float64), strict=True)
        )
        terms = {name: float(each.sum()) / n_rows for name, each in terms.items()}
        terms["reconstruction"] += shift
        record = {"epoch": epoch, "loss": weigh(terms, 1.0), **terms}
        record["elbo"] = -(terms["reconstruction"] + terms["rate"])
        record |= {"margin": 1.0986 - terms["alignment"], "beta": 1.0}
        records.append(record)
    return records


def test_what_follows_or_is_an_average_of_few_digits_takes_few_bytes():
    records = trained(1000)
    packed = packed_epochs(records, weigh, {"": 1620}, 1.25)
    assert bits(unpacked_epochs(packed, weigh)) == bits(records)
    assert len(packed["bytes"]) < 15 * len(records)
    # Not knowing of what they are averages costs bytes alone, and so does another weight.
    for wrong in (
        packed_epochs(records, weigh),
        packed_epochs(records, lambda terms, beta: 0 * terms["rate"]),
    ):
        assert len(packed["bytes"]) < len(wrong["bytes"]) < 60 * len(records)
    assert bits(unpacked_epochs(packed_epochs(records, weigh), weigh)) == bits(records)


def test_a_history_that_is_none_is_refused_before_it_takes_memory():
    packed = packed_epochs(trained(5), weigh)
    for wrong in (
        {"n_epochs": 2**40},
        {"n_epochs": 6},
        {"bytes": zlib.compress(bytes(2**20))},
        {"bytes": b""},
    ):
        with pytest.raises((ValueError, zlib.error)):
            unpacked_epochs({**packed, **wrong}, weigh)


def test_people_read_the_terms_and_seconds():
    record = {"epoch": 1, "batches": [], "loss": 2.0, "valid_loss": 1.0, "dur": 0.5, "event": 3}
    assert plain_records([record]) == [
        {"epoch": 1, "loss": 2.0, "valid_loss": 1.0, "seconds": 0.5}
    ]
