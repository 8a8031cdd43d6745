"""Certificates of weighted rows: those of rows repeated, or left out, and what is refused."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.certificate import SoftmaxProbe, probe_in_turn
from skvae.certificate.evidence import Evidence
from skvae.certificate.subjects import BLOCK_ROWS, Subject
from skvae.exceptions import BrokenBoundError
from skvae.information import margin_lower_bound
from skvae.information.boundary import without_zeros

# Of rows repeated each copy has draws of its own: what is read at a mean is the same.
AT_THE_MEAN = [
    "teacher_information",
    "alignment_cost_mean",
    "margin_mean",
    "rate",
    "active_units",
    "margin_reconstruction",
    "view_gap",
]


@pytest.fixture
def weights():
    return np.random.default_rng(1).integers(0, 4, 180)


@pytest.fixture(scope="module")
def two_views(small_vae, clusters):
    noisy = clusters + 0.3 * np.random.default_rng(0).standard_normal(clusters.shape)
    return small_vae(max_epochs=20).fit(clusters, X_teacher=noisy), noisy


def test_a_weight_is_a_number_of_copies(fitted, clusters, weights):
    certificate = ConstantCollapseCertificate()
    found = certificate.certify(fitted, clusters, sample_weight=0.1 * weights)
    again = certificate.certify(fitted, np.repeat(clusters, weights, axis=0))
    for name in AT_THE_MEAN:
        expected = getattr(again, name)
        assert getattr(found, name) == (expected and pytest.approx(expected, abs=1e-12)), name
    np.testing.assert_allclose(found.kl_per_dimension, again.kl_per_dimension, atol=1e-12)
    # Estimates from other draws of the same codes.
    assert found.margin_sample == pytest.approx(again.margin_sample, abs=0.05)
    assert found.mutual_information == pytest.approx(again.mutual_information, abs=0.15)
    # A row is one observation all the same: copies are no evidence.
    assert found.n_samples == (weights > 0).sum() == found.n_distinct
    assert found.lower_bound_mean < again.lower_bound_mean
    score = certificate.score(fitted, clusters, sample_weight=weights)
    assert score == pytest.approx(again.margin_mean, abs=1e-12)
    assert certificate(fitted, clusters, None, sample_weight=weights) == score


def test_a_view_gap_is_one_of_weighted_rows(two_views, clusters, weights):
    vae, noisy = two_views
    certificate = ConstantCollapseCertificate()
    found = certificate.certify(vae, clusters, noisy, sample_weight=weights)
    copies = [np.repeat(each, weights, axis=0) for each in (clusters, noisy)]
    assert found.view_gap == pytest.approx(
        certificate.certify(vae, *copies).view_gap, abs=1e-12
    )


@pytest.mark.parametrize("probe", [False, True])
def test_rows_that_weigh_nothing_are_not_there(probe, fitted, clusters, weights):
    certificate = ConstantCollapseCertificate(probe=probe, confidence=0.9)
    plain = certificate.certify(fitted, clusters)
    kept = weights > 0
    some = certificate.certify(fitted, clusters[kept])
    assert certificate.certify(fitted, clusters, sample_weight=np.full(180, 3)) == plain
    assert certificate.certify(fitted, clusters, sample_weight=kept) == some
    score = certificate.score(fitted, clusters, sample_weight=kept)
    assert score == some.lower_bound_mean
    assert not plain.notes
    largest = ConstantCollapseCertificate(probe=probe, max_weight=3.0)
    whole = largest.certify(fitted, clusters, sample_weight=weights)
    assert whole == largest.certify(fitted, clusters[kept], sample_weight=weights[kept])


def test_blocks_of_many_rows_and_frames(fitted, clusters):
    rng = np.random.default_rng(0)
    rows = clusters[rng.integers(0, 180, 2 * BLOCK_ROWS + 100)]
    weights = rng.integers(0, 3, len(rows))
    certificate = ConstantCollapseCertificate(latent="sample")
    found = certificate.certify(fitted, rows, sample_weight=weights)
    kept = weights > 0
    assert found == certificate.certify(fitted, rows[kept], sample_weight=weights[kept])
    frame = pd.DataFrame(rows)
    assert found == certificate.certify(fitted, frame, sample_weight=list(weights))
    repeated = certificate.certify(fitted, np.repeat(rows, weights, axis=0))
    for read in ("mean", "sample"):
        for name in ("alignment_cost", "margin"):
            one, other = (getattr(each, f"{name}_{read}") for each in (found, repeated))
            assert one == pytest.approx(other, abs=1e-12 if read == "mean" else 0.02)


@pytest.mark.parametrize("method", ["e-value", "normal"])
@pytest.mark.parametrize("largest", [None, 5.0])
def test_bounds_are_those_of_the_weighted_rows(method, largest, fitted, clusters, weights):
    certificate = ConstantCollapseCertificate(method=method, confidence=0.9, max_weight=largest)
    kept = weights > 0
    X = clusters[kept]
    report = certificate.certify(fitted, clusters, sample_weight=weights)
    expected = margin_lower_bound(
        fitted.teacher_proba(X),
        fitted.witness_log_proba(X),
        without_zeros(fitted.average_teacher_),
        0.9,
        method=method,
        sample_weight=weights[kept],
        max_weight=largest,
    )
    assert report.lower_bound_mean == pytest.approx(expected.lower_bound, abs=1e-9)
    score = certificate.score(fitted, clusters, sample_weight=weights)
    assert score == report.lower_bound_mean
    said = "for given" if largest is None else "at most 5"
    assert [said in note for note in report.notes] == [True]
    assert report.notes[0] in str(report)


def test_alike_weights_below_a_maximum_are_no_rows_without_weights(fitted, clusters):
    certificate = ConstantCollapseCertificate(max_weight=2.0)
    plain = certificate.certify(fitted, clusters)
    below = certificate.certify(fitted, clusters, sample_weight=np.ones(180))
    assert below.margin_mean == plain.margin_mean
    assert below.lower_bound_mean < plain.lower_bound_mean
    assert len(below.notes) == 1
    most = certificate.certify(fitted, clusters, sample_weight=np.full(180, 2.0))
    assert most == plain


def test_the_rate_has_the_error_of_a_ratio(fitted, clusters):
    rng = np.random.default_rng(0)
    of_row = rng.exponential(size=180)
    rates, errors = [], []
    for _ in range(60):
        drawn = rng.integers(0, 180, 300)
        subject = Subject.of(
            fitted,
            clusters[drawn],
            None,
            teacher=None,
            probe=None,
            keep_codes=False,
            n_draws=1,
            random_state=0,
            sample_weight=of_row[drawn],
        )
        evidence = Evidence(subject, ("mean",), whole=True)
        rates.append(evidence.rate)
        errors.append(evidence.rate_standard_error)
    assert np.mean(errors) == pytest.approx(np.std(rates), rel=0.3)


def test_a_probe_is_fitted_by_weights():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((60, 2))
    T = rng.dirichlet(np.ones(3), 60)
    weights = rng.integers(0, 4, 60)
    found = SoftmaxProbe().fit(codes, T, sample_weight=weights)
    again = SoftmaxProbe().fit(np.repeat(codes, weights, axis=0), np.repeat(T, weights, axis=0))
    np.testing.assert_allclose(found.coef_, again.coef_, atol=1e-4)
    np.testing.assert_allclose(found.intercept_, again.intercept_, atol=1e-4)
    plain, alike = (SoftmaxProbe().fit(codes, T, w) for w in (None, np.full(60, 2)))
    np.testing.assert_array_equal(plain.coef_, alike.coef_)


def test_probes_in_turn_pass_weights_to_those_that_take_them():
    rng = np.random.default_rng(0)
    codes, T = rng.standard_normal((50, 2)), rng.dirichlet(np.ones(3), 50)
    weights = rng.uniform(0.5, 2, 50)
    given = []

    class Spy(SoftmaxProbe):
        def fit(self, codes, T, sample_weight=None):
            given.append(sample_weight)
            return super().fit(codes, T, sample_weight)

    class Without(SoftmaxProbe):
        def fit(self, codes, T):
            return super().fit(codes, T)

    rows, _, reference = probe_in_turn(Spy(), codes, T, 0, sample_weight=weights)
    assert [len(each) for each in given] == [10, 20, 30, 40]
    first = np.setdiff1d(np.arange(50), rows)
    np.testing.assert_allclose(np.sort(given[0]), np.sort(weights[first]))
    np.testing.assert_allclose(reference, np.average(T[first], axis=0, weights=weights[first]))
    _, scores, _ = probe_in_turn(Without(), codes, T, 0, sample_weight=weights)
    np.testing.assert_array_equal(scores, probe_in_turn(Without(), codes, T, 0)[1])


def test_a_probe_of_weighted_rows_wants_to_know_what_no_weight_exceeds(
    fitted, clusters, weights
):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    codes = fitted.transform(clusters)
    plain = ConstantCollapseCertificate(teacher=teacher)
    with pytest.raises(ValueError, match=r"pass that number, .*max_weight="):
        plain.certify(codes, clusters, sample_weight=weights)
    bounded = ConstantCollapseCertificate(teacher=teacher, confidence=0.95)
    with pytest.raises(ValueError, match="max_weight="):
        bounded.score(codes, clusters, sample_weight=weights)
    with pytest.raises(ValueError, match="max_weight="):
        ConstantCollapseCertificate(probe=True).certify(fitted, clusters, sample_weight=weights)
    # A margin of the sample is no bound, and the model's own witness none of a probe.
    assert plain.score(codes, clusters, sample_weight=weights) > 0.5
    own = ConstantCollapseCertificate(probe=True, confidence=0.95)
    assert np.isfinite(own.score(fitted, clusters, sample_weight=weights))
    known = ConstantCollapseCertificate(teacher=teacher, max_weight=3.0)
    report = known.certify(codes, clusters, sample_weight=weights)
    kept = weights > 0
    again = known.certify(codes[kept], clusters[kept], sample_weight=weights[kept])
    assert asdict(report) == asdict(again)
    assert report.certified


def test_several_teachers_judge_the_same_weighted_rows(fitted, clusters, weights):
    teachers = [
        GaussianMixtureTeacher(n_components=k, random_state=0).fit(clusters) for k in (2, 3)
    ]
    together = ConstantCollapseCertificate(teacher=teachers, max_weight=3.0)
    reports = together.certify(fitted, clusters, sample_weight=weights).reports
    alone = [
        ConstantCollapseCertificate(teacher=each, max_weight=3.0).score(
            fitted, clusters, sample_weight=weights
        )
        for each in teachers
    ]
    assert [report.margin for report in reports] == alone
    assert together.score(fitted, clusters, sample_weight=weights) == min(alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(180), "weight.*zero"),
        (np.ones(90), "one entry per row"),
        (np.r_[-1.0, np.ones(179)], "Entry 0"),
        (np.r_[4.0, np.ones(179)], "largest of these rows is 4"),
    ],
)
def test_weights_that_cannot_be_are_refused_before_any_row_is_read(
    given, message, fitted, clusters, monkeypatch
):
    monkeypatch.setattr("skvae.certificate.scorer.Evidence", None)
    certificate = ConstantCollapseCertificate(max_weight=3.0, confidence=0.9)
    for method in (certificate.certify, certificate.score):
        with pytest.raises(ValueError, match=message):
            method(fitted, clusters, sample_weight=given)
        with pytest.raises(ValueError, match="array or a memory map"):
            method(fitted, iter([clusters]), sample_weight=np.ones(180))


def test_a_weighted_margin_above_the_weighted_rate_is_an_error(fitted, clusters, monkeypatch):
    # The rate of rows that hardly weigh would hide it.
    weights = np.where(np.arange(180) < 60, 1e-3, 1.0)
    read_codes = type(fitted).read_codes

    def with_little_rate(self, X, seeds):
        kl = np.full((len(X), 3), 1e-3, dtype=np.float32)
        kl[X[:, 0] > 2] = 100.0
        return read_codes(self, X, seeds)._replace(kl=kl)

    monkeypatch.setattr(type(fitted), "read_codes", with_little_rate)
    certificate = ConstantCollapseCertificate(latent="sample")
    assert certificate.certify(fitted, clusters).rate > 50
    with pytest.raises(BrokenBoundError, match="exceeds the rate"):
        certificate.certify(fitted, clusters, sample_weight=weights)
