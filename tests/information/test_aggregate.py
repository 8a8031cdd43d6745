"""Mutual information from the aggregated posterior, against closed forms."""

import numpy as np
import pytest

from skvae.information import aggregate
from skvae.information.aggregate import PosteriorSample, RowSample, mutual_information


@pytest.mark.parametrize("signal", [0.3, 1.0, 3.0])
def test_gaussian_channel(signal):
    """Means N(0, signal^2) in unit noise: the information is log(1 + signal^2) / 2."""
    mean = signal * np.random.default_rng(0).standard_normal((2000, 1))
    found = mutual_information(mean, np.zeros_like(mean))
    assert found == pytest.approx(0.5 * np.log1p(signal**2), abs=0.05)


def test_collapsed_posteriors_have_none_whatever_they_are():
    constant = np.tile([[3.0, -2.0]], (100, 1))
    assert mutual_information(constant, 0 * constant - 4) == pytest.approx(0.0, abs=1e-12)


def test_saturates_at_the_log_of_the_rows():
    apart = 100.0 * np.arange(50)[:, None]
    assert mutual_information(apart, 0 * apart) == pytest.approx(np.log(50))


def test_sample_of_a_stream_is_uniform_and_does_not_depend_on_its_batches():
    means = np.arange(5000.0)[:, None]
    whole, cut = PosteriorSample(), PosteriorSample()
    whole.update(means, 0 * means)
    for batch in np.array_split(means, 7):
        cut.update(batch, 0 * batch)
    np.testing.assert_array_equal(whole.mean, cut.mean)
    assert len(whole.mean) == 2000
    assert whole.mean.mean() == pytest.approx(2500, abs=150)
    assert PosteriorSample().mutual_information() is None
    small = PosteriorSample(max_rows=50)
    small.update(100 * means, 0 * means)
    assert small.mutual_information() == pytest.approx(np.log(50))


def test_arrays_of_a_sample_hold_the_same_rows_in_their_order():
    rows = np.arange(900)
    sample = RowSample(random_state=1, max_rows=100)
    for batch in np.array_split(rows, 4):
        sample.update(batch, -batch)
    kept, negative = sample.arrays
    np.testing.assert_array_equal(negative, -kept)
    assert len(kept) == 100
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("width", [0.0, -6.0])
def test_products_of_matrices_and_differences_agree(monkeypatch, width):
    rng = np.random.default_rng(0)
    mean, log_variance = rng.standard_normal((300, 4)), rng.normal(width, 0.5, (300, 4))
    fast = aggregate.mutual_information(mean + 5.0, log_variance)
    monkeypatch.setattr(aggregate, "MAX_REACH", 0.0)
    assert fast == pytest.approx(
        aggregate.mutual_information(mean + 5.0, log_variance), abs=1e-9
    )
