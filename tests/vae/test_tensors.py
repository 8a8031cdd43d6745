"""Tensors in, tensors out, where scikit-learn is told to dispatch."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from torch import nn

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE


@pytest.fixture
def dispatch(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with config_context(array_api_dispatch=True):
        yield


def test_without_dispatch_arrays_come_out(fitted, clusters):
    rows = torch.from_numpy(clusters.copy()).requires_grad_()
    assert isinstance(fitted.transform(rows), np.ndarray)
    assert isinstance(fitted.inverse_transform(torch.zeros(2, 3)), np.ndarray)


@pytest.mark.usefixtures("dispatch")
def test_arrays_stay_arrays(fitted, clusters):
    assert isinstance(fitted.transform(clusters), np.ndarray)
    assert isinstance(fitted.score_samples(clusters.tolist()), np.ndarray)


@pytest.mark.usefixtures("dispatch")
def test_a_linear_encoder_has_the_gradients_of_its_formula(small_vae, clusters):
    vae = small_vae(hidden_layer_sizes=(), max_epochs=2, alignment_weight=0.0).fit(clusters)
    rows = torch.from_numpy(clusters.copy()).requires_grad_()
    vae.transform(rows).sum().backward()
    weight = vae.net_.module_.encoder.layers[0].weight.detach().numpy()[:3]
    wanted = weight.sum(axis=0) / clusters.std(axis=0)
    np.testing.assert_allclose(rows.grad, np.tile(wanted, (len(clusters), 1)), rtol=1e-5)


@pytest.mark.usefixtures("dispatch")
def test_gradients_are_followed_only_where_they_are_asked_for(fitted, clusters):
    rows = torch.from_numpy(clusters.copy())
    assert not fitted.transform(rows).requires_grad
    rows.requires_grad_()
    with torch.no_grad():
        assert not fitted.transform(rows).requires_grad
    with torch.inference_mode():
        assert not fitted.transform(torch.from_numpy(clusters.copy())).requires_grad
    assert torch.is_grad_enabled()
    # Through whatever the rows are made by.
    layer = nn.Linear(4, 4).double()
    (-fitted.score_samples(layer(rows.detach())).mean()).backward()
    assert bool((layer.weight.grad != 0).any())
    assert all(weight.grad is None for weight in fitted.net_.module_.parameters())
    assert all(weight.requires_grad for weight in fitted.net_.module_.parameters())


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "name", ["float8_e5m2", "float16", "bfloat16", "float32", "float64", "int64", "uint8"]
)
def test_every_type_of_numbers_is_read(fitted, clusters, name):
    rows = torch.from_numpy(abs(clusters)).to(getattr(torch, name))
    codes = fitted.transform(rows)
    assert codes.dtype == torch.float32
    with config_context(array_api_dispatch=False):
        wanted = fitted.transform(rows.double().numpy())
    np.testing.assert_allclose(codes, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("dispatch")
def test_many_rows_are_read_in_chunks_as_arrays_are(fitted, clusters):
    X = np.resize(clusters, (2500, 4))
    rows = torch.from_numpy(X).requires_grad_()
    found = fitted.witness_log_proba(rows, "sample", random_state=3)
    wanted = fitted.witness_log_proba(X, "sample", random_state=3)
    np.testing.assert_allclose(found.detach(), wanted, atol=1e-5)


@pytest.mark.usefixtures("dispatch")
def test_images_and_sparse_tensors_are_read(small_vae, clusters):
    vae = small_vae(architecture="conv", channels=4).fit(clusters.reshape(-1, 1, 2, 2))
    rows = torch.from_numpy(clusters.copy())
    wanted = vae.transform(clusters)
    for given in (rows.reshape(-1, 1, 2, 2), rows.to_sparse(), rows):
        np.testing.assert_allclose(vae.transform(given), wanted, atol=1e-6)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[:, :3], "X has 3 features, but TeacherGuidedVAE is expecting 4"),
        (lambda rows: rows[0], "Expected 2D array"),
        (lambda rows: rows[:0], r"Found array with 0 sample\(s\)"),
        (lambda rows: rows.reshape(-1, 1, 2, 2), "Found array with dim 4"),
        (lambda rows: rows * torch.tensor(float("nan")), "Input X contains NaN"),
        (lambda rows: rows / 0, "Input X contains infinity"),
        (lambda rows: rows + 1j, "complex"),
    ],
)
def test_tensors_are_refused_in_the_words_for_arrays(fitted, clusters, spoil, message):
    rows = spoil(torch.from_numpy(clusters.copy()))
    for read in (fitted.transform, fitted.score_samples, fitted.witness_log_proba):
        with pytest.raises(ValueError, match=message):
            read(rows)


@pytest.mark.usefixtures("dispatch")
def test_codes_and_counts_are_checked(fitted, small_vae, clusters):
    with pytest.raises(ValueError, match=r"Codes have latent_dim=3 columns.*\(2, 4\)"):
        fitted.inverse_transform(torch.zeros(2, 4))
    for make in (torch.tensor, np.asarray):
        for bad, found in ((np.nan, "NaN"), (np.inf, "infinity")):
            with pytest.raises(ValueError, match=f"^Input codes contains {found}"):
                fitted.inverse_transform(make([[0.0, bad, 0.0]]))
    with pytest.raises(ValueError, match="codes holds complex"):
        fitted.inverse_transform(torch.ones(2, 3) + 1j)
    with pytest.raises(ValueError, match="too far from the prior"):
        fitted.inverse_transform(torch.full((2, 3), 1e300, dtype=torch.float64))
    vae = small_vae(likelihood="poisson", max_epochs=2, alignment_weight=0.0)
    vae.fit((clusters - clusters.min()).round())
    with pytest.raises(ValueError, match="poisson"):
        vae.transform(torch.full((2, 4), 0.5))
    with pytest.raises(NotFittedError):
        TeacherGuidedVAE().transform(torch.zeros(2, 4))


@pytest.mark.usefixtures("dispatch")
def test_scores_certificates_and_fits_take_tensors_too(fitted, small_vae, clusters):
    rows = torch.from_numpy(clusters.copy())
    assert fitted.score(rows) == pytest.approx(fitted.score(clusters), abs=1e-5)
    certificate = ConstantCollapseCertificate()
    assert str(certificate.certify(fitted, rows)) == str(certificate.certify(fitted, clusters))
    one, other = (small_vae(max_epochs=2).fit(X).transform(clusters) for X in (rows, clusters))
    np.testing.assert_array_equal(one, other)
