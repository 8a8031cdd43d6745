"""Dense layers passed through by hand, forward and backward, in memory that stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skvae.training.steps.room import Room

__all__ = ["DensePass", "gradient_of", "set_gradient", "through_rectifier"]

rectifier_backward = torch.ops.aten.threshold_backward.grad_input


class DensePass:
    """Passes forward and backward through dense layers with rectifiers between them.

    The products are those of autograd. What it spends beside them is not: nothing is
    recorded, from the second batch on no memory is asked for, and the gradients of the
    weights are written where the optimiser reads them. What `forward` made is gone after
    `backward`.

    Parameters
    ----------
    layers : nn.Sequential
        `nn.Linear` layers, and `nn.ReLU` between them.
    dtype : torch.dtype
        Of the products; weights and their gradients are in float32.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skvae.training.steps.dense_pass import DensePass
    >>> layers = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> dense, x = DensePass(layers, torch.float32), torch.randn(5, 3)
    >>> torch.allclose(dense.forward(x), layers(x))
    True
    >>> dense.backward(torch.ones(5, 1), needs_input=False)
    >>> layers[2].bias.grad
    tensor([5.])
    """

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype):
        self.parameters: list[tuple[Tensor, Tensor]] = [
            (layer.weight, layer.bias) for layer in layers if isinstance(layer, nn.Linear)
        ]
        self.dtype = dtype
        self._inputs: list[Tensor] = []
        # Of each layer: what it makes, and the gradient of what it is given.
        self._made = [Room(dtype) for _ in self.parameters]
        self._of_input = [Room(dtype) for _ in self.parameters]
        self._gradients: dict[Tensor, Tensor] = {}
        # In half precision: the parameters as the products have them, and their gradients.
        is_full = dtype is torch.float32
        self._halves = [] if is_full else self._like_parameters()
        self._half_gradients = [] if is_full else self._like_parameters()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers make of rows; the next call writes over it."""
        x = x.to(self.dtype)
        self._inputs = []
        last = len(self.parameters) - 1
        for number, (weight, bias) in enumerate(self._lowered()):
            self._inputs.append(x)
            made = self._made[number].like(x, weight.shape[0])
            x = torch.addmm(bias, x, weight.t(), out=made)
            if number < last:
                x.relu_()
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor, needs_input: bool) -> Tensor | None:
        """Set the gradients of all weights; return that of the input if it is needed.

        Parameters
        ----------
        gradient : Tensor of shape (n_rows, n_outputs)
            Of what the last `forward` returned.
        needs_input : bool
            Whether the gradient of the rows is needed.
        """
        gradient = gradient.to(self.dtype)
        parameters = self._halves or self.parameters
        whole = [
            (self._gradient_of(weight), self._gradient_of(bias))
            for weight, bias in self.parameters
        ]
        gradients = self._half_gradients or whole
        for number in reversed(range(len(parameters))):
            of_weight, of_bias = gradients[number]
            x = self._inputs[number]
            # The sum first, while what made the gradient has left it in the cache.
            torch.sum(gradient, 0, out=of_bias)
            torch.mm(gradient.t(), x, out=of_weight)
            if number == 0 and not needs_input:
                break
            of_input = self._of_input[number].like(x)
            torch.mm(gradient, parameters[number][0], out=of_input)
            if number > 0:
                through_rectifier(of_input, x)
            gradient = of_input
        if self._half_gradients:
            _copy(gradients, whole)
        return gradient if needs_input else None

    def _like_parameters(self) -> list[tuple[Tensor, Tensor]]:
        def like(each: Tensor) -> Tensor:
            return torch.empty_like(each, dtype=self.dtype)

        return [(like(weight), like(bias)) for weight, bias in self.parameters]

    def _lowered(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases in the precision of the products."""
        if not self._halves:
            return self.parameters
        _copy(self.parameters, self._halves)
        return self._halves

    def _gradient_of(self, parameter: Tensor) -> Tensor:
        if parameter.grad is None:
            if parameter not in self._gradients:
                self._gradients[parameter] = torch.empty_like(parameter)
            parameter.grad = self._gradients[parameter]
        return parameter.grad


def _copy(pairs: list[tuple[Tensor, Tensor]], to: list[tuple[Tensor, Tensor]]) -> None:
    for pair, copies in zip(pairs, to, strict=True):
        for each, copy in zip(pair, copies, strict=True):
            copy.copy_(each)


def gradient_of(parameter: Tensor) -> Tensor:
    """Return the gradient that the parameter has, or a first one, to be written over."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad


def set_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Write a gradient over the one that the parameter has, or make it its first."""
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter.dtype)
    else:
        parameter.grad.copy_(gradient)


def through_rectifier(gradient: Tensor, rectified: Tensor) -> None:
    """Let through the gradient of what a rectifier left above zero, in place.

    What the rectifier left may be written over.
    """
    if gradient.dtype is torch.float32 or gradient.device.type != "cpu":
        rectifier_backward(gradient, rectified, 0, grad_input=gradient)
        return
    # On a CPU the same in half precision takes four times as long as in float32, and whole
    # numbers of 16 bits none of it: the bits of a number above zero are one above zero.
    is_positive = rectified.view(torch.int16).clamp_(0, 1)
    gradient.view(torch.int16).mul_(is_positive)
