"""The importance-weighted score against a model whose log density is known."""

import numpy as np
import pytest
import torch

from skvae import TeacherGuidedVAE

VARIANCE = 0.3
SIZES = np.array([1.5, 0.7])


@pytest.fixture(scope="module")
def linear():
    """Set the weights of a linear model by hand; its posterior is the true one.

    In the units of the net, in which all columns have the same scale, the decoder is
    ``u = Q diag(SIZES) z + noise`` with orthonormal columns in Q.
    """
    rng = np.random.default_rng(0)
    X = 3 * rng.standard_normal((300, 4)) + np.array([1.0, -2.0, 0.0, 5.0])
    X = (X - X.mean(axis=0)) / X.std(axis=0) * 3 + np.array([1.0, -2.0, 0.0, 5.0])
    vae = TeacherGuidedVAE(
        latent_dim=2, hidden_layer_sizes=(), decoder_variance=9 * VARIANCE,
        alignment_weight=0, max_epochs=1, device="cpu", random_state=0,
    ).fit(X)  # fmt: skip
    directions = np.linalg.qr(rng.standard_normal((4, 2)))[0]
    center = np.array([0.1, -0.2, 0.3, 0.0])
    weights = directions * SIZES
    gain = SIZES / (VARIANCE + SIZES**2)
    posterior_variance = VARIANCE / (VARIANCE + SIZES**2)
    module = vae.net_.module_
    encoder, decoder = module.encoder.layers[0], module.decoder.layers[0]
    to_mean = gain[:, None] * directions.T
    with torch.no_grad():
        decoder.weight.copy_(torch.as_tensor(weights))
        decoder.bias.copy_(torch.as_tensor(center))
        encoder.weight.copy_(torch.as_tensor(np.concatenate([to_mean, np.zeros((2, 4))])))
        bias = np.concatenate([-to_mean @ center, np.log(posterior_variance)])
        encoder.bias.copy_(torch.as_tensor(bias))
    covariance = weights @ weights.T + VARIANCE * np.eye(4)
    residuals = (X - X.mean(axis=0)) / X.std(axis=0) - center
    distances = (residuals @ np.linalg.inv(covariance) * residuals).sum(axis=1)
    log_density = -0.5 * (distances + np.linalg.slogdet(2 * np.pi * covariance)[1])
    return vae, X, log_density - 4 * np.log(3)


@pytest.mark.parametrize("n_draws", [None, 1, 2, 7])
def test_with_the_true_posterior_every_draw_gives_the_log_density(linear, n_draws):
    vae, X, log_density = linear
    scores = vae.score_samples(X, n_importance_samples=n_draws)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, log_density, atol=2e-5)


def test_with_a_wrong_posterior_the_bound_rises_towards_the_log_density(linear):
    vae, X, log_density = linear
    bias = vae.net_.module_.encoder.layers[0].bias
    seed = vae._seed
    try:
        with torch.no_grad():
            bias[2:] += 0.7
        means = []
        for n_draws in (None, 2, 10, 100):
            scores = []
            for vae._seed in range(20):
                scores.append(vae.score_samples(X, n_importance_samples=n_draws).mean())
            means.append(np.mean(scores))
        assert all(np.diff([*means, log_density.mean() + 0.01]) > 0)
        assert means[-1] == pytest.approx(log_density.mean(), abs=0.03)
        assert means[0] < log_density.mean() - 0.3
    finally:
        vae._seed = seed
        with torch.no_grad():
            bias[2:] -= 0.7


def test_one_draw_is_the_elbo_to_the_bit(fitted, clusters):
    elbo = fitted.score_samples(clusters)
    for n_draws in (None, 1, np.int64(1)):
        np.testing.assert_array_equal(
            fitted.score_samples(clusters, n_importance_samples=n_draws), elbo
        )
    assert fitted.score_samples(clusters, n_importance_samples=50).mean() > elbo.mean()


def test_score_of_a_row_does_not_depend_on_the_rows_beside_it(fitted, clusters):
    together = fitted.score_samples(clusters, n_importance_samples=5)
    np.testing.assert_array_equal(
        fitted.score_samples(clusters, n_importance_samples=5), together
    )
    apart = [fitted.score_samples(row[None], n_importance_samples=5)[0] for row in clusters]
    np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [0, -1, 2.0, "many", True])
def test_number_of_draws_is_checked(fitted, clusters, bad):
    with pytest.raises(ValueError, match="n_importance_samples must be None or a whole number"):
        fitted.score_samples(clusters, n_importance_samples=bad)
