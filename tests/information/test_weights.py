"""Weighted rows: the boundary of rows repeated, and bounds whose errors are counted exactly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import gammaln, xlogy

from skvae.information import (
    BoundaryStatistics,
    alignment_cost,
    best_constant_student,
    betting,
    design_alpha,
    margin,
    margin_lower_bound,
    mutual_information,
    teacher_information,
)

QUANTITIES = ["teacher_information", "alignment_cost", "margin"]


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def rows(n_samples=30, n_components=4, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n_samples, n_components))
    log_q = log_softmax(0.7 * logits + 0.3 * rng.standard_normal(logits.shape))
    return np.exp(log_softmax(logits)), log_q, rng.integers(0, 4, n_samples)


def mixed(log_q, reference, mixing=0.02):
    return np.log((1 - mixing) * np.exp(log_q) + mixing * np.asarray(reference))


# A weight is a number of copies


def test_weights_are_numbers_of_copies_in_the_boundary():
    T, log_q, weights = rows()
    again = np.repeat(T, weights, axis=0), np.repeat(log_q, weights, axis=0)
    for scale in (1, 1e-3, 1e300):
        found = scale * weights
        assert margin(T, log_q, found) == pytest.approx(margin(*again), abs=1e-12)
        cost = alignment_cost(T, log_q, found)
        assert cost == pytest.approx(alignment_cost(*again), abs=1e-12)
        information = teacher_information(T, found)
        assert information == pytest.approx(teacher_information(again[0]), abs=1e-12)
        average = best_constant_student(T, found)
        np.testing.assert_allclose(average, again[0].mean(axis=0), rtol=0, atol=1e-12)


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_weighted_statistics_of_batches_are_those_of_rows_repeated(n_samples, seed):
    T, log_q, weights = rows(n_samples, 3, seed)
    weights[0] += 1
    split = n_samples // 2
    found = BoundaryStatistics()
    for part in (slice(split), slice(split, None)):
        if weights[part].any():
            found.update(T[part], log_q[part], weights[part])
    again = BoundaryStatistics().update(
        np.repeat(T, weights, axis=0), np.repeat(log_q, weights, axis=0)
    )
    for name in QUANTITIES:
        assert getattr(found, name) == pytest.approx(getattr(again, name), abs=1e-12), name
    np.testing.assert_allclose(
        found.best_constant_student, again.best_constant_student, rtol=0, atol=1e-12
    )


def test_large_tables_are_weighed_block_by_block(monkeypatch):
    monkeypatch.setattr("skvae.information.boundary._BLOCK_ROWS", 7)
    T, _, weights = rows()
    again = np.repeat(T, weights, axis=0)
    assert teacher_information(T, weights) == pytest.approx(
        teacher_information(again), abs=1e-12
    )


def test_the_standard_error_is_that_of_a_ratio():
    # Over many samples of rows whose weights are random too.
    T, log_q, _ = rows(8)
    weights = np.array([0.1, 3.0, 1.0, 0.5, 2.0, 0.2, 1.0, 4.0])
    rng = np.random.default_rng(0)
    margins, errors = [], []
    for _ in range(400):
        drawn = rng.integers(0, 8, 500)
        found = BoundaryStatistics().update(T[drawn], log_q[drawn], weights[drawn])
        margins.append(found.margin)
        errors.append(found.margin_standard_error)
    assert np.mean(errors) == pytest.approx(np.std(margins), rel=0.1)
    # And the same as of no weights, to the last digits, where all are alike.
    plain, alike = (BoundaryStatistics().update(T, log_q, w) for w in (None, np.full(8, 3.0)))
    assert alike.margin_standard_error == pytest.approx(plain.margin_standard_error, rel=1e-9)


def test_a_design_and_mutual_information_by_weights():
    T, _, weights = rows()
    found = design_alpha(T, latent="sample", sample_weight=weights)
    again = design_alpha(np.repeat(T, weights, axis=0), latent="sample")
    np.testing.assert_allclose(found, again, rtol=1e-9)
    # Codes that are far apart tell which row it was: the entropy of the shares.
    apart, spread = 100 * np.arange(30.0)[:, None], np.zeros((30, 1))
    shares = weights[weights > 0] / weights.sum()
    information = mutual_information(apart, spread, sample_weight=weights)
    assert information == pytest.approx(-xlogy(shares, shares).sum(), abs=1e-5)
    same = mutual_information(np.zeros((30, 2)), np.zeros((30, 2)), sample_weight=weights)
    assert abs(same) < 1e-6


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], "one entry per row"),
        (np.ones((30, 2)), "one entry per row"),
        (np.zeros(30), "zero for all rows"),
        (np.r_[np.ones(29), -1.0], "Entry 29 of sample_weight"),
        (np.r_[np.nan, np.ones(29)], "Entry 0 of sample_weight"),
        (np.r_[np.ones(29), np.inf], "finite"),
        (3.0, "one entry per row"),
    ],
)
def test_weights_that_are_none_are_refused_everywhere(weights, message):
    T, log_q, _ = rows()
    statistics = BoundaryStatistics()
    for refuse in (
        lambda: margin(T, log_q, weights),
        lambda: alignment_cost(T, log_q, weights),
        lambda: teacher_information(T, weights),
        lambda: best_constant_student(T, weights),
        lambda: statistics.update(T, log_q, weights),
        lambda: margin_lower_bound(T, log_q, np.full(4, 0.25), sample_weight=weights),
        lambda: design_alpha(T, sample_weight=weights),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()
    assert statistics.n_samples == 0


# The bound


@pytest.mark.parametrize("method", ["e-value", "normal"])
def test_weights_that_are_all_alike_are_none(method):
    T, log_q, _ = rows(200)
    reference = np.full(4, 0.25)
    plain = margin_lower_bound(T, log_q, reference, method=method)
    for weights, largest in ((np.ones(200), None), (np.full(200, 7), None), (np.ones(200), 1)):
        found = margin_lower_bound(
            T, log_q, reference, method=method, sample_weight=weights, max_weight=largest
        )
        assert found == plain
    # Of a population that may have rows of twice their weight less is known.
    below = margin_lower_bound(
        T, log_q, reference, method=method, sample_weight=np.ones(200), max_weight=2.0
    )
    if method == "e-value":
        assert below.lower_bound < plain.lower_bound - 1e-3
    else:
        assert below.lower_bound == pytest.approx(plain.lower_bound, abs=1e-12)


@given(
    st.integers(1, 30),
    st.integers(0, 10_000),
    arrays(np.float64, 30, elements=st.floats(0, 1e6, width=32)),
    st.sampled_from([None, 1.0, 50.0]),
)
def test_a_bound_is_below_the_margin_of_the_sample(n_samples, seed, weights, times):
    T, log_q, _ = rows(n_samples, 3, seed)
    weights = weights[:n_samples]
    weights[0] += 1
    largest = None if times is None else times * weights.max()
    reference = np.full(3, 1 / 3)
    found = margin_lower_bound(T, log_q, reference, sample_weight=weights, max_weight=largest)
    of_sample = margin(T, mixed(log_q, reference), weights)
    assert found.lower_bound <= of_sample + 1e-9
    # A constant witness never gets anywhere.
    constant = np.broadcast_to(log_q[:1], log_q.shape)
    nothing = margin_lower_bound(
        T, constant, reference, sample_weight=weights, max_weight=largest
    )
    assert nothing.log_e_value <= 0
    assert nothing.lower_bound <= 0


def test_the_least_e_value_of_weighted_rows_is_convex_and_certified():
    T, log_q, _ = rows(60, 3)
    weights = np.random.default_rng(1).random(60)
    mixture = betting.Mixture(np.full(3, 1 / 3), 0.02)
    blocks = [(weights * mixture.score(T, log_q), weights[:, None] * T, weights)]
    bets = betting.Bets(np.array([0.05, 0.2]), np.array([0.5, 0.5]))
    start = betting.average_of(block[1] for block in blocks)
    least = betting.least_log_e_value(blocks, bets, 0.1, start)
    for average in np.random.default_rng(2).dirichlet(np.ones(3), 300):
        payoff = betting._payoff(blocks, bets, 0.1, average)
        assert payoff.certified <= least.certified + 1e-5 <= payoff.value + 2e-5


def counts_of(total, n_kinds):
    for bars in itertools.combinations(range(total + n_kinds - 1), n_kinds - 1):
        yield np.diff([-1, *bars, total + n_kinds - 1]) - 1


def multinomial(counts, probabilities):
    log_ways = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    return math.exp(log_ways + xlogy(counts, probabilities).sum())


def exact(samples, reference, truth, max_weight, confidence=0.6):
    """Mean of the e-value against the true margin, and how often the bound is above it."""
    mixture = betting.Mixture(reference, 0.02)
    largest_bet = 1 / (truth + 1 - mixture.floor)
    mean_e_value = error = total = 0.0
    for probability, T, log_q, weights in samples:
        shares = weights / (weights.max() if max_weight is None else max_weight)
        block = (shares * mixture.score(T, log_q), shares[:, None] * T, shares)
        bets = betting.Bets(largest_bet * np.array([0.1, 0.5, 1.0]), np.full(3, 1 / 3))
        average = betting.average_of([block[1]])
        found = betting.least_log_e_value([block], bets, truth, average)
        mean_e_value += probability * math.exp(found.certified)
        bound = margin_lower_bound(
            T, log_q, reference, confidence, sample_weight=weights, max_weight=max_weight
        )
        error += probability * (bound.lower_bound > truth)
        total += probability
    assert total == pytest.approx(1, abs=1e-9)
    return mean_e_value, error


def test_rows_whose_weights_have_a_known_bound():
    # The population is that of the rows, reweighted. Every sample that there can be is listed.
    T = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    log_q = np.log([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    probabilities, weights = np.array([0.5, 0.4, 0.1]), np.array([0.5, 1.0, 2.0])
    reference = np.array([0.5, 0.5])
    truth = margin(T, mixed(log_q, reference), probabilities * weights)

    def samples():
        for counts in counts_of(24, 3):
            yield (
                multinomial(counts, probabilities),
                np.repeat(T, counts, axis=0),
                np.repeat(log_q, counts, axis=0),
                np.repeat(weights, counts),
            )

    mean_e_value, error = exact(samples(), reference, truth, max_weight=2.0)
    assert 0.9 < mean_e_value <= 1
    assert error <= 0.4


def test_the_largest_weight_at_hand_bounds_no_weight_of_the_population():
    # Where rows of a large weight are rare, most samples have none: what they say is of the
    # weights that came, and the bound for the reweighted population wants to know the largest.
    T = np.array([[0.95, 0.05], [0.05, 0.95], [0.95, 0.05]])
    log_q = np.log([[0.95, 0.05], [0.05, 0.95], [0.001, 0.999]])
    probabilities, weights = np.array([0.495, 0.495, 0.01]), np.array([1.0, 1.0, 60.0])
    reference = np.array([0.5, 0.5])
    truth = margin(T, mixed(log_q, reference), probabilities * weights)
    assert truth < 0
    errors = dict.fromkeys((None, 60.0), 0.0)
    for counts in counts_of(40, 3):
        probability = multinomial(counts, probabilities)
        if probability < 1e-9:
            continue
        drawn = [np.repeat(values, counts, axis=0) for values in (T, log_q, weights)]
        for largest in errors:
            found = margin_lower_bound(
                *drawn[:2], reference, 0.6, sample_weight=drawn[2], max_weight=largest
            )
            errors[largest] += probability * (found.lower_bound > truth)
    assert errors[None] > 0.6
    assert errors[60.0] <= 0.4


def test_strata_whose_weights_are_given():
    # Ten rows of one stratum, and ten of another of which there are three times as many.
    T = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95]])
    log_q = np.log([[0.7, 0.3], [0.5, 0.5], [0.15, 0.85], [0.3, 0.7]])
    strata = [np.array([0.7, 0.3, 0, 0]), np.array([0, 0, 0.4, 0.6])]
    weights = np.array([1.0, 1.0, 3.0, 3.0])
    reference, n_rows = np.array([0.5, 0.5]), 10
    truth = margin(T, mixed(log_q, reference), weights * (strata[0] + strata[1]))

    def samples():
        for here, there in itertools.product(range(n_rows + 1), repeat=2):
            counts = np.array([here, n_rows - here, there, n_rows - there])
            probability = multinomial(counts[:2], strata[0][:2])
            probability *= multinomial(counts[2:], strata[1][2:])
            yield (
                probability,
                np.repeat(T, counts, axis=0),
                np.repeat(log_q, counts, axis=0),
                np.repeat(weights, counts),
            )

    mean_e_value, error = exact(samples(), reference, truth, max_weight=None)
    assert 0.9 < mean_e_value <= 1
    assert error <= 0.4


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.8, 0.3]])
def test_fixed_rows_of_given_weights_whose_codes_are_drawn(shares):
    # With equal shares the encoder is constant, and certified no more often than it may be.
    T = np.array([[1.0, 0.0], [0.0, 1.0]])
    log_q = np.log([[0.5, 0.5], [0.1, 0.9]])
    reference, n_copies, weights = np.array([0.6, 0.4]), 8, np.array([1.0, 2.5])
    codes = np.stack([[share, 1 - share] for share in shares])
    average = weights @ T / weights.sum()
    scores = codes @ mixed(log_q, reference)
    truth = weights @ (T * (scores - np.log(average))).sum(axis=1) / weights.sum()
    assert (truth <= 0) == (shares[0] == shares[1])

    def samples():
        for first, second in itertools.product(range(n_copies + 1), repeat=2):
            counts = np.array([[first, n_copies - first], [second, n_copies - second]])
            probability = math.prod(map(multinomial, counts, codes))
            drawn = np.repeat([0, 1, 0, 1], counts.ravel())
            yield (
                probability,
                np.repeat(T, n_copies, axis=0),
                log_q[drawn],
                np.repeat(weights, n_copies),
            )

    mean_e_value, error = exact(samples(), reference, max(truth, 0.0), max_weight=None)
    assert 0.75 < mean_e_value <= 1
    assert error <= 0.4


def test_the_normal_approximation_errs_about_as_often_as_it_says():
    T, log_q, _ = rows(40)
    rng = np.random.default_rng(0)
    weights, reference = rng.exponential(size=40), np.full(4, 0.25)
    truth = margin(T, mixed(log_q, reference), weights)
    errors = 0
    for _ in range(600):
        drawn = rng.integers(0, 40, 400)
        found = margin_lower_bound(
            T[drawn], log_q[drawn], reference, 0.8, 0.02, "normal", weights[drawn]
        )
        errors += found.lower_bound > truth
    # Three standard errors are 5%.
    assert 0.13 < errors / 600 < 0.26


def test_the_slack_is_that_of_the_effective_number_of_rows():
    # Kish's: the square of the sum of the weights over the sum of their squares.
    T, log_q, _ = rows(50)
    rng = np.random.default_rng(0)
    weights, reference = rng.choice([1.0, 4.0], 50), np.full(4, 0.25)
    drawn = rng.integers(0, 50, 4000)
    found = margin_lower_bound(T[drawn], log_q[drawn], reference, sample_weight=weights[drawn])
    slack = margin(T[drawn], mixed(log_q[drawn], reference), weights[drawn]) - found.lower_bound
    n_effective = round(weights[drawn].sum() ** 2 / np.square(weights[drawn]).sum())
    by_weight = rng.choice(50, n_effective, p=weights / weights.sum())
    plain = margin_lower_bound(T[by_weight], log_q[by_weight], reference)
    of_plain = margin(T[by_weight], mixed(log_q[by_weight], reference)) - plain.lower_bound
    assert n_effective < 3500
    assert slack == pytest.approx(of_plain, rel=0.15)


def test_a_maximum_below_a_weight_is_refused():
    T, log_q, weights = rows()
    for largest in (2.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="largest of these rows is 3"):
            margin_lower_bound(
                T, log_q, np.full(4, 0.25), sample_weight=weights, max_weight=largest
            )
