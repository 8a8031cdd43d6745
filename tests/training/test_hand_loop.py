"""The benchmarks time this library against the same work, written by hand."""

import functools

import numpy as np
import pytest
import torch
from benchmarks.hand_loop import HandWrittenVAE, encode, margin, optimizer_of, train_epoch
from torch import nn, optim
from torch.optim import lr_scheduler

from skvae import information
from skvae._common.randomness import torch_generator
from skvae.nets.convolutions import convolutional_decoder, convolutional_encoder
from skvae.nets.networks import VariationalAutoencoder
from skvae.rows.scaling import Standardization

STEPS = 50
LR = 1e-3
SEED = 3
WEIGHTS = {"beta": 0.7, "alignment_weight": 5.0}
DECODER_VARIANCE = 0.4


HIDDEN = (16, 8)
LATENT_DIM = 3
# Columns are pixels; a code of one place is upsampled twice, and cut in between.
IMAGES = {"architecture": "conv", "image_shape": (1, 2, 2), "channels": (3, 5)}


class Clipped:
    """An optimiser of torch that clips before a step, and moves its rate after it."""

    def __init__(self, optimizer, schedule=None, max_norm=None):
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_norm = max_norm
        self.zero_grad = optimizer.zero_grad

    def step(self):
        if self.max_norm is not None:
            (group,) = self.optimizer.param_groups
            nn.utils.clip_grad_norm_(group["params"], self.max_norm)
        self.optimizer.step()
        if self.schedule is not None and self.schedule.last_epoch < STEPS - 1:
            self.schedule.step()


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS, cycle_momentum=False)


def cosine(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def halving(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 ** (step / STEPS))


# What a user asks for, and the same of torch.
WAYS = {
    "default": ({}, lambda model: optimizer_of(model, lr=LR)),
    "momentum": (
        {"optimizer": functools.partial(optim.SGD, momentum=0.9)},
        lambda model: optim.SGD(model.parameters(), lr=LR, momentum=0.9),
    ),
    "one cycle": (
        {"lr_schedule": "one-cycle"},
        lambda model: Clipped(adamw := optimizer_of(model, lr=LR), one_cycle(adamw)),
    ),
    "cosine and clipping": (
        {"lr_schedule": "cosine", "max_grad_norm": 1.0},
        lambda model: Clipped(adamw := optimizer_of(model, lr=LR), cosine(adamw), 1.0),
    ),
    "all of it": (
        {
            "optimizer": functools.partial(optim.SGD, momentum=0.9, nesterov=True),
            "lr_schedule": lambda progress: 0.5**progress,
            "max_grad_norm": 1.0,
        },
        lambda model: Clipped(
            sgd := optim.SGD(model.parameters(), lr=LR, momentum=0.9, nesterov=True),
            halving(sgd),
            1.0,
        ),
    ),
}


CASES = {
    "dense": (1, {}, "default"),
    "conv": (1, IMAGES, "default"),
    "conv, batches": (5, IMAGES, "default"),
    **{f"dense, batches, {way}": (5, {}, way) for way in WAYS},
}


@pytest.mark.parametrize(("steps_an_epoch", "architecture", "way"), CASES.values(), ids=CASES)
def test_fifty_steps_are_those_of_the_loop_by_hand(
    small_vae, clusters, steps_an_epoch, architecture, way
):
    asked, reference = WAYS[way]
    n_epochs, batch_size = STEPS // steps_an_epoch, -(-len(clusters) // steps_an_epoch)
    vae = small_vae(
        latent_dim=LATENT_DIM,
        hidden_layer_sizes=HIDDEN,
        decoder_variance=DECODER_VARIANCE,
        max_epochs=n_epochs,
        batch_size=batch_size,
        lr=LR,
        random_state=SEED,
        **asked,
        **WEIGHTS,
        **architecture,
    ).fit(clusters)

    T = vae.teacher_.predict_proba(clusters)
    units = Standardization.of(clusters)
    model = HandWrittenVAE(4, 3, hidden=HIDDEN, latent_dim=LATENT_DIM)
    if architecture:
        units = units.pooled(1)
        layers = (IMAGES["image_shape"], LATENT_DIM, IMAGES["channels"], torch.Generator())
        model.encoder = convolutional_encoder(*layers)
        model.decoder = nn.Sequential(*convolutional_decoder(*layers), nn.Flatten())
    variance = torch.as_tensor(DECODER_VARIANCE / units.scale**2, dtype=torch.float32)
    copy_initial_weights(model, vae, T, variance, architecture)
    optimizer = reference(model)
    losses = [
        train_epoch(
            model,
            optimizer,
            torch.from_numpy(units.apply(clusters)),
            torch.as_tensor(T, dtype=torch.float32),
            variance,
            batch_size=batch_size,
            order=torch_generator(SEED, "shuffle", epoch),
            noise=torch_generator(SEED, "noise", epoch),
            **WEIGHTS,
        )
        for epoch in range(1, n_epochs + 1)
    ]

    ours = np.array([record["loss"] for record in vae.history_]) - units.log_scale_sum
    np.testing.assert_allclose(ours, losses, rtol=1e-5)
    assert ours[-1] < ours[0]
    trained = vae.net_.module_
    for by_hand, layers in pairs(model, trained):
        for expected, found in zip(by_hand.parameters(), layers.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def copy_initial_weights(model, vae, T, variance, architecture):
    begun = VariationalAutoencoder(
        n_features=vae.n_features_in_,
        latent_dim=vae.latent_dim,
        hidden_layer_sizes=vae.hidden_layer_sizes,
        likelihood="gaussian",
        log_variance=torch.log(variance),
        log_variance_floor=None,
        average_teacher=T.mean(axis=0),
        witness="linear",
        witness_scale=vae.witness_scale,
        witness_input="sample",
        precision="fp32",
        seed=SEED,
        **architecture,
    )
    for by_hand, layers in pairs(model, begun):
        by_hand.load_state_dict(layers.state_dict())


def pairs(model, module):
    return [
        (model.encoder, module.encoder.layers),
        (model.decoder, module.decoder.layers),
        (model.witness, module.witness.head),
    ]


def test_margin_by_hand_is_that_of_the_rows(clusters):
    net = HandWrittenVAE(clusters.shape[1], 3, (8,), latent_dim=2)
    with torch.no_grad():
        # Without noise a draw of the code is its mean.
        net.encoder[-1].bias[2:] = -200.0
    units = Standardization.of(clusters)
    rows = torch.tensor(clusters, dtype=torch.float32)
    center, scale = (
        torch.as_tensor(each, dtype=torch.float32) for each in (units.center, units.scale)
    )
    T = torch.as_tensor(np.random.default_rng(0).dirichlet(np.ones(3), len(rows))).float()
    with torch.no_grad():
        codes = encode(net, rows, center, scale, batch_size=7)[0]
        log_witness = torch.log_softmax(net.witness(codes), dim=1)
    expected = information.margin(T.numpy(), log_witness.numpy())
    assert margin(net, rows, center, scale, T) == pytest.approx(expected, abs=1e-5)
