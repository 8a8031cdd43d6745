"""What a report says of its rows: who has seen them, which are copies, what is missing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.decomposition import NMF
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    TeacherSearch,
    TemperedTeacher,
)
from skvae.certificate import probe_in_turn
from skvae.information import SequentialMargin

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

HALF = slice(0, None, 2), slice(1, None, 2)


def fitted_teachers(X):
    mixture = GaussianMixtureTeacher(n_components=3, random_state=0)
    return {
        "mixture": mixture.fit(X),
        "tempered": TemperedTeacher(GaussianMixture(3, random_state=0)).fit(X),
        "tempered, came fitted": TemperedTeacher(FrozenEstimator(mixture.fit(X))).fit(X),
        "search": TeacherSearch({"n_components": [3]}, random_state=0).fit(X),
    }


@pytest.mark.parametrize("name", ["mixture", "tempered", "tempered, came fitted", "search"])
def test_a_teacher_that_has_seen_the_rows_is_told_from_one_that_has_not(
    small_vae, clusters, name
):
    train, test = (clusters[half] for half in HALF)
    words = {}
    for seen, rows in (("all", clusters), ("training", train), ("test", test)):
        teacher = fitted_teachers(rows)[name]
        vae = small_vae(teacher=FrozenEstimator(teacher)).fit(train)
        report = ConstantCollapseCertificate().certify(vae, test)
        given = ConstantCollapseCertificate(teacher=teacher).certify(vae, test)
        assert report.rows == "held-out"
        assert given.teacher_rows == report.teacher_rows
        words[seen] = report.teacher_rows
        assert ("has seen" in str(report)) == (seen != "training")
    assert words == {"all": "training", "training": "held-out", "test": "training"}


def test_of_a_teacher_that_nothing_is_known_of_a_report_says_so(small_vae, clusters):
    train, test = (clusters[half] for half in HALF)
    mixture = GaussianMixture(3, random_state=0).fit(train)
    vae = small_vae(teacher=FrozenEstimator(mixture)).fit(train)
    report = ConstantCollapseCertificate().certify(vae, test)
    assert (report.rows, report.teacher_rows) == ("held-out", "unknown")
    assert "The teacher may have seen these rows" in str(report)
    # One that the model fitted itself is known, whatever it is.
    own = small_vae(teacher=GaussianMixture(3)).fit(train)
    assert ConstantCollapseCertificate().certify(own, test).teacher_rows == "held-out"
    assert ConstantCollapseCertificate().certify(own, train).teacher_rows == "training"
    # Distributions that came with the rows were made nobody knows how.
    T = mixture.predict_proba(train)
    given = small_vae(teacher=PrecomputedTeacher()).fit(train, X_teacher=0.9 * T + 0.1 / 3)
    report = ConstantCollapseCertificate().certify(
        given, test, X_teacher=0.9 * mixture.predict_proba(test) + 0.1 / 3
    )
    assert report.teacher_rows == "unknown"


def test_copies_are_counted_and_warned_of_where_chance_makes_none(small_vae, clusters):
    vae = small_vae().fit(clusters)
    fresh = clusters[:50] + 1e-3
    report = ConstantCollapseCertificate().certify(vae, np.repeat(fresh, 3, axis=0))
    assert (report.n_samples, report.n_distinct, report.has_copies) == (150, 50, True)
    assert "150 held-out rows, 50 of them distinct" in str(report)
    assert "Copies of rows are not independent" in str(report)
    single = ConstantCollapseCertificate().certify(vae, fresh)
    assert (single.n_distinct, single.has_copies) == (50, False)
    assert "distinct" not in str(single)


def test_kinds_that_coincide_honestly_are_no_copies(small_vae):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, (400, 3)).astype(float)
    vae = small_vae(decoder_variance=1.0).fit(kinds[:200])
    report = ConstantCollapseCertificate().certify(vae, kinds[200:])
    assert report.n_distinct <= 27
    assert not report.has_copies
    # They are not the unit of the bound.
    assert report.n_samples == 200


@pytest.mark.parametrize("given", ["in place of rows", "beside rows", "softened"])
def test_rows_of_one_label_are_no_copies_of_each_other(given):
    """Blocks by label would have a probe score classes that it never saw."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 600)
    T = np.eye(12)[labels]
    codes = 3 * T + rng.standard_normal(T.shape)
    certificate = ConstantCollapseCertificate(teacher=PrecomputedTeacher())
    if given == "beside rows":
        X = rng.standard_normal((600, 3))
        report = certificate.certify(codes, X, X_teacher=T)
        assert report.n_distinct == 600
    else:
        floor = 0.07 if given == "softened" else 0.0
        report = certificate.certify(codes, (1 - floor) * T + floor / 12)
        assert report.n_distinct is None
    assert report.certified
    assert report.margin_mean > 0.5 * report.teacher_information


