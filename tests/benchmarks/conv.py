"""Seconds an epoch of a convolutional net on colour patches against loops by hand.

    python tests/benchmarks/conv.py --out FOLDER

The layers of the loops are those of the estimator, passed through by autograd. One loop
leaves images in the memory layout that PyTorch makes them in; the other, like the estimator,
puts channels last. What products a convolution comes down to is its library's choice, so
there is no floor here.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import torch
from contenders import by_hand, gains_by_bf16, ours
from hand_loop import HandWrittenVAE
from timing import Session, parser, time_of_an_epoch
from torch import nn

from skvae import GaussianMixtureTeacher
from skvae.datasets import patches
from skvae.nets.convolutions import AsImages, convolutional_decoder, convolutional_encoder
from skvae.rows.scaling import Standardization

BATCH_SIZES = (64, 128, 256, 512, 1024)
N_PATCHES = 1_024
# An epoch is the difference of two trainings: so many more make it stand out.
EPOCHS_MORE = 6
CHANNELS = (16, 32)
LATENT_DIM = 16
DECODER_VARIANCE = 0.01


def model_by_hand(n_features, n_components, image_shape, channels_last):
    generator = torch.Generator().manual_seed(0)
    model = HandWrittenVAE(n_features, n_components, (), LATENT_DIM)
    layers = (image_shape, LATENT_DIM, CHANNELS, generator)
    model.encoder = convolutional_encoder(*layers)
    model.decoder = nn.Sequential(*convolutional_decoder(*layers), nn.Flatten())
    if channels_last:
        return model.to(memory_format=torch.channels_last)
    for part in (model.encoder, model.decoder):
        for place, layer in enumerate(part):
            if isinstance(layer, AsImages):
                part[place] = nn.Unflatten(1, layer.image_shape)
    return model


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
    settings = {
        "architecture": "conv",
        "image_shape": data.image_shape,
        "channels": CHANNELS,
        "latent_dim": LATENT_DIM,
        "decoder_variance": DECODER_VARIANCE,
    }
    sizes = (rows.shape[1], targets.shape[1], data.image_shape)
    loops = {
        "loop by hand": partial(model_by_hand, *sizes, channels_last=False),
        "loop by hand, channels last": partial(model_by_hand, *sizes, channels_last=True),
    }
    for batch_size in options.batch_sizes:
        settings["batch_size"] = batch_size
        trainings = {
            "skvae": ours(data.data, teacher, **settings),
            **{
                name: by_hand(make_model, rows, targets, variance, batch_size)
                for name, make_model in loops.items()
            },
        }
        if gains_by_bf16(batch_size):
            trainings["skvae, bf16"] = ours(data.data, teacher, precision="bf16", **settings)
        session.compare(
            f"patches, {len(rows):,} x {rows.shape[1]}, batch {batch_size}",
            trainings,
            tuple(loops),
            partial(time_of_an_epoch, n_epochs=EPOCHS_MORE),
        )
    session.close()


if __name__ == "__main__":
    main()
