"""Searches over alignment_weight: the certificate as a score, candidates trained together."""

import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.model_selection import StackedGridSearchCV

# At weight 1 = beta the estimator rightly warns.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

GRID = {"alignment_weight": [0.0, 3.0, 30.0], "beta": [0.5, 2.0], "random_state": [0, 1]}
CERTIFICATE = ConstantCollapseCertificate()


@pytest.fixture(scope="module")
def searches(digit_images):
    vae = TeacherGuidedVAE(
        latent_dim=8,
        hidden_layer_sizes=(128,),
        decoder_variance=1.0,
        lr=2e-3,
        max_epochs=40,
        device="cpu",
        random_state=0,
    )
    return [
        GridSearchCV(
            vae,
            {"alignment_weight": [0, 1, 10]},
            scoring=ConstantCollapseCertificate(),
            cv=3,
            n_jobs=n_jobs,
        ).fit(digit_images)
        for n_jobs in (1, 2)
    ]


def test_search_in_a_collapse_prone_setting_picks_alignment(searches):
    scores = searches[0].cv_results_["mean_test_score"]
    assert searches[0].best_params_["alignment_weight"] > 0
    assert scores[0] <= 0 < scores[2]


def test_two_processes_give_the_same_numbers_to_the_bit(searches, digit_images):
    one, two = searches
    for key, values in one.cv_results_.items():
        if "time" not in key and "param" not in key:
            np.testing.assert_array_equal(two.cv_results_[key], values)
    np.testing.assert_array_equal(two.transform(digit_images), one.transform(digit_images))


def both(vae, grid, X, y=None, **parameters):
    setting = {"scoring": CERTIFICATE, "cv": 3, **parameters}
    return [
        search(vae, grid, **setting).fit(X, y) for search in (GridSearchCV, StackedGridSearchCV)
    ]


def assert_same_table(one, other):
    assert one.cv_results_.keys() == other.cv_results_.keys()
    assert one.cv_results_["params"] == other.cv_results_["params"]
    for name, expected in one.cv_results_.items():
        if "_score" in name and not name.startswith(("rank", "mean_score", "std_score")):
            np.testing.assert_allclose(
                other.cv_results_[name], expected, rtol=1e-3, atol=1e-5, err_msg=name
            )


@pytest.fixture(scope="module")
def pair(small_vae, clusters):
    # Folds of 103 and of 89 rows to train on.
    folds = [
        (np.arange(77, 180), np.arange(77)),
        (np.arange(0, 180, 2)[:-1], np.arange(1, 180, 2)),
    ]
    return both(small_vae(batch_size=40), GRID, clusters, cv=folds, return_train_score=True)


def test_the_table_is_that_of_models_trained_one_by_one(pair):
    one, other = pair
    assert_same_table(one, other)
    assert other.n_splits_ == 2
    assert not other.multimetric_


def test_the_best_model_is_the_same_to_the_bit(pair, clusters):
    one, other = pair
    assert other.best_params_ == one.best_params_
    assert other.best_index_ == one.best_index_
    assert type(other.best_estimator_) is TeacherGuidedVAE
    assert vars(other.best_estimator_).keys() == vars(one.best_estimator_).keys()
    np.testing.assert_array_equal(other.transform(clusters), one.transform(clusters))
    assert other.n_features_in_ == 4


def test_scorers_see_an_ordinary_fitted_estimator(small_vae, clusters):
    seen = []

    def scorer(vae, X, y=None):
        seen.append(vae)
        return vae.score(X)

    grid = {"alignment_weight": [10.0, 30.0]}
    StackedGridSearchCV(small_vae(), grid, scoring=scorer, cv=2, refit=False).fit(clusters)
    ordinary = small_vae().fit(clusters)
    assert [vae.alignment_weight for vae in seen] == [10.0, 10.0, 30.0, 30.0]
    for vae in seen:
        assert type(vae) is TeacherGuidedVAE
        assert vars(vae).keys() == vars(ordinary).keys()
        assert vae.memory is None
        assert len(vae.history_) == vae.n_iter_ == 5
        assert vae.history_[0].keys() == ordinary.history_[0].keys()
        # It can be trained on.
        assert vae.partial_fit(clusters).n_iter_ == 6


def test_candidates_of_other_shapes_make_stacks_of_their_own(small_vae, clusters):
    grid = [
        {"latent_dim": [2, 4], "lr": [1e-3, 1e-2]},
        {"teacher__n_components": [2, 3], "beta": [0.1, 1.0]},
    ]
    # With all rows in one batch the first gradient of the witness's bias would be zero but for
    # rounding, which AdamW takes a whole step on.
    vae = small_vae(max_epochs=2, batch_size=50)
    assert_same_table(*both(vae, grid, clusters))


