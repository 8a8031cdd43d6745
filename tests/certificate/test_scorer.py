"""The certificate: what it computes, what it takes, and what it refuses."""

import copy
import subprocess
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    TeacherGuidedVAE,
)
from skvae._common import spool
from skvae.certificate.subjects import BLOCK_ROWS
from skvae.exceptions import BrokenBoundError, ConstantTeacherError
from skvae.information import (
    BoundaryStatistics,
    SequentialMargin,
    alignment_cost,
    margin,
    margin_lower_bound,
    teacher_information,
)

SHUFFLED = KFold(3, shuffle=True, random_state=0)


class Stub(BaseEstimator):
    """A model of tables: teacher and witness are looked up by row number."""

    def __init__(self, T, log_q, codes=None, kl=None):
        self.T, self.log_q, self.codes, self.kl = T, log_q, codes, kl

    def teacher_proba(self, X):
        return self.T[X[:, 0]]

    def witness_log_proba(self, X, latent="mean", random_state=None):
        return self.log_q[latent][X[:, 0]]

    def transform(self, X):
        return self.codes[X[:, 0]]

    def posterior_kl(self, X):
        return self.kl[X[:, 0]]


@pytest.fixture
def stub():
    rng = np.random.default_rng(0)
    T = rng.dirichlet(np.full(3, 0.1), size=N_ROWS).clip(1e-6)
    T /= T.sum(axis=1, keepdims=True)
    blunt = 0.5 * T + 0.5 / 3
    codes = np.array([1.0, 0.2, 0.05, 0.0]) * np.where(np.arange(N_ROWS) % 2, 1, -1)[:, None]
    return Stub(
        T,
        {"mean": np.log(T), "sample": np.log(blunt)},
        codes=codes,
        kl=np.tile([0.5, 0.25, 0.0, 0.0], (N_ROWS, 1)),
    )


N_ROWS = 400
ROWS = np.arange(N_ROWS)[:, None]


def test_report_holds_the_quantities_of_these_rows(stub):
    rows = ROWS[50:350]
    T = stub.T[50:350]
    report = ConstantCollapseCertificate(tau=0.01).certify(stub, rows)
    assert report.teacher_information == pytest.approx(teacher_information(T))
    assert report.alignment_cost_mean == pytest.approx(
        alignment_cost(T, stub.log_q["mean"][50:350])
    )
    assert report.alignment_cost_sample == pytest.approx(
        alignment_cost(T, stub.log_q["sample"][50:350])
    )
    assert report.margin_mean == pytest.approx(margin(T, stub.log_q["mean"][50:350]))
    assert report.margin_sample == pytest.approx(margin(T, stub.log_q["sample"][50:350]))
    assert report.rate == 0.75
    # Variances 1, 0.04, 0.0025 and 0: two of them above 0.01.
    assert report.active_units == 2
    assert report.kl_per_dimension == (0.5, 0.25, 0.0, 0.0)
    assert report.n_samples == 300
    assert report.rows == "unknown"
    assert report.witness == "own"
    for read in ("mean", "sample"):
        log_q = stub.log_q[read][50:350]
        bound = margin_lower_bound(T, log_q, np.full(3, 1 / 3))
        assert getattr(report, f"lower_bound_{read}") == pytest.approx(bound.lower_bound)
        assert getattr(report, f"log_e_value_{read}") == pytest.approx(bound.log_e_value)
    assert report.tau == 0.01


@pytest.mark.parametrize("latent", ["mean", "sample"])
def test_score_is_the_margin_at_the_read_less_tau(stub, latent):
    certificate = ConstantCollapseCertificate(tau=0.1, latent=latent)
    expected = pytest.approx(margin(stub.T, stub.log_q[latent]) - 0.1, abs=1e-12)
    assert certificate.score(stub, ROWS) == certificate(stub, ROWS) == expected
    assert certificate(stub, ROWS, np.zeros(N_ROWS)) == expected


@pytest.mark.parametrize("method", ["e-value", "normal"])
def test_score_with_a_confidence_is_the_lower_bound_less_tau(stub, method):
    certificate = ConstantCollapseCertificate(0.1, confidence=0.9, method=method)
    bound = margin_lower_bound(
        stub.T, stub.log_q["mean"], np.full(3, 1 / 3), confidence=0.9, method=method
    )
    assert certificate.score(stub, ROWS) == pytest.approx(bound.lower_bound - 0.1)
    report = certificate.certify(stub, ROWS)
    assert report.confidence == 0.9
    assert report.lower_bound == pytest.approx(bound.lower_bound)
    assert ("approximate" in str(report)) == (method == "normal")


