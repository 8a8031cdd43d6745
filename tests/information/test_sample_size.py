"""How many rows a bound takes: against what is found by trying."""

import numpy as np
import pytest

from skvae.information import margin_lower_bound, rows_needed

REFERENCE = np.array([0.5, 0.5])


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def draw(rng, n_samples, strength, n_components=2):
    """Rows of kinds in equal shares, and a witness that reads them through noise of its own."""
    kinds = rng.integers(0, n_components, n_samples)
    T = np.full((n_samples, n_components), 0.1 / (n_components - 1))
    T[np.arange(n_samples), kinds] = 0.9
    logits = strength * np.eye(n_components)[kinds]
    return T, log_softmax(logits + rng.standard_normal(logits.shape))


def share_certified(rng, n_samples, repetitions=300, **population):
    reference = np.full(population.get("n_components", 2), 1.0)
    reference /= reference.sum()
    bounds = [
        margin_lower_bound(*draw(rng, n_samples, **population), reference).lower_bound
        for _ in range(repetitions)
    ]
    return np.mean(np.array(bounds) > 0)


@pytest.mark.parametrize(
    "population",
    [{"strength": 2.0}, {"strength": 1.2}, {"strength": 3.0, "n_components": 8}],
    ids=["clear", "faint", "eight kinds"],
)
def test_four_samples_of_five_of_that_many_rows_are_certified(population):
    rng = np.random.default_rng(0)
    reference = np.full(population.get("n_components", 2), 1.0)
    reference /= reference.sum()
    needed = rows_needed(*draw(rng, 20_000, **population), reference)
    assert share_certified(rng, needed, **population) == pytest.approx(0.8, abs=0.12)
    assert share_certified(rng, round(0.7 * needed), **population) < 0.65
    assert share_certified(rng, round(1.4 * needed), **population) > 0.88


def test_few_rows_tell_the_number_to_within_a_factor_of_two():
    """A quarter of as many; docs/experiments/rows_needed.py has more populations."""
    rng = np.random.default_rng(0)
    truth = rows_needed(*draw(rng, 20_000, strength=2.0), REFERENCE)
    told = [
        rows_needed(*draw(rng, truth // 4, strength=2.0), REFERENCE) or np.inf
        for _ in range(300)
    ]
    assert np.mean((np.array(told) >= truth / 2) & (np.array(told) <= 2 * truth)) > 0.7
    assert np.median(told) == pytest.approx(truth, rel=0.15)


def test_price_of_the_average_of_few_rows_is_handed_back():
    """Of eight kinds twelve rows know little of the average, and yet tell the number."""
    rng = np.random.default_rng(1)
    population = {"strength": 3.0, "n_components": 8}
    reference = np.full(8, 1 / 8)
    truth = rows_needed(*draw(rng, 20_000, **population), reference)
    told = [rows_needed(*draw(rng, 12, **population), reference) or np.inf for _ in range(300)]
    assert np.median(told) == pytest.approx(truth, rel=0.12)


def test_grows_with_confidence_and_tau_and_falls_with_the_margin():
    T, log_q = draw(np.random.default_rng(0), 2000, strength=2.0)
    plain = rows_needed(T, log_q, REFERENCE)
    assert rows_needed(T, log_q, REFERENCE, confidence=0.999) > 1.5 * plain
    assert rows_needed(T, log_q, REFERENCE, tau=0.05) > 1.2 * plain
    assert rows_needed(T, np.log(T), REFERENCE) < plain
    # Draws of a row are averaged, and rows stay the unit.
    assert rows_needed(T, np.stack([log_q, log_q]), REFERENCE) == plain


def test_weights_count_as_rows_do():
    T, log_q = draw(np.random.default_rng(0), 2000, strength=2.0)
    plain = rows_needed(T, log_q, REFERENCE)
    alike = np.full(2000, 3.0)
    assert rows_needed(T, log_q, REFERENCE, sample_weight=alike) == plain
    # Rows that weigh next to nothing are rows that are not there.
    light = np.where(np.arange(2000) % 4 == 0, 1.0, 1e-9)
    needed = rows_needed(T, log_q, REFERENCE, sample_weight=light)
    heavy = rows_needed(T[::4], log_q[::4], REFERENCE)
    assert needed == pytest.approx(4 * heavy, rel=0.06)


def test_that_many_weighted_rows_are_enough():
    rng = np.random.default_rng(0)

    def weighted(n_samples):
        T, log_q = draw(rng, n_samples, strength=2.0)
        return T, log_q, rng.uniform(0.2, 1.0, n_samples)

    T, log_q, weights = weighted(20_000)
    needed = rows_needed(T, log_q, REFERENCE, sample_weight=weights)
    assert needed > rows_needed(T, log_q, REFERENCE)
    found = []
    for _ in range(200):
        T, log_q, weights = weighted(needed)
        bound = margin_lower_bound(T, log_q, REFERENCE, sample_weight=weights)
        found.append(bound.lower_bound > 0)
    assert np.mean(found) == pytest.approx(0.8, abs=0.12)


def test_no_number_is_told_where_none_would_do():
    T, log_q = draw(np.random.default_rng(0), 500, strength=2.0)
    assert rows_needed(T, log_q, REFERENCE, tau=0.4) is None
    assert rows_needed(T, log_q[::-1], REFERENCE) is None
    one_kind = np.tile([[0.9, 0.1]], (50, 1))
    assert rows_needed(one_kind, np.log(one_kind), REFERENCE) is None


def test_many_rows_are_thinned_and_zeros_allowed():
    T, log_q = draw(np.random.default_rng(0), 200_000, strength=2.0)
    expected = rows_needed(T[::4], log_q[::4], REFERENCE)
    assert rows_needed(T, log_q, REFERENCE) == expected
    hard = np.eye(2)[np.arange(40) % 2]
    log_q = log_softmax(4 * hard)
    assert 5 < rows_needed(hard, log_q, REFERENCE) < 40
    third = np.column_stack([hard, np.zeros(40)])
    assert rows_needed(third, log_softmax(4 * third), np.full(3, 1 / 3)) > 5


def test_refuses_what_it_cannot_tell_from():
    T = np.tile(REFERENCE, (3, 1))
    with pytest.raises(ValueError, match="at least two rows"):
        rows_needed(T[:1], np.log(T[:1]), REFERENCE)
    with pytest.raises(ValueError, match=r"tau must be at least 0, got -0\.1"):
        rows_needed(T, np.log(T), REFERENCE, tau=-0.1)
    with pytest.raises(ValueError, match="confidence must be a number between 0 and 1"):
        rows_needed(T, np.log(T), REFERENCE, confidence=1.0)
    with pytest.raises(ValueError, match="positive everywhere"):
        rows_needed(T, np.log(T), [1.0, 0.0])
