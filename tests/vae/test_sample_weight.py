"""Weighted fits: what weights are equal to, whatever the setting, and how they get there."""

import inspect

import numpy as np
import pandas as pd
import pytest
from shared import READS, SETTINGS, rows_for
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from skorch.callbacks import Callback

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    TeacherGuidedVAE,
)
from skvae.information import BoundaryStatistics, best_constant_student, teacher_information
from skvae.model_selection import StackedGridSearchCV
from skvae.teachers.fits import rows_to_teach
from skvae.training import CertificateCallback

# Five epochs are too few for some settings to be certified.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning"),
]


@pytest.fixture
def weights():
    return np.random.default_rng(1).integers(0, 4, 180)


def assert_same_model(one, other, X):
    assert [{**record, "seconds": 0} for record in one.history_] == [
        {**record, "seconds": 0} for record in other.history_
    ]
    for name, read in READS.items():
        np.testing.assert_array_equal(read(one, X), read(other, X), err_msg=name)


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_whatever_the_setting(name, small_vae, clusters, weights):
    setting = SETTINGS[name]
    X = rows_for(setting, clusters)
    plain = small_vae(**setting).fit(X)
    alike = small_vae(**setting).fit(X, sample_weight=np.full(len(X), 3))
    assert_same_model(plain, alike, X)
    # Rows that weigh nothing are not there, and the boundary is that of the weighted rows.
    kept = weights > 0
    vae = small_vae(**setting).fit(X, sample_weight=weights)
    assert_same_model(vae, small_vae(**setting).fit(X[kept], sample_weight=weights[kept]), X)
    assert np.isfinite(vae.score_samples(X)).all()
    assert [record["epoch"] for record in vae.history_] == [1, 2, 3, 4, 5]
    if "early_stopping" in setting:
        assert np.isfinite(vae.history_[-1]["valid_lower_bound"])
        return
    T, log_q = vae.teacher_proba(X), vae.witness_log_proba(X)
    found = BoundaryStatistics().update(T, log_q, weights)
    assert vae.margin_ == pytest.approx(found.margin, abs=1e-9)
    assert vae.teacher_information_ == pytest.approx(found.teacher_information, abs=1e-9)
    np.testing.assert_allclose(vae.average_teacher_, found.best_constant_student, atol=1e-9)
    # The history is of the training as it went, in float32.
    record = vae.history_[-1]
    margin = found.teacher_information - record["alignment"]
    assert record["margin"] == pytest.approx(margin, abs=1e-5)
    if hasattr(vae, "partial_fit"):
        vae.partial_fit(X[::2], sample_weight=weights[::2])
        assert vae.n_iter_ == 6


def test_a_linear_vae_finds_the_principal_components_of_the_weighted_rows():
    # As tests/vae/test_linear_theory.py, of a covariance that the weights make.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 4)) * [2.0, 1.4, 1.0, 0.5]
    weights = np.where(np.abs(X[:, 0]) > 2, 0.2, 1.0) * rng.uniform(0.5, 1.5, 1000)
    X = 3 + X @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    eigenvalues, plain = (
        np.linalg.eigvalsh(np.cov(X.T, bias=True, aweights=each))[::-1]
        for each in (weights, None)
    )
    variance = 0.7
    vae = TeacherGuidedVAE(
        latent_dim=4,
        hidden_layer_sizes=(),
        alignment_weight=0,
        decoder_variance=variance,
        lr=1e-2,
        batch_size=500,
        max_epochs=600,
        device="cpu",
        random_state=0,
    ).fit(X, sample_weight=weights)
    certificate = ConstantCollapseCertificate(max_weight=1.5)
    report = certificate.certify(vae, X, sample_weight=weights)
    kept = eigenvalues > variance
    rate = 0.5 * np.log(eigenvalues[kept] / variance).sum()
    assert report.rate == pytest.approx(rate, abs=0.05)
    # Far from what no weights would give.
    assert abs(0.5 * np.log(plain[plain > variance] / variance).sum() - rate) > 0.3
    spectrum = np.where(kept, eigenvalues, variance)
    log_likelihood = -0.5 * (np.log(2 * np.pi * spectrum) + eigenvalues / spectrum).sum()
    assert vae.score(X, sample_weight=weights) == pytest.approx(log_likelihood, abs=0.05)


def test_score_is_the_weighted_mean(fitted, clusters, weights):
    elbo = fitted.score_samples(clusters).astype(np.float64)
    again = np.repeat(elbo, weights).mean()
    assert fitted.score(clusters, sample_weight=weights) == pytest.approx(again, abs=1e-9)
    assert fitted.score(clusters, None, np.ones(180)) == fitted.score(clusters)


