"""Convolutional layers passed through by hand, forward and backward, mostly in place."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from skvae.nets.convolutions import AsImages, ResidualBlock, Upsampling, upsampled
from skvae.training.steps.dense_pass import DensePass, set_gradient, through_rectifier
from skvae.training.steps.room import Room

__all__ = ["ConvolutionPass"]

leaky_rectifier_backward = torch.ops.aten.leaky_relu_backward.grad_input


class ConvolutionPass:
    """Passes forward and backward through the layers of `skvae.nets.convolutions`.

    The convolutions are those of autograd. Between them nothing is recorded, and where
    autograd makes a tensor the one before is written over: to fill memory that the system
    has just given takes several times as long as to write over a feature map at hand.

    Parameters
    ----------
    layers : nn.Sequential
        As `convolutional_encoder` or `convolutional_decoder` returns them.
    dtype : torch.dtype
        Of the products; weights and their gradients are in float32.

    Examples
    --------
    >>> import torch
    >>> from skvae.training.steps.convolution_pass import ConvolutionPass
    >>> from skvae.nets.convolutions import convolutional_encoder
    >>> layers = convolutional_encoder((1, 4, 4), 2, (3,), torch.Generator().manual_seed(0))
    >>> convolutions, rows = ConvolutionPass(layers, torch.float32), torch.rand(5, 16)
    >>> torch.allclose(convolutions.forward(rows), layers(rows), atol=1e-6)
    True
    >>> convolutions.backward(torch.ones(5, 4), needs_input=False)
    >>> layers[-1].bias.grad
    tensor([5., 5., 5., 5.])
    """

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype):
        self._parts = [_part(layer, dtype) for layer in layers]
        if isinstance(layers[-1], Upsampling):
            self._parts.append(_AsRows(torch.float32, dtype))
        self._first_with_weights = 0 if isinstance(layers[0], nn.Linear) else 1

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers make of rows, as rows; the next call writes over it."""
        for part in self._parts:
            x = part.forward(x)
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None:
        """Set the gradients of all weights, as `DensePass.backward` does."""
        for part in reversed(self._parts[self._first_with_weights + 1 :]):
            gradient = cast(Tensor, part.backward(gradient, needs_input=True))
        # Before it only the order of a row's columns changes.
        return self._parts[self._first_with_weights].backward(gradient, needs_input)


class _Part(Protocol):
    """A layer forward and backward; either may write over what it is given."""

    def forward(self, x: Tensor) -> Tensor: ...

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None: ...


class _Convolution:
    """A convolution, also a transposed one."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype):
        self.layer = layer
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        self._weight = self.layer.weight.to(self.dtype)
        return self._made(x, self._weight, cast(Tensor, self.layer.bias).to(self.dtype))

    def _made(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer = cast(nn.Conv2d, self.layer)
        return functional.conv2d(x, weight, bias, layer.stride, layer.padding)

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None:
        layer = self.layer
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            self._x,
            self._weight,
            [layer.out_channels],
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.transposed,
            layer.output_padding,
            layer.groups,
            (needs_input, True, True),
        )
        set_gradient(layer.weight, of_weight)
        set_gradient(cast(Tensor, layer.bias), of_bias)
        # Nobody needs it any more, and the next part may take its memory.
        del self._x
        return of_input


class _Upsampling(_Convolution):
    """`Upsampling`: a transposed convolution, cut to size."""

    def __init__(self, upsampling: Upsampling, dtype: torch.dtype):
        super().__init__(upsampling.layer, dtype)
        self.height, self.width = upsampling.size

    def _made(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = upsampled(x, weight, bias)[:, :, : self.height, : self.width]
        return made.contiguous(memory_format=torch.channels_last)

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None:
        height, width = self._x.shape[2:]
        missing = (0, 2 * width - self.width, 0, 2 * height - self.height)
        if any(missing):
            # What was cut off has no gradient.
            gradient = functional.pad(gradient, missing)
        return super().backward(gradient, needs_input)


class _Residual:
    """`ResidualBlock`."""

    def __init__(self, block: ResidualBlock, dtype: torch.dtype):
        self.first = _Convolution(block.first, dtype)
        self.rectifier = _Rectifier()
        self.second = _Convolution(block.second, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.second.forward(self.rectifier.forward(self.first.forward(x))).add_(x)

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None:
        of_rectified = cast(Tensor, self.second.backward(gradient, needs_input=True))
        of_first = self.rectifier.backward(of_rectified, needs_input=True)
        return cast(Tensor, self.first.backward(of_first, needs_input=True)).add_(gradient)


class _Rectifier:
    """`nn.ReLU`, or `nn.LeakyReLU` where there is a slope, in place."""

    def __init__(self, slope: float = 0.0):
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        # What a rectifier made tells what it was given well enough for the gradient.
        self._rectified = functional.leaky_relu_(x, self.slope) if self.slope else x.relu_()
        return self._rectified

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor:
        if self.slope:
            leaky_rectifier_backward(
                gradient, self._rectified, self.slope, True, grad_input=gradient
            )
        else:
            through_rectifier(gradient, self._rectified)
        del self._rectified
        return gradient


class _AsImages:
    """`AsImages`: rows to images, channels last."""

    def __init__(self, layer: AsImages, dtype: torch.dtype):
        self.image_shape = layer.image_shape
        self._images = Room(dtype, torch.channels_last)
        self._rows = Room(dtype, torch.contiguous_format)

    def forward(self, x: Tensor) -> Tensor:
        return self._images.filled(x.unflatten(1, self.image_shape))

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor:
        return self._rows.filled(gradient).flatten(1)


class _AsRows:
    """Images to rows of one dtype; their gradient is of another."""

    def __init__(self, dtype: torch.dtype, gradient_dtype: torch.dtype):
        self._rows = Room(dtype, torch.contiguous_format)
        self._images = Room(gradient_dtype, torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        self._image_shape = x.shape[1:]
        return self._rows.filled(x).flatten(1)

    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor:
        return self._images.filled(gradient.unflatten(1, self._image_shape))


def _part(layer: Any, dtype: torch.dtype) -> _Part:
    match layer:
        case nn.Linear():
            return DensePass(nn.Sequential(layer), dtype)
        case nn.Conv2d():
            return _Convolution(layer, dtype)
        case ResidualBlock():
            return _Residual(layer, dtype)
        case Upsampling():
            return _Upsampling(layer, dtype)
        case nn.ReLU():
            return _Rectifier()
        case nn.LeakyReLU():
            return _Rectifier(layer.negative_slope)
        case AsImages():
            return _AsImages(layer, dtype)
        case nn.Flatten():
            return _AsRows(dtype, dtype)
    raise TypeError(f"No pass is known through {type(layer).__name__}.")