def test_distinct_rows_are_counted_over_blocks_and_streams(small_vae, clusters):
    vae = small_vae().fit(clusters)
    rows = np.resize(clusters, (9000, 4))
    whole = ConstantCollapseCertificate().certify(vae, rows)
    stream = ConstantCollapseCertificate().certify(vae, iter([rows[:100], rows[100:]]))
    assert whole.n_distinct == stream.n_distinct == len(np.unique(rows, axis=0))


class RememberingProbe(BaseEstimator):
    """A probe that remembers which codes it was fitted to and which it scored."""

    log: list = []  # noqa: RUF012

    def fit(self, codes, T):
        self.fitted_ = {tuple(code) for code in codes}
        self.average_ = T.mean(axis=0)
        return self

    def predict_log_proba(self, codes):
        self.log.append((self.fitted_, {tuple(code) for code in codes}))
        return np.tile(np.log(self.average_), (len(codes), 1))


def test_a_probe_scores_no_copy_of_a_row_that_it_was_fitted_to():
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.standard_normal((60, 2)), 5, axis=0)
    T = np.repeat(rng.dirichlet([1, 1], 60), 5, axis=0)
    groups = np.repeat(np.arange(60), 5)
    RememberingProbe.log.clear()
    probe_in_turn(RememberingProbe(), codes, T, 0)
    assert any(fitted & scored for fitted, scored in RememberingProbe.log)
    RememberingProbe.log.clear()
    rows, log_q, _ = probe_in_turn(RememberingProbe(), codes, T, 0, groups=groups)
    assert len(RememberingProbe.log) == 4
    assert not any(fitted & scored for fitted, scored in RememberingProbe.log)
    assert len(rows) == len(log_q) == len(np.unique(rows)) > 200
    # Without copies nothing changes.
    alone = probe_in_turn(RememberingProbe(), codes[::5], T[::5], 0)
    grouped = probe_in_turn(RememberingProbe(), codes[::5], T[::5], 0, groups=np.arange(60))
    for one, other in zip(alone, grouped, strict=True):
        np.testing.assert_array_equal(one, other)


def test_noise_codes_in_copies_are_not_certified_by_probe_more_often_than_allowed(clusters):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters[::2])
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = clusters[1::2][rng.integers(0, 90, 60)] + 0.01 * rng.standard_normal((60, 4))
        noise = rng.standard_normal((60, 8))
        copies = [np.repeat(each, 5, axis=0) for each in (rows, noise)]
        report = ConstantCollapseCertificate(teacher=teacher).certify(copies[1], copies[0])
        found.append(report.certified)
    assert sum(found) <= 3


REAL_ROWS_ONLY = {
    "one-hot": make_pipeline(
        make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough"),
        LogisticRegression(),
    ),
    "logarithms": make_pipeline(
        FunctionTransformer(np.log1p), GaussianMixtureTeacher(n_components=3)
    ),
    "NMF": make_pipeline(NMF(2, max_iter=500), GaussianMixtureTeacher(n_components=3)),
}


