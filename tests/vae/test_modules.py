"""Modules that an estimator hands out: in the units of X, and nobody else's."""

import io
import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE

PARTS = ("encoder_", "decoder_", "witness_")


@pytest.fixture(scope="module")
def rows(clusters):
    return torch.from_numpy(clusters.copy())


def codes_of(vae, rows):
    return vae.encoder_(rows)[0].detach().numpy()


@pytest.mark.parametrize("offset", [1e8, -3e10])
def test_rows_far_from_zero_keep_their_digits(small_vae, clusters, offset):
    X = clusters + np.array([offset, 0, 0, 0])
    vae = small_vae(max_epochs=10).fit(X)
    codes = vae.transform(X)
    np.testing.assert_allclose(codes_of(vae, torch.from_numpy(X)), codes, atol=1e-6)
    # There and back in float64: the rows come as close as arrays do.
    found = vae.decoder_(torch.from_numpy(codes).double()).detach()
    np.testing.assert_allclose(found - offset, vae.inverse_transform(codes) - offset, rtol=1e-5)
    single = X.astype(np.float32)
    np.testing.assert_allclose(
        codes_of(vae, torch.from_numpy(single)), vae.transform(single), atol=1e-6
    )


def test_columns_beyond_float32_are_encoded(small_vae, clusters):
    X = clusters * np.array([1e-60, 1.0, 1e60, 1e150])
    vae = small_vae(max_epochs=2, early_stopping=False, alignment_weight=0.0).fit(X)
    codes = vae.transform(X)
    np.testing.assert_allclose(codes_of(vae, torch.from_numpy(X)), codes, atol=1e-6)
    found = vae.decoder_(torch.from_numpy(codes).double()).detach()
    np.testing.assert_allclose(found, vae.inverse_transform(codes), rtol=1e-6)


def test_what_is_done_to_a_module_does_not_reach_the_estimator(fitted, clusters, rows):
    codes, decoded = fitted.transform(clusters), fitted.inverse_transform(np.zeros((1, 3)))
    for name in PARTS:
        module = getattr(fitted, name)
        assert not module.training
        with torch.no_grad():
            for tensor in module.parameters():
                tensor.add_(1.0)
        module.double().train()
    assert abs(codes_of(fitted, rows) - codes).max() < 1e-6
    np.testing.assert_array_equal(fitted.transform(clusters), codes)
    np.testing.assert_array_equal(fitted.inverse_transform(np.zeros((1, 3))), decoded)
    assert not {"encoder_", "decoder_", "witness_"} & vars(fitted).keys()


def test_an_encoder_is_trained_further(fitted, rows):
    encoder = fitted.encoder_
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = encoder(rows)[0].square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", PARTS)
def test_modules_travel(fitted, name):
    module = getattr(fitted, name)
    n_columns = 4 if name == "encoder_" else 3
    given = torch.linspace(0, 1, 2 * n_columns).reshape(2, n_columns)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = getattr(fitted, name)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    for copied in (pickle.loads(pickle.dumps(module)), other):
        torch.testing.assert_close(copied(given), module(given), rtol=0, atol=0)


def test_images_go_in_as_rows_or_as_images(small_vae, clusters, rows):
    vae = small_vae(architecture="conv", channels=4).fit(clusters.reshape(-1, 1, 2, 2))
    encoder = vae.encoder_
    for one, other in zip(encoder(rows), encoder(rows.reshape(-1, 1, 2, 2)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"got a tensor of shape \(180, 2, 2, 1\)"):
        encoder(rows.reshape(-1, 2, 2, 1))
    assert vae.decoder_(torch.zeros(5, 3)).shape == (5, 4)


def test_modules_made_in_inference_mode_are_like_all_others(fitted, rows):
    with torch.inference_mode():
        encoder = fitted.encoder_
    encoder(rows)[0].sum().backward()
    assert all(weight.grad is not None for weight in encoder.encoder.parameters())


@pytest.mark.parametrize("name", PARTS)
def test_there_are_no_modules_before_fit(name):
    vae = TeacherGuidedVAE(teacher=GaussianMixtureTeacher(n_components=3))
    with pytest.raises(NotFittedError):
        getattr(vae, name)
    assert not hasattr(vae, name)
