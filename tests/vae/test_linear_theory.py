"""An exact check of the whole training path: the linear VAE of Lucas et al. (NeurIPS 2019).

With a linear encoder and decoder, a fixed variance v and beta = 1, the optimum is
probabilistic PCA: one active dimension for each eigenvalue of the data covariance above
v, rate ``sum log(eigenvalue / v) / 2`` over them, and the ELBO is the log likelihood.
"""

import numpy as np
import pytest

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

EIGENVALUES = np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])


@pytest.fixture(scope="module")
def data():
    """Draw rows whose covariance has exactly these eigenvalues, off axes and origin."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1000, 6))
    white = np.linalg.svd(noise - noise.mean(axis=0), full_matrices=False)[0] * 1000**0.5
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    X = (white * np.sqrt(EIGENVALUES)) @ rotation.T + 5
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1], EIGENVALUES)
    return X


@pytest.mark.parametrize("variance", [10.5, 5.6, 2.8, 0.7])
def test_active_units_rate_and_elbo_are_those_of_probabilistic_pca(data, variance):
    vae = TeacherGuidedVAE(
        latent_dim=6,
        hidden_layer_sizes=(),
        alignment_weight=0,
        decoder_variance=variance,
        lr=1e-2,
        batch_size=500,
        max_epochs=600,
        early_stopping=False,
        device="cpu",
        random_state=0,
    ).fit(data)
    report = ConstantCollapseCertificate().certify(vae, data)
    kept = variance < EIGENVALUES
    assert report.active_units == kept.sum()
    rate = 0.5 * np.log(EIGENVALUES[kept] / variance).sum()
    assert report.rate == pytest.approx(rate, abs=0.05)
    spectrum = np.where(kept, EIGENVALUES, variance)
    log_likelihood = -0.5 * (np.log(2 * np.pi * spectrum) + EIGENVALUES / spectrum).sum()
    assert vae.score(data) == pytest.approx(log_likelihood, abs=0.05)
