"""A fingerprint tells the rows it has seen from others, and keeps no data."""

import numpy as np
import pytest

from skvae.rows import fingerprint as module
from skvae.rows.fingerprint import HEAD_COLUMNS, MAX_KEYS, RowFingerprint


@pytest.fixture
def table():
    return np.random.default_rng(0).standard_normal((20_000, 3))


def test_small_sets_are_told_exactly(table):
    fingerprint = RowFingerprint.of(table[:1000])
    assert fingerprint.complete
    assert fingerprint.share_of(table[:1000]) == 1.0
    assert fingerprint.share_of(table[1000:9000]) == 0.0
    assert fingerprint.share_of(table[500:1500]) == 0.5


def test_large_sets_are_told_from_a_sample_of_them(table):
    fingerprint = RowFingerprint.of(table[:10_000])
    assert not fingerprint.complete
    assert len(fingerprint.hashes) == len(fingerprint.keys) == MAX_KEYS
    assert fingerprint.share_of(table[:10_000]) == 1.0
    assert fingerprint.share_of(table[10_000:]) == 0.0
    assert fingerprint.share_of(table[5_000:15_000]) == pytest.approx(0.5, abs=0.05)


def test_nothing_can_be_told_where_no_row_is_in_the_sample(table):
    fingerprint = RowFingerprint(*np.array([[0, 1], [5, 6]], dtype=np.uint64), complete=False)
    assert np.isnan(fingerprint.share_of(table[:5]))


@pytest.mark.parametrize("sizes", [(500, 700), (6_000, 700), (6_000, 9_000)])
def test_union_is_the_fingerprint_of_all_rows(table, sizes):
    first, second = table[: sizes[0]], table[sizes[0] : sum(sizes)]
    union = RowFingerprint.of(first) | RowFingerprint.of(second)
    whole = RowFingerprint.of(table[: sum(sizes)])
    assert union.complete == whole.complete
    np.testing.assert_array_equal(union.keys, whole.keys)
    np.testing.assert_array_equal(union.hashes, whole.hashes)
    assert union.share_of(table[: sum(sizes)]) == 1.0


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
    assert RowFingerprint.of(far).tell(far) == (len(far), len(far))


def test_rows_with_the_same_key_are_told_apart_by_their_hashes(table, monkeypatch):
    monkeypatch.setattr(module, "_sums_of", lambda X, rows=...: X[rows, 0].view(np.uint64))
    alike = table[:10].copy()
    alike[:, 1:] += 1
    assert RowFingerprint.of(table[:10]).tell(np.concatenate([table[:5], alike])) == (15, 5)


@pytest.mark.parametrize("values", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])
def test_keys_of_tables_of_two_values_differ(values):
    bits = np.arange(2**14)[:, None] >> np.arange(14) & 1
    X = np.asarray(values)[bits]
    fingerprint = RowFingerprint.of(X)
    keys = module._keys_of(X, module._heads_of(X), np.arange(len(X)))
    assert len(np.unique(keys)) == len(X)
    assert fingerprint.share_of(X) == 1.0
    assert fingerprint.share_of(X + 2) == 0.0


def test_rows_that_are_alike_in_their_middle_are_told_by_the_rest():
    rng = np.random.default_rng(0)
    X = np.zeros((12_000, 3 * HEAD_COLUMNS))
    X[:, :2] = rng.standard_normal((len(X), 2))
    assert len(np.unique(module._heads_of(X))) == 1
    fingerprint = RowFingerprint.of(X[:6_000])
    assert not fingerprint.complete
    assert fingerprint.share_of(X[:6_000]) == 1.0
    assert fingerprint.share_of(X[6_000:]) == 0.0
    assert fingerprint.share_of(X[3_000:9_000]) == pytest.approx(0.5, abs=0.05)
    assert RowFingerprint.of(X[:1_000]).tell(X[:2_000]) == (2_000, 1_000)


def test_wide_rows_in_pieces_have_the_fingerprint_of_the_whole():
    X = np.random.default_rng(0).standard_normal((9_000, 101)).astype(np.float32)
    # Many rows of one head, so that the limit falls among them.
    X[::2, 20:80] = X[0, 20:80]
    whole = RowFingerprint.of(X)
    union = RowFingerprint.of(X[:5_000]) | RowFingerprint.of(X[5_000:])
    for name in ("keys", "hashes", "complete"):
        np.testing.assert_array_equal(getattr(union, name), getattr(whole, name))
    told, seen = whole.tell(np.concatenate([X, X + 1]))
    assert whole.tell(X) == (seen, seen)
    assert seen > 0
    assert told > seen