@pytest.mark.parametrize("teacher", REAL_ROWS_ONLY.values(), ids=REAL_ROWS_ONLY)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered in log1p:RuntimeWarning")
def test_a_teacher_that_refuses_reconstructions_leaves_their_margin_out(small_vae, teacher):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    X = np.column_stack([y, rng.poisson(1 + 3 * y), rng.poisson(1, 200)]).astype(float)
    vae = small_vae(teacher=teacher).fit(X, y)
    report = ConstantCollapseCertificate().certify(vae, X)
    if report.margin_reconstruction is None:
        assert report.notes[0].startswith("No reconstruction margin: the teacher")
        assert " ".join(report.notes[0].split()) in " ".join(str(report).split())
        assert report.to_dict()["notes"] == list(report.notes)
    assert np.isfinite(report.margin_sample)


class Foreign(BaseEstimator):
    """A teacher of someone else, which returns what it is told to."""

    def __init__(self, returned=None):
        self.returned = returned

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        return self.returned(len(X))


def sure(n):
    return 0.05 + 0.85 * np.eye(3)[np.arange(n) % 3]


CALLS = iter(range(10**6))
WRONG = {
    "a row more": (lambda n: sure(n + 1), "one distribution a row"),
    "a row less": (lambda n: sure(n - 1), "one distribution a row"),
    "several outputs": (lambda n: [sure(n), sure(n)], "one for each of its outputs"),
    "NaN": (lambda n: np.full((n, 3), np.nan), "must be finite"),
    "text": (lambda n: np.full((n, 3), "a"), "numbers"),
    "no distributions": (lambda n: np.ones((n, 3)), "sum to one"),
    "nothing": (lambda n: None, "numbers|array"),
    "other components later": (
        lambda n: sure(n)[:, :3] if next(CALLS) % 2 == 0 else np.full((n, 2), 0.5),
        "the same components for every row",
    ),
}


@pytest.mark.parametrize(("returned", "message"), WRONG.values(), ids=WRONG)
def test_what_a_foreign_teacher_returns_is_checked_and_the_teacher_named(
    small_vae, clusters, returned, message
):
    rows = np.resize(clusters, (5000, 4))
    teacher = Foreign(returned).fit(rows)
    certificate = ConstantCollapseCertificate(teacher=teacher)
    for call in (certificate.certify, certificate.score):
        with pytest.raises(ValueError, match=message) as caught:
            call(rows[:, :3], rows)
        assert "Foreign" in str(caught.value)
    if "components" not in message:
        with pytest.raises(ValueError, match=message) as caught:
            small_vae(teacher=Foreign(returned)).fit(clusters)
        assert "Foreign" in str(caught.value)


class ForeignCodes(TransformerMixin, BaseEstimator):
    """An encoder of someone else."""

    def __init__(self, returned=None):
        self.returned = returned

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.returned(np.asarray(X))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda X: X[:-1], "a row for each"),
        (lambda X: np.full_like(X, np.nan), "NaN"),
        (lambda X: X + 0j, "Complex data"),
        (lambda X: np.ma.masked_array(X), "masked"),
        (lambda X: X[:, 0], "2D|1D"),
    ],
    ids=["a row less", "NaN", "complex", "masked", "one dimension"],
)
def test_what_a_foreign_encoder_returns_is_checked(clusters, returned, message):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters[::2])
    certificate = ConstantCollapseCertificate(teacher=teacher)
    with pytest.raises(ValueError, match=message):
        certificate.certify(ForeignCodes(returned), clusters[1::2])


def test_a_pipeline_that_ends_in_a_classifier_is_told_what_to_pass_and_that_works(
    small_vae, clusters
):
    y = np.arange(180) // 60
    whole = make_pipeline(StandardScaler(), small_vae(), LogisticRegression())
    whole.fit(clusters, y)
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    for certificate in (
        ConstantCollapseCertificate(),
        ConstantCollapseCertificate(teacher=teacher),
    ):
        with pytest.raises(TypeError, match=r"pipeline\[:-1\]"):
            certificate.certify(whole, clusters)
        assert np.isfinite(certificate.score(whole[:-1], clusters))


