"""Nets trained together against the same nets trained one after another."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.exceptions import DivergenceError
from skvae.training.denormals import denormals_are_zero
from skvae.training.stacked import _Stack, stackable, train_together
from skvae.vae.course import finish

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MODELS = [
    {"beta": 0.5, "alignment_weight": 3.0, "random_state": 0},
    {"beta": 1.0, "alignment_weight": 30.0, "random_state": 0},
    {"beta": 0.0, "alignment_weight": 10.0, "random_state": 7},
]


def estimators(models=MODELS, **parameters):
    setting = {
        "latent_dim": 3,
        "hidden_layer_sizes": (16,),
        "teacher": GaussianMixtureTeacher(n_components=3),
        # The last batch is short.
        "batch_size": 50,
        "max_epochs": 2,
        "early_stopping": False,
        "lr": 1e-2,
        "device": "cpu",
    }
    return [TeacherGuidedVAE(**{**setting, **parameters, **model}) for model in models]


def begun(vaes, X):
    """Nets that are ready to be trained, their rows, and the fits they belong to."""
    courses = [vae._course(X, None, None, {}) for vae in vaes]
    nets, rows = zip(*(next(course) for course in courses), strict=True)
    return nets, rows, courses


def together(vaes, X):
    nets, rows, courses = begun(vaes, X)
    errors = train_together(nets, rows)
    assert errors == [None] * len(vaes)
    for vae, course in zip(vaes, courses, strict=True):
        vae._adopt(finish(course))
    return vaes


def weights(vae):
    return vae.net_.module_.state_dict()


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"hidden_layer_sizes": (), "decoder_variance": 0.5, "weight_decay": 0.1},
        {"likelihood": "bernoulli", "witness_input": "mean"},
        {"witness": "simplex", "prefit_epochs": 2, "hidden_layer_sizes": (8, 12)},
        {"witness": "mlp"},
        {"witness": "mlp", "alignment_target": 0.6},
    ],
    ids=["default", "linear", "bernoulli", "simplex", "mlp", "target"],
)
def test_models_end_as_they_would_by_themselves(setting, clusters):
    X = clusters
    if setting.get("likelihood") == "bernoulli":
        X = (X - X.min(axis=0)) / np.ptp(X, axis=0)
    stacked = together(estimators(**setting), X)
    for one, other in zip(estimators(**setting), stacked, strict=True):
        one.fit(X)
        for name, expected in weights(one).items():
            torch.testing.assert_close(weights(other)[name], expected, rtol=1e-4, atol=1e-6)
        assert other.margin_ == pytest.approx(one.margin_, rel=1e-4, abs=1e-6)
        np.testing.assert_array_equal(other.average_teacher_, one.average_teacher_)
        assert vars(other).keys() == vars(one).keys()
        for record, expected in zip(other.history_, one.history_, strict=True):
            assert record.pop("seconds") > 0
            expected.pop("seconds")
            assert record == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_models_without_alignment_make_a_stack_of_their_own(clusters):
    models = [{**model, "alignment_weight": 0.0} for model in MODELS]
    for one, other in zip(
        estimators(models), together(estimators(models), clusters), strict=True
    ):
        one.fit(clusters)
        for name, expected in weights(one).items():
            torch.testing.assert_close(weights(other)[name], expected, rtol=1e-4, atol=1e-6)


def test_training_together_repeats_to_the_bit_and_draws_nothing_in_public(clusters):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = (together(estimators(), clusters) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first, again, strict=True):
        for name, expected in weights(one).items():
            assert torch.equal(weights(other)[name], expected)


def test_a_model_that_diverges_disturbs_no_other(clusters):
    nets, rows, _ = begun(estimators(), clusters)
    with torch.no_grad():
        nets[1].module_.witness.head.weight.fill_(torch.inf)
    errors = train_together(nets, rows)
    assert [type(error) for error in errors] == [type(None), DivergenceError, type(None)]
    assert "epoch 1" in str(errors[1])
    undisturbed, rows, _ = begun(estimators(), clusters)
    train_together(undisturbed, rows)
    for number in (0, 2):
        expected = undisturbed[number].module_.state_dict()
        for name, value in nets[number].module_.state_dict().items():
            assert torch.equal(value, expected[name])


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the processor keeps denormals")
def test_denormals_are_zero_while_a_stack_trains(monkeypatch, clusters):
    seen = []
    run_epoch = _Stack.run_epoch
    monkeypatch.setattr(
        _Stack,
        "run_epoch",
        lambda *args: (seen.append(denormals_are_zero()), run_epoch(*args))[1],
    )
    together(estimators(), clusters)
    assert seen == [True, True]
    assert not denormals_are_zero()


def test_teachers_of_each_model_are_its_own(clusters):
    teachers = [
        FrozenEstimator(GaussianMixtureTeacher(n_components=3, random_state=seed).fit(rows))
        for seed, rows in enumerate([clusters, clusters[::2]])
    ]
    models = [{"teacher": teacher, "random_state": 0} for teacher in teachers]
    for one, other in zip(
        estimators(models), together(estimators(models), clusters), strict=True
    ):
        one.fit(clusters)
        assert other.margin_ == pytest.approx(one.margin_, rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ({"beta": 3.0, "alignment_weight": 1.0, "random_state": 9}, True),
        ({"alignment_weight": 0.0}, False),
        ({"lr": 0.1}, False),
        ({"witness_input": "mean"}, False),
        ({"weight_decay": 0.1}, False),
        ({"max_epochs": 3}, False),
        ({"latent_dim": 4}, False),
        ({"teacher": GaussianMixtureTeacher(n_components=4)}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_can_be_trained_together(setting, same, clusters):
    nets, _, _ = begun(
        [*estimators(MODELS[:1]), *estimators([{**MODELS[0], **setting}])], clusters
    )
    assert (stackable(nets[0]) == stackable(nets[1])) is same
