"""The protocol on the data that ships, and the judgement of the pattern."""

import copy
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE, TeacherSearch, protocol
from skvae.exceptions import ConstantTeacherError, DivergenceError
from skvae.protocol import (
    ARMS,
    BASELINES,
    SETTING,
    TEACHER_GUIDED,
    broken_promises,
    collapse_prone_variance,
    experiment,
    informative_variance,
    teacher_panel,
)
from skvae.protocol import runs as runs_module


@pytest.fixture(scope="module")
def result(digit_images):
    finished = []
    result = protocol.run(
        digit_images, seeds=[0, 1], epochs=60, device="cpu", on_progress=finished.append
    )
    assert sum(finished) == 6
    return result


def test_pattern_holds_on_digits(result):
    assert broken_promises(result["runs"]) == []
    assert {(run["arm"], run["seed"]) for run in result["runs"]} == {
        (arm, seed) for arm in ARMS for seed in (0, 1)
    }
    for run in result["runs"]:
        assert run["report"]["certified"] == (run["arm"] != "collapse")
        assert run["report"]["n_samples"] == result["n_test"] == 360
        assert len(run["history"]) == 60
        assert np.isfinite(run["elbo"])


def test_arms_differ_in_the_alignment_weight_alone(result):
    assert {name for arm in ARMS.values() for name in arm} == {"alignment_weight"}
    assert "alignment_weight" not in SETTING
    information = {run["seed"]: set() for run in result["runs"]}
    for run in result["runs"]:
        information[run["seed"]].add(run["report"]["teacher_information"])
    # One teacher a seed, another for the next.
    assert [len(values) for values in information.values()] == [1, 1]
    assert information[0] != information[1]


def test_two_processes_give_the_same_result_to_the_bit(digit_images):
    def run(n_jobs):
        result = protocol.run(
            digit_images,
            load_digits().target,
            arms=["prevention", "rescue", "vae"],
            seeds=[0],
            teachers="fixed:2",
            epochs=3,
            device="cpu",
            n_jobs=n_jobs,
        )
        for record in result["runs"]:
            del record["seconds"]
            for epoch in record["history"]:
                del epoch["seconds"]
        return result

    assert run(1) == run(2)


def spoil(runs, arm, **changes):
    runs = copy.deepcopy(runs)
    for run in runs:
        if run["arm"] == arm and run["seed"] == 1:
            run["report"].update(changes)
    return broken_promises(runs)


@pytest.mark.parametrize(
    ("arm", "changes", "sentence"),
    [
        ("collapse", {"rate": 0.02}, "collapse, seed 1: expected rate < 0.01, got 0.0200"),
        ("collapse", {"active_units": 1}, "collapse, seed 1: expected no active unit"),
        ("collapse", {"margin_mean": 0.1}, "collapse, seed 1: expected margin_mean <= 0"),
        ("collapse", {"margin_sample": 0.1}, "collapse, seed 1: expected margin_sample <= 0"),
        ("rescue", {"margin_sample": 0.5}, "rescue, seed 1: expected margin_sample within 10%"),
    ],
)
def test_each_broken_promise_is_named(result, arm, changes, sentence):
    (broken,) = spoil(result["runs"], arm, **changes)
    assert broken.startswith(sentence)


def test_prevention_must_reach_half_the_information(result):
    broken = spoil(result["runs"], "prevention", margin_mean=0.5)
    assert broken[0].startswith("prevention, seed 1: expected margin_mean > I_T / 2")
    # And rescue is then no longer near it.
    assert broken[1].startswith("rescue, seed 1: expected margin_mean within 10%")


def test_a_baseline_with_a_raw_certificate_is_a_finding(result):
    baseline = {**copy.deepcopy(result["runs"][0]), "arm": "vae"}
    baseline["parameters"]["alignment_weight"] = 0.0
    baseline["report"]["lower_bound_mean"] = -0.1
    broken = broken_promises([*result["runs"], baseline])
    assert broken == [
        "vae, seed 0: a finding, this baseline is certified by its own witness at the sample "
        f"read, with a bound of {baseline['report']['lower_bound_sample']:.4f}"
    ]
    baseline["report"]["lower_bound_sample"] = -0.1
    assert broken_promises([*result["runs"], baseline]) == []
    # An arm of one's own with alignment promises nothing.
    baseline["parameters"]["alignment_weight"] = 1.0
    baseline["report"]["lower_bound_sample"] = 0.1
    assert broken_promises([*result["runs"], baseline]) == []


