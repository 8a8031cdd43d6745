"""Weighted rows in training: objectives of rows repeated, and batches that carry weights."""

import numpy as np
import pytest
import torch

from skvae.nets.networks import VariationalAutoencoder
from skvae.objective import is_aligned, mmd, total_correlation
from skvae.rows.scaling import Standardization
from skvae.training import batches as batches_module
from skvae.training.batches import TrainingRows
from skvae.training.criterion import Criterion
from skvae.training.net import batch_sums

WEIGHTS = torch.tensor([1.0, 3.0, 2.0, 2.0, 1.0, 3.0])
COPIES = WEIGHTS.long()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def module():
    return VariationalAutoencoder(
        n_features=4,
        latent_dim=2,
        architecture="dense",
        hidden_layer_sizes=(),
        likelihood="gaussian",
        image_shape=None,
        channels=(),
        encoder=None,
        decoder=None,
        log_variance=np.zeros(4),
        log_variance_floor=np.full(4, -20.0),
        average_teacher=np.full(3, 1 / 3),
        witness="linear",
        witness_scale=2.0,
        witness_input="sample",
        precision="fp32",
        seed=0,
        is_variance_shared=False,
    ).double()


@pytest.fixture
def batch():
    x = torch.randn(6, 4, generator=generator(1), dtype=torch.float64)
    T = torch.softmax(3 * torch.randn(6, 3, generator=generator(2), dtype=torch.float64), 1)
    return x, T


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"free_bits": 0.1},
        {"kl_capacity": 0.7},
        {"n_importance_samples": 3},
        {"alignment_target": 0.01},
        {"alignment_target": 0.9},
    ],
)
def test_one_batch_by_weights_is_the_batch_of_rows_repeated(setting, module, batch):
    # Copies have the noise of their row: objective and gradients are then the same numbers.
    x, T = batch
    criterion = Criterion(0.7, 5.0, **setting)
    n_draws = setting.get("n_importance_samples", 1)
    shape = (6, 2) if n_draws == 1 else (n_draws, 6, 2)
    noise = torch.randn(shape, generator=generator(3), dtype=torch.float64)

    def gradients(x, T, noise, *weights):
        module.zero_grad()
        loss, terms = criterion.total(
            batch_sums(module, criterion, x, T, noise, *weights), len(x)
        )
        loss.backward()
        found = [each.grad for each in module.parameters() if each.grad is not None]
        return loss.item(), terms / len(x), [each.clone() for each in found]

    relative = WEIGHTS.double() / WEIGHTS.double().mean()
    by_weight = gradients(x, T, noise, relative)
    copies = [part.repeat_interleave(COPIES, dim=-2) for part in (x, T, noise)]
    repeated = gradients(*copies)
    # To the digits of float32, in which a net leaves what it makes.
    assert by_weight[0] == pytest.approx(repeated[0], rel=1e-6)
    torch.testing.assert_close(by_weight[1], repeated[1], rtol=1e-6, atol=1e-6)
    for one, other in zip(by_weight[2], repeated[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_batch_is_on_average_the_weighted_one(module, batch):
    # Over all batches of two that there are: each row is in as many.
    x, T = batch
    criterion, noise = Criterion(1.0, 5.0), torch.zeros(6, 2, dtype=torch.float64)
    relative = WEIGHTS.double() / WEIGHTS.double().mean()

    def loss(rows):
        parts = x[rows], T[rows], noise[rows], relative[rows]
        return criterion.total(batch_sums(module, criterion, *parts), len(parts[0]))[0]

    pairs = [loss([i, j]) for i in range(6) for j in range(6) if i != j]
    whole = loss(list(range(6)))
    torch.testing.assert_close(torch.stack(pairs).mean(), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_weights_that_are_alike_change_no_term_of_a_batch(scale):
    latent = torch.randn(20, 3, generator=generator(), dtype=torch.float64)
    mean, log_variance = latent + 0.1, torch.full((20, 3), -1.0, dtype=torch.float64)
    T = torch.softmax(latent, 1)
    alike = torch.full((20,), scale, dtype=torch.float64)
    torch.testing.assert_close(mmd(latent, alike), mmd(latent), rtol=1e-9, atol=1e-12)
    cost = torch.full((20,), 0.05, dtype=torch.float64)
    for target in (0.1, 0.99):
        assert is_aligned(T, cost, target, alike) == is_aligned(T, cost, target)
    if scale == 1:
        posterior = (latent, mean, log_variance, 400)
        plain = total_correlation(*posterior)
        torch.testing.assert_close(total_correlation(*posterior, alike), plain)


def test_terms_of_a_batch_weigh_what_the_rows_do():
    # Rows in a cluster far from the prior that hardly count; rows that depend, and do not.
    draw = torch.randn(4000, 2, generator=generator())
    draw[::2] += 4
    light = torch.ones(4000)
    light[::2] = 1e-4
    assert abs(mmd(draw, light)) < 2e-3 < mmd(draw)
    assert mmd(draw, light).item() == pytest.approx(mmd(draw[1::2]).item(), abs=2e-3)
    noise = torch.randn(600, 1, generator=generator(1))
    dependent = torch.cat([noise, noise], dim=1)
    dependent[::2] = torch.randn(300, 2, generator=generator(2))
    narrow = torch.full((600, 2), -4.0)
    light = torch.full((600,), 2.0)
    light[1::2] = 1e-6
    found = total_correlation(dependent, dependent, narrow, 600, light)
    independent = total_correlation(dependent[::2], dependent[::2], narrow[::2], 300)
    assert found.item() == pytest.approx(independent.item(), abs=0.02)
    assert found < total_correlation(dependent, dependent, narrow, 600) - 0.3


@pytest.mark.parametrize("is_large", [False, True])
def test_batches_carry_the_weights_of_their_rows(is_large, monkeypatch):
    monkeypatch.setattr(batches_module, "is_large", lambda rows: is_large)
    monkeypatch.setattr(batches_module, "BLOCK_BYTES", 4 * 16)
    X = np.arange(20.0)[:, None]
    chosen = np.arange(1, 20, 2)
    weights = np.linspace(0.1, 1.9, 10)
    T = np.stack([X[chosen, 0] / 20, 1 - X[chosen, 0] / 20], axis=1)
    rows = TrainingRows(X, T, Standardization.identity(1), chosen, weights=weights)
    batches = rows.batches(4, "cpu")
    for order in (iter(batches), batches.shuffled(generator())):
        x, targets, carried = map(torch.cat, zip(*order, strict=True))
        place = (x[:, 0].long() - 1) // 2
        assert sorted(place.tolist()) == list(range(10))
        torch.testing.assert_close(carried, torch.from_numpy(weights).float()[place])
        torch.testing.assert_close(targets, torch.from_numpy(T).float()[place])
    repeated = np.repeat(T, np.round(10 * weights).astype(int), axis=0)
    plain = TrainingRows(np.zeros((len(repeated), 1)), repeated, Standardization.identity(1))
    assert batches.teacher_information == pytest.approx(
        plain.batches(4, "cpu").teacher_information, abs=1e-6
    )
