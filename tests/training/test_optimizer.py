"""AdamW on flat weights does what torch's own does."""

import copy
import pickle

import pytest
import torch
from torch import nn

import skvae.training.optimizer
from skvae.training.optimizer import FlatAdamW

SETTINGS = {"lr": 1e-2, "weight_decay": 0.1}


def model(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    net[0].to(memory_format=torch.channels_last)
    return net


@pytest.fixture(autouse=True)
def private_random_state():
    with torch.random.fork_rng():
        yield


def groups(net):
    named = dict(net.named_parameters())
    biases = [parameter for name, parameter in named.items() if "bias" in name]
    weights = [parameter for name, parameter in named.items() if "bias" not in name]
    return [{"params": biases, "weight_decay": 0.0}, {"params": []}, {"params": weights}]


def train(net, optimizer, n_steps, step="step"):
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 4, 4, generator=generator)).square().sum().backward()
        getattr(optimizer, step)()


def assert_same(one, other, **tolerance):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.fixture(params=[2**16, 20, 0], ids="small weights up to {}".format)
def small_entries(request, monkeypatch):
    """Join all weights, some, and none."""
    monkeypatch.setattr(skvae.training.optimizer, "SMALL_ENTRIES", request.param)


@pytest.mark.usefixtures("small_entries")
@pytest.mark.parametrize("fused", [True, False])
def test_updates_are_steps_to_the_bit(fused):
    one, other = model(), model()
    train(one, FlatAdamW(groups(one), fused=fused, **SETTINGS), 5, "update")
    train(other, FlatAdamW(groups(other), fused=fused, **SETTINGS), 5)
    assert_same(one, other, rtol=0, atol=0)


@pytest.mark.usefixtures("small_entries")
@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_those_of_adamw(fused):
    ours, theirs = model(), model()
    optimizer = FlatAdamW(groups(ours), fused=fused, **SETTINGS)
    reference = torch.optim.AdamW(groups(theirs), fused=fused, **SETTINGS)
    train(ours, optimizer, 5)
    train(theirs, reference, 5)
    assert_same(ours, theirs)
    for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        found = optimizer.moments()[parameter]
        for name, value in reference.state[expected].items():
            torch.testing.assert_close(found[name], value)


def test_weights_keep_their_shapes_and_strides_and_get_their_memory_back():
    net = model()
    before = [(p.shape, p.stride()) for p in net.parameters()]
    optimizer = FlatAdamW(groups(net), **SETTINGS)
    train(net, optimizer, 1)
    assert [(p.shape, p.stride()) for p in net.parameters()] == before
    assert len({p.untyped_storage().data_ptr() for p in net.parameters()}) == 2
    trained = copy.deepcopy(net)
    optimizer.release()
    assert [(p.shape, p.stride()) for p in net.parameters()] == before
    assert_same(net, trained, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in net.parameters())
    assert optimizer.param_groups[0]["params"][0].numel() == 0


@pytest.mark.usefixtures("small_entries")
def test_training_goes_on_after_a_release_and_after_a_pickle():
    straight, parted = model(), model()
    train(straight, optimizer := FlatAdamW(groups(straight), **SETTINGS), 2)
    train(straight, optimizer, 2)
    optimizer = FlatAdamW(groups(parted), **SETTINGS)
    train(parted, optimizer, 2)
    optimizer.release()
    parted, optimizer = pickle.loads(pickle.dumps((parted, optimizer)))
    train(parted, optimizer, 2)
    assert_same(straight, parted, rtol=0, atol=0)


@pytest.mark.usefixtures("small_entries")
def test_moments_are_taken_over_by_the_weights_that_have_them():
    one, other = model(), model(1)
    first = FlatAdamW(groups(one), **SETTINGS)
    train(one, first, 3)
    second = FlatAdamW(groups(other), **SETTINGS)
    of_one, of_other = list(one.parameters()), list(other.parameters())
    moments = first.moments()
    second.adopt({b: moments[a] for a, b in zip(of_one[1:], of_other[1:], strict=True)})
    adopted = second.moments()
    fresh = adopted.get(of_other[0])
    assert fresh is None or fresh["exp_avg"].abs().max() == 0
    for a, b in zip(of_one[1:], of_other[1:], strict=True):
        for name, value in moments[a].items():
            torch.testing.assert_close(adopted[b][name], value, rtol=0, atol=0)
    # Copies: training one leaves the other's alone.
    before = copy.deepcopy(moments[of_one[3]]["exp_avg"])
    train(other, second, 1)
    torch.testing.assert_close(first.moments()[of_one[3]]["exp_avg"], before, rtol=0, atol=0)


def test_frozen_weights_stay_as_they_are():
    net = model()
    net[2].weight.requires_grad_(False)
    before = copy.deepcopy(net)
    train(net, FlatAdamW(groups(net), **SETTINGS), 2)
    torch.testing.assert_close(net[2].weight, before[2].weight, rtol=0, atol=0)
    assert not torch.equal(net[0].weight, before[0].weight)


def test_weights_with_gaps_and_repeats_in_memory_are_left_alone():
    table = torch.linspace(0, 1, 36).reshape(6, 6)

    def build():
        torch.manual_seed(0)
        net = nn.Module()
        net.cut = nn.Parameter(table.clone()[:, :4])
        net.bias = nn.Parameter(torch.zeros(4))
        net.other = nn.Parameter(torch.ones(4, 3))
        return net

    def step(net, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            ((torch.ones(2, 6) @ net.cut + net.bias) @ net.other).square().sum().backward()
            optimizer.step()

    ours, theirs = build(), build()
    step(ours, FlatAdamW([{"params": ours.parameters()}], **SETTINGS))
    step(theirs, torch.optim.AdamW(theirs.parameters(), **SETTINGS))
    assert_same(ours, theirs)


def test_gradients_that_were_taken_away_are_put_back():
    ours, theirs = model(), model()
    optimizer = FlatAdamW(groups(ours), **SETTINGS)
    train(ours, optimizer, 1)
    ours.zero_grad(set_to_none=True)
    train(ours, optimizer, 1)
    reference = torch.optim.AdamW(groups(theirs), **SETTINGS)
    train(theirs, reference, 1)
    train(theirs, reference, 1)
    assert_same(ours, theirs)


def test_groups_left_out_stay_as_they_are_for_one_step():
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = FlatAdamW([{"params": [first]}, {"params": [second]}], lr=0.1, weight_decay=0.0)
    for left_out in (True, False):
        optimizer.zero_grad()
        (first.sum() + second.sum()).backward()
        if left_out:
            optimizer.leave_out_others([first])
        optimizer.step()
        moved = 1.0 if left_out else 0.9
        torch.testing.assert_close(second.detach(), torch.full((2,), moved))
    torch.testing.assert_close(first.detach(), torch.full((2,), 0.8))
    joined = FlatAdamW([{"params": [first, second]}], lr=0.1)
    with pytest.raises(ValueError, match="as a whole, or not at all"):
        joined.leave_out_others([first])