def test_teacher_is_named_where_there_are_several(result):
    runs = copy.deepcopy(result["runs"])
    runs += [{**copy.deepcopy(run), "teacher": 1} for run in runs]
    runs[-1]["report"]["certified"] = False
    (broken,) = broken_promises(runs)
    assert broken.startswith("rescue, seed 1, teacher 1: expected a bound above 0")


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
@pytest.mark.parametrize("arm", [*ARMS, *TEACHER_GUIDED, *BASELINES])
def test_each_arm_is_parameters_that_the_estimator_accepts(arm, clusters):
    parameters = {**ARMS, **TEACHER_GUIDED, **BASELINES}[arm]
    unaligned = arm == "collapse" or arm in BASELINES
    assert (parameters["alignment_weight"] == 0) == unaligned
    TeacherGuidedVAE(
        teacher=GaussianMixtureTeacher(n_components=3),
        **{"latent_dim": 2, "hidden_layer_sizes": (4,), "max_epochs": 2, "device": "cpu"},
        **{"random_state": 0, **parameters},
    ).fit(clusters)


def small(X, y=None, **options):
    setting = {"latent_dim": 2, "hidden_layer_sizes": [4]}
    options = {"seeds": [0], "epochs": 1, "device": "cpu", "setting": setting, **options}
    return protocol.run(X, y, **options)


def test_settings_are_collapse_prone_or_informative_and_can_be_overridden(wine):
    arms = ["collapse", "teacher-guided", "vae", "learned-variance"]
    X_train, X_test = wine[::2], wine[1::2]
    result = small((X_train, X_test), arms=arms)
    variances = {arm: result["arms"][arm]["decoder_variance"] for arm in arms}
    assert variances == {
        "collapse": collapse_prone_variance(X_train),
        "teacher-guided": informative_variance(X_train),
        "vae": informative_variance(X_train),
        "learned-variance": "learned",
    }
    result = small((X_train, X_test), arms=arms, setting={"decoder_variance": 2.0, "lr": 0.01})
    assert [result["arms"][arm]["decoder_variance"] for arm in arms] == [2, 2, 2, "learned"]
    assert {result["arms"][arm]["lr"] for arm in arms} == {0.01}
    assert result["runs"][0]["parameters"] == result["arms"]["collapse"]


def test_split_that_is_given_is_used_with_its_labels(clusters):
    X_train, X_test = clusters[::2], clusters[1::2]
    y = np.arange(len(clusters)) // 60
    result = small((X_train, X_test), (y[::2], y[1::2]), arms=["vae"])
    assert (result["n_train"], result["n_test"]) == (90, 90)
    assert result["runs"][0]["report"]["n_samples"] == 90
    assert result["runs"][0]["accuracy"] > 1 / 3
    drawn = small(clusters, y.tolist(), arms=["vae"])
    assert (drawn["n_train"], drawn["n_test"]) == (144, 36)
    assert drawn["runs"][0]["accuracy"] is not None


def test_teachers_are_searched_with_each_seed_or_given(clusters):
    searched = small(clusters, arms=["vae"], teachers="search", seeds=[0])["runs"]
    assert searched[0]["teacher_parameters"]["n_components"] >= 2
    given = [
        GaussianMixtureTeacher(n_components=k, random_state=0).fit(clusters) for k in (2, 3)
    ]
    runs = small(clusters, arms=["prevention"], teachers=given, seeds=[4, 7])["runs"]
    assert [(run["seed"], run["teacher"]) for run in runs] == [(4, 0), (4, 1), (7, 0), (7, 1)]
    information = [run["report"]["teacher_information"] for run in runs]
    assert information[0] == information[2] <= np.log(2) < information[1] == information[3]
    assert runs[0]["teacher_parameters"] == {}


def test_fixed_teachers_are_those_of_their_own_seeds(clusters):
    fixed = small(clusters, arms=["prevention"], teachers=2, seeds=[5])["runs"]
    per_seed = small(clusters, arms=["prevention"], seeds=[0, 1])["runs"]
    assert [run["report"]["teacher_information"] for run in fixed] == [
        run["report"]["teacher_information"] for run in per_seed
    ]


