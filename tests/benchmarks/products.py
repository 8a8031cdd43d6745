"""The matrix products of the net alone: a floor that no way of training it gets below."""

from __future__ import annotations

from itertools import pairwise

import torch

HIDDEN = (256, 256)
LATENT_DIM = 16


def encoder_sizes(n_features):
    """Return (inputs, outputs) of each layer of the encoder."""
    return list(pairwise([n_features, *HIDDEN, 2 * LATENT_DIM]))


def decoder_sizes(n_features):
    """Return (inputs, outputs) of each layer of the decoder."""
    return list(pairwise([LATENT_DIM, *reversed(HIDDEN), n_features]))


class Products:
    """Products of some layers at one batch size, on matrices that are there beforehand.

    Parameters
    ----------
    sizes : list of (int, int)
        Inputs and outputs of each layer; the first needs no gradient of its input.
    batch_size : int
        Rows.
    **kind
        Device and type of the matrices; by default float32 in memory.
    """

    def __init__(self, sizes, batch_size, **kind):
        self.layers = []
        for n_in, n_out in sizes:
            x, y = torch.randn(batch_size, n_in, **kind), torch.randn(batch_size, n_out, **kind)
            self.layers.append((x, torch.randn(n_out, n_in, **kind), y))
        self.outputs = [torch.empty_like(y) for _, _, y in self.layers]
        self.weight_gradients = [torch.empty_like(w) for _, w, _ in self.layers]
        self.input_gradients = [torch.empty_like(x) for x, _, _ in self.layers]

    def forward(self):
        """Take the product of each layer."""
        for (x, weight, _), output in zip(self.layers, self.outputs, strict=True):
            torch.mm(x, weight.T, out=output)

    def backward(self):
        """Take the two products of each layer's gradients, but one for the first."""
        for i, (x, weight, gradient) in enumerate(self.layers):
            torch.mm(gradient.T, x, out=self.weight_gradients[i])
            if i:
                torch.mm(gradient, weight, out=self.input_gradients[i])


def batches_of(n_samples, batch_size, sizes, **kind):
    """Return `Products` for every batch of a pass over the rows."""
    whole, rest = divmod(n_samples, batch_size)
    full = Products(sizes, batch_size, **kind)
    return [full] * whole + ([Products(sizes, rest, **kind)] if rest else [])


def training_pass(n_samples, n_features, n_components, batch_size, **kind):
    """Return a function that takes all products of so many epochs of training."""
    sizes = [
        *encoder_sizes(n_features),
        *decoder_sizes(n_features),
        (LATENT_DIM, n_components),
    ]
    batches = batches_of(n_samples, batch_size, sizes, **kind)

    def train(n_epochs):
        for _ in range(n_epochs):
            for products in batches:
                products.forward()
                products.backward()

    return train


def encoder_read(n_samples, n_features, batch_size=1024, **kind):
    """Return a function that takes the products of reading all rows through the encoder."""
    return _read(batches_of(n_samples, batch_size, encoder_sizes(n_features), **kind))


def net_read(n_samples, n_features, batch_size=1024):
    """Return a function that takes the products of encoding and decoding all rows."""
    sizes = [*encoder_sizes(n_features), *decoder_sizes(n_features)]
    return _read(batches_of(n_samples, batch_size, sizes))


def _read(batches):
    def read():
        for products in batches:
            products.forward()

    return read
