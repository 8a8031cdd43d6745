"""Each loss term against torch.distributions, closed forms and the NumPy side."""

import numpy as np
import pytest
import torch
from torch import distributions as dist

from skvae.information import alignment_cost
from skvae.objective.reconstructions import (
    bernoulli_reconstruction,
    continuous_bernoulli_reconstruction,
    gaussian_reconstruction,
    laplace_reconstruction,
    log_sinhc,
    poisson_reconstruction,
)
from skvae.objective.row_terms import alignment, importance_bound, kl, kl_per_dimension


@pytest.fixture
def normals():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 7, 5, generator=generator, dtype=torch.float64)


def test_gaussian_reconstruction_is_the_negative_log_density(normals):
    x, mean, log_variances = normals
    for log_variance in (log_variances[0], log_variances[0, 0]):
        expected = -dist.Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(dim=1)
        torch.testing.assert_close(gaussian_reconstruction(x, mean, log_variance), expected)


def test_bernoulli_reconstruction_is_the_negative_log_likelihood(normals):
    x, logits = (normals[0] > 0).double(), normals[1]
    expected = -dist.Bernoulli(logits=logits).log_prob(x).sum(dim=1)
    torch.testing.assert_close(bernoulli_reconstruction(x, logits), expected)


def test_laplace_reconstruction_is_the_negative_log_density(normals):
    x, mean, log_variances = normals
    for log_variance in (log_variances[0], log_variances[0, 0]):
        laplace = dist.Laplace(mean, (0.5 * log_variance.exp()).sqrt())
        torch.testing.assert_close(laplace.variance, log_variance.exp().expand(mean.shape))
        expected = -laplace.log_prob(x).sum(dim=1)
        torch.testing.assert_close(laplace_reconstruction(x, mean, log_variance), expected)


def test_poisson_reconstruction_is_the_negative_log_likelihood(normals):
    log_rate = 2 * normals[0]
    x = (30 * normals[1].abs()).round()
    expected = -dist.Poisson(log_rate.exp()).log_prob(x).sum(dim=1)
    torch.testing.assert_close(poisson_reconstruction(x, log_rate), expected)


def test_continuous_bernoulli_reconstruction_is_the_negative_log_density(normals):
    x, logits = torch.sigmoid(normals[0]), 5 * normals[1]
    expected = -dist.ContinuousBernoulli(logits=logits).log_prob(x).sum(dim=1)
    torch.testing.assert_close(continuous_bernoulli_reconstruction(x, logits), expected)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_log_sinhc_keeps_its_digits_everywhere(dtype, error):
    x = torch.cat([torch.logspace(-8, 2, 400), torch.linspace(0.4, 0.6, 201)]).to(dtype)
    # Euler's product over n of 1 + (x / (pi n))^2 where the closed form cancels.
    wide = x.double()
    n = torch.arange(1, 20_001, dtype=torch.float64)[:, None]
    head = torch.log1p((wide / (np.pi * n)).square()).sum(dim=0)
    tail = wide.square() / np.pi**2 / 20_000.5
    closed = wide - torch.log(2 * wide) + torch.log1p(-torch.exp(-2 * wide))
    expected = torch.where(wide < 2, head + tail, closed)
    found = log_sinhc(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=10 * error, atol=error)
    assert torch.equal(log_sinhc(-x), found)


def test_gradient_of_the_continuous_bernoulli_is_its_mean_less_x():
    logits = torch.tensor([[-1e4, -3.0, -1e-3, 0.0, 1e-3, 3.0, 1e4]], requires_grad=True)
    x = torch.full_like(logits, 0.25)
    continuous_bernoulli_reconstruction(x, logits).sum().backward()
    half = 0.5 * logits.detach().double()
    langevin = torch.where(half.abs() < 0.01, half / 3, 1 / torch.tanh(half) - 1 / half)
    mean = 0.5 * (1 + langevin.nan_to_num())
    torch.testing.assert_close(logits.grad.double(), mean - 0.25, atol=1e-6, rtol=1e-6)


@pytest.fixture
def linear_gaussian():
    """One column x = z + noise of variance 0.4: rows, and log p(x)."""
    x = torch.linspace(-3, 3, 11, dtype=torch.float64)[:, None]
    log_density = dist.Normal(0.0, torch.tensor(1.4).double().sqrt()).log_prob(x[:, 0])
    return x, log_density


