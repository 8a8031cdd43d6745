"""Collapse and rescue as parameter changes: where weights come from, and where not."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from joblib import Memory
from numpy.random import RandomState
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherSearch
from skvae._common.parameters import same_settings
from skvae.exceptions import SeenRowsWarning

# A learning rate of next to nothing keeps weights in place, and a margin at zero.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


def weights(vae):
    return torch.cat([p.detach().flatten() for p in vae.net_.module_.parameters()])


def test_true_continues_its_own_weights_teacher_and_history(small_vae, clusters):
    vae = small_vae(warm_start=True).fit(clusters)
    teacher, before = vae.teacher_, weights(vae)
    vae.set_params(lr=1e-12, max_epochs=2).fit(clusters)
    torch.testing.assert_close(weights(vae), before, atol=1e-6, rtol=0)
    assert vae.teacher_ is teacher
    assert [record["epoch"] for record in vae.history_] == list(range(1, 8))


def test_false_starts_anew(small_vae, clusters):
    vae = small_vae().fit(clusters)
    before = weights(vae)
    assert torch.equal(weights(vae.fit(clusters)), before)
    assert vae.n_iter_ == 5


def test_true_fits_another_teacher_when_given_one(small_vae, clusters):
    vae = small_vae(warm_start=True).fit(clusters)
    vae.set_params(teacher=GaussianMixture(2)).fit(clusters)
    assert vae.witness_log_proba(clusters).shape == (180, 2)


def test_true_notices_a_parameter_of_its_teacher_that_was_changed(small_vae, clusters):
    vae = small_vae(warm_start=True).fit(clusters)
    vae.set_params(teacher__n_components=5).fit(clusters)
    assert vae.witness_log_proba(clusters).shape == (180, 5)
    teacher = vae.teacher_
    assert vae.fit(clusters).teacher_ is teacher


def test_true_notices_that_another_frozen_teacher_took_its_place(small_vae, clusters):
    first, second = (
        FrozenEstimator(GaussianMixture(3).fit(rows)) for rows in (clusters, -clusters)
    )
    vae = small_vae(warm_start=True, teacher=first).fit(clusters)
    assert vae.set_params(teacher=second).fit(clusters).teacher_ is second


def test_true_keeps_a_teacher_whose_settings_know_no_equality(small_vae, clusters, tmp_path):
    for unlike in (
        {"teacher": GaussianMixtureTeacher(n_components=3, random_state=RandomState(0))},
        {"teacher": TeacherSearch({"n_components": [3]}, memory=Memory(tmp_path, verbose=0))},
    ):
        vae = small_vae(warm_start=True, **unlike).fit(clusters)
        teacher = vae.teacher_
        assert vae.fit(clusters).teacher_ is teacher


def test_settings_are_compared_by_value():
    def pipeline(**settings):
        return make_pipeline(PCA(2), GaussianMixture(means_init=np.eye(2), **settings))

    assert same_settings(pipeline(), pipeline())
    assert not same_settings(pipeline(), pipeline(tol=0.1))
    assert not same_settings(pipeline(), PCA(2))
    assert not same_settings(None, pipeline())
    frozen = FrozenEstimator(PCA(2))
    assert same_settings(frozen, clone(frozen))


def test_fitted_estimator_lends_weights_and_teacher_and_stays_untouched(small_vae, clusters):
    donor = small_vae(alignment_weight=0).fit(clusters)
    state = pickle.dumps(donor)
    vae = small_vae(teacher=None, warm_start=donor, lr=1e-12, max_epochs=1).fit(clusters)
    assert vae.teacher_ is donor.teacher_
    torch.testing.assert_close(weights(vae), weights(donor), atol=1e-6, rtol=0)
    assert vae.n_iter_ == len(vae.history_) == 1
    vae.set_params(lr=1e-2, max_epochs=30).fit(clusters)
    assert pickle.dumps(donor) == state


def test_another_teacher_puts_the_witness_back_on_the_boundary(small_vae, clusters):
    donor = small_vae(max_epochs=60).fit(clusters)
    assert donor.margin_ > 0.5
    vae = small_vae(
        teacher=GaussianMixtureTeacher(n_components=4),
        warm_start=donor,
        lr=1e-12,
        max_epochs=1,
    ).fit(clusters)
    assert vae.margin_ == pytest.approx(0.0, abs=1e-6)
    assert vae.witness_log_proba(clusters).shape == (180, 4)


def test_the_same_frozen_teacher_keeps_the_witness(small_vae, clusters):
    teacher = FrozenEstimator(GaussianMixture(3, random_state=0).fit(clusters))
    donor = small_vae(teacher=teacher, max_epochs=60).fit(clusters)
    vae = small_vae(teacher=teacher, warm_start=donor, lr=1e-12, max_epochs=1).fit(clusters)
    assert vae.margin_ == pytest.approx(donor.margin_, abs=1e-5)


def test_rows_keep_the_donors_units(small_vae, clusters):
    donor = small_vae().fit(clusters)
    vae = small_vae(warm_start=donor, lr=1e-12, max_epochs=1).fit(100 + clusters)
    np.testing.assert_allclose(vae.transform(clusters), donor.transform(clusters), atol=1e-5)


def test_learned_variance_is_lent_and_a_fixed_one_is_a_setting(small_vae, clusters):
    donor = small_vae(max_epochs=100, alignment_weight=0).fit(clusters)
    unmoved = {"warm_start": donor, "lr": 1e-12, "max_epochs": 1, "alignment_weight": 0}
    vae = small_vae(**unmoved).fit(clusters)
    assert vae.score(clusters) == pytest.approx(donor.score(clusters), abs=1e-4)
    fixed = small_vae(decoder_variance=3.0, **unmoved).fit(clusters)
    np.testing.assert_allclose(
        fixed.net_.module_.decoder.likelihood.log_variance,
        np.log(3.0 / clusters.var(axis=0).clip(1e-300)),
        rtol=1e-5,
    )


def test_collapse_and_rescue_are_one_parameter_apart(small_vae, clusters):
    setting = {"decoder_variance": 50.0, "max_epochs": 150}
    certificate = ConstantCollapseCertificate(latent="sample")
    collapsed = small_vae(alignment_weight=0, **setting).fit(clusters)
    report = certificate.certify(collapsed, clusters)
    assert report.rate < 0.01
    assert report.active_units == 0
    assert not report.certified
    rescued = clone(collapsed)
    rescued.set_params(alignment_weight=10, warm_start=collapsed).fit(clusters)
    report = certificate.certify(rescued, clusters)
    assert report.certified
    assert report.margin_sample > report.teacher_information / 2


def test_frozen_donor_survives_clone_and_grid_search(small_vae, clusters):
    donor = FrozenEstimator(small_vae(alignment_weight=0).fit(clusters))
    vae = small_vae(teacher=None, warm_start=donor, max_epochs=30)
    assert clone(vae).fit(clusters).teacher_ is donor.estimator.teacher_
    search = GridSearchCV(
        vae, {"alignment_weight": [5.0, 10.0]}, scoring=ConstantCollapseCertificate(), cv=2
    )
    search.fit(np.random.default_rng(0).permutation(clusters))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cloned_donor_says_how_to_survive_cloning(small_vae, clusters):
    vae = clone(small_vae(warm_start=small_vae().fit(clusters)))
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        vae.fit(clusters)


def test_frozen_but_never_fitted_donor_says_so(small_vae, clusters):
    with pytest.raises(NotFittedError, match="not fitted"):
        small_vae(warm_start=FrozenEstimator(small_vae())).fit(clusters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 2}, "latent_dim is 3 in the fitted model and 2"),
        ({"hidden_layer_sizes": (16, 16)}, "hidden_layer_sizes is"),
        ({"likelihood": "bernoulli"}, "likelihood is 'gaussian'"),
    ],
)
def test_layers_that_do_not_fit_are_refused_by_name(small_vae, clusters, changes, message):
    donor = small_vae().fit(clusters)
    X = clusters - clusters.min()
    X /= X.max()
    with pytest.raises(ValueError, match=message):
        small_vae(warm_start=donor, **changes).fit(X)
    own = small_vae(warm_start=True).fit(clusters)
    own.set_params(**changes)
    with pytest.raises(ValueError, match=message):
        own.fit(X)


def test_columns_that_do_not_fit_are_refused(small_vae, clusters):
    donor = small_vae().fit(clusters)
    with pytest.raises(ValueError, match="n_features is 4 in the fitted model and 3"):
        small_vae(warm_start=donor).fit(clusters[:, :3])
    with pytest.raises(ValueError, match=r"3 features.*4 features"):
        donor.set_params(warm_start=True).fit(clusters[:, :3])
    assert donor.n_features_in_ == 4


def test_donor_of_another_kind_is_refused(small_vae, clusters):
    class Lookalike(GaussianMixture):
        def witness_log_proba(self, X):
            raise AssertionError

    with pytest.raises(TypeError, match=r"fitted TeacherGuidedVAE.*got Lookalike"):
        small_vae(warm_start=Lookalike()).fit(clusters)


def test_a_chain_of_donors_is_pickled_without_its_ancestors(small_vae, clusters):
    model = small_vae().fit(clusters)
    sizes = []
    for _ in range(4):
        model = small_vae(warm_start=FrozenEstimator(model), teacher=None).fit(clusters)
        sizes.append(len(pickle.dumps(model)))
    assert sizes[-1] == pytest.approx(sizes[1], rel=0.01)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(clusters), model.transform(clusters))
    # It starts from the same donor as before.
    np.testing.assert_array_equal(
        again.fit(clusters).transform(clusters), model.fit(clusters).transform(clusters)
    )


def test_the_history_of_a_stream_is_bounded_and_numbered_on(small_vae, clusters, monkeypatch):
    whole = small_vae()
    for _ in range(9):
        whole.partial_fit(clusters)
    monkeypatch.setattr("skvae.vae.course.MOST_PASSES", 4)
    bounded = small_vae()
    for _ in range(9):
        bounded.partial_fit(clusters)
    assert [record["epoch"] for record in bounded.history_] == [6, 7, 8, 9]
    assert len(bounded.net_.history) <= 5
    assert bounded.n_iter_ == whole.n_iter_ == 9
    np.testing.assert_array_equal(bounded.transform(clusters), whole.transform(clusters))


@pytest.mark.parametrize("kind", ["donor", "teacher"])
def test_rows_that_were_trained_on_bear_no_bound_and_are_warned_of(small_vae, clusters, kind):
    if kind == "donor":
        start = {"warm_start": FrozenEstimator(small_vae().fit(clusters)), "teacher": None}
    else:
        teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
        start = {"teacher": FrozenEstimator(teacher)}
    vae = small_vae(early_stopping=True, validation_fraction=0.3, **start)
    with pytest.warns(SeenRowsWarning, match="no more than 0 are known to be new") as caught:
        vae.fit(clusters)
    assert caught[0].filename == __file__
    assert "valid_lower_bound" not in vae.history_[-1]
    assert "valid_loss" in vae.history_[-1]


def test_held_out_rows_are_those_that_donor_and_teacher_have_not_seen(small_vae, clusters):
    early = {"early_stopping": True, "validation_fraction": 0.2}
    donor = small_vae().fit(clusters[::2])
    vae = small_vae(warm_start=FrozenEstimator(donor), teacher=None, **early)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeenRowsWarning)
        vae.fit(clusters)
    assert "valid_lower_bound" in vae.history_[-1]
    held_out = vae._fitted.trained_on.absent(clusters)
    assert held_out.sum() == 36
    assert not held_out[::2].any()
    # What a model has held out itself, it may hold out again.
    continued = small_vae(warm_start=True, **early).fit(clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeenRowsWarning)
        continued.fit(clusters)
    assert "valid_lower_bound" in continued.history_[-1]


def test_a_teacher_that_nothing_is_known_of_leaves_no_bound(small_vae, clusters):
    mixture = GaussianMixture(3, random_state=0).fit(clusters[:90])
    vae = small_vae(teacher=FrozenEstimator(mixture), early_stopping=True).fit(clusters)
    assert "valid_lower_bound" not in vae.history_[-1]
    assert vae.teacher_fingerprint_ is None
