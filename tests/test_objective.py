"""Each loss term against torch.distributions, closed forms and the NumPy side."""

import numpy as np
import pytest
import torch
from torch import distributions as dist

from skvae.information import alignment_cost
from skvae.objective import (
    alignment,
    bernoulli_reconstruction,
    gaussian_reconstruction,
    kl,
    kl_per_dimension,
)


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
