"""The criterion: each objective by hand, its records, and no work for a term that is off."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skvae.nets.likelihoods import GaussianLikelihood
from skvae.nets.networks import Decoder, Outputs
from skvae.objective import (
    alignment,
    capacity_gap,
    floored_rate,
    importance_bound,
    kl,
    kl_per_dimension,
    mmd,
    total_correlation,
)
from skvae.training.criterion import FURTHER_TERMS, TERMS, Criterion

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
N_ROWS, LATENT_DIM = 6, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch():
    """Make a batch of rows and teachers, what a model makes of them, and the model."""

    def make(n_draws=1):
        x = torch.randn(N_ROWS, 4, generator=generator(1))
        mean, log_variance = torch.randn(2, N_ROWS, LATENT_DIM, generator=generator(2))
        shape = (N_ROWS, LATENT_DIM) if n_draws == 1 else (n_draws, N_ROWS, LATENT_DIM)
        noise = torch.randn(shape, generator=generator(3))
        latent = mean + (0.5 * log_variance).exp() * noise
        decoder = Decoder(
            4, LATENT_DIM, (), GaussianLikelihood(np.zeros(4), None), generator(4)
        )
        parameters = decoder(latent.reshape(-1, LATENT_DIM)).detach()
        log_q = torch.log_softmax(torch.randn(N_ROWS, 3, generator=generator(5)), dim=1)
        T = torch.softmax(torch.randn(N_ROWS, 3, generator=generator(6)), dim=1)
        module = SimpleNamespace(decoder=decoder)
        return x, T, Outputs(mean, log_variance, parameters, log_q, latent), module

    return make


def by_hand(x, T, outputs, module):
    mean, log_variance = outputs.mean, outputs.log_variance
    return {
        "reconstruction": module.decoder.reconstruction(x, outputs.parameters).mean(),
        "rate": kl(mean, log_variance).mean(),
        "alignment": alignment(T, outputs.log_witness).mean(),
        "floored_rate": floored_rate(kl_per_dimension(mean, log_variance), 0.8),
        "capacity_gap": capacity_gap(kl(mean, log_variance).mean(), 7.0),
        "mmd": mmd(outputs.latent),
        "total_correlation": total_correlation(outputs.latent, mean, log_variance, 100),
    }


@pytest.mark.parametrize(
    ("setting", "weights"),
    [
        ({}, {"rate": 3}),
        ({"free_bits": 0.8}, {"floored_rate": 3}),
        ({"kl_capacity": 7.0}, {"capacity_gap": 3}),
        ({"mmd_weight": 20.0}, {"rate": 3, "mmd": 20}),
        ({"tc_weight": 5.0, "n_rows": 100}, {"rate": 3, "total_correlation": 5}),
        (
            {"free_bits": 0.8, "mmd_weight": 2.0, "tc_weight": 5.0, "n_rows": 100},
            {"floored_rate": 3, "mmd": 2, "total_correlation": 5},
        ),
    ],
    ids=str,
)
def test_objective_is_the_weighted_sum_of_its_terms(batch, setting, weights):
    criterion = Criterion(beta=3.0, alignment_weight=4.0, **setting)
    loss, sums = criterion(*batch())
    expected = by_hand(*batch())
    weights = {"reconstruction": 1, "alignment": 4, **weights}
    total = sum(weight * expected[name] for name, weight in weights.items())
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert criterion.terms == (*TERMS, *(t for t in FURTHER_TERMS if t in weights))
    for name, found in zip(criterion.terms, sums / N_ROWS, strict=True):
        assert found.item() == pytest.approx(expected[name].item(), rel=1e-5, abs=1e-6)


def test_free_bits_that_no_dimension_needs_change_nothing(batch):
    x, T, outputs, module = batch()
    outputs = outputs._replace(mean=outputs.mean + 5)
    plain, _ = Criterion(1.0, 1.0)(x, T, outputs, module)
    floored, _ = Criterion(1.0, 1.0, free_bits=0.5)(x, T, outputs, module)
    assert floored.item() == pytest.approx(plain.item(), rel=1e-6)


def test_many_draws_make_the_importance_bound(batch):
    x, T, outputs, module = batch(n_draws=5)
    loss, sums = Criterion(1.0, 4.0, n_importance_samples=5)(x, T, outputs, module)
    costs = torch.stack(
        [module.decoder.reconstruction(x, module.decoder(latent)) for latent in outputs.latent]
    ).detach()
    bound = importance_bound(costs, outputs.latent, outputs.mean, outputs.log_variance).mean()
    aligned = alignment(T, outputs.log_witness).mean()
    assert loss.item() == pytest.approx((-bound + 4 * aligned).item(), rel=1e-5)
    rate = kl(outputs.mean, outputs.log_variance).mean()
    expected = [costs.mean(), rate, aligned, bound]
    np.testing.assert_allclose(sums / N_ROWS, torch.stack(expected), rtol=1e-5)


def test_one_draw_of_the_importance_bound_is_one_draw_of_the_elbo(batch):
    x, _, outputs, module = batch()
    cost = module.decoder.reconstruction(x, outputs.parameters)
    mean, log_variance = outputs.mean, outputs.log_variance
    bound = importance_bound(cost[None], outputs.latent[None], mean, log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    log_ratio = prior.log_prob(outputs.latent) - posterior.log_prob(outputs.latent)
    torch.testing.assert_close(bound, log_ratio.sum(dim=1) - cost)


class Operations(TorchDispatchMode):
    """Collect the names of the operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_terms_that_are_off_cost_no_operation(batch):
    x, T, outputs, module = batch()
    with Operations() as found:
        Criterion(beta=3.0, alignment_weight=4.0)(x, T, outputs, module)
    with Operations() as least:
        reconstruction = module.decoder.reconstruction(x, outputs.parameters).sum()
        rate = kl(outputs.mean, outputs.log_variance).sum()
        aligned = alignment(T, outputs.log_witness).sum()
        objective = (reconstruction + 3.0 * rate + 4.0 * aligned) / len(x)
        torch.stack([reconstruction, rate, aligned]).detach()
    assert sorted(found.names) == sorted(least.names)
    assert objective.isfinite()


