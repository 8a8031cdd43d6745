"""One arm trained and measured."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.protocol import BASELINES
from skvae.protocol.runs import Run, Split, needs_teacher, train_group, under_teacher

SETTING = {"latent_dim": 2, "hidden_layer_sizes": (8,), "max_epochs": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def split(clusters):
    order = np.random.default_rng(0).permutation(len(clusters))
    X, y = clusters[order], order // 60
    return Split(X[:150], X[150:], y[:150], y[150:])


def teacher_with(n_components, X):
    return FrozenEstimator(
        GaussianMixtureTeacher(n_components=n_components, random_state=0).fit(X)
    )


UNSHAPED = {**BASELINES, "mlp witness": {"alignment_weight": 0.0, "witness": "mlp"}}


@pytest.mark.parametrize("parameters", UNSHAPED.values(), ids=UNSHAPED)
def test_under_another_teacher_is_what_a_fit_with_it_gives_to_the_bit(split, parameters):
    parameters = {**SETTING, **parameters, "random_state": 0}
    first, second = (teacher_with(n_components, split.X_train) for n_components in (3, 5))
    model = TeacherGuidedVAE(teacher=first, **parameters).fit(split.X_train)
    before = ConstantCollapseCertificate(probe=True).certify(model, split.X_test)
    other = under_teacher(model, second, split.X_train)
    fitted = TeacherGuidedVAE(teacher=second, **parameters).fit(split.X_train)
    certificate = ConstantCollapseCertificate(latent="sample", probe=True)
    assert certificate.certify(other, split.X_test) == certificate.certify(fitted, split.X_test)
    assert other.score(split.X_test) == fitted.score(split.X_test)
    assert other.teacher_information_ == fitted.teacher_information_
    assert other.margin_ == pytest.approx(fitted.margin_, abs=1e-6)
    for ours, theirs in zip(other.history_, fitted.history_, strict=True):
        assert ours == pytest.approx({**theirs, "seconds": ours["seconds"]}, abs=1e-5)
    # The model that it was taken from is as it was.
    assert ConstantCollapseCertificate(probe=True).certify(model, split.X_test) == before
    assert model.teacher_ is first


def test_own_witness_of_another_teacher_is_its_constant_student(split):
    model = TeacherGuidedVAE(
        alignment_weight=0,
        teacher=teacher_with(3, split.X_train),
        random_state=0,
        **SETTING,
    ).fit(split.X_train)
    second = teacher_with(5, split.X_train)
    other = under_teacher(model, second, split.X_train)
    constant = second.predict_proba(split.X_train).mean(axis=0)
    log_q = other.witness_log_proba(split.X_test)
    np.testing.assert_allclose(np.exp(log_q), np.tile(constant, (len(log_q), 1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "needed"),
    [
        ({"alignment_weight": 0}, False),
        ({}, True),
        ({"alignment_weight": 0, "early_stopping": True}, True),
        ({"alignment_weight": 0, "early_stopping": "auto"}, True),
        ({"alignment_weight": 0, "witness": "simplex"}, True),
        ({"alignment_weight": 0, "witness": "mlp"}, False),
    ],
)
def test_teacher_is_needed_where_it_reaches_the_model(parameters, needed):
    assert needs_teacher({"early_stopping": False, **parameters}) is needed


@pytest.fixture(scope="module")
def record(split):
    parameters = {**SETTING, "max_epochs": 60, "lr": 1e-2, "alignment_weight": 0.0}
    run = Run("vae", 3, 0, "given", parameters, None, "vae")
    (record,) = train_group([run], {0: teacher_with(3, split.X_train)}, split, None)
    return record


def test_record_has_what_the_fitted_model_says(split, record):
    model = TeacherGuidedVAE(
        teacher=teacher_with(3, split.X_train), random_state=3, **record["parameters"]
    ).fit(split.X_train)
    decoded = model.inverse_transform(model.transform(split.X_test))
    error = np.mean((split.X_test - decoded) ** 2)
    assert record["reconstruction_error"] == pytest.approx(error)
    of_mean = np.mean((split.X_test - split.X_train.mean(axis=0)) ** 2)
    assert record["relative_reconstruction_error"] == pytest.approx(error / of_mean)
    assert record["relative_reconstruction_error"] < 0.5
    assert record["elbo"] == model.score(split.X_test)
    report = ConstantCollapseCertificate(latent="sample", probe=True).certify(
        model, split.X_test
    )
    assert record["report"] == report.to_dict()
    assert record["report"]["rows"] == "held-out"
    assert not record["report"]["certified"]


def test_labels_are_read_off_codes_that_keep_the_clusters(split, record):
    assert record["accuracy"] > 0.9
    run = Run("vae", 3, 0, "given", record["parameters"], None, "vae")
    unlabelled = Split(split.X_train, split.X_test)
    one_label = Split(split.X_train, split.X_test, np.zeros(150), np.zeros(30))
    for other in (unlabelled, one_label):
        (again,) = train_group([run], {0: teacher_with(3, split.X_train)}, other, None)
        assert again["accuracy"] is None
        assert again["elbo"] == record["elbo"]
