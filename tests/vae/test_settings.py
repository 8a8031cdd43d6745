"""Settings that contradict each other are refused, by name, before anything is changed."""

import numpy as np
import pytest

from skvae import ConstantCollapseCertificate, rescue
from skvae.exceptions import WeakAlignmentWarning

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kl_cycles": 2}, "kl_cycles=2 repeats a warm-up that kl_warmup=0 leaves out"),
        ({"free_bits": 0.1, "kl_capacity": 2.0}, "pass free_bits=0 or kl_capacity=None"),
        ({"kl_warmup": 0.5, "guard": 0.1}, "guard=0.1 and kl_warmup=0.5 both set"),
        ({"kl_warmup": 0.5, "kl_capacity": 0}, "kl_capacity=None to have the weight rise"),
        ({"kl_warmup": 1.0, "early_stopping": True}, "kl_warmup=1 leaves none"),
        ({"kl_capacity": 2.0, "guard": 0.1}, "kl_capacity=2 makes it push too"),
        ({"beta": 0, "kl_warmup": 0.5}, "kl_warmup=0.5 changes.*positive beta"),
        ({"beta": 0, "free_bits": 0.5}, "free_bits=0.5 changes.*positive beta"),
        ({"beta": 0, "kl_capacity": 0.5}, "kl_capacity=0.5 changes.*positive beta"),
        ({"beta": 0, "aggressive_steps": 5}, "aggressive_steps=5 changes.*positive beta"),
        ({"n_importance_samples": 2, "beta": 0.5}, "n_importance_samples=2.*got beta=0.5"),
        ({"n_importance_samples": 2, "free_bits": 0.5}, "got free_bits=0.5"),
        ({"n_importance_samples": 2, "kl_capacity": 0}, "got kl_capacity=0"),
        ({"n_importance_samples": 2, "kl_warmup": 0.5}, "got kl_warmup=0.5"),
        ({"n_importance_samples": 2, "guard": 0.1}, "got guard=0.1"),
        ({"n_importance_samples": 2, "mmd_weight": 1}, "got mmd_weight=1"),
        ({"n_importance_samples": 2, "tc_weight": 1}, "got tc_weight=1"),
        ({"mmd_weight": 1, "batch_size": 1}, "mmd_weight=1 compares the rows of a batch"),
        ({"tc_weight": 1, "batch_size": 1}, "tc_weight=1 compares the rows of a batch"),
        ({"tc_weight": 1, "latent_dim": 1}, "latent_dim=1 has one"),
        ({"alignment_target": 0.9, "batch_size": 1}, "a batch of one row has none"),
        ({"likelihood": "poisson", "decoder_variance": 1.0}, '"poisson" has no variance'),
        ({"likelihood": "bernoulli", "decoder_variance": "shared"}, "has no variance"),
        ({"likelihood": "continuous_bernoulli", "decoder_variance": 1.0}, "has no variance"),
        *[
            (
                {"witness": "simplex", "prefit_epochs": 1, **changed},
                'prefit_alpha="design" is where .* pass a number as prefit_alpha',
            )
            for changed in (
                {"alignment_target": 0.9},
                {"free_bits": 0.1},
                {"kl_capacity": 2.0},
                {"mmd_weight": 1.0},
                {"tc_weight": 1.0},
                {"n_importance_samples": 2},
            )
        ],
        ({"kl_warmup": 1.5}, "kl_warmup"),
        ({"kl_warmup": -0.5}, "kl_warmup"),
        ({"kl_cycles": 0}, "kl_cycles"),
        ({"alignment_target": 0}, "alignment_target"),
        ({"alignment_target": 1}, "alignment_target"),
        ({"free_bits": -1}, "free_bits"),
        ({"kl_capacity": -1}, "kl_capacity"),
        ({"mmd_weight": -1}, "mmd_weight"),
        ({"tc_weight": -1}, "tc_weight"),
        ({"n_importance_samples": 0}, "n_importance_samples"),
        ({"aggressive_steps": -1}, "aggressive_steps"),
        ({"aggressive_steps": 0.5}, "aggressive_steps"),
    ],
    ids=str,
)
def test_contradictions_are_refused(small_vae, clusters, setting, message):
    X = abs(clusters.round()) if setting.get("likelihood") == "poisson" else clusters
    if "bernoulli" in setting.get("likelihood", ""):
        X = (clusters - clusters.min()) / (clusters.max() - clusters.min())
    vae = small_vae(**setting)
    before = dict(vars(vae))
    with pytest.raises(ValueError, match=message):
        vae.fit(X)
    assert vars(vae) == before


