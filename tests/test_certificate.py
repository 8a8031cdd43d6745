"""The certificate: what it computes, what it takes, and what it refuses."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skvae import CertificateReport, ConstantCollapseCertificate
from skvae.exceptions import ConstantTeacherError
from skvae.information import alignment_cost, margin, teacher_information

SHUFFLED = KFold(3, shuffle=True, random_state=0)


class Stub(BaseEstimator):
    """A model of tables: teacher and witness are looked up by row number."""

    def __init__(self, T, log_q, codes=None, kl=None):
        self.T, self.log_q, self.codes, self.kl = T, log_q, codes, kl

    def teacher_proba(self, X):
        return self.T[X[:, 0]]

    def witness_log_proba(self, X, latent="mean"):
        return self.log_q[latent][X[:, 0]]

    def transform(self, X):
        return self.codes[X[:, 0]]

    def posterior_kl(self, X):
        return self.kl[X[:, 0]]


@pytest.fixture
def stub():
    rng = np.random.default_rng(0)
    T = rng.dirichlet(np.ones(3), size=40)
    blunt = 0.5 * T + 0.5 / 3
    codes = np.array([1.0, 0.2, 0.05, 0.0]) * np.where(np.arange(40) % 2, 1, -1)[:, None]
    return Stub(
        T,
        {"mean": np.log(T), "sample": np.log(blunt)},
        codes=codes,
        kl=np.tile([0.5, 0.25, 0.0, 0.0], (40, 1)),
    )


ROWS = np.arange(40)[:, None]


def test_report_holds_the_quantities_of_these_rows(stub):
    rows = ROWS[5:25]
    T = stub.T[5:25]
    report = ConstantCollapseCertificate(tau=0.01).certify(stub, rows)
    assert report.teacher_information == teacher_information(T)
    assert report.alignment_cost_mean == alignment_cost(T, stub.log_q["mean"][5:25])
    assert report.alignment_cost_sample == alignment_cost(T, stub.log_q["sample"][5:25])
    assert report.margin_mean == margin(T, stub.log_q["mean"][5:25])
    assert report.margin_sample == margin(T, stub.log_q["sample"][5:25])
    assert report.rate == 0.75
    # Variances 1, 0.04, 0.0025 and 0: two of them above 0.01.
    assert report.active_units == 2
    assert report.n_samples == 20
    assert report.tau == 0.01


@pytest.mark.parametrize("latent", ["mean", "sample"])
def test_score_is_the_margin_at_the_read_less_tau(stub, latent):
    certificate = ConstantCollapseCertificate(tau=0.1, latent=latent)
    expected = margin(stub.T, stub.log_q[latent]) - 0.1
    assert certificate.score(stub, ROWS) == certificate(stub, ROWS) == expected
    assert certificate(stub, ROWS, np.zeros(40)) == expected


def test_verdict_is_the_margin_at_the_read_against_tau(stub):
    at_mean, at_sample = (margin(stub.T, stub.log_q[read]) for read in ("mean", "sample"))
    assert at_sample < at_mean
    tau = (at_sample + at_mean) / 2
    assert ConstantCollapseCertificate(tau, "mean").certify(stub, ROWS).certified
    assert not ConstantCollapseCertificate(tau, "sample").certify(stub, ROWS).certified


def test_a_constant_witness_is_never_certified_not_even_by_rounding(stub):
    rng = np.random.default_rng(0)
    for seed in range(200):
        T = np.random.default_rng(seed).dirichlet(rng.uniform(0.1, 3, 3), size=40)
        log_average = np.tile(np.log(T.mean(axis=0)), (40, 1))
        constant = Stub(T, dict.fromkeys(("mean", "sample"), log_average), stub.codes, stub.kl)
        assert not ConstantCollapseCertificate().certify(constant, ROWS).certified


def test_average_and_information_come_from_the_rows_that_are_scored(stub):
    """The trap: with the training average a shifted sample can fake a positive margin."""
    T = np.repeat([[0.9, 0.1], [0.1, 0.9]], [36, 4], axis=0)
    constant = np.tile(np.log(T.mean(axis=0)), (40, 1))
    model = Stub(T, {"mean": constant})
    assert ConstantCollapseCertificate().score(model, ROWS[:39]) < 0


def test_constant_teacher_is_an_error_and_never_a_pass(stub):
    stub.T = np.full((40, 3), 1 / 3)
    for call in (ConstantCollapseCertificate().score, ConstantCollapseCertificate().certify):
        with pytest.raises(ConstantTeacherError, match="constant over these 40 rows"):
            call(stub, ROWS)
    with pytest.raises(ConstantTeacherError, match="1 rows"):
        ConstantCollapseCertificate().score(stub, ROWS[:1])


def test_report_is_frozen_plain_and_readable(fitted, clusters):
    report = ConstantCollapseCertificate(latent="sample").certify(fitted, clusters)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.certified = False
    assert CertificateReport(**json.loads(json.dumps(report.to_dict()))) == report
    assert pickle.loads(pickle.dumps(report)) == report
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Constant-collapse certificate on 180 rows (nats)"
    assert lines[-1] == "  certified: not constant in x (margin at the sample > tau = 0)"
    assert f"{report.margin_sample:.4f}*" in str(report)
    high = ConstantCollapseCertificate(tau=5.0).certify(fitted, clusters)
    assert str(high).splitlines()[-1] == "  not certified (margin at the mean <= tau = 5)"


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
    assert clone(certificate).get_params() == {"tau": 0.2, "latent": "sample"}
    assert repr(certificate) == "ConstantCollapseCertificate(latent='sample', tau=0.2)"


@pytest.mark.parametrize("bad", [{"tau": -0.1}, {"tau": np.nan}, {"latent": "mode"}])
def test_parameters_out_of_range_are_refused(fitted, clusters, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ConstantCollapseCertificate(**bad).certify(fitted, clusters)


def test_what_cannot_be_certified_is_refused_with_the_reason(small_vae, clusters):
    certificate = ConstantCollapseCertificate()
    with pytest.raises(TypeError, match="PCA lacks teacher_proba and witness_log_proba"):
        certificate.score(PCA().fit(clusters), clusters)
    with pytest.raises(NotFittedError):
        certificate.score(small_vae(), clusters)
    with pytest.raises(NotFittedError, match="call fit"):
        certificate.score(GridSearchCV(small_vae(), {}), clusters)


def test_knows_neither_torch_nor_the_estimator():
    import ast
    import inspect

    from skvae import certificate

    tree = ast.parse(inspect.getsource(certificate))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert not imported & {"torch", "skvae.vae", "skorch", "TeacherGuidedVAE"}