def test_verdict_is_the_bound_at_the_read_against_tau(stub):
    report = ConstantCollapseCertificate().certify(stub, ROWS)
    assert 0 < report.lower_bound_sample < report.lower_bound_mean
    tau = (report.lower_bound_sample + report.lower_bound_mean) / 2
    assert ConstantCollapseCertificate(tau, "mean").certify(stub, ROWS).verdict == "certified"
    at_sample = ConstantCollapseCertificate(tau, "sample").certify(stub, ROWS)
    assert at_sample.verdict == "uncertified"
    assert not at_sample.certified


def test_constant_code_is_called_collapsed(stub):
    stub.codes = np.zeros((N_ROWS, 4))
    stub.kl = np.zeros((N_ROWS, 4))
    stub.log_q = dict.fromkeys(("mean", "sample"), np.log(np.full((N_ROWS, 3), 1 / 3)))
    report = ConstantCollapseCertificate().certify(stub, ROWS)
    assert report.verdict == "collapsed"
    assert report.active_units == 0
    assert "nothing shows that the code varies" in str(report)


def test_a_constant_witness_is_never_certified_not_even_by_rounding(stub):
    rng = np.random.default_rng(0)
    for seed in range(50):
        T = np.random.default_rng(seed).dirichlet(rng.uniform(0.1, 3, 3), size=N_ROWS)
        log_average = np.tile(np.log(T.mean(axis=0)), (N_ROWS, 1))
        constant = Stub(T, dict.fromkeys(("mean", "sample"), log_average), stub.codes, stub.kl)
        assert not ConstantCollapseCertificate().certify(constant, ROWS).certified


def test_teacher_and_witness_are_all_that_a_model_must_have(stub):
    class Minimal:
        teacher_proba = stub.teacher_proba
        witness_log_proba = stub.witness_log_proba

    certificate = ConstantCollapseCertificate()
    report = certificate.certify(Minimal(), ROWS)
    assert report.certified
    assert report.margin_mean == pytest.approx(certificate.score(Minimal(), ROWS))
    assert report.rate is report.active_units is report.mutual_information is None
    assert (
        ConstantCollapseCertificate(tau=9.0).certify(Minimal(), ROWS).verdict == "uncertified"
    )


def test_code_that_differs_between_blocks_alone_varies(clusters):
    """Each block of the pass is constant; the code is not."""
    codes = np.repeat([[1.0], [2.0]], BLOCK_ROWS, axis=0)
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    rows = np.repeat(clusters[[0, 100]], BLOCK_ROWS, axis=0)
    report = ConstantCollapseCertificate(tau=9.0, teacher=teacher).certify(codes, rows)
    assert report.verdict == "uncertified"


def test_margin_above_the_rate_is_an_internal_error(stub):
    stub.kl = np.full((N_ROWS, 4), 1e-4)
    with pytest.raises(BrokenBoundError, match=r"exceeds the rate, 0\.0004, by more"):
        ConstantCollapseCertificate().certify(stub, ROWS)


def test_average_and_information_come_from_the_rows_that_are_scored(stub):
    """The trap: with the training average a shifted sample can fake a positive margin."""
    T = np.repeat([[0.9, 0.1], [0.1, 0.9]], [360, 40], axis=0)
    constant = np.tile(np.log(T.mean(axis=0)), (N_ROWS, 1))
    model = Stub(T, {"mean": constant})
    assert ConstantCollapseCertificate().score(model, ROWS[:390]) < 0


def test_constant_teacher_is_an_error_and_never_a_pass(stub):
    stub.T = np.full((N_ROWS, 3), 1 / 3)
    for call in (ConstantCollapseCertificate().score, ConstantCollapseCertificate().certify):
        with pytest.raises(ConstantTeacherError, match="constant over these 400 rows"):
            call(stub, ROWS)
    with pytest.raises(ConstantTeacherError, match="1 rows"):
        ConstantCollapseCertificate().score(stub, ROWS[:1])


def test_information_at_the_sample_is_bounded_by_the_rate(fitted, clusters):
    report = ConstantCollapseCertificate().certify(fitted, clusters)
    assert 0 < report.margin_sample < report.rate
    assert report.rate == pytest.approx(fitted.history_[-1]["rate"], rel=0.1)


def test_pipeline_search_and_frozen_estimator_are_seen_through(small_vae, clusters):
    certificate = ConstantCollapseCertificate()
    pipeline = make_pipeline(MinMaxScaler(), small_vae()).fit(clusters)
    inner = certificate.score(pipeline[-1], pipeline[:-1].transform(clusters))
    assert certificate.score(pipeline, clusters) == inner
    assert certificate.certify(pipeline, clusters).margin_mean == inner
    assert certificate.score(FrozenEstimator(pipeline), clusters) == inner
    assert certificate.score(make_pipeline(pipeline[-1]), clusters) != inner
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), small_vae()),
        {"teacherguidedvae__beta": [0.5, 1.0]},
        scoring=certificate,
        cv=SHUFFLED,
    ).fit(clusters)
    best = certificate.score(search.best_estimator_, clusters)
    assert search.score(clusters) == certificate.score(search, clusters) == best


