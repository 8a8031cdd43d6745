"""A step without autograd's bookkeeping has the objective and the gradients of one with it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skvae.nets.convolutions import (
    FEW_CHANNELS,
    ResidualBlock,
    convolutional_decoder,
    convolutional_encoder,
    upsampled,
)
from skvae.nets.layers import multilayer_perceptron
from skvae.nets.networks import VariationalAutoencoder
from skvae.objective import alignment, is_aligned
from skvae.training.criterion import Criterion
from skvae.training.net import batch_sums
from skvae.training.steps.closed_form import ClosedFormStep
from skvae.training.steps.convolution_pass import ConvolutionPass
from skvae.training.steps.dense_pass import DensePass, through_rectifier
from skvae.training.steps.direct_step import DirectStep

LATENT_DIM = 3
N_FEATURES = 5
N_COMPONENTS = 4
# An uneven size is cut; transposed convolutions to 2 and to 9 channels go different ways.
IMAGE_SHAPE = (2, 5, 6)
CONVOLUTIONS = {
    "architecture": "conv",
    "image_shape": IMAGE_SHAPE,
    "n_features": 60,
    "channels": (9, 4),
}
USUAL = {"beta": 0.7, "alignment_weight": 5.0}

# Settings of the module and of the criterion, and whether they have a closed form.
CASES = {
    "usual": ({}, {}, True),
    "witness reads the mean": ({"witness_input": "mean"}, {}, True),
    "learned variances": ({"log_variance_floor": np.full(N_FEATURES, -4.0)}, {}, True),
    "shared variance": (
        {"log_variance_floor": np.full(N_FEATURES, -4.0), "is_variance_shared": True},
        {},
        True,
    ),
    "no hidden layers": ({"hidden_layer_sizes": ()}, {}, True),
    "no alignment": ({}, {"alignment_weight": 0.0}, True),
    "beta of zero": ({}, {"beta": 0.0}, True),
    "mlp witness": ({"witness": "mlp"}, {}, True),
    "mlp witness reads the mean": ({"witness": "mlp", "witness_input": "mean"}, {}, True),
    "mlp witness, no alignment": ({"witness": "mlp"}, {"alignment_weight": 0.0}, True),
    "simplex witness": ({"witness": "simplex"}, {}, False),
    "laplace": ({"likelihood": "laplace"}, {}, False),
    "bernoulli": ({"likelihood": "bernoulli"}, {}, False),
    "poisson": ({"likelihood": "poisson"}, {}, False),
    "target": ({}, {"alignment_target": 0.5}, True),
    "mlp witness with a target": ({"witness": "mlp"}, {"alignment_target": 0.5}, True),
    "free bits": ({}, {"free_bits": 0.1}, False),
    "capacity": ({}, {"kl_capacity": 3.0}, False),
    "mmd": ({}, {"mmd_weight": 2.0}, False),
    "total correlation": ({}, {"tc_weight": 2.0, "n_rows": 100}, False),
    "importance weights": ({}, {"n_importance_samples": 3}, False),
    "float16": ({"precision": "fp16"}, {}, False),
    "bfloat16": ({"precision": "bf16"}, {}, True),
    "convolutions": (CONVOLUTIONS, {}, True),
    "convolutions, one stage": ({**CONVOLUTIONS, "channels": (3,)}, {}, True),
    "convolutions, laplace": ({**CONVOLUTIONS, "likelihood": "laplace"}, {}, False),
    "convolutions, bfloat16": ({**CONVOLUTIONS, "precision": "bf16"}, {}, True),
    "convolutions, importance weights": (CONVOLUTIONS, {"n_importance_samples": 3}, False),
}


def net(**settings):
    has_variance = settings.get("likelihood", "gaussian") in ("gaussian", "laplace")
    n_features = settings.get("n_features", N_FEATURES)
    return VariationalAutoencoder(
        **{
            "n_features": n_features,
            "latent_dim": LATENT_DIM,
            "hidden_layer_sizes": (8, 6),
            "likelihood": "gaussian",
            "log_variance": np.linspace(-1, 1, n_features) if has_variance else None,
            "log_variance_floor": None,
            "average_teacher": np.full(N_COMPONENTS, 1 / N_COMPONENTS),
            "witness": "linear",
            "witness_scale": 2.0,
            "witness_input": "sample",
            "precision": "fp32",
            "seed": 0,
            **settings,
        }
    )


def batch(n_rows, n_features=N_FEATURES, n_draws=1):
    generator = torch.Generator().manual_seed(n_rows)
    x = torch.rand(n_rows, n_features, generator=generator)
    T = torch.softmax(2 * torch.randn(n_rows, N_COMPONENTS, generator=generator), dim=1)
    shape = (n_rows, LATENT_DIM) if n_draws == 1 else (n_draws, n_rows, LATENT_DIM)
    return x, T, torch.randn(shape, generator=generator)


def off_the_boundary(module):
    """Take the witness to where the code has a gradient, and residual blocks from zero."""
    generator = torch.Generator().manual_seed(5)
    blocks = [layer.second for layer in module.modules() if isinstance(layer, ResidualBlock)]
    for part, size in [(module.witness, 1.0), *((block, 0.1) for block in blocks)]:
        for parameter in part.parameters():
            parameter.data += size * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_autograd(case):
    of_module, of_criterion, has_closed_form = CASES[case]
    module = net(**of_module).train()
    off_the_boundary(module)
    criterion = Criterion(**{**USUAL, **of_criterion})
    criterion.kl_fraction = 0.5
    assert DirectStep.is_for(module, criterion)
    assert ClosedFormStep.is_for(module, criterion) is has_closed_form
    step = (ClosedFormStep if has_closed_form else DirectStep)(module, criterion)
    n_features = of_module.get("n_features", N_FEATURES)
    tolerance = 3e-5 if module.precision == "fp32" else 3e-2

    # Room is made for the larger ones, and parts of it are taken.
    for n_rows in (7, 4, 4, 9, 1):
        x, T, noise = batch(n_rows, n_features, criterion.n_importance_samples)
        compare_with_autograd(step, x, T, noise, tolerance)


@pytest.mark.parametrize("witness", ["linear", "mlp"])
@pytest.mark.parametrize("witness_input", ["sample", "mean"])
def test_gradients_on_target_are_those_of_autograd(witness, witness_input):
    """A teacher that says nearly what the witness says leaves the code to the rest."""
    module = net(witness=witness, witness_input=witness_input).train()
    off_the_boundary(module)
    criterion = Criterion(**USUAL, alignment_target=0.5)
    x, _, noise = batch(7)
    x = 30 * (x - 0.5)
    log_q = module(x, noise).log_witness.detach()
    T = torch.softmax(0.9 * log_q, dim=1)
    assert is_aligned(T, alignment(T, log_q), 0.5)
    compare_with_autograd(ClosedFormStep(module, criterion), x, T, noise, 3e-5)


def compare_with_autograd(step, x, T, noise, tolerance):
    module, criterion = step.module, step.criterion
    module.zero_grad()
    sums = batch_sums(module, criterion, x, T, noise)
    expected, expected_terms = criterion.total(sums, len(x))
    expected.backward()
    by_autograd = {name: gradient_of(each).clone() for name, each in module.named_parameters()}
    module.zero_grad()
    terms = step.take(x, T, noise)
    assert_near(terms, expected_terms, tolerance, "terms")
    for name, parameter in module.named_parameters():
        assert_near(gradient_of(parameter), by_autograd[name], tolerance, name)


def gradient_of(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def assert_near(found, expected, tolerance, name):
    """Compare by the largest entry: entries are sums, and rounding is a fraction of terms."""
    size = expected.abs().max().item()
    assert (found - expected).abs().max().item() <= tolerance * size, name


def test_gradient_of_the_input():
    layers = multilayer_perceptron([4, 6, 3], torch.Generator().manual_seed(0))
    x, gradient = torch.linspace(-1, 1, 20).view(5, 4), torch.linspace(0, 2, 15).view(5, 3)
    leaf = x.clone().requires_grad_()
    layers(leaf).backward(gradient)
    dense = DensePass(layers, torch.float32)
    dense.forward(x)
    torch.testing.assert_close(dense.backward(gradient, needs_input=True), leaf.grad)


@pytest.mark.parametrize("n_out", [1, 3, FEW_CHANNELS, 9])
@pytest.mark.parametrize("size", [(1, 2), (3, 4), (8, 5)])
def test_few_channels_are_upsampled_as_a_transposed_convolution_does(n_out, size):
    generator = torch.Generator().manual_seed(n_out)
    x = torch.randn(4, 5, *size, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(5, n_out, 4, 4, generator=generator)
    bias = torch.randn(n_out, generator=generator)
    expected = functional.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    made = upsampled(x, weight, bias)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_gradient_of_a_code_through_convolutions():
    generator = torch.Generator().manual_seed(0)
    layers = convolutional_decoder(IMAGE_SHAPE, LATENT_DIM, (9, 4), generator)
    latent = torch.randn(5, LATENT_DIM, generator=generator)
    gradient = torch.randn(5, 60, generator=generator)
    leaf = latent.clone().requires_grad_()
    layers(leaf).flatten(1).backward(gradient)
    convolutions = ConvolutionPass(layers, torch.float32)
    convolutions.forward(latent)
    found = convolutions.backward(gradient, needs_input=True)
    torch.testing.assert_close(found, leaf.grad, rtol=1e-4, atol=1e-5)


def test_a_pass_writes_over_nothing_that_it_is_given():
    generator = torch.Generator().manual_seed(0)
    layers = convolutional_encoder(IMAGE_SHAPE, LATENT_DIM, (4,), generator)
    rows, gradient = torch.randn(5, 60), torch.randn(5, 2 * LATENT_DIM)
    before = rows.clone(), gradient.clone()
    convolutions = ConvolutionPass(layers, torch.float32)
    convolutions.forward(rows)
    convolutions.backward(gradient, needs_input=False)
    assert torch.equal(rows, before[0])
    assert torch.equal(gradient, before[1])


def test_convolutions_are_left_to_autograd_elsewhere_than_on_a_cpu():
    module = net(**CONVOLUTIONS)
    assert DirectStep.is_for(module, Criterion(**USUAL))
    assert not DirectStep.is_for(module.to("meta"), Criterion(**USUAL))


def test_gradients_go_where_they_are_wanted():
    layers = nn.Sequential(nn.Linear(4, 2))
    kept = {name: torch.full_like(each, 7.0) for name, each in layers.named_parameters()}
    for name, parameter in layers.named_parameters():
        parameter.grad = kept[name]
    dense = DensePass(layers, torch.float32)
    dense.forward(torch.ones(3, 4))
    dense.backward(torch.ones(3, 2), needs_input=False)
    assert layers[0].weight.grad is kept["0.weight"]
    torch.testing.assert_close(kept["0.weight"], torch.full((2, 4), 3.0))
    torch.testing.assert_close(kept["0.bias"], torch.full((2,), 3.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "autoregressive"},
        {**CONVOLUTIONS, "decoder": "autoregressive"},
        {"encoder": lambda shape, latent_dim: nn.Linear(shape[0], 2 * latent_dim)},
    ],
    ids=["autoregressive", "autoregressive convolutions", "own"],
)
def test_other_nets_are_left_to_autograd(settings):
    assert not DirectStep.is_for(net(**settings), Criterion(**USUAL))


def test_frozen_weights_are_left_to_autograd():
    module = net()
    module.encoder.layers[0].weight.requires_grad_(False)
    assert not DirectStep.is_for(module, Criterion(**USUAL))


def test_nothing_of_it_outlives_a_fit(small_vae, clusters):
    vae = small_vae(max_epochs=2).fit(clusters)
    assert vae.net_._direct_step is None
    assert all(parameter.grad is None for parameter in vae.net_.module_.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_rectifier_lets_through_what_torch_does_to_the_bit(dtype):
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(40, 9, generator=generator).to(dtype)
    made[0, :4] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf])
    gradient = torch.randn(40, 9, generator=generator).to(dtype)
    gradient[1, :4] = torch.tensor([torch.nan, -torch.inf, -0.0, torch.inf])
    rectified = made.relu_()
    expected = torch.ops.aten.threshold_backward(gradient, rectified, 0)
    through_rectifier(gradient, rectified)
    np.testing.assert_array_equal(gradient.float().numpy(), expected.float().numpy())
