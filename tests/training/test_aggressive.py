"""Aggressive training: the rule, what it changes and what it leaves alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skvae.training import VAENet, is_aggressive
from skvae.training.criterion import Criterion

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

COLLAPSE_PRONE = {"alignment_weight": 0, "decoder_variance": 1.0, "batch_size": 45}


@given(st.lists(st.floats(0, 5), max_size=10))
def test_phase_ends_at_the_first_fall_and_stays_ended(information):
    history, before, expected = [], 0.0, True
    for value in information:
        history.append({"mutual_information": value} if expected else {"loss": 1.0})
        expected = expected and value > before
        before = value
        assert is_aggressive(history) == expected


def test_epochs_before_the_phase_was_asked_for_do_not_end_it():
    assert is_aggressive([{"loss": 1.0}] * 3)
    assert not is_aggressive([{"mutual_information": 1.0}, {"loss": 1.0}])


def test_encoder_steps_change_the_encoder_and_nothing_else(small_vae, clusters):
    net = small_vae(aggressive_steps=1, max_epochs=1).fit(clusters).net_
    before = {name: weight.clone() for name, weight in net.module_.state_dict().items()}
    net.module_.train()
    rows = torch.as_tensor(clusters[:20].copy(), dtype=torch.float32)
    net.encoder_step((rows, torch.full((20, 3), 1 / 3)), torch.Generator().manual_seed(0))
    changed = {
        name
        for name, weight in net.module_.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert changed == {name for name in before if name.startswith("encoder.")}
    stepped = {id(weight) for weight in net.optimizer_.moments()}
    assert stepped == {id(weight) for weight in net.module_.encoder.parameters()}


@pytest.fixture
def count_steps(monkeypatch):
    """Count the steps of the encoder alone and of all, epoch by epoch."""
    counts = {}

    def watch(name):
        step = getattr(VAENet, name)

        def counted(self, *args):
            epoch = self.history[-1, "epoch"]
            key = name, epoch
            counts[key] = counts.get(key, 0) + 1
            return step(self, *args)

        monkeypatch.setattr(VAENet, name, counted)

    watch("encoder_step")
    step = VAENet.train_step

    def counted(self, batch, generator):
        key = "train_step", self.history[-1, "epoch"]
        counts[key] = counts.get(key, 0) + 1
        return step(self, batch, generator)

    monkeypatch.setattr(VAENet, "train_step", counted)
    return counts


@pytest.mark.parametrize("early_stopping", [False, True])
def test_phase_is_as_long_as_the_information_rises(
    small_vae, clusters, count_steps, early_stopping
):
    vae = small_vae(
        aggressive_steps=3,
        max_epochs=40,
        early_stopping=early_stopping,
        n_iter_no_change=40,
        **COLLAPSE_PRONE,
    ).fit(clusters)
    information = [r["mutual_information"] for r in vae.history_ if "mutual_information" in r]
    length = len(information)
    assert 1 <= length < 40
    assert all("mutual_information" in record for record in vae.history_[:length])
    steps = np.diff([0.0, *information])
    assert (steps[:-1] > 0).all()
    assert steps[-1] <= 0
    for epoch in range(1, 41):
        joint = count_steps["train_step", epoch]
        assert joint == 4
        assert count_steps.get(("encoder_step", epoch), 0) == (
            3 * joint if epoch <= length else 0
        )


def test_continued_training_goes_on_where_the_phase_stood(small_vae, clusters):
    setting = {"aggressive_steps": 2, **COLLAPSE_PRONE}
    whole = small_vae(max_epochs=30, **setting).fit(clusters)
    streamed = small_vae(**setting)
    for _ in range(30):
        streamed.partial_fit(clusters)
    for one, other in zip(whole.history_, streamed.history_, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    np.testing.assert_array_equal(whole.transform(clusters), streamed.transform(clusters))


def test_encoder_ahead_keeps_more_in_the_code(small_vae, clusters):
    """The first epochs are those in which a lagging encoder loses its code."""
    setting = {"max_epochs": 5, "lr": 1e-3, **COLLAPSE_PRONE}
    plain = small_vae(**setting).fit(clusters)
    ahead = small_vae(aggressive_steps=20, **setting).fit(clusters)
    assert ahead.history_[-1]["elbo"] > plain.history_[-1]["elbo"]
    assert ahead.history_[-1]["rate"] > 1.5 * plain.history_[-1]["rate"]


def test_same_seed_same_bits(small_vae, clusters):
    one, other = (small_vae(aggressive_steps=2).fit(clusters) for _ in range(2))
    np.testing.assert_array_equal(one.transform(clusters), other.transform(clusters))


def test_phase_may_be_asked_for_and_dropped_between_calls(small_vae, clusters):
    vae = small_vae().partial_fit(clusters)
    for steps in (2, 0, 1):
        before = vae.history_[-1]["loss"]
        vae.set_params(aggressive_steps=steps).partial_fit(clusters)
        assert vae.history_[-1]["loss"] < before
    assert ["mutual_information" in record for record in vae.history_] == [0, 1, 0, 0]


def test_the_encoder_is_stepped_at_the_weight_of_the_step_that_follows(
    small_vae, clusters, monkeypatch
):
    seen = []
    total = Criterion.total

    def watched(self, sums, n_rows):
        seen.append(self.kl_fraction)
        return total(self, sums, n_rows)

    monkeypatch.setattr(Criterion, "total", watched)
    # The closed form of the usual objective makes no total.
    setting = {"alignment_weight": 0, "max_epochs": 1, "batch_size": 60, "mmd_weight": 0.1}
    small_vae(aggressive_steps=2, kl_warmup=1.0, **setting).fit(clusters)
    assert seen == [0, 0, 0, *[seen[3]] * 3, *[seen[6]] * 3]
    assert 0 < seen[3] < seen[6]


def test_frozen_weights_of_the_encoder_are_left_out(small_vae, clusters):
    encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
    encoder[0].weight.requires_grad_(False)
    vae = small_vae(encoder=encoder, aggressive_steps=2).fit(clusters)
    (kept,) = (w for n, w in vae.net_.module_.encoder.named_parameters() if not w.requires_grad)
    assert torch.equal(kept, encoder[0].weight)
