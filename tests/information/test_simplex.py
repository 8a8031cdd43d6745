"""The simplex witness on paper: closed forms, autograd, and the design of a margin."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from skvae.information import (
    alignment_cost,
    best_constant_student,
    design_alpha,
    margin,
    teacher_information,
)
from skvae.information.simplex import (
    analytic_code,
    escape_force,
    log_odds_energy,
    margin_energy_path,
    simplex_vertices,
)

ALL_K = range(2, 201)


def distributions(n_components, n_samples=40, seed=0, unbalanced=True):
    rng = np.random.default_rng(seed)
    concentration = np.linspace(0.3, 3.0, n_components) if unbalanced else 0.5
    T = rng.dirichlet(np.broadcast_to(concentration, n_components), n_samples)
    return 0.99 * T + 0.01 / n_components


def read(codes, scale, average=None):
    """Log probabilities of the simplex witness, straight from its definition."""
    logits = scale * codes @ simplex_vertices(codes.shape[1] + 1)
    if average is not None:
        logits = logits + np.log(average)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("n_components", ALL_K)
def test_vertices_are_those_of_a_regular_simplex(n_components):
    S = simplex_vertices(n_components)
    assert S.shape == (n_components - 1, n_components)
    centring = np.eye(n_components) - 1 / n_components
    np.testing.assert_allclose(
        S.T @ S, n_components / (n_components - 1) * centring, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(S.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("n_components", ALL_K)
@pytest.mark.parametrize("biased", [False, True])
def test_analytic_codes_are_read_without_error(n_components, biased):
    T = distributions(n_components)
    average = best_constant_student(T) if biased else None
    for scale in (0.5, 3.0):
        codes = analytic_code(T, scale, average)
        assert alignment_cost(T, read(codes, scale, average)) < 1e-10


@pytest.mark.parametrize("n_components", ALL_K)
def test_energy_of_the_codes_is_that_of_the_log_odds(n_components):
    T = distributions(n_components)
    for scale, average in ((1.0, None), (2.5, best_constant_student(T))):
        codes = analytic_code(T, scale, average)
        expected = (
            (n_components - 1) / (2 * n_components * scale**2) * log_odds_energy(T, average)
        )
        found = np.square(codes).sum(axis=1).mean() / 2
        assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n_components", ALL_K)
@pytest.mark.parametrize("unbalanced", [False, True])
def test_margin_path_ends_where_theory_says(n_components, unbalanced):
    T = distributions(n_components, unbalanced=unbalanced)
    average = best_constant_student(T)
    margins, energies = margin_energy_path(T, [0.0, 1.0])
    to_uniform = np.sum(average * np.log(average * n_components))
    np.testing.assert_allclose(margins, [-to_uniform, teacher_information(T)], atol=1e-10)
    assert energies[0] == 0
    margins, _ = margin_energy_path(T, [0.0, 1.0], average_teacher=average)
    np.testing.assert_allclose(margins, [0.0, teacher_information(T)], atol=1e-10)


@given(st.integers(2, 12), st.floats(0.0, 1.0), st.floats(0.1, 10.0), st.booleans())
def test_margin_path_is_that_of_the_shrunken_codes(n_components, alpha, scale, biased):
    T = distributions(n_components)
    average = best_constant_student(T) if biased else None
    margins, energies = margin_energy_path(T, [alpha], scale, average)
    codes = alpha * analytic_code(T, scale, average)
    assert margins[0] == pytest.approx(margin(T, read(codes, scale, average)), abs=1e-10)
    assert energies[0] == pytest.approx(np.square(codes).sum(axis=1).mean() / 2, rel=1e-10)


@pytest.mark.parametrize("n_components", [2, 3, 10, 200])
def test_force_is_the_gradient_of_the_alignment(n_components):
    T = distributions(n_components)
    scale = 1.7
    rng = np.random.default_rng(1)
    codes = torch.tensor(rng.standard_normal((len(T), n_components - 1)), requires_grad=True)
    log_q = torch.log_softmax(scale * codes @ torch.tensor(simplex_vertices(n_components)), 1)
    target = torch.tensor(T)
    (target * (target.log() - log_q)).sum().backward()
    np.testing.assert_allclose(
        escape_force(T, log_q.detach().numpy(), scale), -codes.grad.numpy(), atol=1e-12
    )


def test_collapsed_codes_feel_a_force_unless_the_teacher_is_constant():
    T = distributions(5)
    collapsed = np.tile(np.log(T.mean(axis=0)), (len(T), 1))
    force = escape_force(T, collapsed, scale=2.0)
    # S'S is a multiple of the identity on vectors that sum to zero.
    difference = T - T.mean(axis=0)
    np.testing.assert_allclose(
        np.square(force).sum(axis=1), 4 * 5 / 4 * np.square(difference).sum(axis=1), rtol=1e-10
    )
    constant = np.tile(T.mean(axis=0), (len(T), 1))
    np.testing.assert_allclose(escape_force(constant, collapsed, scale=2.0), 0, atol=1e-15)


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("biased", [False, True])
def test_design_minimises_what_it_says(weight, biased):
    T = distributions(6)
    average = best_constant_student(T) if biased else None
    scale, beta = 1.5, 2.0
    design = design_alpha(T, scale, beta, weight, average)

    def objective(alpha):
        margins, energies = margin_energy_path(T, [alpha], scale, average)
        return float(-weight * margins[0] + beta * energies[0])

    best = minimize_scalar(objective, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    assert design.alpha == pytest.approx(best.x, abs=1e-5)
    margins, energies = margin_energy_path(T, [design.alpha], scale, average)
    assert (design.margin, design.rate) == pytest.approx((margins[0], energies[0]), rel=1e-12)
    assert design.variance == 1


@given(st.floats(0.3, 8.0), st.floats(0.1, 8.0), st.floats(0.1, 100.0))
def test_margin_of_a_design_at_a_sample_is_below_that_of_its_posterior(scale, beta, weight):
    T = distributions(4, n_samples=15)
    average = best_constant_student(T)
    design = design_alpha(T, scale, beta, weight, average, latent="sample")
    codes = design.alpha * analytic_code(T, scale, average)
    noise = np.random.default_rng(0).standard_normal((200, *codes.shape))
    # Antithetic, so that the terms linear in the noise vanish as they do in expectation.
    draws = np.concatenate([noise, -noise]) * np.sqrt(design.variance) + codes
    found = np.mean([margin(T, read(draw, scale, average)) for draw in draws])
    assert found > design.margin - 0.02 * min(1.0, scale**2 * design.variance)
    variance = design.variance
    rate = np.mean(0.5 * (np.square(codes) + variance - 1 - np.log(variance)).sum(axis=1))
    assert design.rate == pytest.approx(rate, rel=1e-9)


def test_design_at_a_sample_has_the_best_variance_for_its_bound():
    T = distributions(5)
    scale, beta, weight = 1.3, 2.0, 7.0
    design = design_alpha(T, scale, beta, weight, latent="sample")

    def price(variance):
        return weight * scale**2 * variance / 2 + beta * 4 / 2 * (
            variance - 1 - np.log(variance)
        )

    best = minimize_scalar(price, bounds=(1e-6, 1), method="bounded", options={"xatol": 1e-10})
    assert design.variance == pytest.approx(best.x, rel=1e-4)


@given(st.floats(0.3, 8.0), st.floats(0.1, 8.0), st.floats(0.1, 100.0))
def test_proved_margin_follows_from_that_of_the_design(scale, beta, weight):
    T = distributions(4, n_samples=15)
    at_mean, at_sample = (
        design_alpha(T, scale, beta, weight, T.mean(axis=0), latent)
        for latent in ("mean", "sample")
    )
    worth = weight * at_mean.margin - beta * at_mean.rate
    assert at_mean.proved_margin == pytest.approx(worth / weight, abs=1e-12)
    # No worth at a sample is positive unless alignment weighs more than the rate.
    worth = weight * at_sample.margin - beta * at_sample.rate
    expected = worth / (weight - beta) if worth > 0 else worth / weight
    assert at_sample.proved_margin == pytest.approx(expected, abs=1e-9)
    assert at_mean.proved_margin <= at_mean.margin
    assert at_sample.proved_margin <= at_sample.margin


@pytest.mark.parametrize(
    ("scale", "beta", "weight", "tight"),
    [
        (2.0, 1.0, 10.0, 0.02),
        (1.0, 1.0, 30.0, 0.03),
        (3.0, 2.0, 5.0, 0.15),
        (2.0, 1.0, 0.5, 0.03),
    ],
)
def test_no_code_that_costs_no_more_has_less_than_the_proved_margin(scale, beta, weight, tight):
    # The least margin of all Gaussian codes of two rows and two components, by quadrature.
    T = np.array([[0.99, 0.01], [0.01, 0.99]])
    design = design_alpha(T, scale, beta, weight, T.mean(axis=0), latent="sample")
    nodes, shares = np.polynomial.hermite_e.hermegauss(60)
    shares = shares / shares.sum()

    def margin_and_rate(parameters):
        mean, log_variance = parameters[:2, np.newaxis], parameters[2:, np.newaxis]
        draws = (mean + np.exp(log_variance / 2) * nodes).reshape(-1, 1)
        log_q = read(draws, scale).reshape(2, -1, 2)
        scores = np.einsum("ik,ijk,j->i", T, log_q, shares)
        variance = np.exp(log_variance)
        rate = np.mean(0.5 * (mean**2 + variance - 1 - log_variance))
        return np.mean(scores) + np.log(2), rate

    def excess(parameters):
        found, rate = margin_and_rate(parameters)
        return weight * (found - design.margin) - beta * (rate - design.rate)

    codes = design.alpha * analytic_code(T, scale)[:, 0]
    start = np.concatenate([codes, np.full(2, np.log(design.variance))])
    least = minimize(
        lambda parameters: margin_and_rate(parameters)[0],
        start,
        constraints={"type": "ineq", "fun": excess},
        method="SLSQP",
    )
    assert excess(least.x) > -1e-6
    assert design.proved_margin - 1e-6 <= least.fun <= design.proved_margin + tight


def test_an_optimum_may_have_less_than_the_designed_margin():
    # At the mean each row has a code of its own that is best for the objective.
    T = np.array([[0.6, 0.4], [0.5, 0.5], [0.45, 0.55]])
    average = T.mean(axis=0)
    design = design_alpha(T, 1.0, 1.0, 30.0, average)

    def cost(code, row):
        return code**2 / 2 - 30 * row @ read(np.array([[code]]), 1.0, average)[0]

    codes = np.array([minimize_scalar(cost, args=(row,)).x for row in T])
    optimum = margin(T, read(codes[:, np.newaxis], 1.0, average))
    assert design.proved_margin <= optimum < design.margin


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 2.0, 1e4, 1e6])
@pytest.mark.parametrize("beta", [0.0, 1e-8, 1.0, 1e300])
def test_design_is_plain_and_finite_at_every_scale(scale, beta):
    T = distributions(5)
    design = design_alpha(T, scale, beta, 10.0, T.mean(axis=0), latent="sample")
    assert all(type(value) is float and np.isfinite(value) for value in design)
    if beta == 0:
        # All of the information, but for what a variance that is not quite zero costs.
        assert 0 <= teacher_information(T) - design.margin <= 1e-6


def test_design_without_alignment_is_the_origin_and_without_prior_the_whole_code():
    T = distributions(5)
    assert design_alpha(T, alignment_weight=0.0).alpha == 0
    assert design_alpha(T, alignment_weight=0.0).proved_margin == -np.inf
    assert design_alpha(T, beta=0.0).alpha == 1
    assert design_alpha(T, beta=0.0).margin == pytest.approx(teacher_information(T))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simplex_vertices(1), "at least 2 vertices, got 1"),
        (lambda: analytic_code([[1.0, 0.0]]), r"1 probabilities of exactly 0.*floor"),
        (lambda: log_odds_energy([[1.0]]), "one component is constant"),
        (lambda: analytic_code([[0.5, 0.5]], scale=0.0), "from 1e-06 to 1e[+]06, got 0.0"),
        (lambda: analytic_code([[0.5, 0.5]], 1.0, [0.2, 0.3, 0.5]), "2 positive probabilities"),
        (lambda: analytic_code([[0.5, 0.5]], 1.0, [0.0, 1.0]), "2 positive probabilities"),
        (lambda: analytic_code([[0.5, 0.5]], 1.0, [1.0, 1.0]), "that sum to one"),
        (lambda: design_alpha([[0.5, 0.5]], beta=np.nan), "must be finite"),
        (lambda: escape_force([[0.5, 0.5]], [[0.0, 0.0]]), "must sum to one"),
        (lambda: design_alpha([[0.5, 0.5]], beta=0, alignment_weight=0), "not both 0"),
        (lambda: design_alpha([[0.5, 0.5]], latent="median"), "'mean' or 'sample'"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
