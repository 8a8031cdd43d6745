"""Sparse rows: read as dense ones are, and never all of them dense at a time."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
    protocol,
)
from skvae.model_selection import StackedGridSearchCV
from skvae.rows import SparseRows

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

KINDS = [
    sparse.csr_array,
    sparse.csr_matrix,
    sparse.csc_array,
    sparse.csc_matrix,
    sparse.coo_array,
    sparse.lil_matrix,
]


def counts(n_samples=240, n_features=30):
    """Draw counts in three clusters, most of them zero."""
    rng = np.random.default_rng(0)
    rates = np.where(rng.random((3, n_features)) < 0.25, 3.0, 0.05)
    return rng.poisson(rates[np.arange(n_samples) % 3]).astype(float)


@dataclass
class Annotated:
    """A table with a sparse X and names beside it, as `anndata.AnnData`."""

    X: Any
    obs: Any = None
    var: Any = None

    @property
    def shape(self):
        return self.X.shape

    def __len__(self):
        return self.X.shape[0]

    def __getitem__(self, rows):
        return Annotated(self.X[rows])


@pytest.fixture
def vae():
    return TeacherGuidedVAE(
        latent_dim=3,
        hidden_layer_sizes=(16,),
        teacher=GaussianMixtureTeacher(n_components=3),
        max_epochs=4,
        random_state=0,
    )


def said(model, X):
    report = ConstantCollapseCertificate().certify(model, X).to_dict()
    return [
        model.transform(X),
        model.score_samples(X),
        model.score_samples(X, n_importance_samples=3),
        model.witness_log_proba(X, latent="sample"),
        model.teacher_proba(X),
        model.posterior_kl(X),
        model.log_likelihood(X, model.transform(X)),
        *(value for value in report.values() if isinstance(value, float)),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_is_read_as_the_dense_rows_are(vae, kind):
    X = counts()
    vae.fit(kind(X))
    for found, expected in zip(said(vae, kind(X)), said(vae, X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"decoder_variance": 0.5, "witness": "simplex", "prefit_epochs": 1},
        {"aggressive_steps": 1},
        {"likelihood": "poisson"},
        {"likelihood": "negative_binomial", "size": None},
        {"likelihood": "poisson", "size": 2},
    ],
    ids=str,
)
def test_training_on_sparse_rows_is_training_on_dense_ones(vae, setting, dtype):
    X = counts()
    X[:, 2] += 1
    X = X.astype(dtype)
    vae.set_params(**setting)
    dense = vae.fit(X).transform(X)
    history = vae.history_
    np.testing.assert_allclose(vae.fit(sparse.csr_array(X)).transform(X), dense, atol=1e-5)
    for found, expected in zip(vae.history_, history, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert vae.fingerprint_.share_of(X) == 1.0


def test_weights_streams_warm_starts_and_copies(vae, tmp_path):
    X = counts()
    S = sparse.csr_array(X)
    weights = np.arange(len(X)) % 4
    expected = vae.fit(X, sample_weight=weights).transform(X)
    found = vae.fit(S, sample_weight=weights).transform(S)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    vae.save(tmp_path / "model.skvae")
    again = TeacherGuidedVAE.load(tmp_path / "model.skvae")
    np.testing.assert_array_equal(again.transform(S), found)
    for rows in (S, X):
        again.partial_fit(rows)
    lent = TeacherGuidedVAE(**{**vae.get_params(deep=False), "warm_start": vae}).fit(S)
    assert np.isfinite(lent.score(S))
    streamed = (S[start : start + 50] for start in range(0, len(X), 50))
    certificate = ConstantCollapseCertificate()
    assert certificate.certify(vae, streamed) == certificate.certify(vae, X)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(vae, bad):
    X = sparse.csr_array(counts())
    fitted = vae.fit(X)
    broken = X.copy()
    broken.data[7] = bad
    for method in (vae.fit, fitted.transform, fitted.score, fitted.teacher_proba):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(broken)


def test_entries_that_are_stored_twice_are_added_and_stored_zeros_are_zeros(vae):
    X = counts()
    rows, columns = np.nonzero(X)
    parts = X[rows, columns] / 2
    twice = sparse.coo_array(
        (np.tile(parts, 2), (np.tile(rows, 2), np.tile(columns, 2))), shape=X.shape
    )
    S = _unsummed(twice)
    assert not S.has_canonical_format
    n_stored = S.nnz
    expected = vae.fit(X).transform(X)
    np.testing.assert_allclose(vae.fit(S).transform(S), expected, atol=1e-5)
    # What was given is as it was.
    assert S.nnz == n_stored
    stored = sparse.csr_array(X)
    stored.data[:5] = 0.0
    np.testing.assert_array_equal(vae.transform(stored), vae.transform(stored.toarray()))


def _unsummed(entries):
    """Make a CSR array of entries, some of them in the same place."""
    order = np.argsort(entries.coords[0], kind="stable")
    starts = np.cumsum(np.bincount(entries.coords[0], minlength=entries.shape[0]))
    return sparse.csr_array(
        (entries.data[order], entries.coords[1][order], np.r_[0, starts]), shape=entries.shape
    )


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_array, np.asarray])
def test_what_holds_its_rows_as_x_is_read_by_them(vae, convert):
    X = counts()
    table = Annotated(convert(X))
    expected = vae.fit(convert(X)).transform(X)
    np.testing.assert_array_equal(vae.fit(table).transform(table), expected)
    assert np.isfinite(vae.score(table))
    certificate = ConstantCollapseCertificate()
    assert certificate.certify(vae, table) == certificate.certify(vae, X)


def test_searches_and_pipelines_take_sparse_rows(vae):
    X = sparse.csr_matrix(counts())
    vae.set_params(early_stopping=False, ema_decay=None, max_epochs=2)
    grid = {"beta": [0.5, 1.0]}
    search = GridSearchCV(vae, grid, cv=3).fit(X)
    stacked = StackedGridSearchCV(vae, grid, cv=3).fit(X)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"], rtol=1e-4
    )
    pipeline = make_pipeline(MaxAbsScaler(), vae).fit(X)
    assert np.isfinite(pipeline.score(X))
    assert ConstantCollapseCertificate().certify(pipeline, X).n_samples == X.shape[0]


def test_another_teacher_gets_a_matrix_as_it_knows_them(vae):
    X = sparse.csr_array(counts())
    y = np.arange(X.shape[0]) % 3
    vae.set_params(teacher=LogisticRegression()).fit(X, y)
    assert vae.teacher_proba(X).shape == (X.shape[0], 3)
    vae.set_params(teacher=GaussianMixtureTeacher(n_components=3))
    vae.fit(X, X_teacher=sparse.csc_array(X)[:, :5].tocsr())
    assert vae.teacher_.n_features_in_ == 5


@pytest.mark.parametrize("kind", ["per-seed", "given"])
def test_protocol_takes_sparse_rows(kind):
    X, y = counts(120), np.arange(120) % 3
    given = [GaussianMixtureTeacher(n_components=3, random_state=0).fit(X)]
    teachers = given if kind == "given" else kind
    arms = {"mine": {"max_epochs": 2}, "plain": {"max_epochs": 2, "alignment_weight": 0.0}}
    found, expected = (
        protocol.run(rows, y=y, arms=arms, seeds=[0], teachers=teachers)
        for rows in (sparse.csr_matrix(X), X)
    )
    for one, other in zip(found["runs"], expected["runs"], strict=True):
        for name in ("elbo", "reconstruction_error", "accuracy"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)
    variances = protocol.collapse_prone_variance, protocol.informative_variance
    for variance in variances:
        assert variance(sparse.csr_array(X)) == pytest.approx(variance(X))


@pytest.mark.parametrize("n_features", [20, 800])
@pytest.mark.parametrize("size", [None, "total", 1])
def test_teacher_of_sparse_rows_is_that_of_dense_ones(n_features, size):
    X = counts(200, n_features)
    X[:, 1] += 1
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0, size=size)
    expected = teacher.fit(X).predict_proba(X)
    S = SparseRows(sparse.csr_array(X))
    found = teacher.fit(S)
    np.testing.assert_allclose(found.predict_proba(S), expected, atol=0.02)
    np.testing.assert_allclose(found.predict_proba(X), found.predict_proba(S), atol=1e-12)
    tempered = TemperedTeacher(teacher).fit(S)
    assert tempered.predict_proba(S).shape == expected.shape
    with pytest.raises(TypeError, match=r"Sparse data .* as skvae.rows.SparseRows\(X\)"):
        teacher.fit(S.matrix)


@pytest.mark.parametrize("n_distinct", [3, 40])
def test_no_more_components_than_sparse_rows_that_differ(n_distinct):
    # Beyond the rows that are looked at first: a few differ, at the end.
    X = np.concatenate([np.repeat(counts(2), 600, axis=0), counts(n_distinct)[2:]])
    found = [
        GaussianMixtureTeacher(random_state=0).fit(rows).predict_proba(rows).shape[1]
        for rows in (X, SparseRows(sparse.csr_array(X)))
    ]
    assert found == [min(n_distinct, 10)] * 2


def test_a_search_of_sparse_rows_is_that_of_dense_ones(vae):
    X = counts(80)
    S = SparseRows(sparse.csr_array(X))
    search = TeacherSearch(
        {"n_components": [2, 3], "size": ["total"]}, n_refits=2, random_state=0
    )
    expected = search.fit(X).predict_proba(X)
    np.testing.assert_allclose(search.fit(S).predict_proba(S), expected, atol=1e-9)
    assert vae.set_params(teacher=search).fit(S.matrix).teacher_proba(X).shape[0] == 80
    with pytest.raises(TypeError, match=r"TeacherSearch by itself takes it as skvae"):
        search.fit(S.matrix)


MEASURED = """
import resource
import numpy as np
from scipy import sparse
from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
import sklearn.decomposition, sklearn.mixture, warnings

warnings.simplefilter("ignore")
megabytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rng = np.random.default_rng(0)
shape, n = (8000, 20000), 80000
entries = rng.gamma(2, size=n), (rng.integers(shape[0], size=n), rng.integers(shape[1], size=n))
X = sparse.csr_array(sparse.coo_array(entries, shape=shape))
before = megabytes()
vae = TeacherGuidedVAE(latent_dim=2, hidden_layer_sizes=(4,), max_epochs=1, device="cpu",
    teacher=GaussianMixtureTeacher(n_components=2), batch_size=64, random_state=0).fit(X)
vae.transform(X)
vae.score(X[:200])
assert ConstantCollapseCertificate().score(vae, X) > -1
print(megabytes() - before)
"""


def test_rows_are_never_all_dense():
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Dense they are 640 MB in float32.
    assert float(done.stdout) < 400