def test_search_inside_a_pipeline_and_pandas_output_are_seen_through(small_vae, clusters):
    certificate = ConstantCollapseCertificate()
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    search = GridSearchCV(
        small_vae().set_output(transform="pandas"),
        {"beta": [0.5, 1.0]},
        scoring=certificate,
        cv=SHUFFLED,
    )
    pipeline = make_pipeline(MinMaxScaler().set_output(transform="pandas"), search).fit(frame)
    assert certificate.certify(pipeline, frame).n_samples == 180
    assert np.isfinite(certificate.score(FrozenEstimator(pipeline), frame))
    unfit = GridSearchCV(small_vae(), {}, scoring=certificate, cv=SHUFFLED, refit=False)
    with pytest.raises(NotFittedError, match="refit=False"):
        certificate.score(unfit.fit(clusters), clusters)


def test_works_as_one_scorer_among_several(small_vae, clusters):
    scores = cross_validate(
        make_pipeline(MinMaxScaler(), small_vae(max_epochs=30)),
        clusters,
        scoring={
            "mean": ConstantCollapseCertificate(),
            "sample": ConstantCollapseCertificate(tau=0.1, latent="sample"),
            "elbo": lambda estimator, X, y=None: estimator.score(X),
        },
        cv=SHUFFLED,
        error_score="raise",
    )
    assert (scores["test_mean"] > 0).all()
    assert np.isfinite(scores["test_sample"]).all()
    assert np.isfinite(scores["test_elbo"]).all()


def test_is_a_parameterised_object_of_scikit_learns_kind():
    certificate = ConstantCollapseCertificate(tau=0.2, latent="sample")
    assert clone(certificate).get_params() == certificate.get_params()
    assert repr(certificate) == "ConstantCollapseCertificate(latent='sample', tau=0.2)"


@pytest.mark.parametrize(
    "bad",
    [
        {"tau": -0.1},
        {"tau": np.nan},
        {"latent": "mode"},
        {"confidence": 1.0},
        {"method": "bootstrap"},
        {"n_draws": 0},
        {"teacher": PCA()},
        {"witness": PCA()},
    ],
)
def test_parameters_out_of_range_are_refused(fitted, clusters, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ConstantCollapseCertificate(**bad).certify(fitted, clusters)


def test_what_cannot_be_certified_is_refused_with_the_reason(small_vae, clusters):
    certificate = ConstantCollapseCertificate()
    with pytest.raises(
        TypeError, match="PCA lacks teacher_proba and witness_log_proba: pass a fitted teacher"
    ):
        certificate.score(PCA().fit(clusters), clusters)
    with pytest.raises(NotFittedError):
        certificate.score(small_vae(), clusters)
    with pytest.raises(NotFittedError, match="call fit"):
        certificate.score(GridSearchCV(small_vae(), {}), clusters)


def test_certifies_codes_where_torch_cannot_be_imported():
    code = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] not in ('torch', 'skorch')\n"
        "sys.meta_path.insert(0, Without())\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.mixture import GaussianMixture\n"
        "import skvae.certificate, skvae.information\n"
        "X = load_iris().data\n"
        "teacher = GaussianMixture(3, random_state=0).fit(X[::2])\n"
        "certificate = skvae.certificate.ConstantCollapseCertificate(teacher=teacher)\n"
        "assert certificate.certify(X[1::2, 2:], X[1::2]).certified\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sample_read_averages_draws_and_repeats(fitted, clusters):
    one, many = (
        ConstantCollapseCertificate(latent="sample", n_draws=n).score(fitted, clusters)
        for n in (1, 50)
    )
    seeds = [
        ConstantCollapseCertificate(latent="sample", n_draws=1, random_state=seed).score(
            fitted, clusters
        )
        for seed in range(30)
    ]
    assert many == pytest.approx(np.mean(seeds), abs=4 * np.std(seeds) / 30**0.5)
    assert one != many
    again = ConstantCollapseCertificate(latent="sample", n_draws=50).score(fitted, clusters)
    assert again == many


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, lambda X: X.tolist()])
def test_report_says_whether_the_rows_were_in_fit(small_vae, clusters, container):
    order = np.random.default_rng(0).permutation(len(clusters))
    train, test = clusters[order[:120]], clusters[order[120:]]
    vae = small_vae(max_epochs=60).fit(train)
    certificate = ConstantCollapseCertificate()

    def rows(X):
        return certificate.certify(vae, container(X)).rows

    assert rows(test) == "held-out"
    assert rows(train[::-1]) == "training"
    assert rows(clusters) == "mixed"
    assert "speaks of no others" in str(certificate.certify(vae, train))
    vae.partial_fit(test)
    assert certificate.certify(vae, test).rows == "training"


