"""Terms of a whole batch against closed forms, loops and autograd."""

import numpy as np
import pytest
import torch
from torch import distributions as dist

from skvae.objective import capacity_gap, floored_rate, kl_per_dimension, mmd, total_correlation


def normals(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_floored_rate_is_the_rate_where_every_dimension_is_above_the_floor():
    by_dimension = kl_per_dimension(2 + normals(9, 4), normals(9, 4, seed=1))
    rate = by_dimension.sum(dim=1).mean()
    torch.testing.assert_close(floored_rate(by_dimension, 0.0), rate)
    torch.testing.assert_close(floored_rate(by_dimension, 1e-3), rate)


def test_dimensions_below_the_floor_count_for_it_and_have_no_gradient():
    mean = torch.tensor([[0.1, 3.0], [-0.1, -3.0]], requires_grad=True)
    found = floored_rate(kl_per_dimension(mean, torch.zeros(2, 2)), 0.5)
    assert found.item() == pytest.approx(0.5 + 4.5)
    found.backward()
    torch.testing.assert_close(mean.grad, torch.tensor([[0.0, 1.5], [0.0, -1.5]]))


def test_capacity_pushes_from_either_side():
    rate = torch.tensor(2.0, requires_grad=True)
    for capacity, slope in ((5.0, -1.0), (1.0, 1.0)):
        (gradient,) = torch.autograd.grad(capacity_gap(rate, capacity), rate)
        assert gradient.item() == slope
        assert capacity_gap(rate, capacity).item() == abs(2.0 - capacity)


def test_mmd_is_that_of_a_loop_over_pairs():
    code = normals(6, 3)

    def kernel(a, b):
        return torch.exp(-(a - b).square().sum() / 6).item()

    pairs = [kernel(code[i], code[j]) for i in range(6) for j in range(6) if i != j]
    # The integral over the prior, one dimension at a time, on a fine grid.
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    density = dist.Normal(0.0, 1.0).log_prob(grid).exp()

    def averaged(values):
        return torch.trapezoid(values * density, grid)

    across = [
        torch.stack([averaged(torch.exp(-(z - grid).square() / 6)) for z in row]).prod().item()
        for row in code
    ]
    inner = torch.stack([averaged(torch.exp(-(z - grid).square() / 6)) for z in grid])
    expected = np.mean(pairs) - 2 * np.mean(across) + averaged(inner).item() ** 3
    assert mmd(code).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("center", "variance"), [(0.0, 1.0), (0.5, 0.2)])
def test_mmd_is_unbiased_for_small_batches(center, variance):
    d = 2
    estimates = [
        mmd(center + variance**0.5 * normals(4, d, seed=seed)).item() for seed in range(4000)
    ]
    # Gaussian integrals of the kernel with variance d.
    among_codes = (d / (d + 2 * variance)) ** (d / 2)
    wide = d + 1 + variance
    across = (d / wide) ** (d / 2) * np.exp(-d * center**2 / (2 * wide))
    expected = among_codes - 2 * across + (d / (d + 2)) ** (d / 2)
    error = np.std(estimates) / len(estimates) ** 0.5
    assert np.mean(estimates) == pytest.approx(expected, abs=4 * error)
    assert error < 0.003


def test_total_correlation_is_that_of_a_loop():
    n_rows, n_batch = 50, 6
    mean, log_variance = normals(n_batch, 3), normals(n_batch, 3, seed=1)
    latent = mean + (0.5 * log_variance).exp() * normals(n_batch, 3, seed=2)
    posterior = dist.Normal(mean, (0.5 * log_variance).exp())
    total = 0.0
    for i in range(n_batch):
        density = posterior.log_prob(latent[i]).exp()
        others = [j for j in range(n_batch) if j != i]

        def aggregated(of_rows, i=i, others=others):
            rest = of_rows[others].mean()
            return of_rows[i] / n_rows + (n_rows - 1) / n_rows * rest

        joint = aggregated(density.prod(dim=1))
        marginals = torch.stack([aggregated(density[:, j]) for j in range(3)])
        total += (joint.log() - marginals.log().sum()).item() / n_batch
    found = total_correlation(latent, mean, log_variance, n_rows)
    assert found.item() == pytest.approx(total, abs=1e-10)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_total_correlation_of_a_gaussian_aggregate(correlation):
    """Means and noise whose sum has unit variances: -log det of the correlations / 2."""
    n_rows, noise = 2500, 0.1
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    root = torch.linalg.cholesky(covariance - noise * torch.eye(2))
    mean = normals(n_rows, 2) @ root.T
    log_variance = torch.full_like(mean, np.log(noise))
    latent = mean + noise**0.5 * normals(n_rows, 2, seed=1)
    expected = -0.5 * np.log(1 - correlation**2)
    found = total_correlation(latent, mean, log_variance, n_rows).item()
    assert found == pytest.approx(expected, abs=0.04)


def test_one_dimension_or_one_row_has_no_correlation_to_show():
    code = normals(7, 1)
    assert abs(total_correlation(code, code, torch.zeros_like(code), 20).item()) < 1e-12
    one = normals(1, 3)
    assert total_correlation(one, one, torch.zeros_like(one), 20).item() == 0
    assert mmd(one).item() == 0


def test_gradients_are_those_of_finite_differences():
    mean, log_variance = normals(5, 2).requires_grad_(), normals(5, 2, seed=1).requires_grad_()
    noise = normals(5, 2, seed=2)

    def both(mean, log_variance):
        latent = mean + (0.5 * log_variance).exp() * noise
        return mmd(latent), total_correlation(latent, mean, log_variance, 30)

    assert torch.autograd.gradcheck(both, (mean, log_variance))
