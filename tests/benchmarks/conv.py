"""Seconds an epoch of a convolutional net on colour patches against a loop by hand.

    python tests/benchmarks/conv.py --out FOLDER

The layers of the loop are those of the estimator: what is compared is all around them. What
products a convolution comes down to is its library's choice, so there is no floor here.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import torch
from hand_loop import HandWrittenVAE, optimizer_of, train_epoch
from sklearn.frozen import FrozenEstimator
from timing import Session, parser, time_of_an_epoch
from torch import nn

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.convolutions import convolutional_decoder, convolutional_encoder
from skvae.datasets import patches
from skvae.scaling import Standardization

BATCH_SIZES = (64, 128, 256, 512, 1024)
LEAST_BATCH_SIZE_OF_BF16 = 256
N_PATCHES = 1_024
CHANNELS = (16, 32)
LATENT_DIM = 16
DECODER_VARIANCE = 0.01
WEIGHTS = {"beta": 1.0, "alignment_weight": 10.0}


def by_hand(rows, targets, variance, image_shape, batch_size):
    def train(n_epochs):
        generator = torch.Generator().manual_seed(0)
        model = HandWrittenVAE(rows.shape[1], targets.shape[1], (), LATENT_DIM)
        layers = (image_shape, LATENT_DIM, CHANNELS, generator)
        model.encoder = convolutional_encoder(*layers).to(memory_format=torch.channels_last)
        model.decoder = nn.Sequential(convolutional_decoder(*layers), nn.Flatten()).to(
            memory_format=torch.channels_last
        )
        optimizer = optimizer_of(model)
        for _ in range(n_epochs):
            train_epoch(
                model, optimizer, rows, targets, variance, batch_size=batch_size, **WEIGHTS
            )

    return train


def ours(data, teacher, batch_size, precision="fp32"):
    def train(n_epochs):
        TeacherGuidedVAE(
            architecture="conv",
            image_shape=data.image_shape,
            channels=CHANNELS,
            latent_dim=LATENT_DIM,
            teacher=FrozenEstimator(teacher),
            decoder_variance=DECODER_VARIANCE,
            batch_size=batch_size,
            max_epochs=n_epochs,
            device="cpu",
            precision=precision,
            random_state=0,
            **WEIGHTS,
        ).fit(data.data)

    return train


def main():
    command = parser(__doc__)
    command.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES)
    options = command.parse_args()
    # One epoch certifies nothing, and says so.
    warnings.simplefilter("ignore")
    session = Session("conv", options)
    data = patches(N_PATCHES)
    teacher = GaussianMixtureTeacher(random_state=0).fit(data.data)
    units = Standardization.of(data.data).pooled(data.image_shape[0])
    rows = torch.from_numpy(units.apply(data.data))
    targets = torch.as_tensor(teacher.predict_proba(data.data), dtype=torch.float32)
    variance = torch.as_tensor(DECODER_VARIANCE / np.square(units.scale), dtype=torch.float32)
    for batch_size in options.batch_sizes:
        trainings = {
            "skvae": ours(data, teacher, batch_size),
            "loop by hand": by_hand(rows, targets, variance, data.image_shape, batch_size),
        }
        if batch_size >= LEAST_BATCH_SIZE_OF_BF16:
            trainings["skvae, bf16"] = ours(data, teacher, batch_size, "bf16")
        session.compare(
            f"patches, {len(rows):,} x {rows.shape[1]}, batch {batch_size}",
            trainings,
            ("loop by hand",),
            partial(time_of_an_epoch, n_epochs=1),
        )
    session.close()


if __name__ == "__main__":
    main()
