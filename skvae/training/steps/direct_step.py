"""A step of training of a net of the library's own layers, without most of autograd's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from skvae.nets.networks import (
    HALF_PRECISIONS,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    Decoder,
    Encoder,
    Outputs,
    VariationalAutoencoder,
    draw_latent,
    through_draw,
)
from skvae.training.criterion import Criterion
from skvae.training.steps.convolution_pass import ConvolutionPass
from skvae.training.steps.dense_pass import DensePass
from skvae.training.steps.room import Room

__all__ = ["DirectStep"]

PASSES: dict[type, type[DensePass] | type[ConvolutionPass]] = {
    Encoder: DensePass,
    Decoder: DensePass,
    ConvolutionalEncoder: ConvolutionPass,
    ConvolutionalDecoder: ConvolutionPass,
}


class DirectStep:
    """Objective of a batch and its gradients, for a net of the library's own layers.

    Layers are passed through by `DensePass` and, on a CPU, `ConvolutionPass`. What lies
    between and behind them, the witness, the likelihood and the terms of the objective, is
    left to autograd.

    Parameters
    ----------
    module : VariationalAutoencoder
        One that `is_for` says yes to.
    criterion : Criterion
        The objective.
    """

    # Whether the gradients are to be zero beforehand.
    adds_to_gradients = True

    def __init__(self, module: VariationalAutoencoder, criterion: Criterion):
        self.module = module
        self.criterion = criterion
        dtype = HALF_PRECISIONS.get(module.precision, torch.float32)
        self.encoder, self.decoder = (
            PASSES[type(part)](part.layers, dtype) for part in (module.encoder, module.decoder)
        )
        self._seen = Room()

    @classmethod
    def is_for(cls, module: VariationalAutoencoder, criterion: Criterion) -> bool:
        """Whether a pass through both parts is known, of whole rows, and all is trained."""
        passes = [PASSES.get(type(part)) for part in (module.encoder, module.decoder)]
        parameters = list(module.parameters())
        return (
            None not in passes
            and not module.decoder.bears_missing
            # Elsewhere memory is at hand, and kernels wait for none of autograd's work.
            and (ConvolutionPass not in passes or parameters[0].device.type == "cpu")
            and all(parameter.requires_grad for parameter in parameters)
        )

    def take(
        self,
        x: Tensor,
        T: Tensor,
        noise: Tensor,
        scaled: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> Tensor:
        """Set the gradients of all weights; return the sum of each term over the batch.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_features)
            Standardised rows.
        T : Tensor of shape (n_rows, n_components)
            Their teacher distributions.
        noise : Tensor of shape (n_rows, latent_dim) or (n_draws, n_rows, latent_dim)
            What the codes are drawn with.
        scaled : callable, default=as it is
            From the mean objective of the batch to what the gradients are of.

        Returns
        -------
        terms : Tensor of shape (n_terms,)
            As `Criterion.total` orders them.
        """
        module = self.module
        with torch.no_grad():
            mean, log_variance = self._encoded(x).chunk(2, dim=1)
            latent = draw_latent(mean.expand(noise.shape), log_variance, noise)
            decoded = self.decoder.forward(latent.flatten(0, -2))
            # A new tensor: the memory is used again, its gradient is not.
            parameters = decoded.detach().float()
        leaves = (mean, log_variance, latent, parameters)
        for leaf in leaves:
            leaf.requires_grad_()
        first = latent if noise.ndim == 2 else latent[0]
        log_witness = module.witness(module.shown(mean, first))
        outputs = Outputs(mean, log_variance, parameters, log_witness, latent)
        loss, terms = self.criterion(x, T, outputs, module)
        scaled(loss).backward()
        of_mean, of_log_variance, of_latent, of_parameters = map(_gradient, leaves)
        with torch.no_grad():
            through = cast(Tensor, self.decoder.backward(of_parameters, needs_input=True))
            # What reads the code itself, the witness of a draw say, adds to it.
            of_latent = of_latent + through.float().view_as(of_latent)
            drawn = through_draw(of_latent, latent, mean)
            of_made = torch.cat([of_mean + drawn[0], of_log_variance + drawn[1]], dim=1)
        self.encoder.backward(of_made, needs_input=False)
        return terms

    def _encoded(self, x: Tensor) -> Tensor:
        """Means and log variances of the codes of rows, side by side."""
        seen = self.module.encoder.seen(x, out=self._seen.like(x))
        return self.encoder.forward(seen).float()


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