@pytest.mark.parametrize("kind", [list, pd.Series, np.float32])
def test_weights_of_any_kind_and_rows_in_a_frame(kind, small_vae, clusters, weights):
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    y = pd.Series(np.arange(180) % 3)
    teacher = LogisticRegression()
    vae = small_vae(teacher=teacher).fit(frame, y, sample_weight=kind(weights))
    other = small_vae(teacher=teacher).fit(clusters, y, sample_weight=weights)
    np.testing.assert_array_equal(vae.transform(frame), other.transform(clusters))
    np.testing.assert_array_equal(vae.teacher_.feature_names_in_, list("abcd"))


def test_images_and_another_view_lose_the_rows_that_weigh_nothing(small_vae, clusters, weights):
    images = clusters.reshape(-1, 1, 2, 2)
    T = np.eye(3)[np.arange(180) // 60] * 0.9 + 0.1 / 3
    vae = small_vae(teacher=PrecomputedTeacher(), architecture="conv", channels=4)
    vae.fit(images, X_teacher=T, sample_weight=weights)
    np.testing.assert_allclose(vae.average_teacher_, best_constant_student(T, weights))
    assert vae.teacher_information_ == pytest.approx(teacher_information(T, weights))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(180), "weight.*zero"),
        (np.r_[np.ones(179), -1], "Entry 179"),
        (np.ones(90), r"shape \(180,\), got shape \(90,\)"),
        (np.eye(180)[0], "1 of n_samples=180 rows, and at least 2"),
        (["heavy"] * 180, "sample_weight"),
    ],
)
def test_what_are_no_weights_is_refused_and_changes_nothing(given, message, fitted, clusters):
    vae = TeacherGuidedVAE(warm_start=fitted, device="cpu")
    before = dict(vars(vae))
    with pytest.raises(ValueError, match=message):
        vae.fit(clusters, sample_weight=given)
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
        vae.fit(clusters, weight=given)
    assert vars(vae) == before


# Teachers


class Spy(LogisticRegression):
    """A teacher that keeps the weights it is given."""

    def fit(self, X, y, sample_weight=None):
        self.given_ = sample_weight
        return super().fit(X, y, sample_weight)


def test_a_teacher_that_takes_weights_is_given_them(small_vae, clusters, weights):
    y = np.arange(180) // 60
    kept = weights > 0
    vae = small_vae(teacher=Spy()).fit(clusters, y, sample_weight=weights)
    np.testing.assert_allclose(vae.teacher_.given_, weights[kept] / weights[kept].mean())
    assert small_vae(teacher=Spy()).fit(clusters, y).teacher_.given_ is None
    some = small_vae(teacher=Spy(), max_teacher_rows=50).fit(clusters, y, sample_weight=weights)
    assert len(some.teacher_.given_) == 50


class Counter(BaseEstimator):
    """A teacher without weights that keeps the rows it is given."""

    def fit(self, X, y=None):
        self.rows_, self.labels_ = X, y
        return self

    def predict_proba(self, X):
        second = 1 / (1 + np.exp(-X[:, :1]))
        return np.hstack([1 - second, second])


@pytest.mark.parametrize("n_most", [100_000, 60])
def test_any_other_teacher_sees_rows_as_often_as_they_weigh(small_vae, clusters, n_most):
    weights = np.random.default_rng(0).exponential(size=180)
    vae = small_vae(teacher=Counter(), max_teacher_rows=n_most)
    vae.fit(clusters, np.arange(180), sample_weight=weights)
    times = np.bincount(vae.teacher_.labels_, minlength=180)
    np.testing.assert_array_equal(vae.teacher_.rows_, clusters[vae.teacher_.labels_])
    n_drawn = min(180, n_most)
    assert times.sum() == n_drawn
    assert (np.abs(times - n_drawn * weights / weights.sum()) < 1).all()


def test_rows_are_taught_in_proportion_to_their_weights_on_average():
    weights = np.array([0.2, 0.3, 2.0, 1.5, 1.0])
    times = np.zeros(5)
    for seed in range(2000):
        times += np.bincount(rows_to_teach(5, 5, None, seed, weights), minlength=5)
    np.testing.assert_allclose(times / 2000, weights, atol=0.04)
    among = rows_to_teach(2, 5, np.array([0, 4]), 0, weights)
    assert set(among) <= {0, 4}


# The way of weights through scikit-learn


class Named(TeacherGuidedVAE):
    """The estimator with its weights in the signature, for scikit-learn's checks to see."""

    def fit(self, X, y=None, X_teacher=None, sample_weight=None):
        return super().fit(X, y, X_teacher, sample_weight=sample_weight)