@pytest.fixture(scope="module")
def digit_teacher(digit_images):
    return GaussianMixtureTeacher(random_state=0).fit(digit_images[:900])


def test_a_given_teacher_of_rows_sees_images_as_rows(
    small_vae, digit_images, digit_teacher, monkeypatch
):
    rows = digit_images[900:]
    images = rows.reshape(-1, 1, 8, 8)
    vae = small_vae(architecture="conv", image_shape=(1, 8, 8), channels=(4,), max_epochs=1)
    codes = vae.fit(images).transform(images)
    for teacher in (digit_teacher, FrozenEstimator(digit_teacher), [digit_teacher] * 2):
        certificate = ConstantCollapseCertificate(teacher=teacher)
        for model in (vae, codes):
            assert certificate.certify(model, images) == certificate.certify(model, rows)
    certificate = ConstantCollapseCertificate(teacher=digit_teacher)
    blocks = certificate.certify(vae, iter([images[:300], images[300:]]))
    assert blocks == certificate.certify(vae, rows)
    certificate.certify(codes, rows, images)
    # A view, and no copy.
    seen = []
    monkeypatch.setattr(
        digit_teacher, "predict_proba", lambda X: seen.append(X) or vae.teacher_proba(X)
    )
    certificate.certify(codes, images)
    assert all(np.shares_memory(X, images) for X in seen)
    assert seen


def test_a_given_teacher_of_images_sees_images(clusters, fitted):
    class OfImages:
        n_features_in_ = 1

        def predict_proba(self, X):
            assert X.shape[1:] == (1, 2, 2)
            return fitted.teacher_proba(X.reshape(-1, 4))

    certificate = ConstantCollapseCertificate(teacher=OfImages())
    assert certificate.certify(fitted.transform(clusters), clusters.reshape(-1, 1, 2, 2))


def test_any_encoder_is_certified_by_a_probe(digit_images, digit_teacher):
    held_out = digit_images[900:]
    pca = PCA(8, random_state=0).fit(digit_images[:900])
    certificate = ConstantCollapseCertificate(teacher=digit_teacher)
    report = certificate.certify(pca, held_out)
    assert report.verdict == "certified"
    assert report.witness == "probe"
    assert report.margin_sample is report.rate is report.active_units is None
    assert report.lower_bound > 0.5
    codes = pca.transform(held_out)
    assert certificate.certify(codes, held_out).margin_mean == pytest.approx(
        report.margin_mean, abs=1e-9
    )
    pipeline = make_pipeline(MinMaxScaler(), PCA(8)).fit(digit_images[:900])
    assert certificate.score(pipeline, held_out) > 0.5


@pytest.mark.parametrize(
    ("ruin", "verdict"),
    [
        (lambda codes, rng: np.ones_like(codes), "collapsed"),
        (lambda codes, rng: rng.standard_normal(codes.shape), "uncertified"),
        (lambda codes, rng: rng.permutation(codes), "uncertified"),
    ],
    ids=["constant", "noise", "shuffled"],
)
def test_codes_without_information_are_not_certified(
    digit_images, digit_teacher, ruin, verdict
):
    codes = PCA(8, random_state=0).fit_transform(digit_images)
    ruined = ruin(codes, np.random.default_rng(0))
    certificate = ConstantCollapseCertificate(teacher=digit_teacher)
    report = certificate.certify(ruined, digit_images)
    assert report.verdict == verdict
    assert report.lower_bound <= 0


def test_probe_tells_an_unused_code_from_an_empty_one(small_vae, clusters):
    """A plain VAE never trains its witness: the raw certificate cannot tell, the probe can."""
    certificate = ConstantCollapseCertificate(probe=True, latent="sample")
    full = small_vae(alignment_weight=0, decoder_variance=0.3, max_epochs=100).fit(clusters)
    report = certificate.certify(full, clusters)
    assert report.margin_sample <= 1e-6
    assert report.verdict == "uncertified"
    assert report.probe.certified
    assert report.probe.witness == "probe"
    assert "By probe, certified (not constant in x)" in str(report)
    empty = small_vae(alignment_weight=0, decoder_variance=50.0, max_epochs=150).fit(clusters)
    report = certificate.certify(empty, clusters)
    assert report.verdict == "collapsed"
    assert not report.probe.certified


def test_given_teacher_takes_the_place_of_the_models_own(fitted, clusters):
    teacher = GaussianMixtureTeacher(n_components=2, random_state=0).fit(clusters)
    report = ConstantCollapseCertificate(teacher=teacher).certify(fitted, clusters)
    assert report.witness == "probe"
    assert report.certified
    assert report.margin_sample is not None


