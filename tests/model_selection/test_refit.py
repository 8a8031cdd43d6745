"""What searches score and refit by: rules on tables, then searches of all kinds."""

import pickle
import warnings

import numpy as np
import optuna
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate
from skvae.exceptions import UncertifiedError, UncertifiedWarning
from skvae.model_selection import (
    StackedGridSearchCV,
    best_certified,
    certified_elbo_scorer,
    elbo_scorer,
)

# Some of the candidates are to collapse.
pytestmark = pytest.mark.filterwarnings(
    "ignore::skvae.exceptions.UncertifiedWarning",
    "ignore::skvae.exceptions.WeakAlignmentWarning",
)

BOUND = ConstantCollapseCertificate(latent="sample", confidence=0.9)
SCORING = {"elbo": elbo_scorer, "bound": BOUND}
FOLDS = KFold(2, shuffle=True, random_state=0)
GRID = {"alignment_weight": [0.0, 3.0, 30.0]}


def table(elbos, bounds, names=("elbo", "bound")):
    """Make `cv_results_` of scores of shape (n_candidates, n_folds)."""
    results = {"params": [{"beta": number} for number in range(len(elbos))]}
    for name, scores in zip(names, (elbos, bounds), strict=True):
        columns = np.array(scores, dtype=float).T
        results |= {f"split{fold}_test_{name}": each for fold, each in enumerate(columns)}
        results[f"mean_test_{name}"] = columns.mean(axis=0)
    return results


NAN = np.nan


@pytest.mark.parametrize(
    ("elbos", "bounds", "best"),
    [
        # The best ELBO of all is not certified.
        ([[-1, -1], [-3, -3], [-2, -2]], [[-1, -1], [1, 1], [1, 1]], 2),
        # A mean of ELBOs decides.
        ([[-9, -1], [-4, -4]], [[1, 1], [1, 1]], 1),
        # A mean above tau hides a fold below it.
        ([[-1, -1], [-3, -3]], [[9, -1], [1, 1]], 1),
        # Of equals the first.
        ([[-5, -5], [-2, -2], [-2, -2]], [[1, 1], [1, 1], [2, 2]], 1),
        # On the boundary is not above it.
        ([[-1, -1], [-2, -2]], [[0, 1], [1e-9, 1]], 1),
        # Failed fits.
        ([[NAN, -1], [-2, -2], [-3, -3]], [[NAN, 1], [1, NAN], [1, 1]], 2),
        # A likelihood that is off the scale is the last choice.
        ([[-1, -1], [-np.inf, -2]], [[-1, -1], [1, 1]], 1),
        ([[-1, -1], [-np.inf, -2], [-9, -9]], [[-1, -1], [1, 1], [1, 1]], 2),
    ],
    ids=["bound", "mean", "fold", "ties", "boundary", "nan", "infinite", "finite first"],
)
def test_the_best_elbo_among_the_certified_wins(elbos, bounds, best):
    for if_none in ("raise", "warn"):
        index = best_certified(if_none=if_none)(table(elbos, bounds))
        assert type(index) is int
        assert index == best


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-9, 9) | st.just(NAN), min_size=2, max_size=2),
            st.lists(st.floats(-1, 1) | st.just(NAN), min_size=2, max_size=2),
        ),
        min_size=1,
        max_size=6,
    ),
    st.floats(0, 0.5),
)
def test_no_certified_candidate_is_better_and_no_other_wins(scores, tau):
    elbos, bounds = zip(*scores, strict=True)
    refit = best_certified(tau=tau)
    certified = [
        number
        for number, (elbo, bound) in enumerate(scores)
        if not np.isnan(elbo).any() and min(bound) > tau and not np.isnan(bound).any()
    ]
    results = table(elbos, bounds)
    if certified:
        best = refit(results)
        assert best in certified
        assert all(np.mean(elbos[best]) >= np.mean(elbos[other]) for other in certified)
    else:
        with pytest.raises(ValueError, match="None of the"):
            refit(results)


def test_tau_and_names_can_be_said():
    results = table([[-1, -1], [-2, -2]], [[0.1, 0.2], [0.3, 0.4]], ("likelihood", "b"))
    for tau, best in ((0.0, 0), (0.05, 0), (0.1, 1), (0.2, 1)):
        assert best_certified(tau=tau, elbo="likelihood", bound="b")(results) == best


def test_none_certified_is_an_error_that_names_the_best_bound_and_keeps_the_table():
    results = table([[-1, -1], [-2, -2], [-3, -3]], [[-9, 9], [-0.5, -0.25], [NAN, 1]])
    with pytest.raises(UncertifiedError) as caught:
        best_certified(tau=0.125)(results)
    for words in ("None of the 3", "is -0.5 nats", "tau = 0.125", "candidate 1", "{'beta': 1}"):
        assert words in str(caught.value)
    assert caught.value.cv_results_ is results
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert twin.cv_results_.keys() == results.keys()


