"""The target of the alignment: when it lets go of the code, and what is left of the margin."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skvae import ConstantCollapseCertificate
from skvae.information import teacher_information
from skvae.nets.networks import standard_normal
from skvae.objective import is_aligned
from skvae.rows.scaling import Standardization
from skvae.training.net import batch_sums

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


@given(
    arrays(np.float64, (5, 3), elements=st.floats(0, 1)),
    arrays(np.float64, 5, elements=st.floats(0, 2)),
    st.floats(0.01, 0.99),
)
def test_aligned_is_a_margin_of_the_share_or_more(weights, cost, target):
    assume((weights.sum(axis=1) > 1e-3).all())
    T = weights / weights.sum(axis=1, keepdims=True)
    information = teacher_information(T)
    surplus = information - cost.mean() - target * information
    assume(abs(surplus) > 1e-9)
    found = is_aligned(torch.from_numpy(T), torch.from_numpy(cost), target)
    assert found.item() == (surplus > 0)


def test_a_constant_teacher_is_aligned_only_by_a_witness_that_costs_nothing():
    T = torch.full((4, 2), 0.5)
    assert is_aligned(T, torch.zeros(4), 0.9).item()
    assert not is_aligned(T, torch.full((4,), 1e-3), 0.9).item()


def gradients(vae, X, T, **criterion):
    """Return terms, and gradients by name, of a step from the weights of a fitted model."""
    net = vae.net_
    before = {name: getattr(net.criterion_, name) for name in criterion}
    vars(net.criterion_).update(criterion)
    net._set_training(True)
    net.module_.zero_grad()
    shape = (len(X), vae.latent_dim)
    draws = net.criterion_.n_importance_samples
    noise = standard_normal(
        shape if draws == 1 else (draws, *shape), torch.Generator().manual_seed(0)
    )
    sums = batch_sums(net.module_, net.criterion_, X, T, noise)
    loss, terms = net.criterion_.total(sums, len(X))
    loss.backward()
    vars(net.criterion_).update(before)
    return terms, {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in net.module_.named_parameters()
    }


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"witness": "mlp"},
        {"witness_input": "mean"},
        {"n_importance_samples": 3},
        {"free_bits": 0.1, "witness": "mlp"},
    ],
    ids=str,
)
def test_on_target_the_code_has_the_gradients_of_a_plain_vae(small_vae, clusters, setting):
    vae = small_vae(max_epochs=40, **setting).fit(clusters)
    X = torch.from_numpy(Standardization.of(clusters).apply(clusters))
    T = torch.from_numpy(vae.teacher_proba(clusters).astype(np.float32))
    terms, pulled = gradients(vae, X, T)
    _, plain = gradients(vae, X, T, alignment_weight=0.0)
    near, below = gradients(vae, X, T, alignment_target=0.999)
    there, above = gradients(vae, X, T, alignment_target=0.01)
    assert torch.equal(terms, near)
    assert torch.equal(terms, there)
    for name, gradient in pulled.items():
        assert torch.equal(below[name], gradient)
        if name.startswith("witness"):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(above[name], gradient)
        else:
            torch.testing.assert_close(above[name], plain[name])
    of_encoder = [name for name in pulled if name.startswith("encoder")]
    assert any(not torch.allclose(pulled[name], plain[name]) for name in of_encoder)


def test_a_decoder_that_gains_nothing_leaves_the_margin_near_the_target(small_vae, clusters):
    prone = {"decoder_variance": 50.0, "max_epochs": 80, "latent_dim": 2}
    certificate = ConstantCollapseCertificate(latent="sample", confidence=0.95)
    shares = {}
    for target in (None, 0.5):
        vae = small_vae(alignment_target=target, **prone).fit(clusters)
        shares[target] = vae.history_[-1]["margin"] / vae.teacher_information_
        assert certificate.score(vae, clusters) > 0
    collapsed = small_vae(alignment_target=0.5, alignment_weight=0, **prone).fit(clusters)
    assert collapsed.history_[-1]["rate"] < 0.01
    assert shares[None] > 0.8
    assert 0.4 < shares[0.5] < 0.65


@pytest.mark.parametrize("changed", [{"alignment_weight": 0.0}, {"alignment_target": 0.999}])
def test_a_target_that_decides_nothing_changes_nothing(small_vae, clusters, changed):
    with_target = small_vae(**{"alignment_target": 0.999, **changed})
    without = small_vae(**{**changed, "alignment_target": None})
    # But for rounding: without a target the gradients have a closed form.
    np.testing.assert_allclose(
        with_target.fit(clusters).transform(clusters),
        without.fit(clusters).transform(clusters),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_target_outlives_a_warm_start_and_a_stream(small_vae, clusters):
    vae = small_vae(alignment_target=0.6, batch_size=32)
    for _ in range(3):
        vae.partial_fit(clusters)
    assert vae.net_.criterion_.alignment_target == 0.6
    vae.set_params(warm_start=True, alignment_target=0.7).fit(clusters)
    assert vae.net_.criterion_.alignment_target == 0.7