class Sampler(BaseEstimator):
    """As those of imbalanced-learn: it changes rows in fit alone."""

    def fit_resample(self, X, y=None):
        return X, y

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        raise AssertionError("not when rows are read")


def test_samplers_before_the_model_are_passed_over(small_vae, clusters):
    pipeline = make_pipeline(Sampler(), "passthrough", small_vae())
    pipeline.steps[-1] = (pipeline.steps[-1][0], small_vae().fit(clusters))
    report = ConstantCollapseCertificate().certify(pipeline, clusters)
    alone = ConstantCollapseCertificate().certify(pipeline[-1], clusters)
    assert report.margin_sample == alone.margin_sample


def test_rows_of_text_are_for_the_teacher_alone(clusters):
    frame = pd.DataFrame({"kind": np.array(["a", "b", "c"])[np.arange(180) // 60]})
    teacher = make_pipeline(
        OneHotEncoder(sparse_output=False), GaussianMixture(3, random_state=0, reg_covar=0.1)
    )
    certificate = ConstantCollapseCertificate(teacher=teacher.fit(frame))
    report = certificate.certify(clusters, frame)
    assert report.n_distinct == 180
    assert report.teacher_rows == "unknown"


def test_a_monitor_is_given_draws_of_their_own_for_every_batch(small_vae, clusters):
    vae = small_vae(max_epochs=60).fit(clusters[::2])
    certificate = ConstantCollapseCertificate(latent="sample", n_draws=1)
    seen = []

    class Watched(SequentialMargin):
        def update(self, T, log_q):
            seen.append(np.asarray(log_q)[0])
            return super().update(T, log_q)

    monitor = Watched(vae.average_teacher_)
    batch = clusters[1::2][:20]
    for _ in range(3):
        assert certificate.update(monitor, vae, batch) is monitor
    assert monitor.n_samples == 60
    # The same rows, and other noise each time.
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])
    again = Watched(vae.average_teacher_)
    certificate.update(again, vae, batch)
    np.testing.assert_array_equal(seen[-1], seen[0])
    teacher = GaussianMixtureTeacher(n_components=3).fit(clusters)
    by_probe = ConstantCollapseCertificate(teacher=teacher)
    with pytest.raises(TypeError, match="none of its own"):
        by_probe.update(monitor, vae, batch)
    with pytest.raises(ValueError, match="NaN"):
        certificate.update(monitor, vae, np.full((3, 4), np.nan))
    assert monitor.n_samples == 60


def test_a_constant_encoder_in_batches_is_seldom_taken_for_evidence():
    """Noise that batches share would be evidence in a quarter of the streams."""
    rng = np.random.default_rng(0)
    centres = np.array([[-0.5], [0.5]])
    T = np.array([[0.7, 0.3], [0.3, 0.7]])

    class Model:
        average_teacher_ = np.array([0.5, 0.5])

        def teacher_proba(self, X):
            return T[np.asarray(X, dtype=int)[:, 0]]

        def witness_log_proba(self, X, latent="mean", random_state=None):
            noise = np.random.default_rng(random_state or 0).standard_normal((len(X), 1))
            logits = 1.2 * (centres[np.asarray(X, dtype=int)[:, 0]] + noise)
            return np.column_stack([-np.logaddexp(0, logits), -np.logaddexp(0, -logits)])

    certificate = ConstantCollapseCertificate(latent="sample", n_draws=1)
    alarms = 0
    for stream in range(60):
        monitor = SequentialMargin([0.5, 0.5])
        own = ConstantCollapseCertificate(
            **{**certificate.get_params(), "random_state": stream}
        )
        for _ in range(30):
            own.update(monitor, Model(), rng.integers(0, 2, (20, 1)).astype(float))
            if monitor.log_e_value >= np.log(20):
                alarms += 1
                break
    assert alarms <= 8
