"""What a fit warns of where it is not certified: by which number, and what it says to do."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

from skvae import ConstantCollapseCertificate, PrecomputedTeacher
from skvae.exceptions import UncertifiedWarning
from skvae.vae.advice import warn_if_uncertified
from skvae.vae.new_rows import HeldOut

HELD_OUT = {"early_stopping": True, "validation_fraction": 0.3}


def messages_of(vae, X, **views):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.fit(X, **views)
    return [str(each.message) for each in caught if each.category is UncertifiedWarning]


@pytest.fixture(scope="module")
def many_clusters():
    rng = np.random.default_rng(1)
    centers = np.array([[4.0, 0, 0, 1], [0, 4.0, 0, 1], [0, 0, 4.0, 1]])
    return centers[rng.integers(0, 3, 600)] + 0.5 * rng.standard_normal((600, 4))


@pytest.mark.parametrize("witness_input", ["sample", "mean"])
def test_bound_of_the_held_out_rows_is_that_of_the_epoch_that_was_kept(
    small_vae, clusters, witness_input
):
    # A learning rate that spoils what the first epochs found.
    vae = small_vae(
        **HELD_OUT, max_epochs=30, n_iter_no_change=3, lr=0.1, witness_input=witness_input
    )
    messages_of(vae, clusters)
    found = vae._fitted.held_out
    bounds = [record["valid_lower_bound"] for record in vae.history_]
    kept = int(np.argmin(np.abs(np.array(bounds) - found.lower_bound)))
    assert kept < len(bounds) - 1
    assert found.lower_bound == pytest.approx(bounds[kept], abs=1e-5)
    assert found.margin == pytest.approx(vae.history_[kept]["valid_margin"], abs=1e-5)
    assert found.n_samples == 54


def test_a_held_out_margin_of_next_to_nothing_is_no_certificate(small_vae, many_clusters):
    """A margin above zero on the training rows, however small, kept it silent before."""
    vae = small_vae(**HELD_OUT, max_epochs=1, lr=1e-4, alignment_weight=3.0)
    (message,) = messages_of(vae, many_clusters)
    assert 0 < vae.margin_ < 0.05 * vae.teacher_information_
    assert vae.history_[-1]["valid_lower_bound"] < 0
    assert message.startswith("Not certified: the 0.95 lower bound on the margin is -")
    assert "on the 180 held-out rows" in message
    assert re.search(
        r"Train longer \(n_iter_no_change, now 10; .*raise alignment_weight", message
    )
    # What it says works.
    assert messages_of(vae.set_params(max_epochs=200, lr=1e-2), many_clusters) == []


def test_an_epoch_that_was_not_kept_is_named(small_vae, many_clusters):
    """Where the loss is ruled by something else than the margin."""
    vae = small_vae(**HELD_OUT, max_epochs=30, n_iter_no_change=30, lr=3e-2)
    messages_of(vae, many_clusters)
    history = [{**record, "valid_margin": 0.7} for record in vae.history_[:3]]
    vae.history_ = history
    vae._fitted = replace(
        vae._fitted, held_out=HeldOut(180, vae.teacher_information_, 7e-5, -0.03, None)
    )
    with pytest.warns(UncertifiedWarning, match=r"Another epoch had 0\.7, and a higher loss"):
        warn_if_uncertified(vae)


def test_a_fit_that_was_interrupted_before_its_first_epoch_ended_is_told_to_train(
    small_vae, many_clusters
):
    vae = small_vae(**HELD_OUT, max_epochs=1, lr=1e-4)
    messages_of(vae, many_clusters)
    vae.history_ = []
    with pytest.warns(UncertifiedWarning, match="Train longer"):
        warn_if_uncertified(vae)


def test_too_few_held_out_rows_are_told_how_many_would_do(small_vae, many_clusters):
    vae = small_vae(
        early_stopping=True, validation_fraction=0.04, max_epochs=200, random_state=1
    )
    (message,) = messages_of(vae, many_clusters[:300])
    needed = int(re.search(r"certify (\d+) or more that were not in fit", message)[1])
    assert 12 < needed < 100
    fresh = many_clusters[300 : 300 + needed]
    assert ConstantCollapseCertificate(latent="sample").certify(vae, fresh).certified
    hold_out = vae.set_params(validation_fraction=needed / 300)
    assert messages_of(hold_out, many_clusters[:300]) == []


def test_held_out_rows_of_one_kind_are_too_few(small_vae, clusters):
    vae = small_vae(early_stopping=True, validation_fraction=0.02, max_epochs=100)
    (message,) = messages_of(vae, clusters)
    assert vae._fitted.held_out.n_samples == 4
    assert "Hold out more of them" in message or "certify" in message


def test_a_fit_too_close_to_its_rows_is_told_so(small_vae):
    """Targets that are chance: they can be learnt by heart, and no other way."""
    rng = np.random.default_rng(0)
    X, T = rng.standard_normal((100, 20)), rng.dirichlet([0.3, 0.3], 100)
    vae = small_vae(
        **HELD_OUT,
        teacher=PrecomputedTeacher(),
        latent_dim=8,
        hidden_layer_sizes=(64,),
        max_epochs=60,
        n_iter_no_change=60,
        alignment_weight=100.0,
    )
    (message,) = messages_of(vae, X, X_teacher=T)
    assert vae.margin_ < 0.1 * vae.teacher_information_
    assert "On the training rows it came to" in message
    assert "fewer components, or more rows" in message


@pytest.mark.parametrize(("last", "advice"), [(0.005, "Train longer"), (-0.2, "too closely")])
def test_a_held_out_margin_that_still_rises_is_no_fit_too_close(
    small_vae, many_clusters, last, advice
):
    vae = small_vae(**HELD_OUT, max_epochs=3, lr=1e-4)
    messages_of(vae, many_clusters)
    margins = zip((0.1, 0.2, 0.32), (-0.3, -0.1, last), strict=True)
    vae.history_ = [{"margin": one, "valid_margin": other} for one, other in margins]
    vae._fitted = replace(
        vae._fitted, held_out=HeldOut(180, vae.teacher_information_, last, -2.0, 30)
    )
    with pytest.warns(UncertifiedWarning, match=advice):
        warn_if_uncertified(vae)


def test_one_row_beside_which_all_others_are_alike_is_looked_for(small_vae, clusters):
    X = clusters.copy()
    X[0] = 1e6
    vae = small_vae(**HELD_OUT, teacher=None, max_epochs=2, alignment_weight=2.0)
    (message,) = messages_of(vae, X)
    assert vae.teacher_information_ < 0.1
    assert "look for extreme values in X" in message
    assert "too closely" not in message


def test_without_held_out_rows_the_training_margin_decides(small_vae, clusters):
    assert messages_of(small_vae(max_epochs=60), clusters) == []
    (message,) = messages_of(
        small_vae(max_epochs=1, lr=1e-8, alignment_weight=2.0, random_state=3), clusters
    )
    assert "margin on the training rows" in message
    assert messages_of(small_vae(alignment_weight=0, **HELD_OUT), clusters) == []


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_notebook_shows_the_margin_below_the_diagram(small_vae, clusters, early_stopping):
    vae = small_vae(early_stopping=early_stopping, max_epochs=1, alignment_weight=0)
    assert "Margin" not in vae._repr_html_()
    shown = vae.fit(clusters)._repr_html_()
    margin = vae._fitted.held_out.margin if early_stopping else vae.margin_
    rows = "held-out" if early_stopping else "training"
    assert f"<p>Margin on the {rows} rows: {margin:.3g} of I_T = " in shown
