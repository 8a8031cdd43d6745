"""Standardising rows, in float32 where that loses nothing."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from skvae.rows import scaling
from skvae.rows.scaling import (
    SMALL_TABLE,
    Standardization,
    fit_scaler,
    pool,
    shares_unit,
    steps_of,
)


@pytest.mark.parametrize(
    ("offset", "spread"),
    [(0, 1), (0.5, 0.3), (1e6, 1), (-3e4, 1e-2), (1e-20, 1e-21), (1e20, 1e19), (0, 1e35)],
)
def test_float32_rows_are_standardised_as_well_as_float32_can_tell(offset, spread):
    rng = np.random.default_rng(0)
    X = (offset + spread * rng.standard_normal((1000, 3))).astype(np.float32)
    units = Standardization.of(X)
    exact = (X.astype(np.float64) - units.center) / units.scale
    found = units.apply(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(units.apply(X.astype(np.float64)), exact, rtol=1e-6, atol=1e-7)


def test_scales_beyond_float32_do_not_overflow():
    X = np.array([[0.0, 1.0], [4e-40, 2.0]], dtype=np.float32)
    found = Standardization.of(X).apply(X)
    np.testing.assert_allclose(found, [[-1, -1], [1, 1]], rtol=1e-4)
    far = np.array([[-3e38, 0.0], [3e38, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(Standardization.of(far).apply(far), [[-1, -1], [1, 1]])


def test_rows_are_left_as_they_were_and_copied():
    X = np.ones((4, 2), dtype=np.float32)
    X.flags.writeable = False
    found = Standardization.identity(2).apply(X)
    np.testing.assert_array_equal(found, X)
    assert found.flags.writeable
    assert not np.shares_memory(found, X)


@pytest.mark.parametrize(
    ("scales", "is_shared"),
    [
        ([1, 1, 1, 1], True),
        # The effective number of columns of variances 1, 1, 1, 1, a, a, a, a is, for small a,
        # four of eight and a little more.
        ([1] * 4 + [1e-3] * 4, True),
        ([1] * 3 + [1e-3] * 5, False),
        ([1e150, 1e150, 1e-150], True),
        ([1, 1, 0, 0, 0], True),
        ([0, 0], False),
    ],
)
def test_columns_share_a_unit_where_few_do_not_rule(scales, is_shared):
    X = np.where(np.arange(20)[:, None] % 2, 1.0, -1.0) * np.array(scales, dtype=float)
    scaler = fit_scaler(StandardScaler(), X)
    assert shares_unit(scaler) == is_shared
    pool(scaler)
    varying = X.var(axis=0)[X.var(axis=0) > 0]
    expected = np.sqrt(varying.mean()) if varying.size else 1.0
    np.testing.assert_allclose(scaler.scale_, expected)


def test_steps_are_the_least_distance_of_two_values():
    tenths = np.array([0.3, 0.1 + 0.2, 0.7, 1.1])  # the first two are one number, twice
    X = np.column_stack([[0.0, 0.0, 1.0, 4.0], [5.0] * 4, tenths, [1e6, 1e6, 1e6 + 2, 1e6]])
    np.testing.assert_allclose(steps_of(X), [1, 0, 0.4, 2], rtol=1e-12)
    np.testing.assert_allclose(steps_of(X.astype(np.float32)), [1, 0, 0.4, 2], rtol=1e-6)
    np.testing.assert_array_equal(steps_of(X, np.array([2, 3]))[:2], [3, 0])


@given(
    step=st.floats(1e-150, 1e150),
    offset=st.integers(-100, 100),
    whole=st.lists(st.integers(0, 50), min_size=1, max_size=30),
)
def test_whole_multiples_have_the_steps_of_the_whole_numbers(step, offset, whole):
    X = np.array(whole, dtype=float)[:, None] + offset
    least = np.diff(np.unique(whole)).min(initial=51) % 51
    np.testing.assert_allclose(steps_of(step * X), step * least, rtol=1e-9)


def test_steps_of_a_long_table_are_those_of_evenly_spaced_rows():
    X = np.arange(10_000, dtype=np.float32)[:, None]
    assert steps_of(X) == 10
    assert steps_of(X, np.arange(500)) == 1


def test_steps_of_a_column_are_those_of_what_was_observed():
    X = np.array([[0.0, 1.0], [np.nan, 1.5], [3.0, np.nan], [2.0, np.nan]])
    np.testing.assert_array_equal(steps_of(X), [1.0, 0.5])
    np.testing.assert_array_equal(steps_of(np.full((3, 1), np.nan)), [0.0])


# Beyond the size up to which scikit-learn's scaler is taken.
N_LARGE = SMALL_TABLE // 4 + 1000


def exact_moments(column, weights):
    """Mean and variance of a column in rational numbers."""
    pairs = zip(column.tolist(), weights.tolist(), strict=True)
    numbers = [(Fraction(x), Fraction(w)) for x, w in pairs]
    total = sum(w for _, w in numbers)
    mean = sum(w * x for x, w in numbers) / total
    return mean, sum(w * (x - mean) ** 2 for x, w in numbers) / total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e6, -3e4])
@pytest.mark.parametrize("is_weighed", [False, True])
def test_moments_of_a_large_table_are_exact(monkeypatch, dtype, offset, is_weighed):
    monkeypatch.setattr(scaling, "SMALL_TABLE", 0)
    monkeypatch.setattr(scaling, "BLOCK_SIZE", 2**8)
    rng = np.random.default_rng(0)
    n_rows = 3000
    drift = np.linspace(0, 3, n_rows)[:, None]
    X = (offset + rng.standard_normal((n_rows, 3)) * [1e-2, 1, 1e3] + drift).astype(dtype)
    chosen = np.sort(rng.permutation(n_rows)[:2500])
    weights = rng.gamma(0.1, size=len(chosen)) + 1e-9 if is_weighed else np.ones(len(chosen))
    found = Standardization.of(X, chosen, weights if is_weighed else None)
    for column in range(3):
        mean, variance = exact_moments(X[chosen, column], weights)
        assert found.center[column] == pytest.approx(float(mean), rel=1e-12)
        assert found.scale[column] ** 2 == pytest.approx(float(variance), rel=1e-12)


def test_moments_where_few_rows_have_most_of_the_weight(monkeypatch):
    monkeypatch.setattr(scaling, "SMALL_TABLE", 0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 1))
    weights = np.full(2000, 1e-14)
    # Between the rows that the shift is the mean of.
    X[[1001, 1003], 0], weights[[1001, 1003]] = [1e6, 1e6 + 1], 1.0
    found = Standardization.of(X, None, weights)
    mean, variance = exact_moments(X[:, 0], weights)
    assert found.center[0] == pytest.approx(float(mean), rel=1e-12)
    assert found.scale[0] ** 2 == pytest.approx(float(variance), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_weighed", [False, True])
def test_large_tables_are_scaled_as_by_scikit_learn(dtype, is_weighed):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_LARGE, 5)) * [1, 1e-3, 0, 0, 0] + [5, 1e4, 0, 0.1, -1e5]
    X = X.astype(dtype)
    weights = rng.integers(1, 4, N_LARGE).astype(float) if is_weighed else None
    wanted = StandardScaler().fit(X, sample_weight=weights)
    found = fit_scaler(StandardScaler(), X, None, weights)
    for name in ("mean_", "var_", "scale_"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=1e-11, atol=1e-18
        )
    assert found.n_samples_seen_ == wanted.n_samples_seen_
    np.testing.assert_array_equal(found.scale_[2:], 1.0)
    np.testing.assert_array_equal(Standardization.of(X, None, weights).constant[2:], True)
    # A rounding of 1e4 in thousandths.
    np.testing.assert_allclose(found.transform(X), wanted.transform(X), atol=1e-6)


@pytest.mark.parametrize("size", [1e160, 1e308])
def test_large_tables_whose_variance_leaves_floating_point_are_refused(size):
    X = np.zeros((N_LARGE, 4))
    X[::2, 1] = size
    with pytest.raises(ValueError, match="Column 1 of X is too spread out"):
        Standardization.of(X)
