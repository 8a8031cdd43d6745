"""The moving average of the weights that is judged and kept."""

import numpy as np
import pytest
import torch

from skvae.training.averages import EVERY, MovingAverage


def test_the_average_is_that_of_its_recursion():
    layer = torch.nn.Linear(3, 2)
    average = MovingAverage(layer, decay=0.9)
    expected = layer.weight.detach().clone()
    rng = torch.Generator().manual_seed(0)
    for step in range(1, 151):
        layer.weight.data.add_(torch.randn(2, 3, generator=rng))
        average.update()
        if step % EVERY == 0:
            number = step // EVERY
            kept = min(0.9**EVERY, (1 + number) / (10 + number))
            expected = kept * expected + (1 - kept) * layer.weight.detach()
    own = layer.weight.detach().clone()
    average.show()
    torch.testing.assert_close(layer.weight.detach(), expected)
    torch.testing.assert_close(average.trained()["weight"], own, rtol=0, atol=0)
    average.show()
    average.hide()
    torch.testing.assert_close(layer.weight.detach(), own, rtol=0, atol=0)


def test_frozen_weights_are_left_alone():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert list(MovingAverage(layer, 0.9).trained()) == ["weight"]


def test_training_has_the_steps_that_it_has_without_an_average(small_vae, clusters):
    """The average is looked at, and never trained on."""
    plain, averaged = (
        small_vae(ema_decay=decay, max_epochs=6).fit(clusters) for decay in (None, 0.9)
    )
    for without, with_average in zip(plain.history_, averaged.history_, strict=True):
        assert without["loss"] == with_average["loss"]
    assert not np.array_equal(plain.transform(clusters), averaged.transform(clusters))
    assert averaged.net_.average_ is None


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_held_out_rows_judge_the_average(small_vae, clusters):
    setting = {"early_stopping": True, "max_epochs": 6, "n_iter_no_change": 10}
    vae = small_vae(ema_decay=0.9, **setting).fit(clusters)
    noisy = small_vae(ema_decay=None, **setting).fit(clusters)
    losses = [
        [record["valid_loss"] - 7 * record["valid_alignment"] for record in each.history_]
        for each in (vae, noisy)
    ]
    assert losses[0] != losses[1]
    # What is kept is what had the best loss.
    once_more = small_vae(
        ema_decay=0.9, **{**setting, "max_epochs": int(np.argmin(losses[0])) + 1}
    )
    again = once_more.fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), again.transform(clusters))


def test_a_net_that_normalises_batches_is_kept_as_it_is(small_vae, clusters):
    def encoder(shape, latent_dim):
        return torch.nn.Sequential(
            torch.nn.Linear(shape[0], 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Linear(8, 2 * latent_dim),
        )

    plain, averaged = (
        small_vae(encoder=encoder, ema_decay=decay).fit(clusters) for decay in (None, 0.9)
    )
    np.testing.assert_array_equal(plain.transform(clusters), averaged.transform(clusters))
