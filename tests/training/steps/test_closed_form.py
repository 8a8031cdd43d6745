"""The closed form of the usual objective has the terms and the gradients of autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skvae.nets.networks import VariationalAutoencoder
from skvae.training.criterion import Criterion
from skvae.training.net import batch_sums
from skvae.training.steps.closed_form import ClosedFormStep

sizes = st.integers(1, 6)
weights = st.sampled_from([0.0, 0.3, 5.0])


def net(n_features, latent_dim, n_components, variances, seed=0, witness_input="sample"):
    """Return a net whose witness has left the boundary."""
    rng = np.random.default_rng(seed)
    log_variance = rng.uniform(-6, 3, n_features)
    module = VariationalAutoencoder(
        n_features=n_features,
        latent_dim=latent_dim,
        hidden_layer_sizes=(5,),
        likelihood="gaussian",
        log_variance=log_variance,
        log_variance_floor=None if variances == "fixed" else log_variance - 2,
        is_variance_shared=variances == "shared",
        average_teacher=rng.dirichlet(np.ones(n_components)),
        witness="linear",
        witness_scale=2.0,
        witness_input=witness_input,
        precision="fp32",
        seed=seed,
    ).train()
    module.witness.head.weight.data += torch.from_numpy(
        rng.normal(size=(n_components, latent_dim)).astype(np.float32)
    )
    return module


def batch(n_rows, n_features, latent_dim, n_components, seed=0):
    rng = np.random.default_rng(seed + 1)
    shapes = (n_rows, n_features), (n_rows, latent_dim)
    x, noise = (torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes)
    T = rng.dirichlet(np.full(n_components, 0.3), n_rows)
    # Hard labels among them.
    T[::3] = np.eye(n_components)[rng.integers(n_components, size=len(T[::3]))]
    return x, torch.from_numpy(T).float(), noise


def gradients(module):
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in module.named_parameters()
    }


@given(
    n_rows=sizes,
    n_features=sizes,
    latent_dim=sizes,
    n_components=st.integers(2, 6),
    variances=st.sampled_from(["fixed", "learned", "shared"]),
    witness_input=st.sampled_from(["sample", "mean"]),
    beta=weights,
    alignment_weight=weights,
    seed=st.integers(0, 2**16),
)
def test_terms_and_gradients_are_those_of_autograd(
    n_rows,
    n_features,
    latent_dim,
    n_components,
    variances,
    witness_input,
    beta,
    alignment_weight,
    seed,
):
    module = net(n_features, latent_dim, n_components, variances, seed, witness_input)
    x, T, noise = batch(n_rows, n_features, latent_dim, n_components, seed)
    criterion = Criterion(beta, alignment_weight)
    assert ClosedFormStep.is_for(module, criterion)
    loss, expected_terms = criterion.total(batch_sums(module, criterion, x, T, noise), len(x))
    loss.backward()
    expected = gradients(module)
    module.zero_grad()
    terms = ClosedFormStep(module, criterion).take(x, T, noise)
    torch.testing.assert_close(terms, expected_terms, rtol=1e-5, atol=1e-5)
    for name, found in gradients(module).items():
        size = expected[name].abs().max().item()
        torch.testing.assert_close(
            found, expected[name], rtol=0.0, atol=1e-4 * size + 1e-6, msg=name
        )


@pytest.mark.parametrize("variances", ["fixed", "learned", "shared"])
def test_gradients_are_written_over_what_was_there(variances):
    module = net(4, 2, 3, variances)
    x, T, noise = batch(5, 4, 2, 3)
    step = ClosedFormStep(module, Criterion(1.0, 5.0))
    step.take(x, T, noise)
    expected = gradients(module)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    step.take(x, T, noise)
    for name, found in gradients(module).items():
        assert torch.equal(found, expected[name]), name
    assert not step.adds_to_gradients


@pytest.mark.parametrize("n_rows", [1, 5])
def test_what_a_batch_is_made_of_is_not_written_to(n_rows):
    parts = batch(n_rows, 4, 2, 3)
    before = [each.clone() for each in parts]
    ClosedFormStep(net(4, 2, 3, "fixed"), Criterion(1.0, 5.0)).take(*parts)
    for found, expected in zip(parts, before, strict=True):
        assert torch.equal(found, expected)


def test_a_rate_near_the_prior_keeps_its_digits():
    module = net(4, 2, 3, "fixed")
    last = module.encoder.layers[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        # A log variance of 1e-3 diverges from the prior by 2.5e-7.
        last.bias.copy_(torch.tensor([0.0, 0.0, 1e-3, 1e-3]))
    rate = ClosedFormStep(module, Criterion(1.0, 5.0)).take(*batch(1000, 4, 2, 3))[1].item()
    expected = 1000 * (np.expm1(1e-3) - 1e-3)
    assert rate == pytest.approx(expected, rel=1e-3)
