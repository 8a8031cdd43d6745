"""The default teacher, and any other with predict_proba."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Memory
from scipy import special, stats
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    TemperedTeacher,
)
from skvae._common.randomness import seed_unset_random_states
from skvae.exceptions import ConstantTeacherError
from skvae.information import teacher_information
from skvae.information.simplex import log_odds_energy


def test_teacher_is_the_tempered_and_floored_posterior_of_its_pipeline(wine):
    teacher = GaussianMixtureTeacher(
        n_components=4, temperature=2.0, floor=0.1, random_state=0
    ).fit(wine)
    responsibilities = teacher.pipeline_.predict_proba(wine)
    tempered = np.sqrt(responsibilities)
    tempered /= tempered.sum(axis=1, keepdims=True)
    expected = 0.9 * tempered + 0.1 / 4
    np.testing.assert_allclose(teacher.predict_proba(wine), expected, atol=1e-12)


def test_columns_of_one_unit_share_a_scale(wine, digit_images):
    for X, wanted in ((wine, "columns"), (digit_images, "pooled")):
        auto, same = (
            GaussianMixtureTeacher(scaling=scaling, random_state=0).fit(X)
            for scaling in ("auto", wanted)
        )
        np.testing.assert_array_equal(auto.predict_proba(X), same.predict_proba(X))
    pooled = GaussianMixtureTeacher(scaling="pooled").fit(wine).pipeline_[0].scale_
    np.testing.assert_allclose(pooled, np.sqrt(wine.var(axis=0).mean()))


def test_the_teacher_of_digits_sees_digits():
    X, y = load_digits(return_X_y=True)
    agreement = {
        scaling: adjusted_rand_score(
            y,
            GaussianMixtureTeacher(scaling=scaling, random_state=0)
            .fit(X)
            .predict_proba(X)
            .argmax(axis=1),
        )
        for scaling in ("auto", "columns")
    }
    assert agreement["auto"] > agreement["columns"] + 0.05


@pytest.mark.parametrize(
    ("dtype", "offset", "scale", "tolerance"),
    [
        (np.float64, 0.0, 1.0, 1e-11),
        (np.float64, 1e6, 1e-2, 1e-7),
        (np.float32, 0.0, 1.0, 1e-4),
        (np.float32, 1e3, 1.0, 1e-4),
        (np.float32, 0.0, 1e-40, 1e-4),
    ],
)
def test_one_product_has_the_digits_of_the_steps_of_the_pipeline(
    digit_images, dtype, offset, scale, tolerance
):
    """Offsets beside which the rows vary little, and scales without a float32 reciprocal."""
    X = (offset + scale * digit_images).astype(dtype)
    teacher = GaussianMixtureTeacher(floor=0.0, random_state=0).fit(X)
    expected = teacher.pipeline_.predict_proba(X.astype(np.float64))
    np.testing.assert_allclose(teacher.predict_proba(X), expected, atol=tolerance)
    assert teacher_information(expected) > 1


@pytest.mark.parametrize("temperature", [100.0, 1000.0])
def test_temperature_lifts_what_probabilities_would_underflow(digit_images, temperature):
    """Far from its component a row's responsibility is below any float64."""
    teacher = GaussianMixtureTeacher(
        scaling="columns", temperature=temperature, floor=0.0, random_state=0
    )
    T = teacher.fit(digit_images).predict_proba(digit_images)
    scaled = teacher.pipeline_[:-1].transform(digit_images)
    mixture = teacher.pipeline_[-1]
    log_joint = np.log(mixture.weights_) + np.column_stack(
        [
            stats.multivariate_normal(mean, variance).logpdf(scaled)
            for mean, variance in zip(mixture.means_, mixture.covariances_, strict=True)
        ]
    )
    assert np.ptp(log_joint, axis=1).max() > 745
    expected = special.softmax(log_joint / temperature, axis=1)
    np.testing.assert_allclose(T, expected, atol=1e-9)


def test_every_component_has_a_positive_probability_everywhere(wine):
    T = GaussianMixtureTeacher(floor=0.05, random_state=0).fit(wine).predict_proba(wine)
    np.testing.assert_allclose(T.sum(axis=1), 1.0, atol=1e-12)
    assert T.min() >= 0.05 / 10


def test_higher_temperature_has_less_information(wine):
    information = [
        teacher_information(
            GaussianMixtureTeacher(temperature=t, random_state=0).fit(wine).predict_proba(wine)
        )
        for t in (0.5, 1.0, 10.0, 100.0)
    ]
    assert information == sorted(information, reverse=True)