def test_probe_never_sees_the_rows(clusters):
    """Codes that are constant stay uncertified however telling the rows are."""
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)

    class Constant(BaseEstimator):
        def transform(self, X):
            return np.zeros((len(X), 2))

    report = ConstantCollapseCertificate(teacher=teacher).certify(Constant(), clusters)
    assert report.verdict == "collapsed"


def test_codes_and_rows_must_be_as_many(clusters):
    teacher = GaussianMixtureTeacher(n_components=3).fit(clusters)
    certificate = ConstantCollapseCertificate(teacher=teacher)
    with pytest.raises(ValueError, match="10 codes for 180 rows"):
        certificate.score(clusters[:10], clusters)
    with pytest.raises(ValueError, match="at least 10 rows"):
        certificate.score(clusters[:6], clusters[:6])
    with pytest.raises(TypeError, match="has none"):
        certificate.set_params(latent="sample").score(clusters, clusters)


def test_search_keeps_the_teacher_of_its_scorer(clusters):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    certificate = ConstantCollapseCertificate(teacher=teacher)
    assert clone(certificate).score(clusters, clusters) == certificate.score(clusters, clusters)
    search = GridSearchCV(
        PCA(), {"n_components": [1, 3]}, scoring=certificate, cv=SHUFFLED, error_score="raise"
    ).fit(clusters)
    assert search.best_params_ == {"n_components": 3}


def test_reconstruction_margin_tells_a_decoder_that_ignores_the_code(small_vae, clusters):
    certificate = ConstantCollapseCertificate()
    good = small_vae(decoder_variance=0.3, max_epochs=150).fit(clusters)
    assert certificate.certify(good, clusters).margin_reconstruction > 0.5
    deaf = copy.deepcopy(good)
    with torch.no_grad():
        deaf.net_.module_.decoder.layers[0].weight.zero_()
    report = certificate.certify(deaf, clusters)
    assert report.certified
    assert report.margin_reconstruction < 0


def test_reconstruction_margin_of_many_rows_is_that_of_some_of_them(
    small_vae, clusters, monkeypatch
):
    vae = small_vae(decoder_variance=0.3, max_epochs=20).fit(clusters)
    codes = vae.transform(clusters)
    T, of_decoded = vae.teacher_proba(clusters), vae.teacher_proba(vae.inverse_transform(codes))
    certificate = ConstantCollapseCertificate()
    of_all = certificate.certify(vae, clusters).margin_reconstruction
    assert of_all == pytest.approx(margin(T, np.log(of_decoded)), abs=1e-6)

    decoded = []

    def keep_and_decode(self, codes):
        decoded.append(codes)
        return self._inference.decode(codes)

    monkeypatch.setattr("skvae.certificate.decoders.DECODED_ROWS", 60)
    monkeypatch.setattr(type(vae), "inverse_transform", keep_and_decode)
    of_some = certificate.certify(vae, clusters).margin_reconstruction
    (seen,) = decoded
    chosen = np.square(codes[:, None] - seen).sum(axis=2).argmin(axis=0)
    assert len(np.unique(chosen)) == 60
    assert of_some == pytest.approx(margin(T[chosen], np.log(of_decoded[chosen])), abs=1e-6)
    # Of all classes, not of the first rows.
    assert of_some == pytest.approx(of_all, abs=0.1)


def test_constant_encoder_is_certified_at_the_sample_no_oftener_than_it_may(
    small_vae, clusters
):
    """A witness that reads pure noise has margins above zero by chance: the bound must hold."""
    vae = small_vae(alignment_weight=0, max_epochs=1).fit(clusters)
    with torch.no_grad():
        for parameter in vae.net_.module_.encoder.layers[-1].parameters():
            parameter.zero_()
        vae.net_.module_.witness.head.weight.normal_(
            0, 0.2, generator=torch.Generator().manual_seed(0)
        )
    reports = [
        ConstantCollapseCertificate(latent="sample", random_state=seed, n_draws=1).certify(
            vae, clusters
        )
        for seed in range(100)
    ]
    assert max(report.margin_sample for report in reports) > 0
    assert sum(report.certified for report in reports) <= 5


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def test_other_view_is_certified_and_its_gap_told(small_vae, clusters):
    noisy = clusters + 0.3 * np.random.default_rng(0).standard_normal(clusters.shape)
    vae = small_vae(max_epochs=60).fit(clusters, X_teacher=noisy)
    certificate = ConstantCollapseCertificate()
    report = certificate.certify(vae, clusters, X_teacher=noisy)
    assert report.certified
    log_q = vae.witness_log_proba(clusters)
    T, T_view = vae.teacher_proba(clusters), vae.teacher_proba(noisy)
    gap = margin(T_view, log_q) - margin(T, log_q)
    assert report.view_gap == pytest.approx(gap, abs=1e-12)

    def entropy(P):
        return -np.mean(np.sum(special.xlogy(P, P), axis=1))

    # The identity of docs/mathematics.rst.
    averages = [P.mean(axis=0)[None] for P in (T_view, T)]
    identity = np.mean(np.sum((T_view - T) * log_q, axis=1))
    identity += entropy(averages[0]) - entropy(averages[1])
    assert report.view_gap == pytest.approx(identity, abs=1e-12)
    with pytest.raises(ValueError, match="pass it as X_teacher"):
        certificate.certify(vae, clusters)