def test_none_certified_may_be_a_warning():
    results = table([[-1, -1], [-2, -2], [-3, -3]], [[-9, 9], [-0.5, -0.25], [NAN, 1]])
    with pytest.warns(UncertifiedWarning, match=r"best bound, in its worst fold, is -0\.5"):
        assert best_certified(if_none="warn")(results) == 1


@pytest.mark.parametrize("if_none", ["raise", "warn"])
def test_nothing_scored_is_an_error(if_none):
    with pytest.raises(ValueError, match="None of the 2 candidates has a score 'elbo'"):
        best_certified(if_none=if_none)(
            table([[NAN, -1], [-2, -2]], [[1, 1], [1, NAN]]),
        )


def test_scores_that_are_not_there_are_named():
    results = table([[-1, -1]], [[1, 1]], ("elbo", "margin"))
    with pytest.raises(ValueError, match="no score 'bound', but 'elbo', 'margin'"):
        best_certified()(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": -1.0}, "'tau'"),
        ({"tau": True}, "'tau'"),
        ({"elbo": 3}, "'elbo'"),
        ({"bound": None}, "'bound'"),
        ({"if_none": "ignore"}, "'if_none'"),
    ],
    ids=str,
)
def test_options_are_checked_before_the_search(options, message):
    with pytest.raises(ValueError, match=message):
        best_certified(**options)


def test_elbo_scorer_is_the_score_of_what_is_inside(fitted, clusters):
    expected = fitted.score(clusters)
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), fitted)
    pipeline[0].fit(clusters)
    for estimator in (fitted, FrozenEstimator(fitted), pipeline):
        assert elbo_scorer(estimator, clusters) == expected
        assert elbo_scorer(estimator, clusters, np.zeros(len(clusters))) == expected
    for other in (PCA(2).fit(clusters), make_pipeline(PCA(2)).fit(clusters)):
        with pytest.raises(TypeError, match="ends in one, got PCA"):
            elbo_scorer(other, clusters)
    assert pickle.loads(pickle.dumps(elbo_scorer)) is elbo_scorer
    assert clone(elbo_scorer, safe=False) is elbo_scorer


def test_certified_elbo_is_the_elbo_or_below_all(fitted, small_vae, clusters):
    scorer = certified_elbo_scorer(BOUND)
    assert scorer(fitted, clusters) == elbo_scorer(fitted, clusters)
    information = fitted.teacher_information_
    shy = certified_elbo_scorer(clone(BOUND).set_params(tau=information))
    missing = information - BOUND.score(fitted, clusters)
    assert shy(fitted, clusters) == pytest.approx(-1e100 * (1 + missing))
    collapsed = small_vae(alignment_weight=0.0, max_epochs=1).fit(clusters)
    assert scorer(collapsed, clusters) < -1e100
    default = certified_elbo_scorer()
    assert default.certificate.confidence == 0.95
    assert default.certificate.latent == "sample"


def test_a_score_that_is_no_bound_is_refused():
    with pytest.raises(ValueError, match="pass ConstantCollapseCertificate"):
        certified_elbo_scorer(ConstantCollapseCertificate())
    with pytest.raises(TypeError, match="got PCA"):
        certified_elbo_scorer(PCA())
    with pytest.raises(ValueError, match="'confidence'"):
        certified_elbo_scorer(ConstantCollapseCertificate(confidence=2.0))


@pytest.mark.parametrize(
    "kind",
    [GridSearchCV, StackedGridSearchCV, RandomizedSearchCV],
    ids=lambda kind: kind.__name__,
)
def test_searches_refit_by_it_and_bear_clones_and_pickles(kind, small_vae, clusters):
    vae = small_vae(max_epochs=40)
    setting = {"scoring": SCORING, "refit": best_certified(), "cv": FOLDS}
    if kind is RandomizedSearchCV:
        setting |= {"n_iter": 3, "random_state": 0}
    search = clone(pickle.loads(pickle.dumps(kind(vae, GRID, **setting)))).fit(clusters)
    results = search.cv_results_
    bounds = np.array([results["split0_test_bound"], results["split1_test_bound"]])
    certified = (bounds > 0).all(axis=0)
    # Some of them collapse.
    assert 0 < certified.sum() < 3
    elbos = np.where(certified, results["mean_test_elbo"], -np.inf)
    assert search.best_index_ == np.argmax(elbos)
    assert search.best_params_["alignment_weight"] > 0
    twin = pickle.loads(pickle.dumps(search))
    assert twin.refit == search.refit == best_certified()
    np.testing.assert_array_equal(twin.transform(clusters), search.transform(clusters))
    assert elbo_scorer(search, clusters) == search.best_estimator_.score(clusters)
    again = clone(twin).fit(clusters)
    assert again.best_index_ == search.best_index_


