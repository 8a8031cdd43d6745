"""The boundary from sums: equal to the boundary of the whole, whatever the batches."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvae.information.boundary import (
    alignment_cost,
    best_constant_student,
    margin,
    teacher_information,
)
from skvae.information.statistics import BLOCK_ROWS, BoundaryStatistics

QUANTITIES = ["teacher_information", "alignment_cost", "margin", "margin_standard_error"]


def _rows(n_samples, n_components, seed=0, sharpness=3.0):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((n_samples, n_components))
    T = np.exp(logits - logits.max(axis=1, keepdims=True))
    T /= T.sum(axis=1, keepdims=True)
    log_q = 0.7 * logits + rng.standard_normal(logits.shape)
    return T, log_q - np.logaddexp.reduce(log_q, axis=1, keepdims=True)


def _assert_same(found, expected):
    assert found.n_samples == expected.n_samples
    for name in QUANTITIES:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12), name
    np.testing.assert_allclose(
        found.best_constant_student, expected.best_constant_student, rtol=0, atol=1e-12
    )


def test_two_one_hot_rows():
    statistics = BoundaryStatistics().update(np.eye(2), np.log([[0.8, 0.2], [0.4, 0.6]]))
    assert statistics.teacher_information == pytest.approx(math.log(2), abs=1e-15)
    assert statistics.alignment_cost == pytest.approx(-math.log(0.8 * 0.6) / 2, abs=1e-15)
    assert statistics.margin == pytest.approx(math.log(2 * math.sqrt(0.48)), abs=1e-15)
    # Two values, log 1.6 and log 1.2: half their distance is the standard error of the mean.
    assert statistics.margin_standard_error == pytest.approx(math.log(1.6 / 1.2) / 2, abs=1e-12)
    np.testing.assert_array_equal(statistics.best_constant_student, [0.5, 0.5])


@pytest.mark.parametrize("n_samples", [1, 7, BLOCK_ROWS, BLOCK_ROWS + 1, 100_000])
def test_agrees_with_the_boundary_of_the_whole(n_samples):
    T, log_q = _rows(n_samples, 5)
    statistics = BoundaryStatistics().update(T, log_q)
    assert statistics.n_samples == n_samples
    assert statistics.teacher_information == pytest.approx(teacher_information(T), abs=1e-12)
    assert statistics.alignment_cost == pytest.approx(alignment_cost(T, log_q), abs=1e-12)
    assert statistics.margin == pytest.approx(margin(T, log_q), abs=1e-12)
    np.testing.assert_allclose(
        statistics.best_constant_student, best_constant_student(T), rtol=0, atol=1e-12
    )


def test_standard_error_is_that_of_the_rows_margins():
    T, log_q = _rows(500, 4)
    row_margins = (T * (log_q - np.log(T.mean(axis=0)))).sum(axis=1)
    expected = row_margins.std(ddof=1) / math.sqrt(500)
    found = BoundaryStatistics().update(T, log_q).margin_standard_error
    assert found == pytest.approx(expected, rel=1e-10)


def test_standard_error_is_the_spread_of_margins_over_samples():
    rng = np.random.default_rng(0)
    T, log_q = _rows(2_000, 4)
    samples = [rng.integers(0, len(T), 400) for _ in range(400)]
    margins = [margin(T[rows], log_q[rows]) for rows in samples]
    claimed = BoundaryStatistics().update(T[:400], log_q[:400]).margin_standard_error
    assert claimed == pytest.approx(np.std(margins), rel=0.15)


def test_one_row_has_no_standard_error():
    assert math.isnan(BoundaryStatistics().update(*_rows(1, 3)).margin_standard_error)


@given(
    cuts=st.lists(st.integers(0, 300), max_size=6),
    seed=st.integers(0, 5),
    n_components=st.integers(1, 6),
)
def test_batches_and_order_change_nothing(cuts, seed, n_components):
    T, log_q = _rows(300, n_components, seed)
    order = np.random.default_rng(seed).permutation(300)
    batched = BoundaryStatistics()
    for rows in np.split(order, sorted(cuts)):
        if len(rows):
            batched.update(T[rows], log_q[rows])
    _assert_same(batched, BoundaryStatistics().update(T, log_q))


def test_many_small_batches_lose_no_digits():
    T, log_q = _rows(100_000, 3)
    batched = BoundaryStatistics()
    for rows in np.array_split(np.random.default_rng(1).permutation(len(T)), 1_000):
        batched.update(T[rows], log_q[rows])
    _assert_same(batched, BoundaryStatistics().update(T, log_q))


def test_a_long_sum_of_equal_rows_is_exact():
    T, log_q = np.array([[0.3, 0.7]]), np.log([[0.1, 0.9]])
    statistics = BoundaryStatistics().update(T, log_q)
    for _ in range(40):
        statistics = statistics + statistics
    assert statistics.n_samples == 2**40
    assert statistics.margin == pytest.approx(margin(T, log_q), abs=1e-15)
    assert statistics.teacher_information == pytest.approx(0, abs=1e-15)


def test_merging_is_associative_and_commutes():
    a, b, c = (BoundaryStatistics().update(*_rows(50 + seed, 4, seed)) for seed in range(3))
    _assert_same((a + b) + c, a + (b + c))
    _assert_same(a + b, b + a)
    empty = BoundaryStatistics()
    _assert_same(empty + a, a)
    _assert_same(a + empty, a)


def test_adding_leaves_both_as_they_were():
    a, b = (BoundaryStatistics().update(*_rows(50, 4, seed)) for seed in range(2))
    before = a.margin, b.margin
    together = a + b
    assert (a.margin, b.margin) == before
    assert together.n_samples == 100
    assert a.merge(a).n_samples == 100


def test_pickle_keeps_the_sums():
    statistics = BoundaryStatistics().update(*_rows(50, 4))
    _assert_same(pickle.loads(pickle.dumps(statistics)), statistics)


def test_memory_does_not_grow_with_the_rows():
    sizes = [len(pickle.dumps(BoundaryStatistics().update(*_rows(n, 4)))) for n in (10, 10_000)]
    assert abs(sizes[0] - sizes[1]) < 100


def test_single_precision_and_lists_are_taken():
    T, log_q = _rows(20, 3)
    narrow = BoundaryStatistics().update(T.astype(np.float32), log_q.astype(np.float32))
    assert narrow.margin == pytest.approx(margin(T, log_q), abs=1e-5)
    _assert_same(
        BoundaryStatistics().update(T.tolist(), log_q.tolist()),
        BoundaryStatistics().update(T, log_q),
    )


def test_another_number_of_components_is_refused():
    statistics = BoundaryStatistics().update(*_rows(10, 3))
    with pytest.raises(ValueError, match=r"K = 3 .* K = 4"):
        statistics.update(*_rows(10, 4))
    with pytest.raises(ValueError, match=r"K = 3 .* K = 4"):
        statistics + BoundaryStatistics().update(*_rows(10, 4))
    assert statistics.n_samples == 10


def test_a_bad_row_is_named_and_changes_nothing():
    T, log_q = _rows(BLOCK_ROWS + 10, 3)
    statistics = BoundaryStatistics().update(T, log_q)
    before = statistics.margin
    bad = T.copy()
    bad[BLOCK_ROWS + 2] = [0.5, 0.6, 0.7]
    with pytest.raises(ValueError, match=f"from row {BLOCK_ROWS}: Row 2 of T"):
        statistics.update(bad, log_q)
    assert (statistics.n_samples, statistics.margin) == (BLOCK_ROWS + 10, before)
    with pytest.raises(ValueError, match="same shape"):
        statistics.update(T, log_q[:, :2])
    with pytest.raises(ValueError, match="non-empty"):
        statistics.update(np.zeros((0, 3)), np.zeros((0, 3)))


def test_no_rows_have_no_margin():
    with pytest.raises(ValueError, match="no rows yet"):
        BoundaryStatistics().margin  # noqa: B018
    assert BoundaryStatistics().n_samples == 0
    with pytest.raises(TypeError):
        BoundaryStatistics() + 1
