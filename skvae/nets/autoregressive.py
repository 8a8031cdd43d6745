"""Layers of a decoder that sees the columns before the one it speaks of, beside the code.

Such a decoder can model the rows without any code, and leaves the code to collapse
(Chen et al., Variational lossy autoencoder, arXiv 1611.02731).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from skvae.nets.convolutions import AsImages, convolutional_decoder
from skvae.nets.layers import convolution, dense

__all__ = ["MaskedConvolutions", "MaskedDense"]

# Of the first masked convolution: it sees three pixels to each side.
FIRST_KERNEL_SIZE = 7
N_BLOCKS = 2


class MaskedLinear(nn.Module):
    """Linear layer without the weights from inputs of a higher degree than the output's.

    Parameters
    ----------
    degrees_in, degrees_out : Tensors of int, of shapes (n_inputs,) and (n_outputs,)
        Degrees: the number of columns that a unit may depend on.
    generator : torch.Generator
        Source of the initial weights.
    """

    mask: Tensor

    def __init__(self, degrees_in, degrees_out, generator):
        super().__init__()
        self.layer = dense(len(degrees_in), len(degrees_out), generator)
        self.register_buffer("mask", degrees_in <= degrees_out[:, None], persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Units of shape (n_samples, n_outputs)."""
        return functional.linear(inputs, self.layer.weight * self.mask, self.layer.bias)


class MaskedDense(nn.Module):
    """Dense layers from a code and a row to parameters of each column given those before.

    Parameters
    ----------
    n_features, latent_dim : int
        Width of the rows and of the code.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers, in reverse. Beside them runs a linear path, so that a
        column sees its neighbour where there are fewer hidden units than columns.
    generator : torch.Generator
        Source of the initial weights.

    References
    ----------
    Germain, Gregor, Murray and Larochelle, MADE, arXiv 1502.03509. The code has degree 0.
    """

    def __init__(self, n_features, latent_dim, hidden_layer_sizes, generator):
        super().__init__()
        self.order = range(n_features)
        columns = torch.arange(n_features)
        inputs = torch.cat([torch.zeros(latent_dim, dtype=torch.long), columns + 1])
        hidden = [torch.arange(n) * n_features // n for n in reversed(hidden_layer_sizes)]
        layers: list[nn.Module] = []
        for degrees_in, degrees_out in pairwise([inputs, *hidden, columns]):
            layers += [MaskedLinear(degrees_in, degrees_out, generator), nn.ReLU()]
        self.paths = nn.ModuleList([nn.Sequential(*layers[:-1])])
        if hidden:
            self.paths.append(MaskedLinear(inputs, columns, generator))

    def forward(self, latent: Tensor, x: Tensor) -> Tensor:
        """Parameters of shape (n_samples, n_features)."""
        inputs = torch.cat([latent, x], dim=1)
        return torch.stack([path(inputs) for path in self.paths]).sum(dim=0)


class MaskedConvolution(nn.Module):
    """Convolution that sees the pixels before its own, and its own as far as degrees allow.

    Parameters
    ----------
    degrees_in, degrees_out : Tensors of int, of shapes (n_channels_in,) and (n_channels_out,)
        Degrees: the number of colours of its own pixel that a channel may depend on.
    kernel_size : int
        Height and width, odd.
    generator : torch.Generator
        Source of the initial weights.
    """

    mask: Tensor

    def __init__(self, degrees_in, degrees_out, kernel_size, generator):
        super().__init__()
        self.layer = convolution(len(degrees_in), len(degrees_out), kernel_size, generator)
        centre = kernel_size**2 // 2
        mask = torch.zeros(len(degrees_out), len(degrees_in), kernel_size**2, dtype=torch.bool)
        mask[:, :, :centre] = True
        mask[:, :, centre] = degrees_in <= degrees_out[:, None]
        mask = mask.unflatten(2, (kernel_size, kernel_size))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps of the same height and width."""
        weight = self.layer.weight * self.mask
        return functional.conv2d(x, weight, self.layer.bias, padding=self.layer.padding)


class MaskedConvolutions(nn.Module):
    """Convolutions from a code and an image to parameters of each pixel given those before.

    Pixels follow each other row by row, the colours of a pixel in their order. The code
    enters through a convolutional decoder at every pixel.

    Parameters
    ----------
    image_shape : tuple of int
        ``(channels, height, width)``.
    latent_dim : int
        Width of the code.
    channels : sequence of int
        As in `convolutional_decoder`; the first is the width of the masked layers.
    generator : torch.Generator
        Source of the initial weights.

    References
    ----------
    Van den Oord, Kalchbrenner and Kavukcuoglu, Pixel recurrent neural networks, arXiv
    1601.06759 (PixelCNN; it has a blind spot to the upper right); Gulrajani et al.,
    PixelVAE, arXiv 1611.05013 (given a code).
    """

    def __init__(self, image_shape, latent_dim, channels, generator):
        super().__init__()
        n_colours, height, width = image_shape
        places = torch.arange(n_colours * height * width)
        self.order = places.unflatten(0, (n_colours, height * width)).T.flatten().tolist()
        colours = torch.arange(n_colours)
        wide, narrow = (
            torch.arange(n) * n_colours // n for n in (channels[0], -(-channels[0] // 2))
        )
        of_code = (channels[0], height, width)
        self.from_code = convolutional_decoder(of_code, latent_dim, channels, generator)
        self.as_images = AsImages(image_shape)
        self.from_image = MaskedConvolution(colours + 1, wide, FIRST_KERNEL_SIZE, generator)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                MaskedConvolution(wide, narrow, 1, generator),
                nn.ReLU(),
                MaskedConvolution(narrow, narrow, 3, generator),
                nn.ReLU(),
                MaskedConvolution(narrow, wide, 1, generator),
            )
            for _ in range(N_BLOCKS)
        )
        self.last = nn.Sequential(nn.ReLU(), MaskedConvolution(wide, colours, 1, generator))

    def forward(self, latent: Tensor, x: Tensor) -> Tensor:
        """Parameters of shape (n_samples, n_features)."""
        features = self.from_image(self.as_images(x)) + self.from_code(latent)
        for block in self.blocks:
            features = features + block(features)
        return self.last(features).flatten(1)
