"""The guard: the rule, what it does to training, and where it cannot work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvae import ConstantCollapseCertificate
from skvae.exceptions import UncertifiedWarning, WeakAlignmentWarning
from skvae.training.guard import HAND_BACK, HOLD_BACK, next_fraction
from skvae.vae.held_out import split_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.WeakAlignmentWarning"),
]

# Where collapse is the optimum: a decoder that gains nothing, alignment below beta.
DEAF = {"decoder_variance": 500.0, "alignment_weight": 0.5, "batch_size": 32}


@given(st.floats(0, 1), st.floats(-5, 5), st.floats(0, 3))
def test_fraction_stays_in_range_and_moves_the_right_way(fraction, margin, target):
    after = next_fraction(fraction, margin, target)
    assert 0 <= after <= 1
    assert (after <= fraction) if margin < target else (after >= fraction)


@given(st.lists(st.floats(-5, 5), max_size=60), st.floats(0, 3))
def test_below_the_target_the_weight_vanishes_and_above_it_all_comes_back(margins, target):
    fraction = 0.0
    for margin in margins:
        fraction = next_fraction(fraction, margin, target)
    low = fraction
    for _ in range(30):
        low = next_fraction(low, target - 1, target)
    assert low <= HOLD_BACK**30
    for _ in range(int(1 / HAND_BACK)):
        fraction = next_fraction(fraction, target, target)
    assert fraction == pytest.approx(1.0)


def replayed(history, beta, target, margin="margin"):
    fractions = [0.0]
    for record in history[:-1]:
        fractions.append(next_fraction(fractions[-1], record[margin], target))
    return [beta * fraction for fraction in fractions]


def test_history_shows_the_rule_at_work(small_vae, clusters):
    vae = small_vae(guard=0.5, beta=2.0, max_epochs=60, **DEAF).fit(clusters)
    betas = [record["beta"] for record in vae.history_]
    assert betas == pytest.approx(replayed(vae.history_, 2.0, 0.5))
    assert 0 < max(betas) < 2
    record = vae.history_[-1]
    weighted = record["reconstruction"] + betas[-1] * record["rate"] + 0.5 * record["alignment"]
    assert record["loss"] == pytest.approx(weighted)


def test_without_a_guard_beta_is_in_force_throughout(fitted):
    assert {record["beta"] for record in fitted.history_} == {1.0}


def test_guard_keeps_a_certificate_that_is_lost_without_it(small_vae, clusters):
    start = small_vae(alignment_weight=10.0, decoder_variance=500.0, max_epochs=60)
    start.fit(clusters)
    certificate = ConstantCollapseCertificate(latent="sample")
    assert certificate.certify(start, clusters).certified
    setting = {**DEAF, "warm_start": start, "max_epochs": 120}
    lost = small_vae(**setting).fit(clusters)
    kept = small_vae(guard=0.5, **setting).fit(clusters)
    assert not certificate.certify(lost, clusters).certified
    assert certificate.certify(kept, clusters).certified
    assert min(record["margin"] for record in kept.history_) > 0


def test_held_out_rows_decide_where_there_are_any(small_vae, clusters):
    vae = small_vae(
        guard=0.3, early_stopping=True, validation_fraction=0.3, max_epochs=60,
        n_iter_no_change=10, **DEAF,
    ).fit(clusters)  # fmt: skip
    betas = [record["beta"] for record in vae.history_]
    assert betas == pytest.approx(replayed(vae.history_, 1.0, 0.3, "valid_margin"))
    record = vae.history_[-1]
    at_full_beta = (
        record["valid_reconstruction"] + record["valid_rate"] + 0.5 * record["valid_alignment"]
    )
    assert record["valid_loss"] == pytest.approx(at_full_beta)


def test_patience_begins_when_the_weight_was_handed_back(small_vae, clusters):
    vae = small_vae(
        guard=0.1,
        alignment_weight=10.0,
        decoder_variance=20.0,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=2,
        max_epochs=400,
    ).fit(clusters)
    betas = [record["beta"] for record in vae.history_]
    assert vae.n_iter_ < 400
    assert max(betas) == 1.0


def test_rows_that_cannot_show_the_margin_leave_the_weight_as_it_is(small_vae, clusters):
    vae = small_vae(guard=0.3, alignment_weight=10.0, max_epochs=60).fit(clusters)
    assert vae.history_[-1]["beta"] == 1.0
    for row in range(5):
        vae.partial_fit(clusters[row : row + 1])
    assert vae.history_[-1]["beta"] == 1.0


def test_guard_that_no_epoch_reaches_says_so(small_vae, clusters):
    with pytest.warns(UncertifiedWarning, match=r"No epoch reached guard=0\.9 nats"):
        small_vae(guard=0.9, lr=1e-6, max_epochs=2).fit(clusters)


def test_held_out_rows_too_few_for_the_guard_are_refused(small_vae, clusters):
    vae = small_vae(guard=0.5, early_stopping=True, validation_fraction=0.1)
    with pytest.raises(ValueError, match=r"I_T = 0 on the held-out rows.*more rows"):
        vae.fit(clusters[::20])


def test_early_stopping_takes_the_best_of_the_guarded_epochs(small_vae, clusters):
    vae = small_vae(
        guard=0.5, early_stopping=True, validation_fraction=0.3, max_epochs=150, **DEAF
    ).fit(clusters)
    guarded = [r for r in vae.history_ if r["valid_margin"] >= 0.5]
    best = min(guarded, key=lambda record: record["valid_loss"])
    # Below the guard the loss at full beta is lower: it must not win.
    _, held_out, _ = split_rows(vae.validation_fraction, np.ones(len(clusters), bool), 0)
    again = ConstantCollapseCertificate(latent="sample").score(vae, clusters[held_out])
    assert again == pytest.approx(best["valid_margin"], abs=0.25)
    assert again > 0.25


def test_continued_training_goes_on_where_the_guard_stood(small_vae, clusters):
    whole = small_vae(guard=0.5, max_epochs=12, **DEAF).fit(clusters)
    parts = small_vae(guard=0.5, max_epochs=6, warm_start=True, **DEAF)
    parts.fit(clusters).fit(clusters)
    betas = [record["beta"] for record in parts.history_]
    assert betas == pytest.approx(replayed(parts.history_, 1.0, 0.5))
    assert betas[:6] == [record["beta"] for record in whole.history_[:6]]
    streamed = small_vae(guard=0.5, **DEAF)
    for _ in range(8):
        streamed.partial_fit(clusters)
    betas = [record["beta"] for record in streamed.history_]
    assert betas == pytest.approx(replayed(streamed.history_, 1.0, 0.5))


def test_guard_of_a_weak_alignment_needs_no_warning(small_vae, clusters, recwarn):
    small_vae(guard=0.2, max_epochs=1, **DEAF).fit(clusters)
    assert not [w for w in recwarn if issubclass(w.category, WeakAlignmentWarning)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment_weight": 0}, "never builds: pass a positive alignment_weight"),
        ({"beta": 0}, "beta=0 leaves nothing to hold: pass a positive beta"),
        ({"guard": 5.0}, r"can never be reached.*I_T = 1\.0"),
        ({"guard": -0.1}, "guard"),
        ({"guard": "high"}, "guard"),
    ],
)
def test_what_cannot_be_guarded_is_refused(small_vae, clusters, changes, message):
    vae = small_vae(**{"guard": 0.5, **changes})
    with pytest.raises(ValueError, match=message):
        vae.fit(clusters)
    assert not vae.__sklearn_is_fitted__()
