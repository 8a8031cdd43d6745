"""Prefit: the encoder starts where the simplex witness reads."""

import numpy as np
import pytest
import torch

from skvae.exceptions import DivergenceError
from skvae.information.simplex import analytic_code, margin_energy_path
from skvae.rows.scaling import Standardization
from skvae.training.batches import TrainingRows
from skvae.training.prefit import prefit_encoder

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.WeakAlignmentWarning"),
]


@pytest.fixture(scope="module")
def prefitted(small_vae, clusters):
    """Make a model that is prefitted, and then not moved."""

    def make(**parameters):
        setting = {
            "witness": "simplex",
            "latent_dim": 4,
            "prefit_epochs": 500,
            "lr": 1e-2,
            "max_epochs": 1,
            "batch_size": 60,
            "hidden_layer_sizes": (32,),
        }
        vae = small_vae(**{**setting, **parameters})
        return vae.fit(clusters)

    return make


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_means_are_the_shrunken_codes_and_the_margin_that_of_the_path(
    prefitted, clusters, alpha, monkeypatch
):
    monkeypatch.setattr("skvae.training.VAENet.train_step", lambda *_, **__: torch.zeros(3))
    vae = prefitted(prefit_alpha=alpha)
    T = vae.teacher_proba(clusters)
    average = T.mean(axis=0)
    codes = alpha * analytic_code(T, 2.0, average)
    mean, log_variance = vae.posterior(clusters)
    assert np.sqrt(np.mean((mean[:, :2] - codes) ** 2)) < 0.05 * codes.std()
    np.testing.assert_allclose(np.exp(log_variance[:, :2]), vae.design_.variance, rtol=0.5)
    # Dimensions that the witness does not read stay at the prior.
    assert vae.posterior_kl(clusters)[:, 2:].mean() < 0.02
    margins, _ = margin_energy_path(T, [alpha], 2.0, average)
    assert vae.margin_ == pytest.approx(margins[0], abs=0.03)


def test_design_decides_where_no_number_is_given(prefitted, clusters, monkeypatch):
    monkeypatch.setattr("skvae.training.VAENet.train_step", lambda *_, **__: torch.zeros(3))
    vae = prefitted(witness_input="mean", beta=30.0, alignment_weight=20.0)
    assert 0.1 < vae.design_.alpha < 0.9
    assert vae.design_.variance == 1
    assert vae.margin_ == pytest.approx(vae.designed_margin_, abs=0.03)
    assert np.exp(vae.posterior(clusters)[1]).mean() == pytest.approx(1.0, abs=0.1)


def test_training_after_a_prefit_starts_certified(small_vae, clusters):
    setting = {"witness": "simplex", "max_epochs": 1, "decoder_variance": 50.0}
    cold = small_vae(**setting).fit(clusters)
    warm = small_vae(prefit_epochs=100, **setting).fit(clusters)
    assert cold.history_[0]["margin"] < 0 < warm.history_[0]["margin"]


def test_prefit_is_repeatable_and_leaves_the_decoder_alone(prefitted, small_vae, clusters):
    one, other = prefitted(), prefitted()
    np.testing.assert_array_equal(one.transform(clusters), other.transform(clusters))
    start = small_vae(max_epochs=1, lr=1e-12).fit(clusters).net_
    before = [p.clone() for p in start.module_.decoder.parameters()]
    rows = TrainingRows(clusters, np.ones((180, 2)), Standardization.identity(4))
    prefit_encoder(start, rows, np.ones((len(clusters), 2)), 0.5, n_epochs=2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, start.module_.decoder.parameters(), strict=True)
    )


def test_continuing_skips_the_prefit(prefitted, clusters):
    vae = prefitted(warm_start=True)
    before = vae.transform(clusters)
    vae.set_params(lr=1e-12, prefit_alpha=0.01).fit(clusters)
    np.testing.assert_allclose(vae.transform(clusters), before, atol=1e-5)


def test_first_partial_fit_begins_with_it(small_vae, clusters):
    setting = {"witness": "simplex", "prefit_epochs": 200}
    vae = small_vae(**setting).partial_fit(clusters)
    assert vae.history_[0]["margin"] > 0
    vae.partial_fit(clusters)
    assert vae.n_iter_ == 2


def test_without_alignment_a_number_is_needed(small_vae, clusters):
    setting = {"witness": "simplex", "alignment_weight": 0, "prefit_epochs": 100}
    with pytest.raises(ValueError, match=r"design is the constant code.*number"):
        small_vae(**setting).fit(clusters)
    vae = small_vae(prefit_alpha=0.8, max_epochs=1, **setting).fit(clusters)
    assert vae.margin_ > 0


def test_linear_witness_cannot_be_prefitted(small_vae, clusters):
    with pytest.raises(ValueError, match=r"known before.*got witness='linear'.*\"simplex\""):
        small_vae(prefit_epochs=1).fit(clusters)


@pytest.mark.parametrize(
    "bad", [{"prefit_epochs": -1}, {"prefit_alpha": 0.0}, {"prefit_alpha": "best"}]
)
def test_what_is_no_prefit_is_refused_by_name(small_vae, clusters, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        small_vae(witness="simplex", **bad).fit(clusters)


def test_diverging_prefit_says_so_and_changes_nothing(small_vae, clusters):
    vae = small_vae(witness="simplex", prefit_epochs=20, lr=1e30)
    with pytest.raises(DivergenceError, match="prefit diverged in epoch"):
        vae.fit(clusters)
    assert not vae.__sklearn_is_fitted__()