@pytest.mark.parametrize(
    ("setting", "name", "weight"),
    [
        ({"free_bits": 0.5}, "floored_rate", 1.0),
        ({"kl_capacity": 4.0}, "capacity_gap", 1.0),
        ({"mmd_weight": 20.0}, "mmd", 20.0),
        ({"tc_weight": 5.0}, "total_correlation", 5.0),
        ({"n_importance_samples": 4}, "importance_bound", -1.0),
    ],
)
def test_history_records_the_terms_in_force(small_vae, clusters, setting, name, weight):
    vae = small_vae(
        early_stopping=True, validation_fraction=0.3, batch_size=50, max_epochs=8, **setting
    ).fit(clusters)
    for record in vae.history_:
        assert {t for t in FURTHER_TERMS if t in record} == {name}
        for prefix in ("", "valid_"):
            expected = 10 * record[prefix + "alignment"] + weight * record[prefix + name]
            if name != "importance_bound":
                expected += record[prefix + "reconstruction"]
            if name in ("mmd", "total_correlation"):
                expected += record[prefix + "rate"]
            assert record[prefix + "loss"] == pytest.approx(expected)
            if name == "floored_rate":
                assert record[prefix + name] >= record[prefix + "rate"] - 1e-5


def test_importance_bound_is_in_the_units_of_x_and_above_the_elbo(small_vae, wine):
    setting = {"n_importance_samples": 8, "max_epochs": 5, "alignment_weight": 0}
    vae = small_vae(**setting).fit(wine)
    scaled = small_vae(**setting).fit(1000 * wine)
    bounds = [model.history_[-1]["importance_bound"] for model in (vae, scaled)]
    assert bounds[0] == pytest.approx(bounds[1] + wine.shape[1] * np.log(1000), rel=1e-4)
    assert bounds[0] > vae.history_[-1]["elbo"]


def test_each_objective_moves_what_it_is_about(small_vae, clusters):
    def last(**setting):
        # No alignment, and a decoder that gains little: the divergence decides.
        return (
            small_vae(alignment_weight=0, decoder_variance=5.0, max_epochs=80, **setting)
            .fit(clusters)
            .history_[-1]
        )

    plain = last()
    assert plain["rate"] < 0.1
    assert last(free_bits=1.0)["rate"] > 2
    assert last(kl_capacity=3.0, beta=20.0)["rate"] == pytest.approx(3.0, abs=0.4)
    assert last(beta=0.1, mmd_weight=100.0)["mmd"] < last(beta=0.1, mmd_weight=1e-6)["mmd"]
    dependent = last(beta=0.1, tc_weight=1e-6)["total_correlation"]
    assert last(beta=0.1, tc_weight=5.0)["total_correlation"] < 0.2 * dependent


@pytest.mark.parametrize(
    ("weight", "beta", "counted"),
    [(10.0, 1.0, 3.0), (0.5, 1.0, 0.5), (10.0, 4.0, 10.0), (2, 0, 2)],
)
def test_a_judge_counts_alignment_at_most_three_times_as_much_as_the_rate(
    weight, beta, counted
):
    terms = {"reconstruction": 5.0, "rate": 3.0, "alignment": 0.7}
    criterion = Criterion(alignment_weight=weight, beta=beta)
    judged = criterion.judge(criterion.weigh(terms, beta), terms["alignment"])
    assert judged == pytest.approx(5.0 + 3.0 * beta + 0.7 * counted)
