"""Modules: shapes, the boundary start of the witness, private initial weights."""

import numpy as np
import pytest
import torch

from skvae.nets.layers import dense
from skvae.nets.networks import Encoder, VariationalAutoencoder, draw_latent, standard_normal
from skvae.nets.witnesses import LinearWitness


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def autoencoder(**changes):
    setting = {
        "n_features": 4,
        "latent_dim": 2,
        "hidden_layer_sizes": (5, 3),
        "likelihood": "gaussian",
        "log_variance": np.zeros(4),
        "log_variance_floor": None,
        "average_teacher": [0.2, 0.3, 0.5],
        "witness": "linear",
        "witness_scale": 1.0,
        "witness_input": "sample",
        "precision": "fp32",
        "seed": 0,
    }
    return VariationalAutoencoder(**{**setting, **changes})


def test_witness_starts_as_the_best_constant_student():
    witness = LinearWitness(3, [0.2, 0.3, 0.5])
    log_q = witness(torch.randn(10, 3, generator=generator()))
    np.testing.assert_allclose(
        log_q.exp().detach(), np.tile([0.2, 0.3, 0.5], (10, 1)), rtol=1e-6
    )


def test_witness_keeps_a_component_that_no_row_uses():
    log_q = LinearWitness(2, [0.0, 1.0])(torch.zeros(1, 2))
    assert torch.isfinite(log_q).all()


def test_witness_sees_the_code_alone():
    model = autoencoder()
    torch.nn.init.normal_(model.witness.head.weight, generator=generator())
    x = torch.randn(6, 4, generator=generator(1))
    with torch.no_grad():
        mean, log_variance = model.encoder(x)
        outputs = model(x, generator(2))
        latent = draw_latent(mean, log_variance, generator(2))
        torch.testing.assert_close(outputs.log_witness, model.witness(latent))
        model.witness_input = "mean"
        torch.testing.assert_close(model(x, generator(2)).log_witness, model.witness(mean))


def test_draws_have_the_mean_and_variance_of_the_posterior():
    mean = torch.full((20_000, 1), 3.0)
    draws = draw_latent(mean, torch.full_like(mean, np.log(0.25)), generator())
    assert draws.mean().item() == pytest.approx(3.0, abs=4 * 0.5 / 20_000**0.5)
    assert draws.var().item() == pytest.approx(0.25, rel=0.05)


def test_hidden_layers_are_mirrored_and_empty_ones_make_it_linear():
    model = autoencoder()
    widths = [layer.out_features for layer in model.encoder.layers if hasattr(layer, "weight")]
    assert widths == [5, 3, 4]
    widths = [layer.out_features for layer in model.decoder.layers if hasattr(layer, "weight")]
    assert widths == [3, 5, 4]
    linear = autoencoder(hidden_layer_sizes=())
    assert len(linear.encoder.layers) == len(linear.decoder.layers) == 1


def test_encoder_sees_no_further_than_ten_deviations():
    encoder = Encoder(1, 1, (), generator())
    far, bound = encoder(torch.tensor([[1e30]])), encoder(torch.tensor([[10.0]]))
    assert far == bound


def test_initial_weights_are_those_of_torch_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    layer = dense(100, 50, generator())
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.abs().max().item() <= 0.1
    assert layer.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert torch.equal(layer.weight, dense(100, 50, generator()).weight)


def test_half_precision_is_for_the_products_of_training_alone():
    x = torch.randn(64, 4, generator=generator(1))
    full, half = (autoencoder(precision=precision) for precision in ("fp32", "bf16"))
    one, other = full(x, generator(2)), half(x, generator(2))
    for of_full, of_half in zip(one, other, strict=True):
        assert of_half.dtype == torch.float32
        torch.testing.assert_close(of_half, of_full, atol=0.05, rtol=0.05)
    assert not torch.equal(one.mean, other.mean)
    one, other = full.eval()(x, generator(2)), half.eval()(x, generator(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_noise_drawn_beforehand_gives_the_same_codes():
    mean, log_variance = torch.randn(2, 5, 3, generator=generator()).unbind()
    noise = standard_normal((5, 3), generator(4))
    expected = draw_latent(mean, log_variance, generator(4))
    assert torch.equal(draw_latent(mean, log_variance, noise), expected)
