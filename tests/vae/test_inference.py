"""Reading a trained net: the importance-weighted score where it is known, and the threads."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

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
        alignment_weight=0, max_epochs=1, early_stopping=False, device="cpu", random_state=0,
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
    fitted = vae._fitted
    try:
        with torch.no_grad():
            bias[2:] += 0.7
        means = []
        for n_draws in (None, 2, 10, 100):
            scores = []
            for seed in range(20):
                vae._fitted = replace(fitted, seed=seed)
                scores.append(vae.score_samples(X, n_importance_samples=n_draws).mean())
            means.append(np.mean(scores))
        assert all(np.diff([*means, log_density.mean() + 0.01]) > 0)
        assert means[-1] == pytest.approx(log_density.mean(), abs=0.03)
        assert means[0] < log_density.mean() - 0.3
    finally:
        vae._fitted = fitted
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
    with pytest.raises(ValueError, match="n_importance_samples must be a whole number"):
        fitted.score_samples(clusters, n_importance_samples=bad)


@pytest.fixture(scope="module")
def many_rows():
    """Make more than four chunks, the last of them short."""
    return np.random.default_rng(0).standard_normal((4500, 4)).astype(np.float32)


def test_number_of_threads_does_not_change_a_bit_of_what_is_read(
    fitted, many_rows, set_threads
):
    def read_all():
        codes = fitted.transform(many_rows)
        readings = fitted.read_codes(many_rows, [3, None])
        return [
            codes,
            *fitted.posterior(many_rows),
            fitted.posterior_kl(many_rows),
            fitted.score_samples(many_rows),
            fitted.score_samples(many_rows, n_importance_samples=3),
            fitted.inverse_transform(codes),
            fitted.sample(4500, random_state=0),
            fitted.witness_log_proba(many_rows),
            fitted.witness_log_proba(many_rows, latent="sample", random_state=3),
            readings.mean,
            *readings.log_witness_samples,
        ]

    set_threads(1)
    alone = read_all()
    for n in (2, 3):
        set_threads(n)
        for one, other in zip(alone, read_all(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert torch.get_num_threads() == n


class Remembering(nn.Module):
    """A layer that knows which threads went through it, as one may that keeps what it made."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.seen_by = set()

    def forward(self, x):
        self.seen_by.add(threading.get_ident())
        return self.layer(x)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_module_of_the_users_own_is_called_by_the_callers_thread_alone(
    small_vae, many_rows, set_threads, part
):
    module = nn.Linear(3, 4) if part == "decoder" else nn.Linear(4, 6)
    vae = small_vae(max_epochs=1, **{part: Remembering(module)}).fit(many_rows[:100])
    set_threads(3)
    vae.inverse_transform(vae.transform(many_rows))
    vae.score_samples(many_rows)
    own = getattr(vae.net_.module_, part).layers
    remembering = own if part == "decoder" else own[1]
    assert remembering.seen_by == {threading.get_ident()}
    assert not vae.can_read_in_threads


@pytest.mark.parametrize("row", [0, 2000, 4499])
def test_row_that_is_not_finite_is_refused_by_any_number_of_threads(
    fitted, many_rows, set_threads, row
):
    rows = many_rows.copy()
    rows[row, 1] = np.nan
    for n in (1, 3):
        set_threads(n)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            fitted.transform(rows)
        assert torch.get_num_threads() == n
