"""Dense layers passed through by hand, forward and backward, in memory that stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DensePass"]

rectifier_backward = torch.ops.aten.threshold_backward.grad_input


class DensePass:
    """Passes forward and backward through dense layers with rectifiers between them.

    The products are those of autograd. What it spends beside them is not: nothing is
    recorded, from the second batch on no memory is asked for, and the gradients of the
    weights are written where the optimiser reads them.

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
    >>> from skvae.dense_pass import DensePass
    >>> layers = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> dense, x = DensePass(layers, torch.float32), torch.randn(5, 3)
    >>> torch.allclose(dense.forward(x), layers(x))
    True
    >>> dense.backward(torch.ones(5, 1), needs_input=False)
    >>> layers[2].bias.grad
    tensor([5.])
    """

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype):
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.parameters = [(layer.weight, layer.bias) for layer in linear]
        self.dtype = dtype
        self._weights: list[Tensor] = []
        self._inputs: list[Tensor] = []
        # Of each layer: what it makes, and the gradient of what it is given. There is room
        # for the largest batch so far, of which a batch takes a part.
        self._room: list[tuple[Tensor, Tensor]] = []
        self._taken: list[tuple[Tensor, Tensor]] = []
        self._gradients: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return what the layers make of rows; the next call writes over it."""
        is_full = self.dtype is torch.float32
        x = x if is_full else x.to(self.dtype)
        self._take_room(x)
        self._inputs, self._weights = [], []
        last = len(self.parameters) - 1
        for number, parameters in enumerate(self.parameters):
            weight, bias = (
                parameters if is_full else (each.to(self.dtype) for each in parameters)
            )
            self._inputs.append(x)
            self._weights.append(weight)
            x = self._taken[number][0]
            torch.addmm(bias, self._inputs[number], weight.t(), out=x)
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
        is_full = self.dtype is torch.float32
        gradient = gradient if is_full else gradient.to(self.dtype)
        for number in reversed(range(len(self.parameters))):
            weight, bias = map(self._gradient_of, self.parameters[number])
            x = self._inputs[number]
            if is_full:
                torch.mm(gradient.t(), x, out=weight)
                torch.sum(gradient, 0, out=bias)
            else:
                weight.copy_(torch.mm(gradient.t(), x))
                bias.copy_(torch.sum(gradient, 0))
            if number == 0 and not needs_input:
                return None
            of_input = torch.mm(gradient, self._weights[number], out=self._taken[number][1])
            if number > 0:
                _through_rectifier(of_input, x)
            gradient = of_input
        return gradient

    def _take_room(self, x: Tensor) -> None:
        n_rows = len(x)
        if not self._room or len(self._room[0][0]) < n_rows:
            self._room = [
                (x.new_empty(n_rows, weight.shape[0]), x.new_empty(n_rows, weight.shape[1]))
                for weight, _ in self.parameters
            ]
            self._taken = self._room
        elif len(self._taken[0][0]) != n_rows:
            self._taken = [(made[:n_rows], given[:n_rows]) for made, given in self._room]

    def _gradient_of(self, parameter: Tensor) -> Tensor:
        if parameter.grad is None:
            if parameter not in self._gradients:
                self._gradients[parameter] = torch.empty_like(parameter)
            parameter.grad = self._gradients[parameter]
        return parameter.grad


def _through_rectifier(gradient: Tensor, rectified: Tensor) -> None:
    """Let through the gradient of what a rectifier left above zero, in place."""
    if gradient.dtype is torch.float32 or gradient.device.type != "cpu":
        rectifier_backward(gradient, rectified, 0, grad_input=gradient)
        return
    # On a CPU the same in half precision takes four times as long as in float32, and whole
    # numbers of 16 bits none of it: the bits of a number above zero are one above zero.
    is_positive = rectified.view(torch.int16).clamp(0, 1)
    gradient.view(torch.int16).mul_(is_positive)
