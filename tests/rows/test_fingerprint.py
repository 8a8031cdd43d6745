"""A fingerprint tells the rows it has seen from others, and keeps no data."""

import numpy as np
import pytest

from skvae.rows import fingerprint as module
from skvae.rows.fingerprint import MOST_ROWS, SAMPLED_ROWS, RowFingerprint


@pytest.fixture
def table():
    return np.random.default_rng(0).standard_normal((20_000, 3))


def test_small_sets_are_told_exactly(table):
    fingerprint = RowFingerprint.of(table[:MOST_ROWS])
    assert fingerprint.complete
    assert fingerprint.tell(table) == (len(table), MOST_ROWS)
    assert fingerprint.share_of(table[MOST_ROWS:9000]) == 0.0
    assert fingerprint.share_of(table[200:600]) == 0.5
    np.testing.assert_array_equal(fingerprint.absent(table), np.arange(len(table)) >= MOST_ROWS)


def test_large_sets_are_told_from_a_sample_of_them(table):
    fingerprint = RowFingerprint.of(table[:10_000])
    assert not fingerprint.complete
    assert len(fingerprint.keys) == SAMPLED_ROWS
    assert fingerprint.tell(table[:10_000]) == (SAMPLED_ROWS, SAMPLED_ROWS)
    told, seen = fingerprint.tell(table[10_000:])
    assert told == pytest.approx(SAMPLED_ROWS, rel=0.2)
    assert seen == 0
    assert fingerprint.share_of(table[5_000:15_000]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("n_rows", [10, MOST_ROWS, MOST_ROWS + 1, 2000, 10_000])
def test_no_row_of_the_set_is_called_absent_and_most_others_are(table, n_rows):
    fingerprint = RowFingerprint.of(table[:n_rows])
    assert not fingerprint.absent(table[:n_rows]).any()
    # A sieve of b bits lets through what falls on a bit that one of n rows has set.
    let_through = 0.0 if fingerprint.complete else 1 - np.exp(-n_rows / module.SIEVE_BITS)
    assert fingerprint.absent(table[n_rows:]).mean() == pytest.approx(1 - let_through, abs=0.05)


@pytest.mark.parametrize("n_rows", [10, MOST_ROWS, 2000, 20_000])
def test_a_fingerprint_is_small_in_memory(table, n_rows):
    fingerprint = RowFingerprint.of(table[:n_rows])
    assert fingerprint.keys.nbytes + fingerprint.sieve.nbytes <= 2560
    assert fingerprint.keys.base is None


def test_nothing_can_be_told_where_no_row_is_in_the_sample(table):
    fingerprint = RowFingerprint.of(table[:10_000])
    smallest = RowFingerprint(fingerprint.keys[:1], np.full_like(fingerprint.sieve, 255))
    assert np.isnan(smallest.share_of(table[10_000:10_005]))
    assert not smallest.absent(table[10_000:10_005]).any()


@pytest.mark.parametrize("sizes", [(100, 200), (300, 300), (6_000, 100), (6_000, 9_000)])
def test_union_is_the_fingerprint_of_all_rows(table, sizes):
    first, second = table[: sizes[0]], table[sizes[0] : sum(sizes)]
    whole = RowFingerprint.of(table[: sum(sizes)])
    parts = RowFingerprint.of(first), RowFingerprint.of(second)
    for union in (parts[0] | parts[1], parts[1] | parts[0]):
        assert union.complete == whole.complete
        np.testing.assert_array_equal(union.keys, whole.keys)
        np.testing.assert_array_equal(union.sieve, whole.sieve)
        assert union.share_of(table[: sum(sizes)]) == 1.0
        assert not union.absent(table[: sum(sizes)]).any()


def test_many_copies_of_few_rows_are_a_small_set(table):
    X = np.repeat(table[:50], 1000, axis=0)
    fingerprint = RowFingerprint.of(X)
    assert fingerprint.complete
    assert len(fingerprint.keys) == 50
    assert len(RowFingerprint.of(np.repeat(table[:500], 100, axis=0)).keys) == SAMPLED_ROWS


def test_chosen_rows_have_the_fingerprint_of_a_table_of_them(table):
    for chosen in (np.arange(0, 20_000, 3), np.arange(100, 300)):
        one, other = RowFingerprint.of(table, chosen), RowFingerprint.of(table[chosen])
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.sieve, other.sieve)


def test_order_type_and_sign_of_zero_do_not_matter():
    X = np.array([[0.0, 1.0], [2.5, -3.0]])
    fingerprint = RowFingerprint.of(X)
    assert fingerprint.share_of(X[::-1]) == 1.0
    assert fingerprint.share_of(X.astype(np.float32)) == 1.0
    assert fingerprint.share_of([[-0.0, 1.0]]) == 1.0
    assert fingerprint.share_of(X[:, ::-1]) == 0.0
    assert RowFingerprint.of(np.eye(3, dtype=int)).share_of(np.eye(3)) == 1.0


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_beyond_single_precision_are_told_without_a_warning(table):
    far = 1e300 * table
    assert RowFingerprint.of(far).share_of(far) == 1.0


@pytest.mark.parametrize("values", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (1.0, 2.0)])
def test_keys_of_tables_of_two_values_are_as_good_as_drawn(values):
    bits = np.arange(2**18)[:, None] >> np.arange(18) & 1
    X = np.asarray(values)[bits]
    keys = module._keys_of(X)
    assert len(np.unique(keys)) == len(X)
    # As many coincide in some of their bits as would of numbers that are drawn.
    for shift in (0, 24):
        part = keys >> np.uint64(shift) & np.uint64(2**24 - 1)
        expected = 2**24 * -np.expm1(-len(X) / 2**24)
        assert len(np.unique(part)) == pytest.approx(expected, rel=2e-3)
    fingerprint = RowFingerprint.of(X)
    assert fingerprint.share_of(X) == 1.0
    assert fingerprint.share_of(X + 2) == 0.0


def test_rows_that_differ_in_one_column_alone_are_told_apart():
    X = np.zeros((300, 100))
    X[np.arange(300), np.arange(300) % 100] = 1 + np.arange(300) // 100
    fingerprint = RowFingerprint.of(X[:150])
    assert fingerprint.tell(X) == (300, 150)


def test_wide_rows_in_pieces_have_the_fingerprint_of_the_whole():
    X = np.random.default_rng(0).standard_normal((9_000, 101)).astype(np.float32)
    whole = RowFingerprint.of(X)
    union = RowFingerprint.of(X[:5_000]) | RowFingerprint.of(X[5_000:])
    np.testing.assert_array_equal(union.keys, whole.keys)
    np.testing.assert_array_equal(union.sieve, whole.sieve)
    assert whole.tell(X) == (SAMPLED_ROWS, SAMPLED_ROWS)
    assert whole.tell(X + 1)[1] == 0


@pytest.mark.parametrize("sizes", [(300, 320), (300, 2000), (2000, 2200), (10, 10)])
def test_a_fingerprint_is_made_of_another_and_what_differs(table, sizes):
    one, other = (RowFingerprint.of(table[:size]) for size in sizes)
    for first, second in ((one, other), (other, one), (one, one)):
        parts = first.beside(second)
        again = RowFingerprint.made_beside(second, parts)
        np.testing.assert_array_equal(again.keys, first.keys)
        np.testing.assert_array_equal(again.sieve, first.sieve)
