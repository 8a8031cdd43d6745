"""How long to train, in which batches, and whether to hold rows out: the rules of "auto"."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.vae.budget import holds_out, with_budget

AUTO = TeacherGuidedVAE().get_params(deep=False)


@pytest.mark.parametrize(
    ("n_rows", "batch_size"),
    [(2, 16), (128, 16), (255, 16), (256, 32), (1024, 128), (10**6, 128)],
)
def test_batches(n_rows, batch_size):
    assert with_budget(AUTO, n_rows, True)["batch_size"] == batch_size


def test_steps_grow_with_the_root_of_the_rows():
    for n_rows in (30, 1000, 20_000, 10**6):
        found = with_budget(AUTO, n_rows, True)
        n_batches = math.ceil(n_rows / found["batch_size"])
        n_steps = found["max_epochs"] * n_batches
        wanted = 4000 * math.sqrt(n_rows / 1000)
        assert wanted <= n_steps < wanted + n_batches
        assert found["n_iter_no_change"] == max(5, math.ceil(1000 / n_batches))


def test_numbers_stay_as_they_are():
    given = {"batch_size": 7, "max_epochs": 3, "n_iter_no_change": 2, "ema_decay": 0.5}
    found = with_budget({**AUTO, **given}, 100, False)
    assert {name: found[name] for name in given} == given
    assert with_budget({**AUTO, "batch_size": 50}, 1000, False)["max_epochs"] == 200
    assert with_budget(AUTO, 100, False)["ema_decay"] is None


@pytest.mark.parametrize(
    ("setting", "n_rows", "n_fresh", "expected"),
    [
        ({}, 75, 75, True),
        ({}, 74, 74, False),
        ({}, 200, 99, False),
        ({"early_stopping": True}, 10, 0, True),
        ({"early_stopping": False}, 1000, 1000, False),
        ({"kl_warmup": 1.0}, 1000, 1000, False),
    ],
)
def test_rows_are_held_out_where_there_are_enough(setting, n_rows, n_fresh, expected):
    fresh = np.arange(n_rows) < n_fresh
    assert holds_out({**AUTO, **setting}, fresh) is expected


@pytest.mark.parametrize(
    ("setting", "target"),
    [
        ({}, 0.9),
        ({"witness": "linear"}, 0.9),
        ({"witness": "simplex"}, None),
        ({"batch_size": 1}, None),
        ({"alignment_target": 0.4, "witness": "simplex"}, 0.4),
        ({"alignment_target": None}, None),
    ],
)
def test_a_margin_is_enough_where_none_is_designed(setting, target):
    assert with_budget({**AUTO, **setting}, 100, True)["alignment_target"] == target


def test_the_defaults_certify_seventy_five_rows():
    """They held a step an epoch, and a hundred of them certified none."""
    X = load_iris().data
    order = np.random.default_rng(0).permutation(len(X))
    vae = TeacherGuidedVAE(random_state=0, device="cpu").fit(X[order[:75]])
    assert vae.net_.batch_size == 16
    # Eight rows that are there to stop by show no bound, and are not told for it.
    assert "valid_loss" in vae.history_[-1]
    assert ConstantCollapseCertificate().certify(vae, X[order[75:]]).certified


def test_a_teacher_that_knows_the_rows_holds_none_out(small_vae, clusters):
    """Nothing new is left to judge by, and nothing is warned of."""
    teacher = FrozenEstimator(GaussianMixtureTeacher(n_components=3).fit(clusters))
    vae = small_vae(early_stopping="auto", teacher=teacher).fit(clusters)
    assert "valid_loss" not in vae.history_[-1]


def test_passes_of_a_stream_have_no_budget(small_vae, clusters):
    automatic = {"max_epochs": "auto", "batch_size": "auto", "early_stopping": "auto"}
    vae = small_vae(**automatic).partial_fit(clusters).partial_fit(clusters[:1])
    assert vae.n_iter_ == 2
    assert vae.net_.batch_size == 16
