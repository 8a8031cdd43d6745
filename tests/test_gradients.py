"""Gradients in closed form are those that autograd finds."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from skvae.gradients import (
    alignment_gradient,
    gaussian_gradient,
    gaussian_variance_gradient,
    kl_gradient,
)
from skvae.objective import alignment, gaussian_reconstruction, kl

seeds = st.integers(0, 2**31)
sizes = st.integers(1, 6)


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(seeds, sizes, sizes)
def test_gaussian(seed, n_rows, n_features):
    x, mean = normal(seed, 2, n_rows, n_features)
    log_variance = 3 * normal(seed + 1, n_features)
    mean.requires_grad_()
    log_variance.requires_grad_()
    gaussian_reconstruction(x, mean, log_variance).sum().backward()
    with torch.no_grad():
        of_mean = gaussian_gradient(x, mean, log_variance)
        of_log_variance = gaussian_variance_gradient(x, mean, log_variance)
    torch.testing.assert_close(of_mean, mean.grad)
    torch.testing.assert_close(of_log_variance, log_variance.grad)


@given(seeds, sizes, sizes)
def test_kl(seed, n_rows, latent_dim):
    posterior = normal(seed, 2, n_rows, latent_dim).requires_grad_()
    kl(*posterior).sum().backward()
    torch.testing.assert_close(torch.stack(kl_gradient(*posterior.detach())), posterior.grad)


@given(seeds, sizes, sizes)
def test_alignment(seed, n_rows, n_components):
    T = torch.softmax(2 * normal(seed, n_rows, n_components), dim=1)
    logits = (2 * normal(seed + 1, n_rows, n_components)).requires_grad_()
    log_q = torch.log_softmax(logits, dim=1)
    alignment(T, log_q).sum().backward()
    torch.testing.assert_close(alignment_gradient(T, log_q.detach()), logits.grad)
