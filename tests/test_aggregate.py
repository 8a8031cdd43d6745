"""Mutual information from the aggregated posterior, against closed forms."""

import numpy as np
import pytest

from skvae.information.aggregate import mutual_information


@pytest.mark.parametrize("signal", [0.3, 1.0, 3.0])
def test_gaussian_channel(signal):
    """Means N(0, signal^2) in unit noise: the information is log(1 + signal^2) / 2."""
    mean = signal * np.random.default_rng(0).standard_normal((2000, 1))
    found = mutual_information(mean, np.zeros_like(mean))
    assert found == pytest.approx(0.5 * np.log1p(signal**2), abs=0.05)


def test_collapsed_posteriors_have_none_whatever_they_are():
    constant = np.tile([[3.0, -2.0]], (100, 1))
    assert mutual_information(constant, 0 * constant - 4) == pytest.approx(0.0, abs=1e-12)


def test_saturates_at_the_log_of_the_rows_used():
    apart = 100.0 * np.arange(5000)[:, None]
    assert mutual_information(apart, 0 * apart) == pytest.approx(np.log(2000))
    assert mutual_information(apart, 0 * apart, max_rows=50) == pytest.approx(np.log(50))