def test_searched_teachers_have_rows_and_seeds_of_their_own_and_meet_every_seed(
    clusters, monkeypatch
):
    seen = []
    fit = TeacherSearch.fit

    def remember(self, X, y=None):
        seen.append((self.random_state, X))
        return fit(self, X, y)

    monkeypatch.setattr(TeacherSearch, "fit", remember)
    result = small(clusters, arms=["prevention"], teachers="searched:2", seeds=[0, 1])
    assert [run["teacher_kind"] for run in result["runs"]] == 4 * ["searched"]
    assert [run["teacher"] for run in result["runs"]] == [0, 1, 0, 1]
    assert [seed for seed, _ in seen] == [0, 1]
    rows = [set(map(tuple, X)) for _, X in seen]
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == result["n_train"]
    chosen = [run["teacher_parameters"] for run in result["runs"]]
    assert chosen[0] == chosen[2]


def test_kinds_of_teachers_can_be_joined(clusters, monkeypatch):
    fits = []
    fit = runs_module._fit

    def counted(parameters, *args, **kwargs):
        fits.append(parameters)
        return fit(parameters, *args, **kwargs)

    monkeypatch.setattr(runs_module, "_fit", counted)
    joined = small(clusters, arms=["vae"], teachers="fixed:2+search", seeds=[3])
    assert len(fits) == 1
    assert joined["teachers"] == "fixed:2+search"
    runs = joined["runs"]
    assert [run["teacher_kind"] for run in runs] == ["fixed", "fixed", "search"]
    assert [bool(run["teacher_parameters"]) for run in runs] == [False, False, True]
    alone = [
        *small(clusters, arms=["vae"], teachers="fixed:2", seeds=[3])["runs"],
        *small(clusters, arms=["vae"], teachers="search", seeds=[3])["runs"],
    ]
    for ours, theirs in zip(runs, alone, strict=True):
        # The probe of a model is drawn by the rows, not by who else was certified.
        assert ours["report"] == theirs["report"]
        assert ours["elbo"] == theirs["elbo"]


