"""Standardising rows, in float32 where that loses nothing."""

import numpy as np
import pytest

from skvae.rows.scaling import Standardization


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
