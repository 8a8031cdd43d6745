"""Prevention, collapse and rescue on the data that ships, and the judgement of the pattern."""

import copy

import numpy as np
import pytest

from skvae import protocol
from skvae.protocol import ARMS, SETTING, broken_promises, collapse_prone_variance


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
        result = protocol.run(digit_images, seeds=[0], epochs=3, device="cpu", n_jobs=n_jobs)
        for record in result["runs"]:
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


def test_collapse_prone_variance_is_above_every_eigenvalue():
    X = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 2.0, 3.0]
    largest = np.linalg.eigvalsh(np.cov(X.T, bias=True))[-1]
    assert collapse_prone_variance(X) == pytest.approx(1.5 * largest)
    assert collapse_prone_variance(X[:, :1]) == pytest.approx(1.5 * X[:, 0].var())
    with pytest.raises(ValueError, match="rows of X are equal"):
        collapse_prone_variance(np.ones((5, 2)))
