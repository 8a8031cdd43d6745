"""Schedules of the KL weight and of the learning rate: the rules, and what they do."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch.callbacks import Callback, LRScheduler

from skvae.training import KLSchedule, LRSchedule

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

cycles = st.integers(1, 7)
warmups = st.floats(0.01, 1)


@given(st.integers(7, 500), warmups, cycles)
def test_weight_rises_within_each_cycle_and_is_over_after_the_last(n_steps, warmup, n_cycles):
    schedule = KLSchedule(n_steps, warmup, n_cycles)
    fractions = [schedule.fraction(step) for step in range(n_steps)]
    assert fractions[0] == 0
    assert all(0 <= fraction <= 1 for fraction in fractions)
    falls = [step for step in range(1, n_steps) if fractions[step] < fractions[step - 1]]
    starts = {-(-cycle * n_steps // n_cycles) for cycle in range(1, n_cycles)}
    assert set(falls) <= starts
    over = [schedule.is_over(step) for step in range(n_steps)]
    # Over in a step: the last cycle has begun, and the weight is whole from there on.
    last = max(starts, default=0)
    for step in range(n_steps):
        assert over[step] == (step >= last and min(fractions[step:]) == 1)


@given(st.integers(1, 60), warmups, cycles)
def test_cycles_are_equal(cycle_steps, warmup, n_cycles):
    schedule = KLSchedule(cycle_steps * n_cycles, warmup, n_cycles)
    once = KLSchedule(cycle_steps, warmup)
    for step in range(cycle_steps * n_cycles):
        assert schedule.fraction(step) == pytest.approx(once.fraction(step % cycle_steps))


@given(st.integers(10, 500), warmups)
def test_rise_is_a_line(n_steps, warmup):
    schedule = KLSchedule(n_steps, warmup)
    for step in range(int(warmup * n_steps)):
        assert schedule.fraction(step) == pytest.approx(step / (warmup * n_steps))


def expected_betas(n_epochs, warmup, n_cycles, steps=3, beta=1.0):
    """Weight in the last step of each epoch."""
    schedule = KLSchedule(n_epochs * steps, warmup, n_cycles)
    return [beta * schedule.fraction(epoch * steps - 1) for epoch in range(1, n_epochs + 1)]


@pytest.mark.parametrize(("warmup", "n_cycles"), [(0.5, 1), (1.0, 1), (0.5, 3)])
def test_history_has_the_weight_of_the_last_step(small_vae, clusters, warmup, n_cycles):
    # 180 rows in batches of 70: three steps an epoch, the last one smaller.
    vae = small_vae(
        kl_warmup=warmup, kl_cycles=n_cycles, beta=2.0, max_epochs=6, batch_size=70
    ).fit(clusters)
    betas = [record["beta"] for record in vae.history_]
    assert betas == pytest.approx(expected_betas(6, warmup, n_cycles, beta=2.0))
    for record in vae.history_:
        weighted = record["reconstruction"] + record["beta"] * record["rate"]
        assert record["loss"] == pytest.approx(weighted + 10 * record["alignment"])


def test_weights_of_single_steps_reach_the_criterion(small_vae, clusters, monkeypatch):
    from skvae.training.criterion import Criterion

    seen = []
    total = Criterion.total

    def watched(self, sums, n_rows):
        seen.append(self.effective_beta)
        return total(self, sums, n_rows)

    monkeypatch.setattr(Criterion, "total", watched)
    # The closed form of the usual objective makes no total.
    setting = {"max_epochs": 4, "batch_size": 90, "mmd_weight": 0.1}
    small_vae(kl_warmup=0.5, kl_cycles=2, **setting).fit(clusters)
    assert seen == pytest.approx([0, 0.5, 1, 1, 0, 0.5, 1, 1])


def test_held_out_losses_are_at_the_whole_weight(small_vae, clusters):
    vae = small_vae(
        kl_warmup=0.5, beta=2.0, early_stopping=True, validation_fraction=0.3, max_epochs=6
    ).fit(clusters)
    for record in vae.history_:
        whole = record["valid_reconstruction"] + 2 * record["valid_rate"]
        expected = whole + 10 * record["valid_alignment"]
        assert record["valid_loss"] == pytest.approx(expected)


@pytest.mark.parametrize(("n_cycles", "epochs"), [(1, 7), (2, 9)])
def test_patience_begins_after_the_last_warm_up(small_vae, clusters, n_cycles, epochs):
    # Nothing improves by so much: training stops in the second epoch that counts.
    setting = {"early_stopping": True, "n_iter_no_change": 1, "tol": 1e6, "max_epochs": 10}
    assert small_vae(**setting).fit(clusters).n_iter_ == 2
    vae = small_vae(kl_warmup=0.5, kl_cycles=n_cycles, **setting).fit(clusters)
    # One rise ends with epoch 5, the last of two in the middle of epoch 8.
    assert vae.n_iter_ == epochs


def test_each_fit_counts_its_own_steps(small_vae, clusters):
    vae = small_vae(kl_warmup=0.5, max_epochs=4, batch_size=60, warm_start=True)
    vae.fit(clusters).fit(clusters)
    betas = [record["beta"] for record in vae.history_]
    assert betas == pytest.approx(2 * expected_betas(4, 0.5, 1))
    vae.set_params(kl_warmup=0.0).fit(clusters)
    assert [record["beta"] for record in vae.history_[8:]] == [1.0] * 4


def test_partial_fit_has_no_number_of_steps_and_says_so(small_vae, clusters):
    vae = small_vae(kl_warmup=0.5)
    assert not hasattr(vae, "partial_fit")
    with pytest.raises(AttributeError) as error:
        vae.partial_fit(clusters)
    assert "kl_warmup=0.5 is a share of all training steps" in str(error.value.__cause__)
    assert vae.set_params(kl_warmup=0).partial_fit(clusters).n_iter_ == 1


def test_capacity_rises_in_place_of_the_weight(small_vae, clusters):
    setting = {"kl_capacity": 3.0, "alignment_weight": 0, "max_epochs": 60}
    vae = small_vae(kl_warmup=0.5, beta=50.0, **setting).fit(clusters)
    assert {record["beta"] for record in vae.history_} == {50.0}
    rates = [record["rate"] for record in vae.history_]
    assert rates[10] < 1.5
    assert rates[-1] == pytest.approx(3.0, abs=0.3)


def test_more_cycles_than_steps_are_refused(small_vae, clusters):
    vae = small_vae(kl_warmup=0.5, kl_cycles=11, batch_size=90, max_epochs=5)
    with pytest.raises(ValueError, match="kl_cycles=11 are more than the 10 steps"):
        vae.fit(clusters)
    assert vae.set_params(kl_cycles=10).fit(clusters).n_iter_ == 5


def rates_of_torch(shape, n_steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedules = torch.optim.lr_scheduler
    if shape == "one-cycle":
        schedule = schedules.OneCycleLR(
            optimizer, 1.0, total_steps=n_steps, cycle_momentum=False
        )
    else:
        schedule = schedules.CosineAnnealingLR(optimizer, n_steps)
    rates = []
    for step in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < n_steps:
            schedule.step()
    return rates


@pytest.mark.parametrize("shape", ["one-cycle", "cosine"])
@given(n_steps=st.integers(1, 200))
def test_rates_are_those_of_torch(shape, n_steps):
    schedule = LRSchedule(n_steps, shape)
    factors = [schedule.factor(step) for step in range(n_steps)]
    np.testing.assert_allclose(factors, rates_of_torch(shape, n_steps), rtol=0, atol=1e-12)


@given(st.integers(1, 200))
def test_a_function_is_given_the_share_of_the_steps_taken(n_steps):
    schedule = LRSchedule(n_steps, lambda progress: progress)
    factors = [schedule.factor(step) for step in range(n_steps)]
    assert factors == [step / n_steps for step in range(n_steps)]


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "fast", None, True])
def test_factors_that_are_none_are_refused_before_anything_is_fitted(
    small_vae, clusters, value, monkeypatch
):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr("skvae.vae.course.fit_teacher", never)
    with pytest.raises(ValueError, match="lr_schedule must return a finite factor"):
        small_vae(lr_schedule=lambda progress: value).fit(clusters)


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD])
@pytest.mark.parametrize("aggressive_steps", [0, 2])
def test_history_has_the_rate_of_the_last_step(
    small_vae, clusters, optimizer, aggressive_steps
):
    # 180 rows in batches of 70: three steps an epoch. Those of the encoder do not count.
    vae = small_vae(
        lr_schedule="one-cycle",
        optimizer=optimizer,
        aggressive_steps=aggressive_steps,
        max_epochs=4,
        batch_size=70,
        lr=1e-3,
    ).fit(clusters)
    schedule = LRSchedule(12, "one-cycle")
    expected = [1e-3 * schedule.factor(step) for step in (2, 5, 8, 11)]
    assert [record["lr"] for record in vae.history_] == pytest.approx(expected)
    assert "lr" not in small_vae().fit(clusters).history_[0]


def test_every_group_of_weights_has_its_own_rate_times_the_factor(small_vae, clusters):
    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, net, **kwargs):
            self.seen.append([group["lr"] for group in net.optimizer_.param_groups])

    rates = Rates()
    small_vae(
        callbacks=[rates], lr_schedule="cosine", max_epochs=2, batch_size=60, lr=0.01
    ).fit(clusters)
    factors = np.array([LRSchedule(6, "cosine").factor(step) for step in range(6)])
    # A learned log variance has ten times the rate.
    np.testing.assert_allclose(rates.seen, np.outer(factors, [0.1, 0.01]))


def test_a_schedule_of_ones_changes_no_bit(small_vae, clusters):
    plain = small_vae().fit(clusters)
    ones = small_vae(lr_schedule=lambda progress: 1.0).fit(clusters)
    np.testing.assert_array_equal(plain.transform(clusters), ones.transform(clusters))


def test_training_that_stops_early_ends_at_the_rate_of_its_last_step(small_vae, clusters):
    vae = small_vae(
        lr_schedule="cosine",
        early_stopping=True,
        n_iter_no_change=1,
        tol=1e6,
        max_epochs=10,
        batch_size=200,
    ).fit(clusters)
    assert vae.n_iter_ == 2
    assert vae.history_[-1]["lr"] == pytest.approx(1e-2 * LRSchedule(10, "cosine").factor(1))


def test_each_fit_lays_the_schedule_out_anew_and_partial_fit_refuses_it(small_vae, clusters):
    vae = small_vae(lr_schedule="cosine", max_epochs=3, warm_start=True)
    vae.fit(clusters).fit(clusters)
    rates = [record["lr"] for record in vae.history_]
    assert rates[:3] == rates[3:]
    assert not hasattr(vae, "partial_fit")
    with pytest.raises(AttributeError) as error:
        vae.partial_fit(clusters)
    assert "lr_schedule='cosine' is laid out over all" in str(error.value.__cause__)
    assert vae.set_params(lr_schedule=None).partial_fit(clusters).n_iter_ == 7


def test_two_schedules_of_the_rate_are_refused(small_vae, clusters):
    vae = small_vae(lr_schedule="cosine", callbacks=[LRScheduler("StepLR", step_size=1)])
    with pytest.raises(ValueError, match="'LRScheduler' both set the learning rate"):
        vae.fit(clusters)