@pytest.mark.parametrize(
    "check",
    [
        "check_sample_weights_pandas_series",
        "check_sample_weights_not_an_array",
        "check_sample_weights_list",
        "check_all_zero_sample_weights_error",
        "check_sample_weights_shape",
        "check_sample_weights_not_overwritten",
    ],
)
def test_scikit_learns_checks_of_weights_but_for_equal_digits(check):
    if not hasattr(estimator_checks, check):
        pytest.skip(f"this scikit-learn has no {check}")
    getattr(estimator_checks, check)("Named", Named(max_epochs=2))


def test_the_signature_of_fit_makes_no_promise_of_equal_digits():
    # To scikit-learn it would be one: that no order of rows and no noise make a difference.
    for method in (TeacherGuidedVAE.fit, TeacherGuidedVAE.partial_fit):
        assert "sample_weight" not in inspect.signature(method).parameters
    with config_context(enable_metadata_routing=True):
        routing = TeacherGuidedVAE().set_fit_request(sample_weight=True).get_metadata_routing()
    assert routing.fit.requests == {"X_teacher": None, "sample_weight": True}


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_pipelines_searches_and_scorers(
    small_vae, clusters, weights
):
    vae = small_vae(max_epochs=20)
    vae.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    certificate = ConstantCollapseCertificate().set_score_request(sample_weight=True)
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(
        make_pipeline(scaler, vae),
        {"teacherguidedvae__beta": [0.5, 1.0]},
        scoring=certificate,
        cv=folds,
        error_score="raise",
    )
    search.fit(clusters, sample_weight=weights)
    train, test = next(folds.split(clusters))
    scaled = StandardScaler().fit(clusters[train])
    alone = small_vae(max_epochs=20, beta=0.5).fit(
        scaled.transform(clusters[train]), sample_weight=weights[train]
    )
    margin = ConstantCollapseCertificate().score(
        alone, scaled.transform(clusters[test]), sample_weight=weights[test]
    )
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(margin, abs=1e-12)


@pytest.mark.usefixtures("routing")
def test_cross_validation_scores_by_weights(small_vae, clusters, weights):
    vae = small_vae().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    folds = KFold(3, shuffle=True, random_state=0)
    found = cross_validate(
        vae, clusters, cv=folds, params={"sample_weight": weights}, error_score="raise"
    )
    train, test = next(folds.split(clusters))
    alone = small_vae().fit(clusters[train], sample_weight=weights[train])
    elbo = alone.score(clusters[test], sample_weight=weights[test])
    assert found["test_score"][0] == elbo


def test_what_takes_no_weights_says_so(small_vae, clusters, weights):
    search = StackedGridSearchCV(small_vae(), {"beta": [0.5, 1.0]}, cv=2)
    with pytest.raises(TypeError, match="sample_weight"):
        search.fit(clusters, sample_weight=weights)
    with pytest.raises(TypeError, match="sample_weight"):
        GaussianMixtureTeacher().fit(clusters, sample_weight=weights)


# Callbacks and checkpoints


class Stop(Callback):
    """Note the parts of batches, and fail once in the epoch that is named."""

    def __init__(self, epoch=None):
        self.epoch = epoch
        self.seen = set()

    def on_grad_computed(self, net, batch=None, **kwargs):
        self.seen.add(tuple(len(part) == len(batch[0]) for part in batch))

    def on_epoch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            self.epoch = None
            raise RuntimeError("stopped")


def test_callbacks_see_weighted_batches_and_change_nothing(small_vae, clusters, weights):
    spy = Stop()
    certifying = CertificateCallback(clusters, sample_weight=weights, every=5)
    plain, told = (
        small_vae(callbacks=callbacks).fit(clusters, sample_weight=weights)
        for callbacks in (None, [spy, certifying])
    )
    np.testing.assert_array_equal(plain.transform(clusters), told.transform(clusters))
    assert spy.seen == {(True, True, True)}
    expected = ConstantCollapseCertificate(latent="sample").certify(
        told, clusters, sample_weight=weights
    )
    assert certifying.reports_[5] == expected


def test_a_checkpoint_is_of_its_weights(small_vae, clusters, weights, tmp_path):
    whole = small_vae().fit(clusters, sample_weight=weights)
    vae = small_vae(callbacks=[Stop(3)], checkpoint=tmp_path / "fit", checkpoint_every=1)
    with pytest.raises(RuntimeError, match="stopped"):
        vae.fit(clusters, sample_weight=weights)
    vae.set_params(callbacks=None)
    # Other rows that weigh nothing are other rows.
    for others, what in ((weights**2, "sample_weight was"), (None, "X was")):
        with pytest.raises(ValueError, match=what):
            vae.fit(clusters, sample_weight=others)
    vae.fit(clusters, sample_weight=weights)
    assert_same_model(whole, vae, clusters)