def test_units_and_column_order_of_names_matter_as_they_should(wine):
    teacher = GaussianMixtureTeacher(random_state=0)
    scale = np.logspace(-6, 6, wine.shape[1])
    T = clone(teacher).fit(wine).predict_proba(wine)
    rescaled = clone(teacher).fit(wine * scale).predict_proba(wine * scale)
    np.testing.assert_allclose(rescaled, T, atol=1e-6)
    frame = pd.DataFrame(wine, columns=[f"c{i}" for i in range(wine.shape[1])])
    teacher.fit(frame)
    with pytest.raises(ValueError, match="same order"):
        teacher.predict_proba(frame[frame.columns[::-1]])


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e30), (np.float64, 1e300)])
def test_row_at_no_finite_distance_is_refused_by_its_number(wine, dtype, far):
    X = wine.astype(dtype)
    teacher = GaussianMixtureTeacher(random_state=0).fit(X)
    X[3, 1] = far
    with pytest.raises(ValueError, match=r"Row 3 of X is too far from the mixture.*clip"):
        teacher.predict_proba(X)


def test_fewer_rows_than_components_are_refused(wine):
    with pytest.raises(ValueError, match=r"n_components=10.*n_samples=5.*fewer components"):
        GaussianMixtureTeacher(n_components=10).fit(wine[:5])


