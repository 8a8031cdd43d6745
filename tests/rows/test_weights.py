"""Weights of rows: what is one, and what it is relative to."""

import numpy as np
import pandas as pd
import pytest
import torch

from skvae.rows.scaling import Standardization
from skvae.rows.weights import check_weights, relative_weights, weighted_mean


@pytest.mark.parametrize(
    "given", [[1, 0, 3], (1, 0, 3), pd.Series([1, 0, 3]), torch.tensor([1.0, 0, 3])]
)
def test_whatever_holds_numbers_holds_weights(given):
    np.testing.assert_array_equal(check_weights(given, 3), [1.0, 0.0, 3.0])
    np.testing.assert_allclose(relative_weights(given, 3), [0.75, 0, 2.25])
    assert weighted_mean(np.array([1.0, 9.0, 5.0]), given) == 4.0


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1.0, 1e308])
def test_only_ratios_count(scale):
    found = relative_weights(scale * np.array([1.0, 0.5, 0.0]), 3)
    np.testing.assert_allclose(found, [2.0, 1.0, 0.0], rtol=1e-3)
    assert relative_weights(np.full(3, scale), 3) is None


def test_the_weights_that_were_given_are_left_as_they_were():
    given = np.array([1.0, 4.0])
    given.setflags(write=False)
    relative_weights(given, 2)
    np.testing.assert_array_equal(given, [1, 4])


def test_units_by_weights_are_those_of_rows_repeated():
    rng = np.random.default_rng(0)
    X, weights = 5 + rng.standard_normal((20_000, 3)), rng.integers(0, 4, 20_000)
    chosen = np.flatnonzero(rng.random(20_000) < 0.9)
    found = Standardization.of(X, chosen, 0.1 * weights[chosen])
    again = Standardization.of(np.repeat(X[chosen], weights[chosen], axis=0))
    np.testing.assert_allclose(found.center, again.center, rtol=1e-12)
    np.testing.assert_allclose(found.scale, again.scale, rtol=1e-12)