@pytest.mark.parametrize("kind", [GridSearchCV, StackedGridSearchCV])
def test_a_search_without_a_certified_candidate(kind, small_vae, clusters):
    grid = {"alignment_weight": [0.0, 2.0]}
    setting = {"scoring": SCORING, "cv": FOLDS}
    search = kind(small_vae(max_epochs=1), grid, refit=best_certified(), **setting)
    with pytest.raises(UncertifiedError, match="None of the 2") as caught:
        search.fit(clusters)
    assert not hasattr(search, "best_index_")
    assert len(caught.value.cv_results_["mean_test_elbo"]) == 2
    search.set_params(refit=best_certified(if_none="warn"))
    with pytest.warns(UncertifiedWarning, match="None of the 2") as warned:
        search.fit(clusters)
    if kind is GridSearchCV:
        assert __file__ in {each.filename for each in warned if "None of" in str(each.message)}
    worst = np.minimum(
        search.cv_results_["split0_test_bound"], search.cv_results_["split1_test_bound"]
    )
    assert search.best_index_ == np.argmax(worst)


def test_a_candidate_that_fails_cannot_win(small_vae, clusters):
    grid = {"alignment_weight": [30.0], "beta": [-1.0, 1.0]}
    setting = {"scoring": SCORING, "refit": best_certified(), "cv": FOLDS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(small_vae(max_epochs=40), grid, **setting).fit(clusters)
    assert np.isnan(search.cv_results_["mean_test_elbo"][0])
    assert search.best_index_ == 1


def test_views_are_routed_to_the_certificate_alone(small_vae, clusters):
    with sklearn.config_context(enable_metadata_routing=True):
        certificate = clone(BOUND).set_score_request(X_teacher=True)
        search = GridSearchCV(
            small_vae(max_epochs=40).set_fit_request(X_teacher=True),
            {"alignment_weight": [0.0, 30.0]},
            scoring={"elbo": elbo_scorer, "bound": certificate},
            refit=best_certified(),
            cv=FOLDS,
        ).fit(clusters, X_teacher=clusters[:, :2])
    assert search.best_params_ == {"alignment_weight": 30.0}
    assert search.best_estimator_.teacher_sees_ == "X_teacher"


def test_halving_goes_by_the_one_score(small_vae, clusters):
    search = HalvingGridSearchCV(
        small_vae(),
        GRID,
        scoring=certified_elbo_scorer(BOUND),
        resource="max_epochs",
        min_resources=20,
        max_resources=40,
        factor=2,
        cv=FOLDS,
        random_state=0,
    )
    search = clone(pickle.loads(pickle.dumps(search))).fit(clusters)
    assert search.best_params_["alignment_weight"] > 0
    assert search.best_score_ > -100
    # Without alignment no candidate is kept.
    first = search.cv_results_["iter"] == 0
    alone = [params["alignment_weight"] == 0 for params in search.cv_results_["params"]]
    assert max(search.cv_results_["mean_test_score"][first & alone]) < -1e99
    assert not any(np.array(alone)[~first])
    twin = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(twin.transform(clusters), search.transform(clusters))


def test_a_search_is_cross_validated_by_it(small_vae, clusters):
    search = GridSearchCV(
        small_vae(max_epochs=40),
        {"alignment_weight": [30.0]},
        scoring=SCORING,
        refit=best_certified(),
        cv=FOLDS,
    )
    scores = cross_val_score(search, clusters, scoring=elbo_scorer, cv=FOLDS)
    assert np.isfinite(scores).all()


@pytest.fixture
def quiet_optuna():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.usefixtures("quiet_optuna")
def test_optuna_prunes_by_passes_and_decides_by_the_certified(small_vae, clusters):
    X_train, X_valid = clusters[::2], clusters[1::2]
    scorer = certified_elbo_scorer(BOUND)

    def objective(trial):
        vae = small_vae(
            alignment_weight=trial.suggest_float("alignment_weight", 0, 30),
            lr=trial.suggest_float("lr", 1e-6, 1e-1, log=True),
            batch_size=32,
        )
        for epoch in range(40):
            vae.partial_fit(X_train)
            trial.report(elbo_scorer(vae, X_valid), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return scorer(vae, X_valid)

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=3),
    )
    for weight, lr in ((0.0, 1e-2), (30.0, 1e-2), (30.0, 1e-6)):
        study.enqueue_trial({"alignment_weight": weight, "lr": lr})
    study.optimize(objective, n_trials=3)
    collapsed, certified, slow = study.trials
    # Without alignment the ELBO is the higher one, and its witness proves nothing.
    assert collapsed.intermediate_values[39] > certified.intermediate_values[39]
    assert collapsed.value < -1e99
    assert certified.value == certified.intermediate_values[39]
    assert slow.state is optuna.trial.TrialState.PRUNED
    assert len(slow.intermediate_values) < 40
    assert study.best_trial.number == certified.number