def test_every_draw_of_the_exact_posterior_gives_the_log_density(linear_gaussian):
    x, log_density = linear_gaussian
    mean, log_variance = x / 1.4, torch.full_like(x, np.log(0.4 / 1.4))
    for n_draws in (1, 3):
        noise = torch.linspace(-2, 2, n_draws * len(x), dtype=torch.float64)
        noise = noise.view(n_draws, *x.shape)
        latent = mean + (0.5 * log_variance).exp() * noise
        cost = 0.5 * ((x - latent).square() / 0.4 + np.log(2 * np.pi * 0.4)).sum(dim=2)
        bound = importance_bound(cost, latent, mean, log_variance)
        torch.testing.assert_close(bound, log_density)


def test_importance_bound_rises_from_the_elbo_to_the_log_density(linear_gaussian):
    x, log_density = linear_gaussian
    mean, log_variance = 0.4 * x, torch.zeros_like(x)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(40_000, *x.shape, generator=generator, dtype=torch.float64)
    latent = mean + noise
    cost = 0.5 * ((x - latent).square() / 0.4 + np.log(2 * np.pi * 0.4)).sum(dim=2)
    elbo = -0.5 * (((x - mean).square() + 1) / 0.4 + np.log(2 * np.pi * 0.4)).sum(dim=1)
    elbo = elbo - kl(mean, log_variance)
    bounds = []
    for k in (1, 4, 40, 4000):
        parts = torch.stack(latent.split(k)), torch.stack(cost.split(k))
        codes, costs = (part.transpose(0, 1).flatten(1, 2) for part in parts)
        rows = [part.repeat(40_000 // k, 1) for part in (mean, log_variance)]
        bounds.append(importance_bound(costs, codes, *rows).view(-1, len(x)).mean(dim=0))
    torch.testing.assert_close(bounds[0], elbo, atol=0.1, rtol=0)
    for looser, tighter in zip(bounds, [*bounds[1:], log_density + 0.01], strict=True):
        assert (looser < tighter).all()
    torch.testing.assert_close(bounds[-1], log_density, atol=0.02, rtol=0)


def test_kl_is_that_of_two_normals(normals):
    mean, log_variance = normals[:2]
    posterior = dist.Normal(mean, (0.5 * log_variance).exp())
    expected = dist.kl_divergence(posterior, dist.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dimension(mean, log_variance), expected)
    torch.testing.assert_close(kl(mean, log_variance), expected.sum(dim=1))


def test_kl_keeps_its_digits_next_to_the_prior():
    mean = torch.tensor([[1e-6]])
    log_variance = torch.tensor([[2e-6]])
    # KL = mean^2/2 + log_variance^2/4 to leading order.
    assert kl(mean, log_variance).item() == pytest.approx(1.5e-12, rel=1e-2)


def test_alignment_is_the_kl_of_teacher_and_witness_teacher_first():
    rng = np.random.default_rng(0)
    T = rng.dirichlet(np.full(6, 0.3), size=20)
    T[3] = np.eye(6)[2]
    logits = rng.normal(size=(20, 6))
    log_q = torch.log_softmax(torch.as_tensor(logits), dim=1)
    per_row = alignment(torch.as_tensor(T), log_q)
    assert per_row.shape == (20,)
    assert per_row[3].item() == pytest.approx(-log_q[3, 2].item())
    assert per_row.mean().item() == pytest.approx(alignment_cost(T, log_q.numpy()), abs=1e-14)


def test_gradient_of_alignment_with_exact_zeros_is_finite():
    T = torch.tensor([[1.0, 0.0]])
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    alignment(T, torch.log_softmax(logits, dim=1)).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    "term",
    [
        bernoulli_reconstruction,
        continuous_bernoulli_reconstruction,
        gaussian_reconstruction,
        laplace_reconstruction,
        poisson_reconstruction,
    ],
)
def test_entries_that_are_not_observed_leave_the_sum_and_the_gradient(normals, term):
    x = (normals[0] > 0).double()
    parameters = normals[1].clone().requires_grad_()
    has_variance = term in (gaussian_reconstruction, laplace_reconstruction)
    variances = (normals[2, 0],) if has_variance else ()
    observed = normals[2] > -0.5
    found = term(x, parameters, *variances, observed=observed)
    for row in range(len(x)):
        there = observed[row]
        of_row = (x[row : row + 1, there], normals[1][row : row + 1, there])
        alone = term(*of_row, *(each[there] for each in variances))
        torch.testing.assert_close(found[row : row + 1], alone)
    found.sum().backward()
    assert (parameters.grad[~observed] == 0).all()
    complete = term(x, normals[1], *variances)
    everything = torch.ones_like(observed)
    torch.testing.assert_close(term(x, normals[1], *variances, observed=everything), complete)
    nothing = torch.zeros_like(observed)
    assert (term(x, normals[1], *variances, observed=nothing) == 0).all()
