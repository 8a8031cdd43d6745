"""Lower bounds on the population's margin: closed forms, properties, and their errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import expit, gammaln, xlogy

from skvae.information import MarginBound, SequentialMargin, betting, margin, margin_lower_bound
from skvae.information import bound as bound_module
from skvae.information.statistics import BLOCK_ROWS

LOG_20 = math.log(20)
METHODS = ["e-value", "normal"]


def _mixed(log_q, reference, mixing=0.02):
    return np.log((1 - mixing) * np.exp(log_q) + mixing * np.asarray(reference))


def _log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _clusters(rng, n_samples, n_components=10, noise=0.7):
    """Rows in soft clusters, and a witness that blurs them."""
    logits = rng.standard_normal((n_samples, n_components))
    logits[np.arange(n_samples), rng.integers(0, n_components, n_samples)] += 4
    log_T = _log_softmax(logits)
    log_q = _log_softmax(0.7 * log_T + noise * rng.standard_normal(logits.shape))
    return np.exp(log_T), log_q


def _uniform(n_components):
    return np.full(n_components, 1 / n_components)


@st.composite
def rows(draw):
    n_samples, n_components = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    weights = draw(
        arrays(np.float64, (n_samples, n_components), elements=st.sampled_from([0, 0.1, 1, 5]))
    )
    weights[:, 0] += weights.sum(axis=1) == 0
    logits = draw(
        arrays(np.float64, (n_samples, n_components), elements=st.floats(-30, 30, width=16))
    )
    return weights / weights.sum(axis=1, keepdims=True), _log_softmax(logits)


# Closed forms


def test_one_bet_on_equal_rows():
    # A perfect witness of two equally frequent one-hot components: every row's margin is
    # d = log q' + log 2 at the average (1/2, 1/2), where the least return is by symmetry.
    n_samples, mixing = 400, 0.02
    T = np.tile(np.eye(2), (n_samples // 2, 1))
    log_q = np.log(np.clip(T, 1e-300, 1))
    d = math.log(1 - mixing / 2) + math.log(2)
    floor = math.log(mixing) - math.log(2)
    wanted = math.sqrt(2 * LOG_20 / n_samples) / bound_module.BET_SPREADS
    bets = np.minimum(wanted, 1 / (1 - floor))
    expected = math.log(bound_module.BET_SHARES @ (1 + bets * d) ** n_samples)
    found = margin_lower_bound(T, log_q, [0.5, 0.5], mixing=mixing)
    assert found.log_e_value == pytest.approx(expected, abs=1e-5)
    bets = np.minimum(wanted, 1 / (found.lower_bound + 1 - floor))
    returned = bound_module.BET_SHARES @ (1 + bets * (d - found.lower_bound)) ** n_samples
    assert math.log(returned) == pytest.approx(LOG_20, abs=2e-5)


def test_normal_bound_is_the_sample_margin_less_its_error():
    T, log_q = _clusters(np.random.default_rng(0), 300, 4)
    mixed = _mixed(log_q, _uniform(4))
    row_margins = (T * (mixed - np.log(T.mean(axis=0)))).sum(axis=1)
    expected = row_margins.mean() - 1.6448536269514722 * row_margins.std(ddof=1) / math.sqrt(
        300
    )
    found = margin_lower_bound(T, log_q, _uniform(4), method="normal")
    assert found == MarginBound(pytest.approx(expected, abs=1e-12), None)


def test_one_component_carries_nothing():
    for n_samples in (1, 50, 5_000):
        ones = np.ones((n_samples, 1))
        found = margin_lower_bound(ones, 0 * ones, [1.0])
        assert found.lower_bound <= 0
        assert found.log_e_value == pytest.approx(0, abs=1e-9)
        assert found.log_e_value <= 0


@pytest.mark.parametrize("method", METHODS)
def test_one_row_says_nothing(method):
    T = np.array([[1.0, 0.0, 0.0]])
    found = margin_lower_bound(T, np.log(T + 1e-9), [0.2, 0.3, 0.5], method=method)
    assert found.lower_bound == pytest.approx(math.log(0.02) + math.log(0.2), abs=1e-12)


@pytest.mark.parametrize("n_samples", [2, 5, 100])
def test_rows_of_one_component_say_that_nothing_is_told_apart(n_samples):
    T = np.tile([[1.0, 0.0, 0.0]], (n_samples, 1))
    found = margin_lower_bound(T, np.log(T + 1e-9), [0.2, 0.3, 0.5])
    assert found.lower_bound < 0
    assert found.log_e_value <= 0


# Properties


@given(rows(), st.sampled_from([0.5, 0.8, 0.95, 0.999]), st.sampled_from([0.001, 0.02, 0.5]))
def test_lies_between_the_floor_and_the_margin_of_the_mixed_witness(pair, confidence, mixing):
    T, log_q = pair
    reference = _uniform(T.shape[1])
    found = margin_lower_bound(T, log_q, reference, confidence, mixing)
    assert found.lower_bound <= margin(T, _mixed(log_q, reference, mixing)) + 1e-12
    assert found.lower_bound >= math.log(mixing) - math.log(T.shape[1]) - 1e-12
    assert (found.lower_bound >= 0) == (found.log_e_value >= math.log(1 / (1 - confidence)))


@given(rows(), st.integers(0, 2**32 - 1))
def test_order_and_names_of_components_do_not_matter(pair, seed):
    T, log_q = pair
    rng = np.random.default_rng(seed)
    reference = 0.9 * rng.dirichlet(np.ones(T.shape[1])) + 0.1 / T.shape[1]
    order, names = rng.permutation(len(T)), rng.permutation(T.shape[1])
    found = margin_lower_bound(T, log_q, reference)
    again = margin_lower_bound(T[order][:, names], log_q[order][:, names], reference[names])
    assert again.lower_bound == pytest.approx(found.lower_bound, abs=1e-4)
    assert again.log_e_value == pytest.approx(found.log_e_value, abs=1e-3)


@given(
    st.integers(1, 60),
    st.integers(1, 5).flatmap(
        lambda k: arrays(np.float64, k, elements=st.floats(-20, 20, width=16))
    ),
    st.integers(0, 2**32 - 1),
)
def test_no_constant_witness_ever_has_evidence(n_samples, logits, seed):
    # Its mixture is one of the averages over which the least return is taken, and there
    # every bet returns exactly its stake.
    rng = np.random.default_rng(seed)
    T = rng.dirichlet(np.full(len(logits), 0.3), n_samples)
    log_q = np.tile(_log_softmax(logits[np.newaxis]), (n_samples, 1))
    found = margin_lower_bound(T, log_q, _uniform(len(logits)))
    assert found.log_e_value <= 0
    assert found.lower_bound < 0
    watched = SequentialMargin(_uniform(len(logits))).update(T, log_q)
    assert watched.log_e_value <= 0


def test_more_confidence_costs_a_lower_bound():
    T, log_q = _clusters(np.random.default_rng(0), 500)
    for method in METHODS:
        bounds = [
            margin_lower_bound(T, log_q, _uniform(10), confidence, method=method).lower_bound
            for confidence in (0.8, 0.95, 0.99)
        ]
        assert bounds == sorted(bounds, reverse=True)


def test_more_rows_tighten():
    rng = np.random.default_rng(0)
    means = []
    for n_samples in (50, 200, 800, 3_200):
        samples = [_clusters(rng, n_samples) for _ in range(5)]
        means.append(
            np.mean([margin_lower_bound(*pair, _uniform(10)).lower_bound for pair in samples])
        )
    assert means == sorted(means)


@pytest.mark.parametrize("seed", range(5))
def test_repeated_rows_tighten(seed):
    # As a formula; as evidence they would be worth nothing, rows being independent no more.
    T, log_q = _clusters(np.random.default_rng(seed), 100)
    once = margin_lower_bound(T, log_q, _uniform(10)).lower_bound
    twice = margin_lower_bound(np.tile(T, (2, 1)), np.tile(log_q, (2, 1)), _uniform(10))
    assert once < twice.lower_bound


def test_components_that_no_row_uses_change_nothing_but_the_floor():
    T, log_q = _clusters(np.random.default_rng(0), 1_000, 3)
    none = np.zeros((len(T), 1))
    padded = margin_lower_bound(
        np.hstack([T, none]),
        np.hstack([log_q, none - 800]),
        [0.3, 0.3, 0.3, 0.1],
    )
    plain = margin_lower_bound(T, log_q, _uniform(3))
    assert padded.lower_bound == pytest.approx(plain.lower_bound, abs=5e-3)


def test_components_of_next_to_no_weight_do_no_harm():
    T, log_q = _clusters(np.random.default_rng(0), 500, 3)
    T = np.hstack([T, np.full((500, 1), 1e-310)])
    log_q = np.hstack([log_q, np.full((500, 1), -800.0)])
    found = margin_lower_bound(T, log_q, _uniform(4))
    assert 0.3 < found.lower_bound < margin(T, _mixed(log_q, _uniform(4)))


def test_rows_in_blocks_of_single_precision_from_a_file(tmp_path):
    T, log_q = _clusters(np.random.default_rng(0), 2 * BLOCK_ROWS + 5, 3)
    expected = margin_lower_bound(T, log_q, _uniform(3))
    mapped = []
    for name, values in (("T", T), ("log_q", log_q)):
        np.save(tmp_path / name, values.astype(np.float32))
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    found = margin_lower_bound(*mapped, _uniform(3))
    assert found.lower_bound == pytest.approx(expected.lower_bound, abs=1e-6)


# The least e-value


@pytest.mark.parametrize("n_components", [2, 3, 6])
@pytest.mark.parametrize("n_samples", [3, 40, 400])
@pytest.mark.parametrize("m", [-0.5, 0.0, 0.4])
def test_the_certified_minimum_is_the_minimum(n_components, n_samples, m):
    rng = np.random.default_rng(n_components * n_samples)
    T, log_q = _clusters(rng, n_samples, n_components)
    mixture = betting.Mixture(_uniform(n_components), 0.02)
    score = mixture.score(T, log_q)
    largest = 1 / (m + 1 - mixture.floor)
    bets = betting.Bets(largest * np.array([0.1, 0.5, 1.0]), np.full(3, 1 / 3))
    start = T.mean(axis=0)
    certified = betting.least_log_e_value([(score, T, None)], bets, m, start).certified

    def log_e_value(logits):
        log_c = logits - np.logaddexp.reduce(logits)
        beyond = score - T @ log_c - m
        returns = np.log1p(bets.sizes[:, None] * beyond).sum(axis=1)
        return np.logaddexp.reduce(returns) - math.log(3)

    found = min(
        minimize(log_e_value, np.log(begin), options={"gtol": 1e-8}).fun
        for begin in [start, *rng.dirichlet(np.ones(n_components), 5)]
    )
    assert found - 1e-3 <= certified <= found + 1e-9


class CountedPasses(list):
    n_passes = 0

    def __iter__(self):
        self.n_passes += 1
        return super().__iter__()


@pytest.mark.parametrize("seed", range(6))
def test_the_minimum_is_found_to_the_last_digits_in_a_few_passes(seed):
    T, log_q = _clusters(np.random.default_rng(seed), 2000, noise=2.0)
    mixture = betting.Mixture(_uniform(10), 0.02)
    blocks = CountedPasses([(mixture.score(T, log_q), T, None)])
    bets = betting.Bets(np.array([0.02, 0.05, 0.13]), np.full(3, 1 / 3))
    found = betting.least_log_e_value(blocks, bets, 0.0, T.mean(axis=0), tolerance=0.0)
    assert found.gap <= found.rounding < 1e-8
    # Steps by slopes that are rounding took up to 60.
    assert blocks.n_passes <= 8


def test_what_is_certified_is_below_the_minimum_however_early_it_stops():
    T, log_q = _clusters(np.random.default_rng(0), 200, 4)
    mixture = betting.Mixture(_uniform(4), 0.02)
    blocks = [(mixture.score(T, log_q), T, None)]
    bets = betting.Bets(np.array([0.02, 0.1]), np.array([0.5, 0.5]))
    least = betting.least_log_e_value(blocks, bets, 0.2, T.mean(axis=0)).certified
    for average in np.random.default_rng(1).dirichlet(np.ones(4), 200):
        payoff = betting._payoff(blocks, bets, 0.2, average)
        assert payoff.certified <= least + 1e-5 <= payoff.value + 2e-5


@settings(max_examples=30)
@given(rows())
def test_returns_fall_with_the_margin_claimed(pair):
    T, log_q = pair
    reference = _uniform(T.shape[1])
    floor = betting.Mixture(reference, 0.02).floor
    values = [
        SequentialMargin(reference, null_margin=m).update(T, log_q).log_e_value
        for m in np.linspace(floor + 1e-6, 1.0, 6)
    ]
    assert np.all(np.diff(values) <= 1e-4 * (1 + np.abs(values[:-1])))


# Validity


def test_a_useless_witness_is_rarely_credited():
    # Not constant, but with margin 0 in the population: its log odds are scaled until what
    # it gains on some rows it loses on others. Rows are drawn from a finite population.
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 500, 3, noise=1.5)
    reference = T.mean(axis=0)
    low, high = 1.0, 50.0
    for _ in range(60):
        scale = (low + high) / 2
        useless = margin(T, _mixed(_log_softmax(scale * log_q), reference)) < 0
        low, high = (low, scale) if useless else (scale, high)
    log_q = _log_softmax(high * log_q)
    assert margin(T, _mixed(log_q, reference)) == pytest.approx(0, abs=1e-9)
    runs = []
    for _ in range(1_000):
        drawn = rng.integers(0, len(T), 100)
        runs.append(margin_lower_bound(T[drawn], log_q[drawn], reference))
    assert np.mean([run.log_e_value >= LOG_20 for run in runs]) <= 0.05
    assert np.mean([run.lower_bound > 0 for run in runs]) <= 0.05
    assert np.mean([math.exp(run.log_e_value) for run in runs]) <= 1.2


def test_rows_on_which_the_witness_is_sure_and_wrong():
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 5_000, 4)
    log_q[:50] = _log_softmax(20 * np.eye(4)[T[:50].argmin(axis=1)])
    reference = T.mean(axis=0)
    truth = margin(T, _mixed(log_q, reference))
    errors = 0
    for _ in range(300):
        drawn = rng.integers(0, len(T), 200)
        found = margin_lower_bound(T[drawn], log_q[drawn], reference)
        errors += found.lower_bound > truth
    assert errors <= 15


def test_below_the_information_of_a_linear_gaussian_code():
    # X ~ N(0, 1), T(1|x) = sigmoid(6 x), and the code Z, scaled, has correlation r with X.
    r = 2 / math.sqrt(5)
    grid = np.linspace(-8, 8, 801)
    normal = np.exp(-(grid**2) / 2)
    normal /= normal.sum()
    x_given_z = r * grid[:, np.newaxis] + math.sqrt(1 - r**2) * grid
    optimal = expit(6 * x_given_z) @ normal
    # By symmetry both components add the same, and neither needs 1 - p.
    information = math.log(2) + 2 * normal @ (optimal * np.log(optimal))
    rng = np.random.default_rng(0)
    x = rng.standard_normal(100_000)
    z = r * x + math.sqrt(1 - r**2) * rng.standard_normal(len(x))
    T, q = (
        np.stack([1 - second, second], axis=1)
        for second in (expit(6 * x), np.interp(z, grid, optimal))
    )
    found = margin_lower_bound(T, np.log(q), [0.5, 0.5])
    assert 0.9 * information < found.lower_bound < information


def test_the_slack_is_what_the_documentation_says():
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 20_000)
    truth = margin(T, _mixed(log_q, _uniform(10)))
    for n_samples, most in ((500, 0.08), (2_000, 0.03)):
        slacks = []
        for _ in range(40):
            drawn = rng.integers(0, len(T), n_samples)
            found = margin_lower_bound(T[drawn], log_q[drawn], _uniform(10))
            slacks.append(truth - found.lower_bound)
        assert 0 < np.mean(slacks) < 1.1 * most


# Rows that are not drawn alike. There are few kinds of rows, so that every sample there can be
# is a list of how often each comes, and its probability is known: the means are exact.


def _counts(total, n_kinds):
    """Yield all ways in which so many rows can be of so many kinds."""
    for bars in itertools.combinations(range(total + n_kinds - 1), n_kinds - 1):
        edges = [-1, *bars, total + n_kinds - 1]
        yield np.diff(edges) - 1


def _multinomial(counts, probabilities):
    log_ways = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    return math.exp(log_ways + xlogy(counts, probabilities).sum())


def _hypergeometric(counts, available):
    def log_ways(n, k):
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    if (counts > available).any():
        return 0.0
    of_all = log_ways(available.sum(), counts.sum())
    return math.exp(log_ways(available, counts).sum() - of_all)


def _mean_e_value_and_error(samples, reference, truth, confidence=0.6):
    """Take exact means over samples: probability, teacher and draws of the student.

    The e-value is against the margin that is the true one; an error is a bound above it.
    """
    mean_e_value = error = total = 0.0
    for probability, T, log_q in samples:
        watch = SequentialMargin(reference, null_margin=truth).update(T, log_q)
        mean_e_value += probability * math.exp(watch.log_e_value)
        found = margin_lower_bound(T, log_q, reference, confidence)
        error += probability * (found.lower_bound > truth)
        total += probability
    assert total == pytest.approx(1, abs=1e-9)
    return mean_e_value, error


def test_rows_that_are_independent_but_not_alike():
    # Twelve rows from each of two sites, each of two kinds. The margin that is bounded is the
    # one of the mixture of the sites, with its average teacher.
    T = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95]])
    log_q = np.log([[0.7, 0.3], [0.5, 0.5], [0.15, 0.85], [0.3, 0.7]])
    sites = [np.array([0.7, 0.3, 0, 0]), np.array([0, 0, 0.4, 0.6])]
    reference, n_rows = np.array([0.5, 0.5]), 12
    mixture = (sites[0] + sites[1]) / 2
    average = mixture @ T
    row_margins = (T * (_mixed(log_q, reference) - np.log(average))).sum(axis=1)
    truth = mixture @ row_margins
    # At this average one site is above the margin of the mixture, the other below.
    assert sites[0] @ row_margins > truth + 0.1 > sites[1] @ row_margins + 0.2

    def samples():
        for here, there in itertools.product(range(n_rows + 1), repeat=2):
            counts = np.array([here, n_rows - here, there, n_rows - there])
            probability = math.prod(
                _multinomial(counts[kinds], site[kinds])
                for site, kinds in zip(sites, (slice(2), slice(2, 4)), strict=True)
            )
            yield probability, np.repeat(T, counts, axis=0), np.repeat(log_q, counts, axis=0)

    mean_e_value, error = _mean_e_value_and_error(samples(), reference, truth)
    assert 0.9 < mean_e_value <= 1
    assert error <= 0.4


def test_rows_drawn_without_replacement():
    # Fourteen of a list of twenty: the bound is one on the margin of the list.
    T = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    log_q = np.log([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    available, n_rows = np.array([9, 7, 4]), 14
    reference = np.array([0.5, 0.5])
    rows = [np.repeat(values, available, axis=0) for values in (T, _mixed(log_q, reference))]
    truth = margin(*rows)

    def samples():
        for counts in _counts(n_rows, 3):
            probability = _hypergeometric(counts, available)
            yield probability, np.repeat(T, counts, axis=0), np.repeat(log_q, counts, axis=0)

    mean_e_value, error = _mean_e_value_and_error(samples(), reference, truth)
    assert 0.9 < mean_e_value <= 1
    assert error <= 0.4


@pytest.mark.parametrize("n_draws", [1, 2])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.8, 0.3]])
def test_fixed_rows_whose_codes_are_drawn(n_draws, shares):
    # Two rows, each there in several copies with draws of their own, and a code of two values.
    # With equal shares the encoder is constant; the teacher tells the rows apart all the same.
    T = np.array([[1.0, 0.0], [0.0, 1.0]])
    log_q = np.log([[0.7, 0.3], [0.35, 0.65]])
    reference, n_copies = np.array([0.6, 0.4]), 8 // n_draws
    codes = [np.array([share, 1 - share]) for share in shares]
    scores = np.stack(codes) @ _mixed(log_q, reference)
    truth = np.mean((T * (scores - np.log(T.mean(axis=0)))).sum(axis=1))
    assert (truth <= 0) == (shares[0] == shares[1])
    # All that a row's draws can be, and with what probability.
    outcomes = list(itertools.product([0, 1], repeat=n_draws))
    chances = np.array([[code[list(drawn)].prod() for drawn in outcomes] for code in codes])

    def samples():
        for first, second in itertools.product(_counts(n_copies, len(outcomes)), repeat=2):
            probability = _multinomial(first, chances[0]) * _multinomial(second, chances[1])
            drawn = np.repeat(outcomes * 2, np.concatenate([first, second]), axis=0)
            yield probability, np.repeat(T, n_copies, axis=0), log_q[drawn.T]

    mean_e_value, error = _mean_e_value_and_error(samples(), reference, max(truth, 0.0))
    assert 0.9 < mean_e_value <= 1
    assert error <= 0.4


def test_a_constant_encoder_is_not_certified_on_rows_that_all_was_fitted_to():
    # Ten rows, each there in 25 copies, and a teacher that was given the answers. The witness
    # reads noise.
    rng = np.random.default_rng(0)
    T = np.repeat(np.eye(2), 125, axis=0)
    certified = {"own draws": 0, "shared draws": 0}
    for _ in range(200):
        for name, n_codes in (("own draws", 250), ("shared draws", 10)):
            code = np.repeat(rng.standard_normal(n_codes), 250 // n_codes)
            log_q = _log_softmax(0.5 * code[:, np.newaxis] * [1, -1])
            found = margin_lower_bound(T, log_q, [0.5, 0.5])
            certified[name] += found.lower_bound > 0
    assert certified["own draws"] <= 10
    # Copies that share a draw are not what the statement is about.
    assert certified["shared draws"] > 10


# Row by row


def test_batches_of_any_size_give_one_value():
    T, log_q = _clusters(np.random.default_rng(0), 300, 4)
    whole = SequentialMargin(_uniform(4)).update(T, log_q)
    batched = SequentialMargin(_uniform(4))
    for size in (1, 2, 97, 200):
        batched.update(T[batched.n_samples :][:size], log_q[batched.n_samples :][:size])
    assert batched.n_samples == whole.n_samples == 300
    assert batched.log_e_value == pytest.approx(whole.log_e_value, abs=1e-5)
    by_row = SequentialMargin(_uniform(4))
    for T_row, log_q_row in zip(T[:100], log_q[:100], strict=True):
        by_row.update(T_row[np.newaxis], log_q_row[np.newaxis])
    expected = SequentialMargin(_uniform(4)).update(T[:100], log_q[:100]).log_e_value
    assert by_row.log_e_value == pytest.approx(expected, abs=1e-5)
    assert len(by_row._blocks) <= 8


def test_evidence_grows_and_says_which_margin_it_is_against():
    T, log_q = _clusters(np.random.default_rng(0), 400, 4)
    against_nothing, against_half = (
        SequentialMargin(_uniform(4), null_margin=m) for m in (0.0, 0.5)
    )
    assert against_nothing.log_e_value == 0
    against_nothing.update(T[:200], log_q[:200])
    early = against_nothing.log_e_value
    against_nothing.update(T[200:], log_q[200:])
    against_half.update(T, log_q)
    assert 0 < early < against_nothing.log_e_value
    assert against_half.log_e_value < against_nothing.log_e_value


def test_draws_of_a_batch_are_averaged_as_by_the_bound():
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 300, 4)
    draws = np.stack([_log_softmax(log_q + rng.standard_normal(log_q.shape)) for _ in range(3)])
    watch = SequentialMargin(_uniform(4)).update(T[:100], draws[:, :100])
    watch.update(T[100:], list(draws[:, 100:]))
    # A witness of the geometric mean of the mixed ones scores as they do on average.
    scores = np.mean([_mixed(draw, _uniform(4)) for draw in draws], axis=0)
    blocks = [((T * scores).sum(axis=1), T, None)]
    least = betting.least_log_e_value(blocks, watch._bets, 0.0, T.mean(axis=0))
    assert watch.n_samples == 300
    assert watch.log_e_value == pytest.approx(least.certified, abs=1e-4)
    one = SequentialMargin(_uniform(4)).update(T, log_q[np.newaxis])
    assert one.log_e_value == SequentialMargin(_uniform(4)).update(T, log_q).log_e_value
    with pytest.raises(ValueError, match="at least one draw"):
        watch.update(T, draws[:0])


def test_noise_that_comes_again_in_every_batch_is_taken_for_evidence():
    # The codes of two kinds of rows are N(-1/2, 1) and N(1/2, 1), and the witness is too sure.
    nodes, shares = np.polynomial.hermite_e.hermegauss(200)
    too_sure = 0.98 * expit(2.8 * (nodes + 0.5)) + 0.01
    assert -0.02 < shares @ np.log(2 * too_sure) / shares.sum() < 0
    rng = np.random.default_rng(0)
    crossed = {"drawn anew": 0, "the same": 0}
    for _ in range(40):
        same = rng.standard_normal(20)
        for noise_of_batches in crossed:
            watch = SequentialMargin([0.5, 0.5])
            for _ in range(20):
                anew = rng.standard_normal(20)
                noise = anew if noise_of_batches == "drawn anew" else same
                side = rng.integers(0, 2, 20)
                logits = 2.8 * (noise + side - 0.5)[:, np.newaxis] * [-0.5, 0.5]
                watch.update(np.eye(2)[side], _log_softmax(logits))
                if watch.log_e_value >= LOG_20:
                    crossed[noise_of_batches] += 1
                    break
    assert crossed["drawn anew"] <= 2
    assert crossed["the same"] > 4


def test_watching_does_not_raise_the_error():
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 2_000, 3)
    reference = T.mean(axis=0)
    truth = margin(T, _mixed(log_q, reference))
    crossed = 0
    for _ in range(100):
        watch = SequentialMargin(reference, null_margin=truth)
        for _ in range(8):
            drawn = rng.integers(0, len(T), 40)
            if watch.update(T[drawn], log_q[drawn]).log_e_value >= LOG_20:
                crossed += 1
                break
    assert crossed <= 5


# What is refused


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"confidence": 1.0}, "confidence must be a number between 0 and 1, got 1.0"),
        ({"mixing": 0.0}, "mixing must be a number between 0 and 1, got 0.0"),
        ({"method": "bootstrap"}, 'method must be "e-value" or "normal", got \'bootstrap\''),
        ({"reference": [0.5, 0.5]}, "expected 3, got 2"),
        ({"reference": [0.5, 0.5, 0.5]}, "sum to one"),
        ({"reference": [0.5, 0.5, np.nan]}, "finite entries"),
        ({"reference": [0.5, 0.5, 0.0]}, "Mix it with the uniform distribution"),
        ({"reference": [[0.2, 0.3, 0.5]]}, r"shape \(n_components,\), got shape \(1, 3\)"),
        ({"T": np.ones((4, 3))}, "sum to one"),
        ({"T": np.eye(3)}, "same shape"),
    ],
)
def test_refuses(parameters, message):
    T = np.tile(_uniform(3), (4, 1))
    good = {"T": T, "log_q": np.log(T), "reference": _uniform(3)}
    with pytest.raises(ValueError, match=message):
        margin_lower_bound(**{**good, **parameters})


@pytest.mark.parametrize("null_margin", [-5, math.inf, math.nan])
def test_refuses_a_null_margin_out_of_range(null_margin):
    with pytest.raises(ValueError, match=r"null_margin must be finite and above -4\.605 nats"):
        SequentialMargin([0.5, 0.5], null_margin=null_margin)


def test_a_refused_batch_leaves_the_evidence_as_it_was():
    T, log_q = _clusters(np.random.default_rng(0), BLOCK_ROWS + 10, 3)
    watch = SequentialMargin(_uniform(3)).update(T[:100], log_q[:100])
    before = watch.log_e_value
    T[-1] = -1
    with pytest.raises(ValueError, match="must not be negative"):
        watch.update(T, log_q)
    assert (watch.n_samples, watch.log_e_value) == (100, before)


@pytest.mark.parametrize("method", METHODS)
def test_draws_of_a_row_are_averaged_and_rows_stay_the_unit(method):
    rng = np.random.default_rng(0)
    T, log_q = _clusters(rng, 400)
    one = margin_lower_bound(T, log_q, _uniform(10), method=method)
    same = margin_lower_bound(T, np.stack([log_q] * 3), _uniform(10), method=method)
    assert same.lower_bound == pytest.approx(one.lower_bound, abs=1e-9)
    draws = np.stack([_log_softmax(log_q + rng.standard_normal(log_q.shape)) for _ in range(4)])
    several = margin_lower_bound(T, draws, _uniform(10), method=method)
    # One row's scores, averaged by hand: the mixed witness of the average score.
    average = np.mean([_mixed(draw, _uniform(10)) for draw in draws], axis=0)
    sample_margin = np.mean(np.sum(T * (average - np.log(T.mean(axis=0))), axis=1))
    assert several.lower_bound < sample_margin
    alone = [margin_lower_bound(T, draw, _uniform(10), method=method) for draw in draws]
    assert several.lower_bound > np.mean([bound.lower_bound for bound in alone])
    with pytest.raises(ValueError, match="at least one draw"):
        margin_lower_bound(T, draws[:0], _uniform(10), method=method)