@pytest.mark.parametrize(
    ("n_rows", "n_components"), [(2, 2), (10, 2), (29, 2), (30, 3), (99, 9), (150, 10)]
)
def test_a_mixture_has_ten_rows_a_component_unless_told(wine, n_rows, n_components):
    teacher = GaussianMixtureTeacher(random_state=0).fit(wine[:n_rows])
    assert teacher.predict_proba(wine).shape[1] == n_components


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"floor": 1.0}, {"n_components": 0}])
def test_parameters_out_of_range_are_refused(wine, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        GaussianMixtureTeacher(**bad).fit(wine)


@pytest.mark.parametrize(
    "teacher",
    [
        GaussianMixture(3),
        make_pipeline(StandardScaler(), GaussianMixture(3)),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["mixture", "pipeline", "classifier"],
)
def test_any_estimator_with_predict_proba_teaches(small_vae, clusters, teacher):
    labels = np.repeat([0, 1, 2], 60)
    vae = small_vae(teacher=teacher).fit(clusters, labels)
    assert vae.teacher_ is not teacher
    assert not hasattr(teacher, "weights_")
    assert vae.witness_log_proba(clusters).shape == (len(clusters), 3)
    again = small_vae(teacher=teacher).fit(clusters, labels)
    np.testing.assert_array_equal(again.transform(clusters), vae.transform(clusters))


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_string_labels_in_a_series_teach_a_classifier_with_early_stopping(small_vae, clusters):
    labels = pd.Series(np.repeat(["a", "b", "c"], 60), index=np.arange(180)[::-1])
    vae = small_vae(teacher=LogisticRegression(), early_stopping=True).fit(clusters, labels)
    assert set(vae.teacher_.classes_) == {"a", "b", "c"}


def test_classifier_without_labels_says_so(small_vae, clusters):
    with pytest.raises(ValueError, match="y"):
        small_vae(teacher=LogisticRegression()).fit(clusters)


def test_frozen_teacher_is_used_as_it_is(small_vae, clusters):
    inner = GaussianMixture(2, random_state=0).fit(clusters[:30])
    before = inner.means_.copy()
    frozen = FrozenEstimator(inner)
    vae = small_vae(teacher=frozen).fit(clusters)
    assert vae.teacher_ is frozen
    np.testing.assert_array_equal(inner.means_, before)
    np.testing.assert_allclose(vae.teacher_proba(clusters), inner.predict_proba(clusters))


def test_frozen_teacher_that_was_never_fitted_says_so(small_vae, clusters):
    with pytest.raises(NotFittedError):
        small_vae(teacher=FrozenEstimator(GaussianMixture(2))).fit(clusters)


def test_data_frame_reaches_the_teacher_with_its_names(small_vae, clusters):
    class NamedColumns(GaussianMixture):
        def fit(self, X, y=None):
            self.columns_seen_ = list(X.columns)
            return super().fit(X)

    frame = pd.DataFrame(clusters, columns=list("abcd"))
    vae = small_vae(teacher=NamedColumns(3)).fit(frame)
    assert vae.teacher_.columns_seen_ == list("abcd")


@pytest.mark.parametrize(
    "teacher", [GaussianMixture(1), GaussianMixtureTeacher(n_components=1)]
)
def test_constant_teacher_is_refused(small_vae, clusters, teacher):
    vae = small_vae(teacher=teacher)
    with pytest.raises(ConstantTeacherError, match="K = 1"):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


class BadTeacher(BaseEstimator):
    def __init__(self, T=None):
        self.T = T

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict_proba(self, X):
        return self.T


@pytest.mark.parametrize(
    ("T", "message"),
    [(np.full((180, 2), 0.7), "Row 0 of T"), (np.full((7, 2), 0.5), "7 rows for 180")],
)
def test_teacher_that_gives_no_distributions_is_refused(small_vae, clusters, T, message):
    with pytest.raises(ValueError, match=message):
        small_vae(teacher=BadTeacher(T)).fit(clusters)


def test_another_view_teaches_in_place_of_the_rows(small_vae, clusters):
    view = clusters[:, :2] * 100
    vae = small_vae(max_epochs=60).fit(clusters, X_teacher=view)
    assert vae.teacher_sees_ == "X_teacher"
    assert vae.teacher_.n_features_in_ == 2
    assert vae.teacher_proba(view).shape == (180, 3)
    assert vae.margin_ > 0
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small_vae().fit(clusters, X_teacher=view[:10])
    with pytest.raises(ValueError, match="fitted to X_teacher, and is now shown X:"):
        vae.partial_fit(clusters)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_view_is_split_with_the_rows_for_early_stopping(small_vae, clusters):
    view = pd.DataFrame(clusters[:, :2], columns=["u", "v"], index=np.arange(180)[::-1])
    vae = small_vae(early_stopping=True).fit(clusters, X_teacher=view)
    assert list(vae.teacher_.feature_names_in_) == ["u", "v"]


def test_precomputed_distributions_teach(small_vae, clusters):
    T = GaussianMixture(3, random_state=0).fit(clusters).predict_proba(clusters)
    vae = small_vae(teacher=PrecomputedTeacher(), max_epochs=60)
    vae.fit(clusters, X_teacher=T)
    assert vae.margin_ > 0
    vae.partial_fit(clusters[:5], X_teacher=T[:5])
    with pytest.raises(ValueError, match="n_components=3"):
        vae.teacher_proba(np.full((4, 2), 0.5))
    with pytest.raises(ValueError, match="Row 0 of T"):
        small_vae(teacher=PrecomputedTeacher()).fit(clusters)


def test_teacher_without_predict_proba_is_refused(small_vae, clusters):
    with pytest.raises(ValueError, match=r"'teacher' parameter.*'fit'"):
        small_vae(teacher=StandardScaler()).fit(clusters)


@pytest.fixture
def fits(monkeypatch):
    """Count how often a teacher is fitted."""
    counted = []
    fit = GaussianMixtureTeacher.fit

    def counting(self, X, y=None):
        counted.append(len(X))
        return fit(self, X, y)

    monkeypatch.setattr(GaussianMixtureTeacher, "fit", counting)
    return counted


GRID = {"alignment_weight": [2.0, 5.0, 10.0], "beta": [0.5, 1.0]}


@pytest.mark.parametrize("kind", [str, Path, lambda path: Memory(path, verbose=0)])
def test_search_with_a_memory_fits_one_teacher_a_fold(
    small_vae, clusters, fits, tmp_path, kind
):
    X = np.random.default_rng(0).permutation(clusters)
    scoring = ConstantCollapseCertificate()
    vae = small_vae(max_epochs=2)
    plain = GridSearchCV(vae, GRID, scoring=scoring, cv=3).fit(X)
    assert fits == [120] * (6 * 3) + [180]
    fits.clear()
    vae.set_params(memory=kind(tmp_path))
    search = GridSearchCV(vae, GRID, scoring=scoring, cv=3).fit(X)
    assert fits == [120] * 3 + [180]
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    fits.clear()
    GridSearchCV(vae, GRID, scoring=scoring, cv=3, n_jobs=2).fit(X)
    assert len(list(tmp_path.rglob("output.pkl"))) == 4


def test_memory_tells_teachers_seeds_and_rows_apart(small_vae, clusters, fits, tmp_path):
    vae = small_vae(max_epochs=1, memory=tmp_path)
    vae.fit(clusters).fit(clusters)
    assert len(fits) == 1
    vae.set_params(random_state=1).fit(clusters)
    vae.fit(clusters[:170])
    vae.set_params(teacher__n_components=4).fit(clusters[:170])
    assert len(fits) == 4
    vae.set_params(random_state=0, teacher__n_components=3).fit(clusters)
    assert len(fits) == 4


def test_memory_leaves_a_frozen_teacher_alone(small_vae, clusters, tmp_path):
    frozen = FrozenEstimator(GaussianMixture(3, random_state=0).fit(clusters))
    small_vae(teacher=frozen, memory=tmp_path, max_epochs=1).fit(clusters)
    assert not list(tmp_path.iterdir())


def test_what_is_no_memory_is_refused(small_vae, clusters):
    with pytest.raises(ValueError, match="memory"):
        small_vae(memory=3).fit(clusters)


def test_tempered_teacher_is_its_formula(clusters):
    mixture = GaussianMixture(3, random_state=0)
    teacher = TemperedTeacher(mixture, temperature=2.0, floor=0.1).fit(clusters[::20])
    p = teacher.teacher_.predict_proba(clusters)
    expected = 0.9 * np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True) + 0.1 / 3
    np.testing.assert_allclose(teacher.predict_proba(clusters), expected, atol=1e-12)
    assert not hasattr(mixture, "weights_")


def test_tempering_a_mixture_teacher_after_the_fact_is_the_same(wine):
    plain = GaussianMixtureTeacher(floor=0.0, random_state=0)
    tempered = TemperedTeacher(plain, temperature=1.5, floor=0.05).fit(wine)
    direct = clone(plain).set_params(temperature=1.5, floor=0.05).fit(wine)
    np.testing.assert_allclose(
        tempered.predict_proba(wine), direct.predict_proba(wine), atol=1e-12
    )


@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
def test_zeros_stay_zeros_until_the_floor_is_added(clusters, temperature):
    labels = np.repeat([0, 1, 2], 60)
    tree = DecisionTreeClassifier(random_state=0)
    sharp = TemperedTeacher(tree, temperature=temperature, floor=0.0).fit(clusters, labels)
    np.testing.assert_array_equal(sharp.predict_proba(clusters), np.eye(3)[labels])
    with pytest.raises(ValueError, match="TemperedTeacher"):
        log_odds_energy(sharp.predict_proba(clusters))
    floored = sharp.set_params(floor=0.3).predict_proba(clusters)
    np.testing.assert_allclose(floored, 0.7 * np.eye(3)[labels] + 0.1)
    assert np.isfinite(log_odds_energy(floored))


def test_tempered_teacher_speaks_for_the_one_inside(clusters):
    teacher = TemperedTeacher(LogisticRegression())
    for name in ("classes_", "n_features_in_", "feature_names_in_"):
        assert not hasattr(teacher, name)
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    teacher.fit(frame, np.repeat(["x", "y", "z"], 60))
    assert list(teacher.classes_) == ["x", "y", "z"]
    assert teacher.n_features_in_ == 4
    assert list(teacher.feature_names_in_) == list("abcd")


def test_tempered_teacher_uses_a_frozen_one_as_it_is(clusters):
    inner = GaussianMixture(2, random_state=0).fit(clusters)
    teacher = TemperedTeacher(FrozenEstimator(inner)).fit(clusters[:10])
    assert teacher.teacher_.estimator is inner


def test_seed_reaches_the_teacher_inside(small_vae, clusters):
    teacher = TemperedTeacher(make_pipeline(StandardScaler(), GaussianMixture(3)))
    seed_unset_random_states(teacher, 0)
    assert teacher.teacher[-1].random_state is not None
    one, two = (
        small_vae(teacher=TemperedTeacher(GaussianMixture(3)), max_epochs=1).fit(clusters)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.teacher_proba(clusters), two.teacher_proba(clusters))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"floor": 1.0}, "floor"),
        ({"teacher": StandardScaler()}, "'teacher' parameter"),
        ({"teacher": BadTeacher(np.full((180, 2), 0.7))}, "Row 0 of T"),
    ],
)
def test_tempered_teacher_refuses_what_it_cannot_temper(clusters, bad, message):
    teacher = TemperedTeacher(GaussianMixture(3)).set_params(**bad)
    with pytest.raises(ValueError, match=message):
        teacher.fit(clusters).predict_proba(clusters)


def test_teacher_returns_arrays_whatever_transformers_are_set_to(small_vae, clusters):
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    plain = small_vae(max_epochs=1).fit(frame)
    with config_context(transform_output="pandas"):
        vae = small_vae(max_epochs=1).fit(frame)
        assert vae.margin_ == plain.margin_
        assert isinstance(vae.teacher_proba(frame), np.ndarray)
        ConstantCollapseCertificate().certify(vae, frame)
        ConstantCollapseCertificate().certify(plain, frame)
