"""Codes and targets that came as arrays, against margins that are known."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skvae import ConstantCollapseCertificate, PrecomputedTeacher
from skvae.certificate import probe_in_turn
from skvae.certificate.given import as_distributions, certify_given
from skvae.information import margin_lower_bound, teacher_information
from skvae.information.boundary import without_zeros


class Told(BaseEstimator):
    """A probe that takes the codes for the log probabilities that they are."""

    def fit(self, codes, T):
        return self

    def predict_log_proba(self, codes):
        return codes


@pytest.fixture
def soft():
    return np.random.default_rng(0).dirichlet(np.ones(4), size=300)


def test_margin_of_codes_that_say_all_is_the_information_of_the_rows_scored(soft):
    report = certify_given(
        np.log(soft), soft, certificate=ConstantCollapseCertificate(witness=Told())
    )
    rows, log_q, reference = probe_in_turn(Told(), np.log(soft), soft, 0)
    assert report.n_samples == len(rows) == 240
    assert report.margin_mean == pytest.approx(teacher_information(soft[rows]), abs=1e-12)
    assert report.alignment_cost_mean == pytest.approx(0.0, abs=1e-12)
    bound = margin_lower_bound(soft[rows], log_q, without_zeros(reference))
    assert report.lower_bound_mean == pytest.approx(bound.lower_bound, abs=1e-9)
    assert report.certified


def test_is_what_a_certificate_says_of_the_same_arrays(soft):
    codes = np.random.default_rng(1).standard_normal((300, 3)) + soft[:, :3]
    certificate = ConstantCollapseCertificate(tau=0.01, confidence=0.9, random_state=3)
    found = certify_given(codes, soft, certificate=certificate)
    other = ConstantCollapseCertificate(
        teacher=PrecomputedTeacher(), tau=0.01, confidence=0.9, random_state=3
    ).certify(codes, np.arange(300)[:, None], X_teacher=soft)
    for name in ("margin_mean", "lower_bound_mean", "log_e_value_mean", "tau", "confidence"):
        assert getattr(found, name) == getattr(other, name)


@pytest.mark.parametrize(
    "labels", [["b", "a", "c"] * 100, np.array([[7], [-2], [9]] * 100), np.arange(300) % 3.0]
)
def test_labels_are_distributions_sure_of_one_class_each(labels):
    T = as_distributions(labels)
    assert T.shape == (300, 3)
    np.testing.assert_array_equal(np.sort(T, axis=1), np.tile([0.0, 0.0, 1.0], (300, 1)))
    assert len(np.unique(T[:3], axis=0)) == 3
    np.testing.assert_array_equal(T, np.tile(T[:3], (100, 1)))
    assert teacher_information(T) == pytest.approx(np.log(3), abs=1e-12)


def test_sample_read_is_of_draws_and_says_when_noise_hides_the_mean():
    labels = np.arange(400) % 2
    codes = (labels - 0.5)[:, None] + np.zeros((400, 2))
    codes += 1e-3 * np.random.default_rng(0).standard_normal(codes.shape)
    quiet = certify_given(codes, labels, log_variances=np.full_like(codes, -9.0))
    noisy = certify_given(codes, labels, log_variances=np.full_like(codes, 9.0))
    assert quiet.latent == noisy.latent == "sample"
    assert quiet.certified
    assert noisy.verdict == "collapsed"
    assert noisy.lower_bound_mean > 0.3
    # KL of N(m, v) from N(0, 1), in closed form.
    variance = np.exp(-9.0)
    rate = 0.5 * (np.square(codes) + variance - 1 + 9.0).sum(axis=1).mean()
    assert quiet.rate == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize(
    ("held_out", "teacher_rows", "expected"),
    [
        (None, None, ("unknown", "unknown")),
        (True, None, ("held-out", "held-out")),
        (False, None, ("training", "unknown")),
        (True, "mixed", ("held-out", "mixed")),
        (True, "unknown", ("held-out", "unknown")),
    ],
)
def test_origin_of_the_rows_is_what_was_said(soft, held_out, teacher_rows, expected):
    report = certify_given(np.log(soft), soft, held_out=held_out, teacher_rows=teacher_rows)
    assert (report.rows, report.teacher_rows) == expected
    if "training" in expected or "mixed" in expected:
        assert report.situation == "seen rows"


def test_of_copies_one_is_certified(soft):
    X = np.random.default_rng(0).standard_normal((300, 2))
    once = certify_given(np.log(soft), soft, rows=X)
    twice = [np.concatenate([values, values[::-1]]) for values in (np.log(soft), soft, X)]
    found = certify_given(twice[0], twice[1], rows=twice[2])
    assert found.notes[0] == "300 copies of other rows were left out."
    assert found.lower_bound_mean == once.lower_bound_mean
    assert (found.n_samples, found.n_distinct) == (240, 300)
    untold = certify_given(twice[0], twice[1])
    assert untold.n_distinct is None
    assert "copies of each other is not known" in str(untold).replace("\n    ", " ")


def test_constant_codes_are_never_certified(soft):
    report = certify_given(np.ones((300, 2)), soft)
    assert report.verdict == "collapsed"
    assert report.margin_mean < 0.05


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": np.arange(299) % 2}, "got 300 and 299"),
        ({"rows": np.ones((2, 2))}, "codes and rows must have as many rows"),
        ({"log_variances": np.ones((300, 3))}, "must have a column for each of the codes"),
        ({"codes": np.full((300, 2), np.nan)}, "contains NaN"),
        ({"targets": np.zeros(300)}, "All 300 rows are of one class, '0.0'"),
        ({"targets": np.arange(300)}, "those are names or measurements, and no classes"),
        (
            {"targets": np.arange(300) / 7},
            "Row 1 of targets: a class is a whole number or text",
        ),
        ({"targets": [*("ab" * 149), "a", ""]}, "Row 299 of targets: the class is missing"),
        ({"targets": ["a", None] * 150}, "the class is missing"),
        ({"targets": np.ones((300, 2))}, "Row 0 of targets: entries must sum to one"),
        ({"targets": np.ones((300, 2, 2))}, "a class or a distribution for each row"),
        ({"targets": np.full(300, 1j)}, "a class is a whole number or text"),
    ],
)
def test_what_cannot_be_certified_is_told(changed, message):
    given = {"codes": np.random.default_rng(0).standard_normal((300, 2))}
    given["targets"] = np.arange(300) % 2
    with pytest.raises(ValueError, match=message):
        certify_given(**{**given, **changed})
