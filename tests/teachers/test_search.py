"""The search for a teacher: its measures, its choice, and what it must not depend on."""

import inspect
import itertools
import json
import pickle
import random
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherSearch,
    TemperedTeacher,
)
from skvae.exceptions import ConstantTeacherError
from skvae.information import design_alpha, teacher_information
from skvae.information.simplex import log_odds_energy
from skvae.teachers.measures import net_worth, teacher_measures

LABELS = np.repeat([0, 1, 2], 60)


def blobs(n_clusters, n_samples=400, n_features=8, seed=0):
    rng = np.random.default_rng(seed)
    centers = 5 * rng.standard_normal((n_clusters, n_features))
    return centers[np.arange(n_samples) % n_clusters] + rng.standard_normal(
        (n_samples, n_features)
    )


def teachers(n_refits=3, n_samples=50, n_components=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(n_components), n_samples) for _ in range(n_refits)]


@pytest.fixture(scope="module")
def table(clusters):
    """Search a small grid with everything in it, twice."""
    grid = {"n_components": [2, 3, 6], "temperature": [1.0, 2.0], "floor": [0.01, 0.1]}
    return TeacherSearch(grid, n_teachers=2, random_state=0).fit(clusters)


@pytest.fixture
def fits(monkeypatch):
    """Count how often the mixture is fitted."""
    counted = []
    original = GaussianMixtureTeacher.fit

    def counting(self, X, y=None):
        counted.append(len(X))
        return original(self, X, y)

    monkeypatch.setattr(GaussianMixtureTeacher, "fit", counting)
    return counted


def same_table(one, other):
    pd.testing.assert_frame_equal(
        pd.DataFrame(one.results_), pd.DataFrame(other.results_), check_exact=True
    )


# Measures


def test_measures_are_the_averages_of_their_formulas():
    refits = teachers()
    measures = teacher_measures(refits)
    averages = [T.mean(axis=0) for T in refits]
    entropies = [-np.sum(average * np.log(average)) for average in averages]
    pairs = zip(refits, averages, strict=True)
    designs = [design_alpha(T, 2.0, average_teacher=average) for T, average in pairs]
    expected = {
        "n_components": 4,
        "teacher_information": np.mean([teacher_information(T) for T in refits]),
        "energy": np.mean(list(map(log_odds_energy, refits, averages))),
        "balance": np.mean(np.exp(entropies)) / 4,
        "margin": np.mean([design.margin for design in designs]),
        "rate": np.mean([design.rate for design in designs]),
        "stability": np.mean(
            [
                adjusted_mutual_info_score(a.argmax(axis=1), b.argmax(axis=1))
                for a, b in itertools.combinations(refits, 2)
            ]
        ),
    }
    assert measures.pop("problem") == ""
    assert measures == pytest.approx(expected, rel=1e-12)


def test_measures_lie_in_their_ranges():
    for seed in range(20):
        measures = teacher_measures(teachers(n_components=2 + seed % 5, seed=seed))
        assert 0 < measures["balance"] <= 1 + 1e-12
        assert measures["stability"] <= 1
        # The design would be the zero code if no other were worth more than it costs.
        assert measures["margin"] - measures["rate"] / 10 >= 0
        assert measures["margin"] <= measures["teacher_information"] + 1e-12


def test_stability_and_balance_ignore_the_names_of_the_components():
    T = teachers(n_refits=1)[0]
    measures = teacher_measures([T, T[:, ::-1], T[:, [2, 0, 3, 1]]])
    assert measures["stability"] == pytest.approx(1.0)
    balanced = np.eye(4)[np.arange(40) % 4] * 0.96 + 0.01
    assert teacher_measures([balanced, balanced])["balance"] == pytest.approx(1.0)
    # Two of four components in use.
    halved = np.eye(4)[np.arange(40) % 2]
    assert teacher_measures([halved, halved])["balance"] == pytest.approx(0.5)


