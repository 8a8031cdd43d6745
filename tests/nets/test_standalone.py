"""Modules that stand alone: the units inside, whatever they are cast and moved to."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from skvae.nets.likelihoods import LIKELIHOODS
from skvae.nets.networks import ModuleDecoder, ModuleEncoder, VariationalAutoencoder
from skvae.nets.standalone import (
    CodeWitness,
    ColumnUnits,
    RowDecoder,
    RowEncoder,
    with_fixed_weights,
)
from skvae.nets.witnesses import LinearWitness
from skvae.rows.scaling import Standardization

X = np.array([[1e8 + 1.0, -3.0, 0.5], [1e8 + 3.0, 5.0, 0.25], [1e8 + 2.0, 1.0, 0.75]])
UNITS = Standardization.of(X)


def linear(n_in, n_out):
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(n_in * n_out).reshape(n_out, n_in) / 10)
        layer.bias.copy_(torch.arange(n_out) / 4)
    return layer


def a_net(**architecture):
    setting = {
        "n_features": 4,
        "latent_dim": 2,
        "hidden_layer_sizes": (5,),
        "likelihood": "gaussian",
        "log_variance": np.zeros(4),
        "log_variance_floor": None,
        "average_teacher": [0.25, 0.75],
        "witness": "linear",
        "witness_scale": 2.0,
        "witness_input": "sample",
        "precision": "fp32",
        "seed": 0,
    }
    return VariationalAutoencoder(**{**setting, **architecture}).eval()


def test_a_linear_encoder_is_its_formula_in_the_units_of_the_data():
    layer = linear(3, 4)
    encoder = RowEncoder(ModuleEncoder(layer), UNITS)
    rows = torch.from_numpy(X).requires_grad_()
    mean, log_variance = encoder(rows)
    made = (X - X.mean(axis=0)) / X.std(axis=0) @ layer.weight.detach().numpy().T
    made += layer.bias.detach().numpy()
    found = torch.cat([mean, log_variance], dim=1)
    np.testing.assert_allclose(found.detach(), made, atol=1e-6)
    # Its gradients too: of a row the weights over the scale, of a weight the standardised rows.
    mean.sum().backward()
    of_row = layer.weight[:2].sum(dim=0).detach().numpy() / X.std(axis=0)
    np.testing.assert_allclose(rows.grad, np.tile(of_row, (3, 1)), rtol=1e-6)
    np.testing.assert_allclose(layer.weight.grad[:2], np.zeros((2, 3)), atol=1e-6)
    np.testing.assert_array_equal(layer.bias.grad, [3, 3, 0, 0])


def test_the_encoder_sees_no_further_than_ten_standard_deviations():
    encoder = RowEncoder(ModuleEncoder(linear(3, 4)), UNITS)
    near, far, infinite = (
        torch.from_numpy(UNITS.center + UNITS.scale * by)[None] for by in (10.0, 1e3, np.inf)
    )
    for rows in (far, infinite):
        for one, other in zip(encoder(near), encoder(rows), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_a_linear_decoder_is_its_formula_in_the_units_of_the_data(likelihood):
    has_units = likelihood == "gaussian"
    layer = linear(2, 3)
    distribution = LIKELIHOODS[likelihood](np.zeros(3) if has_units else None, None)
    units = UNITS if has_units else Standardization.identity(3)
    decoder = RowDecoder(ModuleDecoder(layer, distribution), units, 2)
    codes = torch.tensor([[1.0, -2.0], [0.5, 0.25]], dtype=torch.float64)
    made = codes.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    wanted = {
        "gaussian": made * X.std(axis=0) + X.mean(axis=0),
        "bernoulli": 1 / (1 + np.exp(-made)),
        "poisson": np.exp(made),
    }[likelihood]
    np.testing.assert_allclose(decoder(codes).detach(), wanted, rtol=1e-7, atol=1e-6)
    assert decoder(codes.float()).dtype == torch.float32
    np.testing.assert_allclose(decoder(codes.float()).detach(), wanted, rtol=1e-6)


def test_the_witness_gives_logarithms_of_distributions():
    witness = CodeWitness(LinearWitness(2, [0.25, 0.75]), 2)
    codes = torch.ones(5, 2, dtype=torch.float64)
    np.testing.assert_allclose(witness(codes).exp().detach(), [[0.25, 0.75]] * 5, rtol=1e-6)
    np.testing.assert_allclose(witness(codes).exp().sum(dim=1).detach(), 1.0, rtol=1e-14)


@given(
    center=st.floats(-1e12, 1e12) | st.floats(-1e200, 1e200),
    scale=st.floats(1e-6, 1e6) | st.floats(1e-100, 1e100),
    is_single=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_units_are_those_that_arrays_are_standardised_by(center, scale, is_single, seed):
    units = Standardization(np.array([center]), np.array([scale]), np.array([False]))
    draws = np.random.default_rng(seed).uniform(-9, 9, size=(20, 1))
    with np.errstate(over="ignore"):
        rows = (center + scale * draws).astype(np.float32 if is_single else np.float64)
        if not np.isfinite(rows).all():
            return
        wanted = np.clip(units.apply(rows), -10, 10)
    columns = ColumnUnits(units)
    found = columns.standardised(torch.from_numpy(rows)).float().clamp(-10, 10)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    standardised = torch.from_numpy(draws)
    restored = columns.restored(standardised)
    np.testing.assert_allclose(restored, units.restore(draws), rtol=1e-14, atol=scale * 1e-14)


CASTS = {
    "half": lambda module: module.half(),
    "float": lambda module: module.float(),
    "double": lambda module: module.double(),
    "to": lambda module: module.to("cpu", torch.bfloat16),
    "copied": copy.deepcopy,
    "pickled": lambda module: pickle.loads(pickle.dumps(module)),
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_units_outlive_every_cast(cast):
    rows = torch.from_numpy(X)
    columns = cast(nn.Sequential(ColumnUnits(UNITS)))[0]
    assert columns.center.dtype == columns.scale.dtype == torch.float64
    torch.testing.assert_close(
        columns.standardised(rows), ColumnUnits(UNITS).standardised(rows), rtol=0, atol=0
    )


def test_units_are_in_the_state_that_is_saved():
    module, other = (
        RowEncoder(ModuleEncoder(linear(3, 4)), units)
        for units in (UNITS, Standardization.identity(3))
    )
    other.load_state_dict(module.state_dict())
    rows = torch.from_numpy(X)
    torch.testing.assert_close(other(rows), module(rows), rtol=0, atol=0)


ARCHITECTURES = {
    "dense": {},
    "conv": {"architecture": "conv", "image_shape": (1, 2, 2), "channels": (4,)},
    "autoregressive": {"decoder": "autoregressive"},
    "autoregressive conv": {
        "architecture": "conv",
        "image_shape": (1, 2, 2),
        "channels": (4,),
        "decoder": "autoregressive",
    },
    "continuous bernoulli": {"likelihood": "continuous_bernoulli", "log_variance": None},
    "mlp": {"witness": "mlp"},
    "simplex": {"witness": "simplex"},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_gradients_in_float64_are_those_of_differences(architecture):
    net = a_net(**architecture)
    rng = np.random.default_rng(3)
    units = Standardization.of(rng.standard_normal((9, 4)))
    rows = torch.from_numpy(rng.standard_normal((2, 4))).requires_grad_()
    codes = torch.from_numpy(rng.standard_normal((2, 2))).requires_grad_()
    assert gradcheck(RowEncoder(net.encoder, units).double(), (rows,))
    assert gradcheck(RowDecoder(net.decoder, units, 2).double(), (codes,))
    assert gradcheck(CodeWitness(net.witness, 2).double(), (codes,))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_weights_have_gradients_too(architecture):
    net = a_net(**architecture)
    decoder = RowDecoder(net.decoder, Standardization.identity(4), 2)
    decoder(torch.ones(3, 2)).sum().backward()
    assert all(weight.grad is not None for weight in net.decoder.layers.parameters())


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 1, 3, 1), (2, 2, 2, 2)])
def test_rows_of_another_shape_are_refused(shape):
    encoder = RowEncoder(ModuleEncoder(linear(3, 4)), UNITS, image_shape=(1, 1, 3))
    with pytest.raises(ValueError, match=r"\(n_samples, 3\) or \(n_samples, \*\(1, 1, 3\)\)"):
        encoder(torch.zeros(shape))
    assert encoder(torch.zeros(0, 1, 1, 3))[0].shape == (0, 2)


def test_codes_of_another_width_are_refused():
    net = a_net()
    for module, name in (
        (RowDecoder(net.decoder, Standardization.identity(4), 2), "decoder"),
        (CodeWitness(net.witness, 2), "witness"),
    ):
        for shape in ((2, 3), (2,)):
            with pytest.raises(ValueError, match=rf"The {name} wants codes of .*, 2\)"):
                module(torch.zeros(shape))


def test_fixed_weights_are_the_same_memory_and_have_no_gradients():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    fixed = with_fixed_weights(net)
    for name, weight in net.state_dict().items():
        assert fixed.state_dict()[name].data_ptr() == weight.data_ptr()
    assert not any(weight.requires_grad for weight in fixed.parameters())
    assert all(weight.requires_grad for weight in net.parameters())
    rows = torch.ones(2, 3, requires_grad=True)
    fixed(rows).sum().backward()
    assert rows.grad is not None
    assert all(weight.grad is None for weight in net.parameters())
