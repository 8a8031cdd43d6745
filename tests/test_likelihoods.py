"""Distributions of the rows: their densities, means and draws agree."""

import numpy as np
import pytest
import torch
from torch import distributions as dist

from skvae.likelihoods import LIKELIHOODS, GaussianLikelihood
from skvae.networks import Decoder


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_learned_variance_starts_where_told_and_respects_its_floor():
    floor = np.array([-3.0, 0.0])
    likelihood = GaussianLikelihood(np.zeros(2), floor)
    # softplus(x) = x + log(1 + exp(-x)): a little above the start.
    expected = floor + np.log1p(np.exp(-floor))
    np.testing.assert_allclose(likelihood.log_variance.detach(), expected, rtol=1e-6)
    with torch.no_grad():
        likelihood.excess_log_variance.fill_(-100.0)
    np.testing.assert_allclose(likelihood.log_variance.detach(), floor, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_decoder_draws_and_scores_one_distribution(likelihood):
    log_variance = np.log([0.5, 2.0]) if likelihood == "gaussian" else None
    decoder = Decoder(2, 1, (), LIKELIHOODS[likelihood](log_variance, None), generator())
    latent = torch.full((50_000, 1), 0.7)
    with torch.no_grad():
        draws = decoder.draw(latent, generator(1))
        score = decoder.reconstruction(draws, decoder(latent)).mean().item()
        mean = decoder.expectation(latent[:1])
    np.testing.assert_allclose(draws.mean(dim=0), mean[0], atol=0.03)
    if likelihood == "gaussian":
        entropy = dist.Normal(0.0, torch.tensor([0.5, 2.0]).sqrt()).entropy().sum().item()
    else:
        entropy = dist.Bernoulli(probs=mean).entropy().sum().item()
    assert score == pytest.approx(entropy, abs=0.02)
