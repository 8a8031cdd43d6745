"""Layers with initial weights from a private generator."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import skip_init

__all__ = ["begin_convolution", "convolution", "dense", "multilayer_perceptron"]


def dense(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's default initial weights from a private generator."""
    layer = skip_init(nn.Linear, n_in, n_out, dtype=torch.float32)
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def multilayer_perceptron(sizes: list[int], generator: torch.Generator) -> nn.Sequential:
    """Return dense layers of these sizes with rectifiers between them, none at the end."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [dense(n_in, n_out, generator), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def convolution(
    n_in: int, n_out: int, kernel_size: int, generator: torch.Generator, stride: int = 1
) -> nn.Conv2d:
    """Return a convolution that keeps height and width, but for its stride (rounded up)."""
    layer = skip_init(
        nn.Conv2d,
        n_in,
        n_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        dtype=torch.float32,
    )
    begin_convolution(layer, n_in * kernel_size**2, generator)
    return layer


def begin_convolution(
    layer: nn.Conv2d | nn.ConvTranspose2d, n_in: int, generator: torch.Generator
) -> None:
    """Draw initial weights that keep variances through rectifiers; channels last in memory.

    Parameters
    ----------
    layer : nn.Conv2d or nn.ConvTranspose2d
        Is changed.
    n_in : int
        Products that each output is the sum of.
    generator : torch.Generator
        Source of the weights; biases begin at zero.

    References
    ----------
    He, Zhang, Ren and Sun, arXiv 1502.01852.
    """
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    bound = math.sqrt(6 / n_in)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
