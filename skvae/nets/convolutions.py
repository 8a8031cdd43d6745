"""Convolutional layers: images to the parameters of a code, and codes to images.

There is no normalisation. Batch normalisation would let the rows of a batch change each
other's score, most of all in the last, small batch of an epoch. Residual branches that
begin at zero (Zhang, Dauphin and Ma, Fixup initialization, ICLR 2019) train well without
any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from skvae.nets.layers import begin_convolution, convolution, dense

__all__ = [
    "AsImages",
    "ResidualBlock",
    "Upsampling",
    "convolutional_decoder",
    "convolutional_encoder",
    "upsampled",
]

# Slope of the encoder's rectifiers below zero. Collapse wants no feature and turns rectifiers
# off for every row; one that had no slope there would have no gradient, and no alignment could
# bring the code back. For the same reason none stands before the last layer.
LEAK = 0.1
# Below as many output channels, less than a processor's vector, a transposed convolution is
# slow for what it does.
FEW_CHANNELS = 8


class AsImages(nn.Module):
    """Rows to images, channels last in memory, in which convolutions are faster.

    Parameters
    ----------
    image_shape : tuple of int
        ``(channels, height, width)``.
    """

    def __init__(self, image_shape):
        super().__init__()
        self.image_shape = tuple(image_shape)

    def forward(self, rows: Tensor) -> Tensor:
        """Images of shape (n_samples, channels, height, width)."""
        images = rows.unflatten(1, self.image_shape)
        return images.contiguous(memory_format=torch.channels_last)


class ResidualBlock(nn.Module):
    """``x`` and what two convolutions add to it; at first they add nothing.

    Parameters
    ----------
    width : int
        Channels.
    generator : torch.Generator
        Source of the initial weights.

    References
    ----------
    He, Zhang, Ren and Sun, arXiv 1512.03385.
    """

    def __init__(self, width, generator):
        super().__init__()
        self.first = convolution(width, width, 3, generator)
        self.second = convolution(width, width, 3, generator)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps of the same shape."""
        return x + self.second(torch.relu(self.first(x)))


class Upsampling(nn.Module):
    """Feature maps of twice the height and width, cut to the size that is wanted.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    size : tuple of int
        Height and width of the result, each twice that of the input or one less.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(self, n_in, n_out, size, generator):
        super().__init__()
        self.size = size
        # Each output is met by as many weights as any other: kernel size over stride is whole
        # (Odena, Dumoulin and Olah, Distill 2016).
        self.layer = skip_init(
            nn.ConvTranspose2d, n_in, n_out, 4, stride=2, padding=1, dtype=torch.float32
        )
        begin_convolution(self.layer, 4 * n_in, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps of the size wanted."""
        height, width = self.size
        if torch.is_grad_enabled():
            # Autograd's way back through the other one takes longer.
            made = self.layer(x)
        else:
            made = upsampled(x, self.layer.weight, self.layer.bias)
        return made[:, :, :height, :width]


def upsampled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the transposed convolution of `Upsampling`, fast for a few output channels too.

    The four pixels that come of a place are four times as many channels of a convolution
    with kernels of 2 x 2 (Shi et al., arXiv 1609.07009 and 1609.05158): on a CPU the few
    channels of an image take twice as long by themselves.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_in, height, width)
        Feature maps.
    weight : Tensor of shape (n_in, n_out, 4, 4)
        As `nn.ConvTranspose2d` has it, of stride 2 and padding 1.
    bias : Tensor of shape (n_out,)
        Of each output channel.

    Returns
    -------
    made : Tensor of shape (n_samples, n_out, 2 * height, 2 * width)
        Feature maps, channels last in memory if `x` is.
    """
    n_in, n_out = weight.shape[:2]
    if x.device.type != "cpu" or n_out >= FEW_CHANNELS:
        return functional.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    # An even row of the result is made of the row of x before its own and of its own, by the
    # fourth and the second weights of a kernel; an odd one of its own and the next, by the
    # third and the first.
    kernels = weight.flip(2, 3).unflatten(3, (2, 2)).unflatten(2, (2, 2))
    kernels = kernels.permute(3, 5, 1, 0, 2, 4).reshape(4 * n_out, n_in, 2, 2)
    kernels = kernels.contiguous(memory_format=torch.channels_last)
    pixels = functional.conv2d(x, kernels, bias.repeat(4), padding=1)
    n_samples, _, height, width = x.shape
    pixels = pixels.permute(0, 2, 3, 1).unflatten(3, (2, 2, n_out))
    made = x.new_empty(n_samples, height, 2, width, 2, n_out)
    for row in range(2):
        for column in range(2):
            made[:, :, row, :, column] = pixels[
                :, row : row + height, column : column + width, row, column
            ]
    return made.view(n_samples, 2 * height, 2 * width, n_out).permute(0, 3, 1, 2)


def convolutional_encoder(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    channels: Sequence[int],
    generator: torch.Generator,
) -> nn.Sequential:
    """Return layers from rows to the means and log variances of their codes.

    Parameters
    ----------
    image_shape : tuple of int
        ``(channels, height, width)``.
    latent_dim : int
        Width of the code.
    channels : sequence of int
        Widths of the stages. Each halves height and width (odd ones round up) by a strided
        convolution, which a residual block follows.
    generator : torch.Generator
        Source of the initial weights.
    """
    layers: list[nn.Module] = [AsImages(image_shape)]
    n_in = image_shape[0]
    for width in channels:
        layers += [
            convolution(n_in, width, 3, generator, stride=2),
            nn.LeakyReLU(LEAK),
            ResidualBlock(width, generator),
        ]
        n_in = width
    smallest = n_in * math.prod(_sizes(image_shape, len(channels))[-1])
    layers += [nn.Flatten(), dense(smallest, 2 * latent_dim, generator)]
    return nn.Sequential(*layers)


def convolutional_decoder(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    channels: Sequence[int],
    generator: torch.Generator,
) -> nn.Sequential:
    """Return layers from codes to images, the stages of the encoder in reverse.

    Parameters
    ----------
    image_shape : tuple of int
        ``(channels, height, width)`` of the result.
    latent_dim : int
        Width of the code.
    channels : sequence of int
        Widths of the stages, from the *images* to the code.
    generator : torch.Generator
        Source of the initial weights.
    """
    sizes = _sizes(image_shape, len(channels))
    smallest = (channels[-1], *sizes[-1])
    layers: list[nn.Module] = [
        dense(latent_dim, math.prod(smallest), generator),
        nn.ReLU(),
        AsImages(smallest),
    ]
    widths = [image_shape[0], *channels]
    for stage in reversed(range(len(channels))):
        layers += [
            ResidualBlock(widths[stage + 1], generator),
            Upsampling(widths[stage + 1], widths[stage], sizes[stage], generator),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers[:-1])


def _sizes(image_shape: tuple[int, int, int], n_stages: int) -> list[tuple[int, int]]:
    """Heights and widths before each stage, and after the last."""
    sizes = [image_shape[1:]]
    for _ in range(n_stages):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