@pytest.mark.usefixtures("routing")
def test_other_view_is_routed_through_pipelines_and_searches(small_vae, clusters):
    view = clusters[:, :2]
    vae = small_vae(max_epochs=30).set_fit_request(X_teacher=True)
    certificate = ConstantCollapseCertificate().set_score_request(X_teacher=True)
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), vae),
        {"teacherguidedvae__beta": [0.5, 1.0]},
        scoring=certificate,
        cv=SHUFFLED,
        error_score="raise",
    )
    search.fit(clusters, X_teacher=view)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    report = ConstantCollapseCertificate().certify(
        search.best_estimator_, clusters, X_teacher=view
    )
    assert report.view_gap is None


def test_several_teachers_hold_together(fitted, clusters):
    teachers = [
        GaussianMixtureTeacher(n_components=k, random_state=0).fit(clusters) for k in (2, 3, 4)
    ]
    certificate = ConstantCollapseCertificate(teacher=teachers, confidence=0.9)
    report = certificate.certify(fitted, clusters)
    assert report.confidence == 0.9
    assert [one.confidence for one in report.reports] == [pytest.approx(1 - 0.1 / 3)] * 3
    assert report.certified
    assert report.worst.lower_bound == min(one.lower_bound for one in report.reports)
    assert certificate.score(fitted, clusters) == pytest.approx(report.worst.lower_bound)
    assert str(report).startswith("Certified (not constant in x) by 3 of 3 teachers; at each")
    assert len(report.to_dict()["reports"]) == 3
    plain = ConstantCollapseCertificate(teacher=teachers)
    assert plain.certify(fitted, clusters).reports[0].confidence == pytest.approx(1 - 0.05 / 3)
    alone = [ConstantCollapseCertificate(teacher=t).score(fitted, clusters) for t in teachers]
    assert plain.score(fitted, clusters) == min(alone)
    with pytest.raises(ValueError, match="empty list"):
        ConstantCollapseCertificate(teacher=[]).score(fitted, clusters)


@pytest.fixture(scope="module")
def many(fitted, clusters):
    """More rows than one block holds."""
    rng = np.random.default_rng(1)
    return clusters[rng.integers(0, 180, 9000)] + 0.3 * rng.standard_normal((9000, 4))


@pytest.mark.parametrize("sizes", [1, 7, 100, 5000, 9000])
def test_stream_of_batches_gives_the_report_of_the_whole(fitted, many, sizes):
    certificate = ConstantCollapseCertificate(latent="sample", probe=sizes == 100)
    whole = certificate.certify(fitted, many)
    batches = (many[i : i + sizes] for i in range(0, len(many), sizes))
    assert certificate.certify(fitted, batches) == whole
    batches = (many[i : i + sizes] for i in range(0, len(many), sizes))
    assert certificate.score(fitted, batches) == certificate.score(fitted, many)


