"""One call from collapsed to rescued, and the old model untouched."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture

from skvae import ConstantCollapseCertificate, PrecomputedTeacher, TeacherGuidedVAE, rescue

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


@pytest.fixture(scope="module")
def collapsed(small_vae, clusters):
    return small_vae(alignment_weight=0, decoder_variance=50.0, max_epochs=60).fit(
        clusters[::2]
    )


def test_rescue_certifies_and_leaves_the_old_model_as_it_was(collapsed, clusters):
    state = pickle.dumps(collapsed)
    result = rescue(collapsed, clusters[::2], X_test=clusters[1::2], max_epochs=100)
    assert pickle.dumps(collapsed) == state
    assert result.before.verdict == "collapsed"
    assert result.after.certified
    assert result.before.rows == result.after.rows == "held-out"
    assert result.estimator.alignment_weight == 10
    assert result.estimator.teacher_ is collapsed.teacher_
    again = clone(result.estimator).fit(clusters[::2])
    np.testing.assert_array_equal(
        again.transform(clusters), result.estimator.transform(clusters)
    )


def test_without_test_rows_the_reports_say_that_the_rows_were_seen(collapsed, clusters):
    result = rescue(collapsed, clusters[::2], max_epochs=2)
    assert result.before.rows == result.after.rows == "training"


def test_parameters_and_certificate_are_the_callers(collapsed, clusters):
    result = rescue(
        FrozenEstimator(collapsed),
        clusters[::2],
        certificate=ConstantCollapseCertificate(tau=100.0),
        alignment_weight=3.0,
        witness="simplex",
        guard=0.1,
        max_epochs=2,
    )
    assert result.estimator.get_params()["alignment_weight"] == 3.0
    assert result.estimator.witness == "simplex"
    assert result.after.tau == 100.0


def test_model_that_was_prefitted_starts_from_its_weights_all_the_same(small_vae, clusters):
    donor = small_vae(witness="simplex", prefit_epochs=20, max_epochs=20).fit(clusters)
    unmoved = {"lr": 1e-12, "max_epochs": 1}
    rescued = rescue(donor, clusters, **unmoved).estimator
    np.testing.assert_allclose(
        rescued.transform(clusters), donor.transform(clusters), atol=1e-5
    )
    assert rescue(donor, clusters, witness="linear", **unmoved).estimator.witness == "linear"


def test_rescues_in_a_row_do_not_pile_up(collapsed, clusters):
    sizes, model = [], collapsed
    for _ in range(4):
        model = rescue(model, clusters, max_epochs=1).estimator
        sizes.append(len(pickle.dumps(model)))
    assert sizes[3] < 1.05 * sizes[1]
    assert model.teacher_ is collapsed.teacher_


def test_a_random_state_of_the_old_model_is_not_advanced(small_vae, clusters):
    vae = small_vae(alignment_weight=0, max_epochs=1, random_state=np.random.RandomState(3))
    state = pickle.dumps(vae.fit(clusters))
    rescue(vae, clusters, max_epochs=1)
    assert pickle.dumps(vae) == state


def test_subclass_stays_what_it_is(small_vae, clusters):
    class Renamed(TeacherGuidedVAE):
        pass

    vae = Renamed(**small_vae(max_epochs=1).get_params(deep=False)).fit(clusters)
    assert type(rescue(vae, clusters, max_epochs=1).estimator) is Renamed


@pytest.mark.filterwarnings("ignore::skvae.exceptions.WeakAlignmentWarning")
def test_weight_follows_beta_unless_it_is_above_it(small_vae, clusters):
    for weight, beta, expected in ((0, 4.0, 40.0), (2.0, 4.0, 40.0), (5.0, 4.0, 5.0)):
        vae = small_vae(alignment_weight=weight, beta=beta, max_epochs=1).fit(clusters)
        result = rescue(vae, clusters, max_epochs=1)
        assert result.estimator.alignment_weight == expected


def test_witness_goes_back_to_the_boundary_on_request(fitted, clusters):
    state = pickle.dumps(fitted)
    unmoved = {"lr": 1e-12, "max_epochs": 1}
    kept = rescue(fitted, clusters, **unmoved).estimator
    assert kept.margin_ == pytest.approx(fitted.margin_, abs=1e-4)
    reset = rescue(fitted, clusters, reset_witness=True, **unmoved).estimator
    assert reset.margin_ == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(
        reset.net_.module_.encoder.layers[0].weight.round(decimals=4),
        fitted.net_.module_.encoder.layers[0].weight.round(decimals=4),
    )
    assert pickle.dumps(fitted) == state


def test_another_teacher_and_another_view(small_vae, clusters):
    vae = small_vae(alignment_weight=0, max_epochs=2).fit(clusters)
    result = rescue(vae, clusters, teacher=GaussianMixture(2, random_state=0), max_epochs=2)
    assert result.estimator.witness_log_proba(clusters).shape == (180, 2)
    T = np.repeat([[0.9, 0.1], [0.1, 0.9]], 90, axis=0)
    vae = small_vae(alignment_weight=0, max_epochs=2, teacher=PrecomputedTeacher())
    vae.fit(clusters, X_teacher=T)
    result = rescue(
        vae, clusters, X_teacher=T, X_test=clusters[::2], X_teacher_test=T[::2], max_epochs=2
    )
    assert result.after.n_samples == 90
    with pytest.raises(ValueError, match="another view of the rows: pass X_teacher"):
        rescue(vae, clusters, max_epochs=2)


def test_each_report_is_by_the_teacher_of_its_own_model(small_vae, clusters):
    T = np.repeat([[0.9, 0.1], [0.1, 0.9]], 90, axis=0)
    vae = small_vae(alignment_weight=0, max_epochs=2).fit(clusters)
    result = rescue(vae, clusters, X_teacher=T, teacher=PrecomputedTeacher(), max_epochs=2)
    certificate = ConstantCollapseCertificate(latent="sample")
    assert result.before == certificate.certify(vae, clusters)
    assert result.after == certificate.certify(result.estimator, clusters, T)


@pytest.mark.parametrize("nothing", [PCA(), True, "vae"])
def test_only_a_vae_can_be_rescued(nothing, clusters):
    with pytest.raises(TypeError, match=rf"got {type(nothing).__name__}"):
        rescue(nothing, clusters)


def test_only_a_fitted_one(small_vae, clusters):
    with pytest.raises(NotFittedError):
        rescue(small_vae(), clusters)


def test_unknown_parameter_is_refused(collapsed, clusters):
    with pytest.raises(TypeError, match="epochs"):
        rescue(collapsed, clusters, epochs=3)
    with pytest.raises(TypeError, match="pass no warm_start"):
        rescue(collapsed, clusters, warm_start=False)
    with pytest.raises(ValueError, match="rows of X_test, which are missing"):
        rescue(collapsed, clusters, X_teacher_test=clusters)