@pytest.mark.parametrize(
    "setting",
    [
        {"kl_warmup": 0.5, "kl_cycles": 2, "free_bits": 0.1, "mmd_weight": 1.0},
        {"kl_warmup": 0.5, "kl_capacity": 1.0, "tc_weight": 1.0, "aggressive_steps": 1},
        {"n_importance_samples": 3, "aggressive_steps": 1, "early_stopping": True},
        {"alignment_target": 0.5, "guard": 0.01, "witness": "mlp"},
        {"alignment_target": 0.5, "kl_capacity": 1.0, "aggressive_steps": 1},
        {"alignment_target": 0.5, "early_stopping": True, "witness": "simplex"},
        {"guard": 0.01, "free_bits": 0.1, "mmd_weight": 1.0, "tc_weight": 1.0},
        {"beta": 0, "mmd_weight": 1.0, "tc_weight": 1.0},
        {"witness_input": "mean", "n_importance_samples": 3, "precision": "bf16"},
    ],
    ids=str,
)
def test_what_goes_together_trains(small_vae, clusters, setting):
    vae = small_vae(**setting).fit(clusters)
    assert vae.n_iter_ == 5
    assert vae.history_[-1]["loss"] < vae.history_[0]["loss"]


@pytest.mark.parametrize(
    "changed",
    [
        {"alignment_target": 0.9},
        {"free_bits": 0.1},
        {"kl_capacity": 2.0},
        {"mmd_weight": 1.0},
        {"tc_weight": 1.0},
        {"n_importance_samples": 2},
    ],
    ids=str,
)
def test_no_margin_is_designed_for_another_objective(small_vae, clusters, changed):
    vae = small_vae(witness="simplex").fit(clusters)
    assert vae.designed_margin_ > 0
    vae.set_params(prefit_epochs=2, prefit_alpha=1.0, **changed).fit(clusters)
    assert not hasattr(vae, "designed_margin_")
    assert not hasattr(vae, "design_")


def test_design_holds_under_a_schedule(small_vae, clusters):
    plain = small_vae(witness="simplex", prefit_epochs=2).fit(clusters)
    warmed = small_vae(witness="simplex", prefit_epochs=2, kl_warmup=0.5).fit(clusters)
    assert warmed.designed_margin_ == plain.designed_margin_


@pytest.mark.parametrize("setting", [{"free_bits": 0.1}, {"kl_capacity": 2.0}])
def test_weak_alignment_is_no_trap_where_the_rate_is_free(
    small_vae, clusters, setting, recwarn
):
    small_vae(alignment_weight=0.5, **setting).fit(clusters)
    assert not [w for w in recwarn if issubclass(w.category, WeakAlignmentWarning)]


@pytest.mark.parametrize("width", [7, np.int64(7)])
def test_one_hidden_layer_may_be_given_by_its_width(small_vae, clusters, width):
    vae = small_vae(hidden_layer_sizes=width).fit(clusters)
    alike = small_vae(hidden_layer_sizes=(7,)).fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), alike.transform(clusters))
    with pytest.raises(ValueError, match="hidden_layer_sizes must hold positive integers"):
        small_vae(hidden_layer_sizes=0).fit(clusters)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": True},
        {"max_epochs": True},
        {"beta": True},
        {"alignment_weight": False},
        {"latent_dim": 10**9},
        {"lr": "1e-3"},
        {"random_state": 1.5},
    ],
    ids=str,
)
def test_what_is_no_number_of_the_range_is_refused_before_any_work(small_vae, clusters, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"'{name}' parameter of TeacherGuidedVAE must be"):
        small_vae(**wrong).fit(clusters)


@pytest.mark.parametrize(
    "wrong",
    [{"confidence": 1e-300}, {"confidence": 1.0}, {"confidence": True}, {"n_draws": True}],
    ids=str,
)
def test_certificates_refuse_them_too(fitted, clusters, wrong):
    (name,) = wrong
    certificate = ConstantCollapseCertificate(**wrong)
    for call in (certificate.certify, certificate.score):
        with pytest.raises(ValueError, match=name):
            call(fitted, clusters)


def test_rescue_refuses_what_is_no_certificate_and_no_parameter(fitted, clusters):
    with pytest.raises(TypeError, match="must be a ConstantCollapseCertificate"):
        rescue(fitted, clusters, certificate="x")
    with pytest.raises(TypeError, match="gamma is no parameter"):
        rescue(fitted, clusters, gamma=1)