def test_memory_map_gives_the_report_of_the_array(fitted, many, tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", many)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    certificate = ConstantCollapseCertificate()
    expected = certificate.certify(fitted, many)
    # So small a limit sends what is gathered to a temporary file.
    monkeypatch.setattr(spool, "MAX_BYTES", 1000)
    assert certificate.certify(fitted, mapped) == expected


def test_streams_of_two_views_and_of_codes_keep_in_step(small_vae, clusters, many):
    view = many[:, :2]
    vae = small_vae(max_epochs=30).fit(many[:500], X_teacher=view[:500])
    certificate = ConstantCollapseCertificate()
    whole = certificate.certify(vae, many, X_teacher=view)
    streamed = certificate.certify(
        vae,
        iter(np.array_split(many, 7)),
        X_teacher=iter(np.array_split(view, 13)),
    )
    assert streamed == whole
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    by_teacher = ConstantCollapseCertificate(teacher=teacher)
    codes = many[:, :3]
    assert by_teacher.certify(codes, iter([many])) == by_teacher.certify(codes, many)
    with pytest.raises(ValueError, match="9000 codes for 100 rows"):
        by_teacher.certify(codes, iter([many[:100]]))
    with pytest.raises(ValueError, match="empty stream"):
        by_teacher.certify(fitted_pca(clusters), iter([]))


def fitted_pca(X):
    return PCA(2).fit(X)


def test_partial_results_of_several_workers_add_up(fitted, many):
    report = ConstantCollapseCertificate().certify(fitted, many)
    parts = [
        BoundaryStatistics().update(fitted.teacher_proba(rows), fitted.witness_log_proba(rows))
        for rows in np.array_split(many, 3)
    ]
    total = parts[0] + parts[1] + parts[2]
    assert total.margin == pytest.approx(report.margin_mean, abs=1e-6)
    assert total.n_samples == report.n_samples == 9000


@pytest.mark.parametrize(("weight", "found"), [(10.0, True), (0.0, False)])
def test_rows_can_certify_before_they_train(small_vae, many, weight, found):
    """Test, then train: evidence that may be watched after every batch."""
    teacher = FrozenEstimator(
        GaussianMixtureTeacher(n_components=3, random_state=0).fit(many[:500])
    )
    vae = small_vae(teacher=teacher, alignment_weight=weight, batch_size=32)
    vae.partial_fit(many[:500])
    watch = SequentialMargin(vae.average_teacher_)
    for start in range(500, 3000, 250):
        batch = many[start : start + 250]
        watch.update(vae.teacher_proba(batch), vae.witness_log_proba(batch, latent="sample"))
        vae.partial_fit(batch)
    assert (watch.log_e_value > np.log(20)) == found


def test_views_of_unequal_length_are_refused(small_vae, many):
    vae = small_vae(max_epochs=2).fit(many[:500], X_teacher=many[:500])
    certificate = ConstantCollapseCertificate()
    short, whole = many[:400], many[:500]
    for X, X_teacher in (
        (iter([short]), iter([whole])),
        (iter([whole]), iter([short])),
        (iter([whole]), short),
    ):
        with pytest.raises(ValueError, match="must hold the same rows"):
            certificate.certify(vae, X, X_teacher=X_teacher)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        certificate.certify(vae, whole, X_teacher=short)


def test_rows_behind_other_steps_are_not_called_held_out(small_vae, digit_images):
    X = digit_images[:300].astype(np.float32)
    pipeline = make_pipeline(NMF(4, max_iter=50), small_vae(max_epochs=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = ConstantCollapseCertificate().certify(pipeline.fit(X), X)
    assert report.rows == "unknown"


def test_several_teachers_want_rows_that_can_be_read_again(clusters):
    teachers = [GaussianMixtureTeacher(n_components=k).fit(clusters) for k in (2, 3)]
    certificate = ConstantCollapseCertificate(teacher=teachers)
    for call in (certificate.score, certificate.certify):
        with pytest.raises(ValueError, match="an iterator can be read once"):
            call(fitted_pca(clusters), iter([clusters]))


def test_precomputed_targets_as_wide_as_the_rows_have_no_view_gap(small_vae, clusters):
    X = clusters[:, :3]
    T = GaussianMixtureTeacher(n_components=3).fit(X).predict_proba(X)
    vae = small_vae(teacher=PrecomputedTeacher(), max_epochs=60).fit(X, X_teacher=T)
    report = ConstantCollapseCertificate().certify(vae, X, X_teacher=T)
    assert report.certified
    assert report.view_gap is None
    by_probe = ConstantCollapseCertificate(teacher=PrecomputedTeacher())
    assert by_probe.certify(vae.transform(X), X, X_teacher=T).certified


@pytest.mark.parametrize("container", [pd.DataFrame, lambda codes: codes.tolist(), np.float32])
def test_codes_come_in_any_container(clusters, container):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    certificate = ConstantCollapseCertificate(teacher=teacher)
    report = certificate.certify(container(clusters), clusters)
    assert report.certified
    assert report.margin_mean == pytest.approx(certificate.score(clusters, clusters), abs=1e-4)


def test_data_frames_in_a_stream_keep_their_columns(small_vae, clusters):
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    columns = ColumnTransformer([("scale", MinMaxScaler(), list("abcd"))])
    pipeline = make_pipeline(columns, small_vae(max_epochs=2)).fit(frame)
    certificate = ConstantCollapseCertificate()
    batches = iter([frame[:50], frame[50:]])
    assert certificate.certify(pipeline, batches) == certificate.certify(pipeline, frame)


def test_probe_averages_draws_of_the_code_too(fitted, clusters):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=1).fit(clusters)
    one, several = (
        ConstantCollapseCertificate(teacher=teacher, latent="sample", n_draws=n) for n in (1, 8)
    )
    assert one.score(fitted, clusters) != several.score(fitted, clusters)
    assert several.certify(fitted, clusters).certified


def test_given_teacher_reads_raw_rows_of_a_pipeline_that_ends_in_a_model(small_vae, clusters):
    pipeline = make_pipeline(MinMaxScaler(), small_vae(max_epochs=60)).fit(clusters)
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    certificate = ConstantCollapseCertificate(teacher=teacher, latent="sample")
    report = certificate.certify(pipeline, clusters)
    assert report.certified
    assert report.rows == "training"


def test_what_a_probe_cannot_read_is_refused(stub, clusters):
    class Minimal:
        teacher_proba = stub.teacher_proba
        witness_log_proba = stub.witness_log_proba

    with pytest.raises(TypeError, match="neither transform nor posterior"):
        ConstantCollapseCertificate(probe=True).certify(Minimal(), ROWS)
    teacher = GaussianMixtureTeacher(n_components=3).fit(clusters)
    by_probe = ConstantCollapseCertificate(teacher=teacher)
    with pytest.raises(TypeError, match="Minimal has no transform, and is no array"):
        by_probe.certify(Minimal(), clusters)
    with pytest.raises(ValueError, match=r"codes contains NaN"):
        by_probe.certify(clusters * np.nan, clusters)
    with pytest.raises(ValueError, match="too far apart"):
        by_probe.certify(clusters * 1e200, clusters)

    class Flat(BaseEstimator):
        def transform(self, X):
            return X[:, 0]

    with pytest.raises(ValueError, match="Expected 2D array"):
        by_probe.certify(Flat(), clusters)


def test_two_rows_are_too_few_to_call_a_model_broken(small_vae, clusters):
    vae = small_vae(alignment_weight=0, max_epochs=1).fit(clusters)
    with torch.no_grad():
        for parameter in vae.net_.module_.encoder.layers[-1].parameters():
            parameter.zero_()
        vae.net_.module_.witness.head.weight.normal_(
            0, 1.0, generator=torch.Generator().manual_seed(0)
        )
    for seed in range(60):
        certificate = ConstantCollapseCertificate(latent="sample", n_draws=1, random_state=seed)
        assert not certificate.certify(vae, clusters[[0, 100]]).certified


def test_row_that_cannot_be_taught_is_counted_from_the_first_of_the_table(small_vae, clusters):
    vae = small_vae().fit(clusters)
    rows = np.resize(clusters, (4200, clusters.shape[1]))
    rows[4099, 0] = 1e300
    message = "Counting rows from row 4096: Row 3 of X is too far"
    with pytest.raises(ValueError, match=message):
        ConstantCollapseCertificate().certify(vae, rows)
    with pytest.raises(ValueError, match=r"^Row 4099 of X is too far"):
        vae.teacher_proba(rows)


class RememberingTeacher(GaussianMixtureTeacher):
    """A teacher that knows which threads asked it, and with how many of torch."""

    def predict_proba(self, X):
        asked_by = threading.get_ident(), torch.get_num_threads()
        self.asked_by = {*getattr(self, "asked_by", ()), asked_by}
        return super().predict_proba(X)


def test_number_of_threads_does_not_change_a_bit_of_a_report(
    small_vae, monkeypatch, set_threads
):
    # More rows than two blocks, and a table too large for the rule of one thread.
    X = np.random.default_rng(0).standard_normal((9000, 500), dtype=np.float32)
    X[:4500, :250] += 1
    teacher = RememberingTeacher(n_components=3)
    vae = small_vae(max_epochs=30, teacher=teacher).fit(X[::45])
    read_codes = TeacherGuidedVAE.read_codes
    read_by = set()

    def remember(*arguments):
        read_by.add(threading.get_ident())
        return read_codes(*arguments)

    monkeypatch.setattr(TeacherGuidedVAE, "read_codes", remember)
    certificate = ConstantCollapseCertificate(latent="sample")
    found = []
    for n in (1, 2, 3):
        set_threads(n)
        read_by.clear()
        report = certificate.certify(vae, X)
        assert (threading.get_ident() in read_by) == (n == 1)
        found.append((report, certificate.score(vae, X)))
        assert torch.get_num_threads() == n
        with pytest.raises(ValueError, match="Input X contains NaN"):
            certificate.score(vae, np.concatenate([X, np.full_like(X[:1], np.nan)]))
        assert torch.get_num_threads() == n
    given = RememberingTeacher(n_components=3).fit(X[::45])
    ConstantCollapseCertificate(teacher=given).score(vae, X)
    assert found[0] == found[1] == found[2]
    assert {thread for thread, _ in vae.teacher_.asked_by} == {threading.get_ident()}
    # No threads read beside it: it has all of them.
    assert given.asked_by == {(threading.get_ident(), 3)}
