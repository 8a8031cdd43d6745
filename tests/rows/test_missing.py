"""Moments of the entries that there are, whatever else is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skvae.rows import RowFingerprint, missing
from skvae.rows.missing import observed_moments, require_observed
from skvae.rows.scaling import Standardization

TABLES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.just(np.nan) | st.floats(-1e6, 1e6),
)


@given(TABLES, st.integers(1, 20), st.booleans(), st.integers(0, 2**32 - 1))
def test_moments_are_those_of_each_column_by_itself(X, n_numbers, is_weighted, seed):
    weights = np.random.default_rng(seed).integers(1, 4, len(X)) if is_weighted else None
    repeated = X if weights is None else np.repeat(X, weights, axis=0)
    with pytest.MonkeyPatch.context() as patch:
        # Blocks of a row or two, in which whole columns may be missing.
        patch.setattr(missing, "BLOCK_NUMBERS", n_numbers)
        moments = observed_moments(X, weights=None if weights is None else weights * 1.0)
    for j, column in enumerate(repeated.T):
        there = column[~np.isnan(column)]
        assert moments.share[j] == pytest.approx(len(there) / len(column))
        expected = (there.mean(), there.var()) if len(there) else (0.0, 0.0)
        size = np.abs(there).max(initial=1.0)
        assert moments.mean[j] == pytest.approx(expected[0], abs=1e-13 * size)
        assert moments.variance[j] == pytest.approx(expected[1], rel=1e-9, abs=1e-13 * size**2)


def test_moments_of_some_rows_far_from_zero():
    rng = np.random.default_rng(0)
    X = 1e9 + rng.standard_normal((3000, 3))
    X[rng.random(X.shape) < 0.5] = np.nan
    chosen = np.arange(0, 3000, 3)
    moments = observed_moments(X, chosen)
    np.testing.assert_allclose(moments.variance, np.nanvar(X[chosen], axis=0), rtol=1e-6)
    units = Standardization.of_observed(observed_moments(np.full((7, 1), 0.1)))
    assert units.constant.all()
    assert units.scale == 1


def test_a_variance_beyond_floats_is_told():
    moments = observed_moments(np.array([[1e200], [np.nan], [-1e200]]))
    with pytest.raises(ValueError, match="Column 0 of X is too spread out"):
        Standardization.of_observed(moments)


def test_empty_columns_are_named():
    moments = observed_moments(np.array([[1.0, np.nan], [2.0, np.nan]]))
    require_observed(observed_moments(np.eye(2)), None)
    with pytest.raises(ValueError, match="Column 1 of X has no observed value"):
        require_observed(moments, None)
    with pytest.raises(ValueError, match="Column 'b' of X"):
        require_observed(moments, np.array(["a", "b"], dtype=object))


def test_a_fingerprint_takes_every_nan_for_the_same():
    X = np.arange(12.0).reshape(4, 3)
    X[1, 1] = np.nan
    other = X.copy()
    other[1, 1] = -np.float64(np.nan)
    assert X.view(np.uint64)[1, 1] != other.view(np.uint64)[1, 1]
    assert RowFingerprint.of(X).share_of(other) == 1
    other[1, 1] = 0
    assert RowFingerprint.of(X).share_of(other) == 0.75