LOCAL_TEACHER = make_pipeline(
    FunctionTransformer(lambda X: X), GaussianMixtureTeacher(n_components=2)
).fit(np.arange(20.0).reshape(5, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["vea"]}, "There is no arm 'vea'; there are prevention, collapse"),
        ({"arms": {"mine": {"gamma": 1}}}, "mine: gamma cannot be set"),
        ({"setting": {"teacher": None}}, "collapse: teacher cannot be set"),
        ({"setting": {"alignment_weight": 3}}, r"pass it as run\(alignment_weight="),
        ({"setting": {"latent_dim": 0}}, "'latent_dim' parameter .* Got 0"),
        ({"arms": {"mine": {"beta": -1.0}}}, "'beta' parameter .* Got -1.0"),
        ({"seeds": []}, "seeds must be different whole numbers"),
        ({"seeds": [1, 1]}, "seeds must be different whole numbers"),
        ({"seeds": [-1]}, "seeds must be different whole numbers"),
        ({"seeds": [2**32]}, "seeds must be different whole numbers"),
        ({"seeds": [1.9]}, r"seeds must be .* got \[1.9\]"),
        ({"seeds": [1.0]}, "seeds must be different whole numbers"),
        ({"seeds": np.array([0.5])}, "seeds must be different whole numbers"),
        ({"seeds": [True]}, "seeds must be different whole numbers"),
        ({"seeds": [np.True_]}, "seeds must be different whole numbers"),
        ({"seeds": [None]}, "seeds must be different whole numbers"),
        ({"seeds": "012"}, "seeds must be different whole numbers"),
        ({"seeds": 3}, "seeds must be different whole numbers"),
        ({"seeds": None}, "seeds must be different whole numbers"),
        ({"n_jobs": 0}, "'n_jobs' parameter of protocol.run must be an int"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter of protocol.run"),
        ({"n_jobs": "2"}, "'n_jobs' parameter of protocol.run"),
        ({"n_jobs": True}, "'n_jobs' parameter of protocol.run"),
        ({"epochs": 0}, "'epochs' parameter of protocol.run must be an int in"),
        ({"epochs": 1.5}, "'epochs' parameter of protocol.run"),
        ({"epochs": "many"}, "'epochs' parameter of protocol.run"),
        ({"epochs": None}, "'epochs' parameter of protocol.run"),
        ({"setting": {"max_epochs": 0}}, "'max_epochs' parameter .* Got 0"),
        ({"alignment_weight": 0}, "alignment_weight must be positive, got 0"),
        ({"alignment_weight": -1.0}, "alignment_weight must be positive"),
        ({"alignment_weight": np.nan}, "'alignment_weight' parameter of protocol.run"),
        ({"alignment_weight": np.inf}, "'alignment_weight' parameter of protocol.run"),
        ({"alignment_weight": "1"}, "'alignment_weight' parameter of protocol.run"),
        ({"alignment_weight": None}, "'alignment_weight' parameter of protocol.run"),
        ({"on_progress": None}, "'on_progress' parameter .* must be a callable"),
        ({"on_resume": 3}, "'on_resume' parameter .* must be a callable"),
        ({"folder": 3}, "'folder' parameter of protocol.run"),
        ({"setting": [1]}, "'setting' parameter of protocol.run"),
        ({"device": None}, "'device' parameter of protocol.run"),
        ({"device": "abacus"}, "device must be 'auto', 'cpu'"),
        ({"arms": "collapse"}, "arms must be a sequence of names, among prevention"),
        ({"arms": []}, "arms must be a sequence of names"),
        ({"arms": None}, "arms must be a sequence of names"),
        ({"arms": [3]}, "There is no arm 3"),
        ({"arms": {"mine": TeacherGuidedVAE()}}, "arms must map names to mappings"),
        ({"arms": {3: {}}}, "arms must map names to mappings"),
        ({"arms": {"mine": {"likelihood": "bernoulli"}}}, r"wants X in \[0, 1\]"),
        ({"arms": {"mine": {"kl_cycles": 9}}}, "repeats a warm-up"),
        ({"arms": {"mine": {"kl_warmup": 0.5, "kl_cycles": 99}}}, "more than the 2 steps"),
        ({"teachers": True}, "teachers must be 'per-seed'"),
        ({"teachers": 1.5}, "teachers must be 'per-seed'"),
        ({"teachers": None}, "teachers must be 'per-seed'"),
        ({"teachers": [GaussianMixtureTeacher()]}, "not fitted yet"),
        ({"teachers": [LinearRegression().fit([[1.0]], [1.0])]}, "'fit' and 'predict_proba'"),
        ({"teachers": [LOCAL_TEACHER]}, "cannot be told from others: define its functions"),
        ({"teachers": "fixed:0"}, "teachers must be 'per-seed', 'search', 'fixed:N'"),
        ({"teachers": "none"}, "teachers must be 'per-seed'"),
        ({"teachers": []}, "teachers must be 'per-seed'"),
        ({"teachers": "search+"}, "some of these joined by '\\+'"),
        ({"teachers": "fixed:2+fixed:1"}, "teachers must be 'per-seed'"),
        (
            {"arms": {"mine": {"encoder": lambda shape, latent_dim: None}}},
            "<lambda> too: define it at the top of a module",
        ),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    clusters, tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr(teacher_panel, "GaussianMixtureTeacher", None)
    with pytest.raises(ValueError, match=message):
        small(clusters, **{"folder": tmp_path / "runs", **options})
    assert list(tmp_path.iterdir()) == []


def test_split_must_be_a_pair(clusters):
    with pytest.raises(ValueError, match=r"tuple \(X_train, X_test\)"):
        small((clusters, clusters, clusters))
    with pytest.raises(ValueError, match=r"tuple \(X_train, X_test\)"):
        small((clusters, clusters), np.zeros(len(clusters)))


def test_rows_that_only_one_half_has_wrong_are_refused_for_the_arm(clusters, monkeypatch):
    monkeypatch.setattr(teacher_panel, "GaussianMixtureTeacher", None)
    arms = {"fine": {}, "mine": {"likelihood": "poisson", "decoder_variance": "learned"}}
    whole = np.abs(np.round(clusters))
    for X_train, X_test in ((whole, clusters), (clusters, whole)):
        with pytest.raises(ValueError, match="wants counts in X") as caught:
            small((X_train, X_test), arms=arms)
        assert caught.value.__notes__ == ["This was mine."]


def test_error_in_training_says_which_arm_and_seed_it_was(clusters):
    with pytest.raises(DivergenceError) as caught:
        small(clusters, arms={"mine": {"lr": 1e30}}, seeds=[3])
    assert caught.value.__notes__ == ["This was mine with seed 3."]


def test_killed_process_is_told_where_nothing_is_kept():
    told = "no run is kept, as no folder was named. .* exit code -9"
    with pytest.raises(BrokenProcessPool, match=told), experiment._deaths_told(None):
        raise BrokenProcessPool("exit code -9")


@pytest.mark.parametrize(
    "seeds", [range(1, 3), (1, 2), np.array([1, 2], np.uint8), iter([1, 2])]
)
def test_seeds_may_be_whole_numbers_of_any_kind(clusters, seeds):
    result = small(clusters, arms=["vae"], seeds=seeds)
    assert [run["seed"] for run in result["runs"]] == [1, 2]
    assert {type(run["seed"]) for run in result["runs"]} == {int}


def test_numbers_of_numpy_are_numbers(clusters):
    options = {"teachers": np.int64(2), "epochs": np.int32(1), "n_jobs": np.int64(1)}
    result = small(clusters, arms=["vae"], alignment_weight=np.float32(2.0), **options)
    assert [run["teacher"] for run in result["runs"]] == [0, 1]


@pytest.mark.parametrize("teachers", ["per-seed", "given"])
def test_teacher_that_cannot_judge_held_out_rows_is_refused_before_training(
    clusters, monkeypatch, teachers
):
    monkeypatch.setattr(TeacherGuidedVAE, "fit", None)
    alike = np.ones((10, 4))
    steps = []
    if teachers == "given":
        teachers = [GaussianMixtureTeacher(n_components=3).fit(clusters) for _ in range(2)]
        teachers.append(GaussianMixtureTeacher(n_components=2).fit(clusters[:, :2]))
        with pytest.raises(ValueError, match="expecting 2 features") as caught:
            small(clusters, teachers=teachers, on_resume=steps.append)
        assert caught.value.__notes__ == ["This was teacher 2 on the held-out rows."]
    with pytest.raises(ConstantTeacherError, match="constant over these 10 rows"):
        small((clusters, alike), teachers=teachers, on_resume=steps.append)
    assert steps == []


def test_informative_variance_is_a_fifth_of_the_mean_variance():
    X = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 2.0, 3.0]
    assert informative_variance(X) == pytest.approx(0.2 * X.var(axis=0).mean())
    with pytest.raises(ValueError, match="rows of X are equal"):
        informative_variance(np.ones((5, 2)))
    with pytest.raises(ValueError, match="not finite"):
        informative_variance(1e200 * X)