def test_softening_costs_information_and_a_floor_saves_energy(table):
    frame = pd.DataFrame(table.results_).query("search == 0")
    params = pd.DataFrame(frame.params.tolist())
    frame = frame.assign(temperature=params.temperature, floor=params.floor)
    for _, rows in frame.groupby("n_components"):
        at = rows.set_index(["temperature", "floor"])
        for floor in (0.01, 0.1):
            information = at.teacher_information
            assert information[1.0, floor] >= information[2.0, floor]
        for temperature in (1.0, 2.0):
            assert at.energy[temperature, 0.01] > at.energy[temperature, 0.1]
        # Neither moves a row to another component.
        assert rows.stability.nunique() == 1


# Score and choice


def test_score_is_its_formula_and_the_best_has_rank_one(table):
    frame = pd.DataFrame(table.results_)
    net = frame.margin - frame.rate / 10
    np.testing.assert_allclose(frame.score, frame.stability * frame.balance * net)
    for _, rows in frame.groupby("search"):
        np.testing.assert_array_equal(
            rows["rank"], rows.score.rank(ascending=False, method="min").astype(int)
        )
    assert table.best_index_ == frame.score.idxmax()
    assert table.best_score_ == frame.score.max()
    assert table.best_params_ == frame.params[table.best_index_]


@pytest.mark.parametrize("n_clusters", [3, 5, 8])
def test_true_number_of_clusters_wins_where_they_are_plain(n_clusters):
    grid = {"n_components": [2, 3, 4, 5, 6, 8, 10, 12], "n_init": [3]}
    search = TeacherSearch(grid, random_state=0).fit(blobs(n_clusters, seed=n_clusters))
    assert search.best_params_["n_components"] == n_clusters
    best = {name: column[search.best_index_] for name, column in search.results_.items()}
    assert best["balance"] == pytest.approx(1.0, abs=0.03)
    assert best["stability"] == pytest.approx(1.0, abs=0.03)
    assert best["teacher_information"] == pytest.approx(np.log(n_clusters), rel=0.1)


def test_cheaper_of_two_teachers_with_the_same_clusters_wins_where_energy_counts(clusters):
    grid = {"n_components": [3], "floor": [1e-6, 0.02]}
    search = TeacherSearch(
        grid, scoring=lambda row: row["margin"] - row["rate"], random_state=0
    ).fit(clusters)
    assert search.best_params_["floor"] == 0.02
    assert TeacherSearch(
        grid, scoring=lambda row: row["teacher_information"], random_state=0
    ).fit(clusters).best_params_["floor"] == pytest.approx(1e-6)


def test_scoring_sees_the_row_without_score_and_rank(clusters):
    seen = []

    def scoring(row):
        seen.append(row)
        return -row["n_components"]

    search = TeacherSearch({"n_components": [4, 2, 3]}, scoring=scoring, random_state=0)
    search.fit(clusters)
    assert search.best_params_ == {"n_components": 2}
    assert search.results_["score"] == [-4.0, -2.0, -3.0]
    assert set(seen[0]) == set(search.results_) - {"score", "rank"}


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_score_that_is_no_number_cannot_win(clusters, bad):
    grid = {"n_components": [2, 3]}
    search = TeacherSearch(
        grid, scoring=lambda row: bad if row["candidate"] else -5.0, random_state=0
    ).fit(clusters)
    assert search.best_index_ == 0
    assert search.results_["rank"] == [1, 2]
    with pytest.raises(ValueError, match=f"Its score is {bad}"):
        TeacherSearch(grid, scoring=lambda row: bad, random_state=0).fit(clusters)


def test_table_is_plain_data(table):
    lengths = {len(column) for column in table.results_.values()}
    assert lengths == {2 * 12}
    for name, column in table.results_.items():
        kinds = {type(value) for value in column}
        assert kinds <= {int, float, str, dict}, name
    assert json.loads(json.dumps(table.results_)) == table.results_


def test_grid_made_by_numpy_gives_plain_numbers(clusters):
    grid = {"n_components": np.array([2, 3]), "floor": np.linspace(0.01, 0.1, 2)}
    search = TeacherSearch(grid, random_state=0).fit(clusters)
    assert {type(v) for params in search.results_["params"] for v in params.values()} == {
        int,
        float,
    }


# Sharing, seeds, repeatability