def test_several_scores_and_a_callable_refit(small_vae, clusters):
    scoring = {"margin": CERTIFICATE, "elbo": lambda vae, X, y=None: vae.score(X)}
    one, other = both(
        small_vae(max_epochs=2),
        {"beta": [0.5, 1.0]},
        clusters,
        scoring=scoring,
        refit=lambda table: int(np.argmin(table["mean_test_margin"])),
    )
    assert_same_table(one, other)
    assert other.best_index_ == one.best_index_
    assert other.scorer_.keys() == scoring.keys()
    assert not hasattr(other, "best_score_")


def test_labels_groups_and_names_go_where_they_belong(small_vae, clusters):
    X = pd.DataFrame(clusters, columns=list("abcd"))
    y = np.repeat([0, 1, 2], 60)
    groups = np.arange(180) % 3
    vae = small_vae(teacher=LogisticRegression(), max_epochs=2, batch_size=50)
    setting = {"scoring": CERTIFICATE, "cv": GroupKFold(3)}
    grid = {"beta": [0.5, 1.0]}
    one = GridSearchCV(vae, grid, **setting).fit(X, y, groups=groups)
    other = StackedGridSearchCV(vae, grid, **setting).fit(X, y, groups=groups)
    assert_same_table(one, other)
    assert list(other.feature_names_in_) == list("abcd")


def test_folds_are_drawn_once_and_trained_in_any_number_of_processes(small_vae, clusters):
    def table(search, **parameters):
        # Another split at every call.
        cv = ShuffleSplit(2, random_state=np.random.RandomState(0))
        return search(small_vae(), {"beta": [0.5, 1.0]}, cv=cv, **parameters).fit(clusters)

    one, two = (table(StackedGridSearchCV, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert_same_table(table(GridSearchCV), one)
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(two.cv_results_[key], one.cv_results_[key])


class CountedTeacher(GaussianMixtureTeacher):
    """Counts its fits."""

    fits: ClassVar[list[int]] = []

    def fit(self, X, y=None):
        self.fits.append(len(X))
        return super().fit(X, y)


def test_a_fold_has_one_teacher(small_vae, clusters):
    CountedTeacher.fits.clear()
    vae = small_vae(teacher=CountedTeacher(n_components=3), max_epochs=1)
    StackedGridSearchCV(vae, {"beta": [0.5, 1.0], "alignment_weight": [3.0, 9.0]}, cv=3).fit(
        clusters
    )
    assert CountedTeacher.fits == [120, 120, 120, 180]


@pytest.mark.parametrize(
    "setting",
    [
        {"early_stopping": True},
        {"guard": 0.1},
        {"warm_start": True},
        {"precision": "bf16"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_cannot_be_stacked_is_refused_before_anything_is_fitted(
    setting, small_vae, clusters
):
    CountedTeacher.fits.clear()
    vae = small_vae(teacher=CountedTeacher(n_components=3))
    (name,) = setting
    refused = [
        StackedGridSearchCV(clone(vae).set_params(**setting), {"beta": [0.5]}),
        StackedGridSearchCV(vae, {name: [vae.get_params()[name], *setting.values()]}),
    ]
    for search in refused:
        with pytest.raises(ValueError, match=f"{name}=.* cannot be trained in a stack"):
            search.fit(clusters)
        assert not hasattr(search, "cv_results_")
    assert CountedTeacher.fits == []


def test_other_estimators_are_refused(small_vae, clusters):
    pipeline = make_pipeline(StandardScaler(), small_vae())
    with pytest.raises(TypeError, match="got Pipeline: search with GridSearchCV"):
        StackedGridSearchCV(pipeline, {"teacherguidedvae__beta": [1.0]}).fit(clusters)


def test_a_candidate_that_cannot_be_fitted_disturbs_no_other(small_vae, clusters):
    grid = {"beta": [0.5, -1.0, 1.0]}
    search = StackedGridSearchCV(small_vae(), grid, cv=2)
    with pytest.warns(FitFailedWarning, match="2 fits failed"):
        search.fit(clusters)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(np.isnan(scores), [False, True, False])
    without = StackedGridSearchCV(small_vae(), {"beta": [0.5, 1.0]}, cv=2).fit(clusters)
    np.testing.assert_array_equal(without.cv_results_["mean_test_score"], scores[[0, 2]])
    with pytest.raises(ValueError, match="'beta' parameter"):
        search.set_params(error_score="raise").fit(clusters)


def test_a_model_that_diverges_is_a_failed_candidate(small_vae, clusters):
    vae = small_vae(lr=1e30, max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="DivergenceError"):
            StackedGridSearchCV(vae, {"beta": [0.5, 1.0]}, cv=2).fit(clusters)
