"""What holds of a fitted estimator whatever its setting, on every device there is."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from shared import DEVICES, READS, SETTINGS, rows_for
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skvae import ConstantCollapseCertificate

# Five epochs are too few for some settings to be certified.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning"),
]


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


@pytest.fixture(scope="module", params=DEVICES)
def model(request, setting, small_vae, clusters):
    """Fit an estimator, and return the rows that it was fitted to; tests must not change it."""
    X = rows_for(setting, clusters)
    X.setflags(write=False)
    return small_vae(device=request.param, **setting).fit(X), X


def bits(vae, X):
    return {name: read(vae, X) for name, read in READS.items()}


def assert_same_bits(one, other):
    for name in READS:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def global_states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


def test_reads_are_finite_and_repeat(model):
    vae, X = model
    before = global_states()
    found = bits(vae, X)
    assert all(np.isfinite(values).all() for values in found.values())
    assert_same_bits(found, bits(vae, X))
    assert np.isfinite(vae.sample(5)).all()
    assert vae.inverse_transform(vae.transform(X)).shape == X.shape
    assert global_states() == before


def test_what_is_read_of_a_row_does_not_depend_on_the_rows_beside_it(model):
    vae, X = model
    some = [7, 3, 120]
    for name in READS.keys() - {"witness at a sample"}:
        whole, part = (READS[name](vae, rows) for rows in (X, X[some]))
        np.testing.assert_allclose(part, whole[some], rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_same_seed_gives_the_same_bits_and_leaves_global_states_alone(model):
    vae, X = model
    if vae.device_ != "cpu":
        pytest.skip("to the bit on the CPU alone")
    before = global_states()
    again = clone(vae).fit(X)
    assert global_states() == before
    assert_same_bits(bits(vae, X), bits(again, X))


def test_a_pickle_is_the_model_and_goes_on(model):
    vae, X = model
    copied = pickle.loads(pickle.dumps(vae))
    assert vars(copied).keys() == vars(vae).keys()
    assert_same_bits(bits(vae, X), bits(copied, X))
    if hasattr(vae, "partial_fit"):
        assert copied.partial_fit(X).n_iter_ == vae.n_iter_ + 1


def test_a_donor_is_left_as_it_was(model):
    vae, X = model
    before = bits(vae, X)
    other = clone(vae).set_params(teacher=None, warm_start=FrozenEstimator(vae)).fit(X)
    assert other.teacher_ is vae.teacher_
    assert_same_bits(before, bits(vae, X))


@pytest.mark.parametrize("broken", ["rows", "parameter"])
def test_after_an_error_the_estimator_is_as_it_was(model, broken):
    vae, X = model
    vae = copy.copy(vae)
    before = dict(vars(vae))
    rows = X.copy()
    if broken == "rows":
        rows[17, 1] = np.inf if vae.missing == "mask" else np.nan
    else:
        vae.set_params(batch_size=0)
        before["batch_size"] = 0
    with pytest.raises(ValueError, match="NaN|infinity" if broken == "rows" else "batch_size"):
        vae.fit(rows)
    assert vars(vae) == before


def test_a_report_is_the_identity_of_the_boundary(model):
    vae, X = model
    report = ConstantCollapseCertificate().certify(vae, X)
    for read in ("mean", "sample"):
        cost = getattr(report, f"alignment_cost_{read}")
        margin = getattr(report, f"margin_{read}")
        assert margin == pytest.approx(report.teacher_information - cost, abs=1e-9)
    assert report.rows == "training"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_modules_are_what_arrays_are_read_by(model, dtype):
    vae, X = model
    encoded = X if vae.columns_ is None else vae.columns_.encode(X)
    rows = torch.tensor(encoded, dtype=dtype)
    if vae.device_ == "mps" and dtype == torch.float64:
        pytest.skip("there is no float64")
    codes, log_variance = (made.cpu() for made in vae.encoder_(rows.to(vae.device_)))
    assert codes.dtype == dtype
    wanted = vae.posterior(rows.numpy() if vae.columns_ is None else X)
    for made, as_array in zip((codes, log_variance), wanted, strict=True):
        np.testing.assert_allclose(made.detach(), as_array, rtol=1e-6, atol=1e-6)
    log_q = vae.witness_(codes.to(vae.device_)).detach().cpu()
    assert log_q.dtype == dtype
    np.testing.assert_allclose(log_q, vae.witness_log_proba(X), rtol=1e-5, atol=1e-6)
    decoded = vae.decoder_(codes.to(vae.device_)).detach().cpu()
    assert decoded.dtype == dtype
    as_array = vae.inverse_transform(codes.detach().numpy())
    if vae.columns_ is not None:
        decoded = vae.columns_.decode(decoded.numpy(), means=True)
    np.testing.assert_allclose(decoded, as_array, rtol=1e-6, atol=1e-6)
    for n_rows in (1, 2, 1000):
        resized = np.resize(encoded, (n_rows, encoded.shape[1]))
        many = torch.from_numpy(resized).to(vae.device_, dtype)
        found = vae.encoder_(many)[0].detach().cpu()
        np.testing.assert_allclose(found, np.resize(codes.detach(), found.shape), atol=2e-6)


def test_tensors_are_read_as_arrays_are_and_have_gradients(model, monkeypatch):
    vae, X = model
    if vae.columns_ is not None and not vae.columns_.is_numeric:
        pytest.skip("tensors with categories are read as arrays")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    as_arrays = {**bits(vae, X), "bound": vae.score_samples(X, 3), "codes": vae.posterior(X)[1]}
    codes = vae.transform(X)
    decoded = vae.inverse_transform(codes)
    # Apple's GPUs have no float64.
    dtype = torch.float32 if vae.device_ == "mps" else torch.float64
    with config_context(array_api_dispatch=True):
        rows = torch.tensor(X, dtype=dtype, device=vae.device_, requires_grad=True)
        as_tensors = {name: read(vae, rows) for name, read in READS.items()}
        as_tensors["bound"] = vae.score_samples(rows, 3)
        as_tensors["codes"] = vae.posterior(rows)[1]
        latent = torch.from_numpy(codes).to(vae.device_).requires_grad_()
        as_tensors["decoded"] = vae.inverse_transform(latent)
    # The teacher need not be one of torch.
    np.testing.assert_array_equal(as_tensors.pop("teacher_proba"), as_arrays["teacher_proba"])
    for name, found in as_tensors.items():
        wanted = decoded if name == "decoded" else as_arrays[name]
        assert found.device == rows.device
        assert vae.device_ == "mps" or found.numpy(force=True).dtype == wanted.dtype
        np.testing.assert_allclose(
            found.numpy(force=True), wanted, rtol=1e-4, atol=1e-5, err_msg=name
        )
        assert found.requires_grad
        found.sum().backward()
    assert bool((rows.grad != 0).any())
    assert all(weight.grad is None for weight in vae.net_.module_.parameters())