def test_candidates_that_differ_after_the_fit_only_share_it(fits, clusters):
    grid = {"n_components": [2, 3], "temperature": [0.5, 1.0, 2.0], "floor": [0.0, 0.01, 0.1]}
    alone = GaussianMixtureTeacher(n_components=3, temperature=7.0)
    search = TeacherSearch([grid, alone], n_refits=4, random_state=0).fit(clusters)
    assert len(search.results_["score"]) == 19
    # Two mixtures, four refits each of 80% of 135 rows, and the winner on all rows.
    assert fits == [108] * 8 + [180]


def test_tempered_candidates_share_the_fit_inside_unless_it_is_another(fits, clusters):
    inner = GaussianMixtureTeacher(n_components=3)
    frozen = [
        FrozenEstimator(GaussianMixtureTeacher(n_components=3, random_state=seed).fit(rows))
        for seed, rows in enumerate([clusters, clusters[::2] ** 3])
    ]
    fits.clear()
    candidates = [TemperedTeacher(inner, temperature=t) for t in (1.0, 2.0, 3.0)]
    candidates += [TemperedTeacher(teacher) for teacher in frozen]
    search = TeacherSearch(candidates, random_state=0).fit(clusters)
    assert len(fits) in (3, 4)
    information = search.results_["teacher_information"]
    assert information[3] != information[4]


def test_shared_fits_score_as_separate_ones_do(clusters, table):
    alone = TeacherSearch(
        {"n_components": [3], "temperature": [2.0], "floor": [0.1]}, random_state=0
    ).fit(clusters)
    index = table.results_["params"].index(
        {"n_components": 3, "temperature": 2.0, "floor": 0.1}
    )
    assert alone.best_score_ == table.results_["score"][index]


def test_winner_carries_its_own_temperature_and_floor(clusters):
    search = TeacherSearch({"temperature": [3.0], "floor": [0.2]}, random_state=0)
    teacher = search.fit(clusters).best_teacher_
    assert (teacher.temperature, teacher.floor) == (3.0, 0.2)
    T = search.predict_proba(clusters)
    np.testing.assert_array_equal(T, teacher.predict_proba(clusters))
    assert T.min() >= 0.2 / 10


def test_memory_keeps_the_fits_and_changes_no_bit(fits, clusters, tmp_path):
    grid = {"n_components": [2, 3]}
    plain = TeacherSearch(grid, random_state=0).fit(clusters)
    n_fits = len(fits)
    memory = joblib.Memory(str(tmp_path), verbose=0)
    first = TeacherSearch(grid, memory=memory, random_state=0).fit(clusters)
    assert len(fits) == 2 * n_fits
    wider = {**grid, "temperature": [1.0, 2.0]}
    second = TeacherSearch(wider, memory=str(tmp_path), random_state=0).fit(clusters)
    # All that is new is a temperature.
    assert len(fits) == 2 * n_fits
    same_table(plain, first)
    assert set(first.results_["score"]) <= set(second.results_["score"])
    np.testing.assert_array_equal(plain.predict_proba(clusters), first.predict_proba(clusters))


def test_jobs_change_no_bit(clusters, table):
    two = clone(table).set_params(n_jobs=2).fit(clusters)
    same_table(table, two)
    for one, other in zip(table.teachers_, two.teachers_, strict=True):
        np.testing.assert_array_equal(
            one.predict_proba(clusters), other.predict_proba(clusters)
        )
    with joblib.parallel_backend("threading", n_jobs=2):
        same_table(table, clone(table).fit(clusters))