def test_variances_of_a_long_table_are_those_of_evenly_spaced_rows():
    X = np.random.default_rng(0).normal(size=(50_000, 2))
    for variance in (collapse_prone_variance, informative_variance):
        assert variance(X) == variance(X[::3])


def test_collapse_prone_variance_is_above_every_eigenvalue():
    X = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 2.0, 3.0]
    largest = np.linalg.eigvalsh(np.cov(X.T, bias=True))[-1]
    assert collapse_prone_variance(X) == pytest.approx(1.5 * largest)
    assert collapse_prone_variance(X[:, :1]) == pytest.approx(1.5 * X[:, 0].var())
    with pytest.raises(ValueError, match="rows of X are equal"):
        collapse_prone_variance(np.ones((5, 2)))


def test_one_weight_for_all_arms_that_align(wine):
    arms = ["prevention", "rescue", "teacher-guided", "vae"]
    result = small(wine, arms=arms, alignment_weight=3.0)
    weights = {arm: result["arms"][arm]["alignment_weight"] for arm in arms}
    assert weights == {"prevention": 3.0, "rescue": 3.0, "teacher-guided": 3.0, "vae": 0.0}


def test_functions_need_no_name_of_their_own_where_nothing_is_kept(clusters):
    def encoder(shape, latent_dim):
        return nn.Linear(*shape, 2 * latent_dim)

    result = small(clusters, arms={"mine": {"encoder": encoder}})
    assert result["arms"]["mine"]["encoder"].endswith("<locals>.encoder")


def test_decoder_without_a_variance_is_given_none(digit_images):
    arms = ["collapse", "vae", "laplace-vae"]
    setting = {"latent_dim": 2, "hidden_layer_sizes": [4], "likelihood": "bernoulli"}
    result = small(digit_images[:300], arms=arms, setting=setting)
    assert ["decoder_variance" in result["arms"][arm] for arm in arms] == [False, False, True]
    assert len(result["runs"]) == 3


def test_arms_of_ones_own_can_share_a_weight(clusters):
    arms = {"mine": {"beta": 0.5}, "heavy": {"alignment_weight": 5.0}}
    result = small(clusters, arms=arms, setting={"latent_dim": 2, "alignment_weight": 3.0})
    assert [result["arms"][arm]["alignment_weight"] for arm in arms] == [3.0, 5.0]
