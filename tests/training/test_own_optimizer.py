"""Optimisers of the user's own, and clipping: what torch does, on any weights."""

import functools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skvae.training.optimizer import FlatAdamW
from skvae.training.own_optimizer import (
    PlainWeights,
    check_optimizer,
    clip_gradients,
    may_draw,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


def module():
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return net


def with_gradients(net, seed):
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        gradient = torch.randn(weight.shape, generator=generator)
        if weight.grad is None:
            weight.grad = gradient
        else:
            weight.grad.copy_(gradient)


@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_clipping_is_that_of_torch(max_norm, seed):
    flat, plain, reference = module(), module(), module()
    of_flat = FlatAdamW([{"params": flat.parameters()}], lr=1.0)
    of_plain = torch.optim.SGD(plain.parameters(), lr=1.0)
    of_flat.zero_grad()
    for net in (flat, plain, reference):
        with_gradients(net, seed)
    norm = nn.utils.clip_grad_norm_(reference.parameters(), max_norm)
    for optimizer in (of_flat, of_plain):
        torch.testing.assert_close(clip_gradients(optimizer, max_norm), norm)
    for net in (flat, plain):
        for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad)


def test_gradients_that_stand_in_for_others_are_collected():
    net = module()
    optimizer = FlatAdamW([{"params": net.parameters()}], lr=1.0)
    optimizer.zero_grad()
    with_gradients(net, 0)
    first, second, *_ = net.parameters()
    replaced = torch.ones_like(first)
    first.grad, second.grad = replaced, None
    weights_of(optimizer).collect_gradients()
    (whole,) = optimizer.param_groups[0]["params"]
    entries = first.numel()
    torch.testing.assert_close(whole.grad[:entries], replaced.flatten())
    assert whole.grad[16 : 16 + second.numel()].abs().sum() == 0


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.SGD, torch.optim.Adam, torch.optim.NAdam, torch.optim.Rprop, torch.optim.ASGD],
)
def test_states_move_to_another_optimiser_of_the_same_kind(optimizer):
    one, other = module(), module()
    first, second = optimizer(one.parameters(), lr=0.1), optimizer(other.parameters(), lr=0.1)
    for step in range(3):
        with_gradients(one, step)
        first.step()
    moments = PlainWeights(first).moments()
    PlainWeights(second).adopt(
        {
            theirs: moments[ours]
            for ours, theirs in zip(one.parameters(), other.parameters(), strict=True)
            if ours in moments
        }
    )
    other.load_state_dict(one.state_dict())
    for net, each in ((one, first), (other, second)):
        with_gradients(net, 9)
        each.step()
    for found, expected in zip(other.parameters(), one.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_others_are_left_out_of_a_step():
    net = module()
    before = [weight.clone() for weight in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with_gradients(net, 0)
    PlainWeights(optimizer).leave_out_others(net[0].parameters())
    PlainWeights(optimizer).update()
    changed = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert changed == [True, True, False, False]
    PlainWeights(optimizer).release()
    assert all(weight.grad is None for weight in net.parameters())


def returns_no_optimizer(groups, lr):
    return lr


def without_decay(groups, lr):
    return torch.optim.SGD(groups, lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "weight_decay", "words"),
    [
        (torch.optim.LBFGS, 0.0, "LBFGS failed on a matrix and a vector"),
        (torch.optim.SparseAdam, 0.0, "SparseAdam failed"),
        (returns_no_optimizer, 0.0, "returned float"),
        (nn.Linear, 0.0, "Linear failed"),
        (without_decay, 0.1, "weight_decay=0.1 needs an optimizer that takes it"),
        (functools.partial(torch.optim.SGD, lr=1.0), 0.0, "optimizer sets lr=1.0"),
        (functools.partial(torch.optim.SGD, weight_decay=1.0), 0.0, "sets weight_decay=1.0"),
    ],
)
def test_an_optimizer_that_could_not_train_is_refused(optimizer, weight_decay, words):
    with pytest.raises(ValueError, match=words):
        check_optimizer(optimizer, 0.1, weight_decay)


@pytest.mark.parametrize(
    "optimizer", [torch.optim.SGD, torch.optim.RAdam, torch.optim.Adagrad, without_decay]
)
def test_one_that_can_is_taken(optimizer):
    check_optimizer(optimizer, 0.1, 0.0)


class Langevin(torch.optim.SGD):
    """Draw from torch's global generator in each step."""

    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.add_(torch.randn_like(weight))
        return super().step(closure)


def test_what_may_draw_is_told_from_what_does_not():
    assert may_draw(Langevin)
    assert not may_draw(None)
    assert not may_draw(functools.partial(torch.optim.SGD, momentum=0.5))
    before = torch.get_rng_state()
    check_optimizer(Langevin, 0.1, 0.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_optimizer_that_draws_leaves_global_states_alone_and_repeats(small_vae, clusters):
    before = torch.get_rng_state()
    one, other = (
        small_vae(optimizer=Langevin).fit(clusters).transform(clusters) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one, other)


def test_adamw_by_name_is_the_default_up_to_rounding(small_vae, clusters):
    setting = {"batch_size": 60, "weight_decay": 0.1, "max_epochs": 3}
    ours = small_vae(**setting).fit(clusters)
    theirs = small_vae(optimizer=torch.optim.AdamW, **setting).fit(clusters)
    for one, other in zip(
        ours.net_.module_.parameters(), theirs.net_.module_.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", [None, torch.optim.Adam])
def test_passes_go_on_with_the_state_of_the_optimizer(small_vae, clusters, optimizer):
    vae = small_vae(optimizer=optimizer, batch_size=60).partial_fit(clusters)
    copied = pickle.loads(pickle.dumps(vae))
    steps = [int(state["step"]) for state in weights_of(vae.net_.optimizer_).moments().values()]
    assert set(steps) == {3}
    vae.partial_fit(clusters)
    steps = [int(state["step"]) for state in weights_of(vae.net_.optimizer_).moments().values()]
    assert set(steps) == {6}
    np.testing.assert_array_equal(
        copied.partial_fit(clusters).transform(clusters), vae.transform(clusters)
    )


def test_another_optimizer_begins_anew(small_vae, clusters):
    vae = small_vae(optimizer=torch.optim.Adam).partial_fit(clusters)
    vae.set_params(optimizer=torch.optim.Adagrad).partial_fit(clusters)
    states = weights_of(vae.net_.optimizer_).moments().values()
    assert all(set(state) == {"step", "sum"} and int(state["step"]) == 2 for state in states)


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning")
def test_no_step_of_gradient_descent_is_longer_than_the_norm(
    small_vae, clusters, optimizer, precision, monkeypatch
):
    norms = []

    def watched(optimizer, max_norm):
        clip_gradients(optimizer, max_norm)
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        norms.append(nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None]))

    monkeypatch.setattr("skvae.training.net.clip_gradients", watched)
    vae = small_vae(optimizer=optimizer, precision=precision, max_grad_norm=0.01, lr=1e-3)
    assert np.isfinite(vae.fit(clusters).score(clusters))
    norms = [float(norm) for norm in norms if torch.isfinite(norm)]
    assert len(norms) >= 8
    assert norms == pytest.approx([0.01] * len(norms), rel=1e-3)


def test_steps_of_the_encoder_are_clipped_too(small_vae, clusters):
    setting = {"aggressive_steps": 2, "max_epochs": 2}
    free = small_vae(**setting).fit(clusters)
    for optimizer in (None, torch.optim.SGD):
        # A norm that no gradient reaches changes nothing.
        loose = small_vae(max_grad_norm=1e9, **setting, optimizer=optimizer).fit(clusters)
        alone = free if optimizer is None else small_vae(**setting, optimizer=optimizer)
        expected = alone.fit(clusters).transform(clusters)
        np.testing.assert_array_equal(loose.transform(clusters), expected)
    still = small_vae(max_grad_norm=1e-12, optimizer=torch.optim.SGD, lr=1e-3, **setting).fit(
        clusters
    )
    begun = small_vae(optimizer=torch.optim.SGD, lr=1e-30, **setting).fit(clusters)
    np.testing.assert_allclose(still.transform(clusters), begun.transform(clusters), atol=1e-6)