def test_seed_decides_and_no_global_state_is_read_or_changed(clusters):
    grid = {"n_components": [2, 3], "temperature": [1.0, 2.0]}
    results = []
    for state in (0, 1):
        np.random.seed(state)
        torch.manual_seed(state)
        random.seed(state)
        before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()
        results.append(TeacherSearch(grid, random_state=7).fit(clusters))
        np.testing.assert_array_equal(np.random.get_state()[1], before[0])
        assert torch.equal(torch.get_rng_state(), before[1])
        assert random.getstate() == before[2]
    same_table(*results)
    other = TeacherSearch(grid, random_state=8).fit(clusters)
    assert other.results_["score"] != results[0].results_["score"]
    unseeded = [TeacherSearch(grid).fit(clusters).results_["score"] for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_another_candidate_changes_the_scores_of_none(clusters):
    few = TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(clusters)
    more = TeacherSearch({"n_components": [2, 3, 4]}, random_state=0).fit(clusters)
    assert more.results_["score"][:2] == few.results_["score"]


def test_seeds_may_be_searched(wine):
    grid = {"n_components": [6], "random_state": [0, 1, 2]}
    search = TeacherSearch(grid, random_state=0).fit(wine)
    assert len(set(search.results_["score"])) > 1
    assert search.best_teacher_.random_state == search.best_params_["random_state"]
    expected = clone(search.best_teacher_).fit(wine).predict_proba(wine)
    np.testing.assert_array_equal(search.predict_proba(wine), expected)


def test_each_search_has_rows_and_seeds_of_its_own(clusters, table):
    frame = pd.DataFrame(table.results_)
    first, second = (rows.score.tolist() for _, rows in frame.groupby("search"))
    assert first != second
    one = clone(table).set_params(n_teachers=1).fit(clusters)
    assert one.results_["score"] == first
    assert len(table.teachers_) == 2
    assert table.teachers_[table.results_["search"][table.best_index_]] is table.best_teacher_


# Candidates


def test_default_grid_follows_the_shape_of_the_rows(iris, fits):
    search = TeacherSearch(random_state=0).fit(iris)
    params = pd.DataFrame(search.results_["params"])
    assert set(params.n_components) == {3, 5}
    assert set(params.pca_components) == {4}
    assert len(params) == 12
    assert len(fits) == 4 * 3 + 1
    assert not any(search.results_["problem"])
    tiny = TeacherSearch(random_state=0).fit(iris[::10])
    assert {params["n_components"] for params in tiny.results_["params"]} == {2}


def test_grids_and_estimators_mix_and_labels_reach_the_classifiers(clusters):
    candidates = [
        {"n_components": [2, 3]},
        make_pipeline(StandardScaler(), LogisticRegression()),
        TemperedTeacher(GaussianMixture(3)),
    ]
    search = TeacherSearch(candidates, random_state=0).fit(clusters, LABELS)
    assert search.results_["n_components"] == [2, 3, 3, 3]
    assert search.results_["params"] == [{"n_components": 2}, {"n_components": 3}, {}, {}]
    assert "LogisticRegression" in search.results_["teacher"][2]
    with pytest.raises(ValueError, match=r"Candidate 2, Pipeline.*pass y to fit"):
        clone(search).fit(clusters)


def test_one_estimator_alone_and_string_labels_in_a_series(clusters):
    y = pd.Series(np.array(["a", "b", "c"])[LABELS], index=np.arange(180)[::-1])
    search = TeacherSearch(LogisticRegression(), random_state=0).fit(clusters, y)
    assert list(search.best_teacher_.classes_) == ["a", "b", "c"]
    assert search.best_params_ == {}


@pytest.mark.parametrize(
    "teacher",
    [
        LogisticRegression(),
        TemperedTeacher(LogisticRegression()),
        TemperedTeacher(make_pipeline(StandardScaler(), LogisticRegression())),
    ],
    ids=["plain", "tempered", "pipeline"],
)
def test_classifier_without_labels_says_so_unless_frozen(clusters, teacher):
    with pytest.raises(ValueError, match=r"Candidate 0.*is a classifier.*y=None"):
        TeacherSearch([teacher]).fit(clusters)
    frozen = FrozenEstimator(clone(teacher).fit(clusters, LABELS))
    search = TeacherSearch([frozen, TemperedTeacher(frozen)], random_state=0).fit(clusters)
    assert search.results_["stability"] == pytest.approx([1.0, 1.0])
    assert clone(search).candidates[0] is frozen


def test_teacher_with_zeros_loses_and_is_told_of_a_floor(clusters):
    tree = DecisionTreeClassifier()
    search = TeacherSearch([tree, TemperedTeacher(tree)], random_state=0)
    search.fit(clusters, LABELS)
    assert search.best_index_ == 1
    assert search.results_["energy"][0] == np.inf
    assert search.results_["score"][0] == -np.inf
    assert "TemperedTeacher" in search.results_["problem"][0]
    with pytest.raises(ValueError, match=r"exactly 0.*TemperedTeacher"):
        TeacherSearch(tree, random_state=0).fit(clusters, LABELS)
    by_information = TeacherSearch(
        tree, scoring=lambda row: row["teacher_information"], random_state=0
    )
    assert by_information.fit(clusters, LABELS).best_score_ == pytest.approx(
        np.log(3), rel=0.05
    )
    assert net_worth({"energy": np.inf}) == -np.inf


def test_constant_teacher_cannot_win_and_alone_is_refused(clusters):
    grid = {"n_components": [1, 2]}
    search = TeacherSearch(grid, scoring=lambda row: -row["n_components"]).fit(clusters)
    assert search.best_params_ == {"n_components": 2}
    assert np.isnan(search.results_["score"][0])
    assert search.results_["teacher_information"][0] == 0.0
    with pytest.raises(ConstantTeacherError, match="Every candidate is constant"):
        TeacherSearch({"n_components": [1]}).fit(clusters)


class NoGood(GaussianMixture):
    def fit(self, X, y=None):
        raise RuntimeError("no good")


def test_candidate_that_fails_is_named_and_the_others_go_on(clusters):
    candidates = [NoGood(), {"n_components": [3, 150], "temperature": [1.0, 2.0]}]
    search = TeacherSearch(candidates, random_state=0)
    with pytest.warns(FitFailedWarning) as caught:
        search.fit(clusters)
    message = str(caught[0].message)
    assert "3 of 5 candidates" in message
    assert "- candidate 0, NoGood(): RuntimeError: no good" in message
    assert "candidate 3, GaussianMixtureTeacher(n_components=150) and 1 more" in message
    assert caught[0].filename == __file__
    assert search.results_["problem"][0] == "RuntimeError: no good"
    assert np.isnan(search.results_["score"][0])
    assert search.results_["rank"] == [3, 1, 2, 3, 3]
    with pytest.raises(ValueError, match=r"No candidate can win.*\n.*no good"):
        TeacherSearch([NoGood(), GaussianMixtureTeacher(n_components=1)]).fit(clusters)


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ([], ValueError, "candidates is empty"),
        ([3], TypeError, "got 3"),
        ([StandardScaler()], TypeError, "StandardScaler"),
        ({"n_component": [3]}, ValueError, "Invalid parameter 'n_component'"),
        ({"temperature": [-1.0]}, ValueError, "'temperature' parameter"),
        ([TemperedTeacher(GaussianMixture(2), floor=2.0)], ValueError, "'floor' parameter"),
    ],
)
def test_candidates_that_make_no_sense_are_refused(clusters, candidates, error, message):
    with pytest.raises(error, match=message):
        TeacherSearch(candidates).fit(clusters)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_refits": 1},
        {"validation_fraction": 1.0},
        {"n_teachers": 0},
        {"max_rows": 3},
        {"candidates": 3},
        {"scoring": "luck"},
    ],
)
def test_parameters_out_of_range_are_refused(clusters, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TeacherSearch(**bad).fit(clusters)


# Rows


class Recording(GaussianMixture):
    """Remember which rows and labels were seen; the first column numbers the rows."""

    fitted: ClassVar[list] = []
    judged: ClassVar[list] = []
    seeds: ClassVar[list] = []

    def fit(self, X, y=None):
        self.fitted.append(set(X[:, 0]))
        self.seeds.append(self.random_state)
        assert all(y == X[:, 0] % 2)
        return super().fit(X)

    def predict_proba(self, X):
        self.judged.append(set(X[:, 0]))
        return 0.9 * super().predict_proba(X) + 0.05


def test_refits_never_see_the_rows_they_are_judged_on(clusters):
    rows = np.column_stack([np.arange(180.0), clusters])
    for name in ("fitted", "judged", "seeds"):
        getattr(Recording, name).clear()
    search = TeacherSearch([Recording(2), Recording(2, tol=1e-2)], n_teachers=2, random_state=0)
    search.fit(rows, np.arange(180) % 2)
    fitted, judged = Recording.fitted, Recording.judged
    assert [len(seen) for seen in fitted] == [108] * 12 + [180] * 2
    assert [len(seen) for seen in judged] == [45] * 12
    for seen, held_out in zip(fitted[:12], judged, strict=True):
        assert not seen & held_out
    # One split a search, the same refits for both candidates, and no two of them alike.
    assert judged[:6] == [judged[0]] * 6 != judged[6:] == [judged[6]] * 6
    assert fitted[:3] == fitted[3:6]
    assert fitted[6:9] == fitted[9:12]
    assert len(set(map(frozenset, fitted[:12]))) == 6
    assert Recording.seeds[:3] == Recording.seeds[3:6]
    assert len(set(Recording.seeds)) == 8


def test_few_rows_are_enough_or_refused_clearly(clusters):
    grid = {"n_components": [2]}
    few = clusters[::15]
    assert TeacherSearch(grid, random_state=0).fit(few).predict_proba(few).shape == (12, 2)
    with pytest.raises(ValueError, match="minimum of 4 is required by TeacherSearch"):
        TeacherSearch(grid).fit(clusters[:3])
    with pytest.raises(ValueError, match=r"validation_fraction=0.9 of 12 rows leaves 1 to fit"):
        TeacherSearch(grid, validation_fraction=0.9).fit(few)


def test_large_tables_are_searched_by_some_of_their_rows(fits, clusters):
    search = TeacherSearch({"n_components": [3]}, max_rows=100, random_state=0).fit(clusters)
    assert fits == [60, 60, 60, 180]
    assert search.best_score_ > 0


def test_names_of_a_data_frame_reach_the_candidates(clusters):
    frame = pd.DataFrame(clusters, columns=list("abcd"), index=np.arange(180)[::-1])
    search = TeacherSearch({"n_components": [3]}, random_state=0).fit(frame)
    assert list(search.feature_names_in_) == list("abcd")
    assert list(search.best_teacher_.feature_names_in_) == list("abcd")
    plain = TeacherSearch({"n_components": [3]}, random_state=0).fit(clusters)
    np.testing.assert_allclose(search.predict_proba(frame), plain.predict_proba(clusters))
    with pytest.raises(ValueError, match="same order"):
        search.predict_proba(frame[list("dcba")])


@pytest.mark.parametrize("kind", ["int", "float32", "memmap"])
def test_rows_of_any_kind_are_searched(clusters, tmp_path, kind):
    rows = {"int": np.rint(clusters * 10).astype(int), "float32": clusters.astype("float32")}
    np.save(tmp_path / "rows.npy", clusters)
    rows["memmap"] = np.load(tmp_path / "rows.npy", mmap_mode="r")
    search = TeacherSearch({"n_components": [3]}, random_state=0).fit(rows[kind])
    assert search.results_["stability"][0] > 0.9
    assert search.predict_proba(rows[kind]).shape == (180, 3)


def test_failure_leaves_everything_as_it_was(table, clusters):
    search = clone(table).set_params(n_teachers=1)
    with pytest.raises(NotFittedError):
        search.predict_proba(clusters)
    search.fit(clusters)
    before = vars(search).copy()
    broken = clusters[:, :3].copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        search.fit(broken)
    with pytest.raises(ConstantTeacherError):
        search.set_params(candidates={"n_components": [1]}).fit(clusters[:, :3])
    after = vars(search)
    assert {name: after[name] for name in before if name != "candidates"} == {
        name: value for name, value in before.items() if name != "candidates"
    }


# In use


def test_search_for_each_seed_is_one_line(small_vae, clusters):
    grid = {"n_components": [2, 3]}
    teacher = TeacherSearch(grid)
    vaes = [small_vae(teacher=teacher, random_state=seed).fit(clusters) for seed in (0, 0, 1)]
    scores = [vae.teacher_.results_["score"] for vae in vaes]
    assert scores[0] == scores[1] != scores[2]
    np.testing.assert_array_equal(vaes[0].transform(clusters), vaes[1].transform(clusters))
    assert not hasattr(teacher, "results_")
    assert teacher.random_state is None


def test_one_found_teacher_serves_all_folds_and_arms(small_vae, clusters, fits):
    found = TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(clusters)
    fits.clear()
    search = GridSearchCV(
        small_vae(teacher=FrozenEstimator(found), max_epochs=40),
        {"alignment_weight": [3, 10]},
        scoring=ConstantCollapseCertificate(),
        cv=KFold(2, shuffle=True, random_state=0),
    ).fit(clusters)
    assert fits == []
    assert search.best_estimator_.teacher_.estimator is found
    assert search.best_score_ > 0


def test_grid_search_reaches_the_parameters_of_the_search(small_vae, clusters):
    search = GridSearchCV(
        small_vae(teacher=TeacherSearch({"n_components": [2, 3]}), max_epochs=40),
        {"teacher__n_refits": [2, 3]},
        scoring=ConstantCollapseCertificate(),
        cv=KFold(2, shuffle=True, random_state=0),
    ).fit(clusters)
    assert search.best_score_ > 0
    assert isinstance(search.best_estimator_.teacher_, TeacherSearch)


def test_three_found_teachers_judge_one_code(fitted, clusters):
    found = TeacherSearch({"n_components": [3]}, n_teachers=3, random_state=0).fit(clusters)
    report = ConstantCollapseCertificate(teacher=found.teachers_).certify(fitted, clusters)
    assert len(report.reports) == 3
    assert report.certified


def test_search_survives_clone_and_pickle(table, clusters):
    again = pickle.loads(pickle.dumps(table))
    same_table(table, again)
    np.testing.assert_array_equal(again.predict_proba(clusters), table.predict_proba(clusters))
    assert not hasattr(clone(table), "results_")
    assert clone(table).get_params()["candidates"] == table.candidates


@pytest.mark.parametrize("kind", [TeacherSearch, TemperedTeacher])
def test_every_documented_attribute_exists_and_every_one_is_documented(clusters, table, kind):
    teacher = {
        TeacherSearch: table,
        TemperedTeacher: TemperedTeacher(GaussianMixture(2)).fit(clusters),
    }[kind]
    documented = inspect.getdoc(kind).split("Attributes\n")[1].split("\n\n")[0]
    names = {line.split(" : ")[0] for line in documented.splitlines() if " : " in line}
    public = {name for name in vars(teacher) if name.endswith("_")}
    public |= {name for name in vars(kind) if name.endswith("_") and not name.startswith("_")}
    assert names - {"feature_names_in_"} == public - {"feature_names_in_"}


def test_verbose_speaks_and_silence_is_the_default(clusters, capfd):
    TeacherSearch({"n_components": [2]}, random_state=0).fit(clusters)
    assert capfd.readouterr() == ("", "")
    grid = {"n_components": [2, 3], "temperature": [1, 2]}
    TeacherSearch(grid, n_teachers=2, verbose=True, random_state=0).fit(clusters)
    told = capfd.readouterr()
    assert told.out == ""
    assert "4/4" in told.err
    search = TeacherSearch(grid, n_teachers=2, verbose=2, random_state=0).fit(clusters)
    told = capfd.readouterr()
    assert told.err == ""
    *fits, first, second = told.out.splitlines()
    assert fits == [f"Teacher search, fit {number} of 4" for number in (1, 2, 3, 4)]
    assert f"search 0 chose candidate {search.results_['rank'].index(1)}, " in first
    assert second.startswith("Teacher search 1 chose candidate ")


def test_a_search_inside_a_model_seeds_its_refits_one_by_one(clusters, small_vae):
    search = TeacherSearch(GaussianMixtureTeacher(n_components=6), n_teachers=3)
    inside = small_vae(teacher=search, max_epochs=1).fit(clusters).teacher_
    first, second, third = (teacher.predict_proba(clusters) for teacher in inside.teachers_)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    again = small_vae(teacher=search, max_epochs=1).fit(clusters).teacher_
    np.testing.assert_array_equal(again.teachers_[2].predict_proba(clusters), third)


def test_scoring_may_be_a_column(clusters):
    grid = {"n_components": [2, 3, 8]}
    by_name = TeacherSearch(grid, scoring="stability", random_state=0).fit(clusters)
    assert by_name.results_["score"] == by_name.results_["stability"]
    assert by_name.best_params_ == {"n_components": 3}


def test_one_component_for_all_rows_is_no_agreement():
    T = np.tile([0.8, 0.2], (20, 1)) + np.linspace(-0.1, 0.1, 20)[:, None] * [1, -1]
    assert teacher_measures([T, T])["stability"] == 0
