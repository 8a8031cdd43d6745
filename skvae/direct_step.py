"""A step of training of a net of the library's own layers, without most of autograd's work."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from skvae.convolution_pass import ConvolutionPass
from skvae.criterion import TERMS, Criterion
from skvae.dense_pass import DensePass
from skvae.gradients import (
    alignment_gradient,
    gaussian_gradient,
    gaussian_variance_gradient,
    kl_gradient,
)
from skvae.likelihoods import GaussianLikelihood
from skvae.networks import (
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
from skvae.witnesses import LinearWitness

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
    left to autograd, but for the usual objective: there `skvae.gradients` has all that is
    needed.

    Parameters
    ----------
    module : VariationalAutoencoder
        One that `is_for` says yes to.
    criterion : Criterion
        The objective.
    """

    def __init__(self, module: VariationalAutoencoder, criterion: Criterion):
        self.module = module
        self.criterion = criterion
        dtype = HALF_PRECISIONS.get(module.precision, torch.float32)
        self.encoder, self.decoder = (
            PASSES[type(part)](part.layers, dtype) for part in (module.encoder, module.decoder)
        )
        self.has_closed_form = (
            criterion.terms == TERMS
            and criterion.alignment_target is None
            and type(module.witness) is LinearWitness
            and isinstance(module.decoder.likelihood, GaussianLikelihood)
            # A loss that is scaled up for the gradients' sake has to go through autograd.
            and dtype is not torch.float16
        )

    @staticmethod
    def is_for(module: VariationalAutoencoder) -> bool:
        """Whether a pass through both parts is known, and all of the net is trained."""
        passes = [PASSES.get(type(part)) for part in (module.encoder, module.decoder)]
        parameters = list(module.parameters())
        return (
            None not in passes
            # Elsewhere memory is at hand, and kernels wait for none of autograd's work.
            and (ConvolutionPass not in passes or parameters[0].device.type == "cpu")
            and all(parameter.requires_grad for parameter in parameters)
        )

    def evaluate(
        self, x: Tensor, T: Tensor, noise: Tensor
    ) -> tuple[Outputs, dict[str, Tensor]]:
        """Return what the net makes of a batch, and sums of the terms of the objective.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_features)
            Standardised rows.
        T : Tensor of shape (n_rows, n_components)
            Their teacher distributions.
        noise : Tensor of shape (n_rows, latent_dim) or (n_draws, n_rows, latent_dim)
            What the codes are drawn with.
        """
        module = self.module
        with torch.no_grad():
            made = self.encoder.forward(module.encoder.seen(x)).float()
            mean, log_variance = made.chunk(2, dim=1)
            latent = draw_latent(mean.expand(noise.shape), log_variance, noise)
            decoded = self.decoder.forward(latent.flatten(0, -2))
            # A new tensor: the memory is used again, its gradient is not.
            parameters = decoded.detach().float()
        with torch.set_grad_enabled(not self.has_closed_form):
            if not self.has_closed_form:
                for leaf in (mean, log_variance, latent, parameters):
                    leaf.requires_grad_()
            first = latent if noise.ndim == 2 else latent[0]
            log_witness = module.witness(module.shown(mean, first))
            outputs = Outputs(mean, log_variance, parameters, log_witness, latent)
            return outputs, self.criterion.sums(x, T, outputs, module)

    def backward(self, loss: Tensor, x: Tensor, T: Tensor, outputs: Outputs) -> None:
        """Set the gradients of all weights.

        Parameters
        ----------
        loss : Tensor of shape ()
            Mean objective of the batch, from the sums that `evaluate` returned.
        x, T, outputs
            As `evaluate` was given them, and as it returned them.
        """
        if self.has_closed_form:
            with torch.no_grad():
                of = self._closed_form(x, T, outputs)
        else:
            loss.backward()
            of = Gradients(*(_gradient(getattr(outputs, name)) for name in Gradients._fields))
        with torch.no_grad():
            through = cast(Tensor, self.decoder.backward(of.parameters, needs_input=True))
            # What reads the code itself, the witness of a draw say, adds to it.
            of_latent = of.latent + through.float().view_as(of.latent)
            drawn = through_draw(of_latent, outputs.latent, outputs.mean)
            of_made = torch.cat([of.mean + drawn[0], of.log_variance + drawn[1]], dim=1)
        self.encoder.backward(of_made, needs_input=False)

    def _closed_form(self, x: Tensor, T: Tensor, outputs: Outputs) -> Gradients:
        """Set the gradients of the witness and the variances; return all others."""
        criterion, n_rows = self.criterion, len(x)
        likelihood = cast(GaussianLikelihood, self.module.decoder.likelihood)
        log_variance = likelihood.log_variance
        # A mean over rows is a matter of larger variances, and no further pass over them.
        of_parameters = gaussian_gradient(
            x, outputs.parameters, log_variance + math.log(n_rows)
        )
        if likelihood.is_learned:
            excess = likelihood.excess_log_variance
            of_variance = gaussian_variance_gradient(x, outputs.parameters, log_variance)
            of_excess = of_variance * torch.sigmoid(excess) / n_rows
            _add_gradient(excess, of_excess.sum_to_size(excess.shape))
        of_mean, of_log_variance = (
            part * (criterion.effective_beta / n_rows)
            for part in kl_gradient(outputs.mean, outputs.log_variance)
        )
        of_latent = torch.zeros_like(of_mean)
        if criterion.alignment_weight > 0:
            head = cast(LinearWitness, self.module.witness).head
            # Weighed first, in the order of autograd. On the boundary the gradient of the bias
            # is zero, and an optimiser that divides by gradients makes much of what rounding
            # leaves of it.
            weighed = T * (criterion.alignment_weight / n_rows)
            of_logits = alignment_gradient(weighed, outputs.log_witness)
            shown = self.module.shown(outputs.mean, outputs.latent)
            _add_gradient(head.weight, of_logits.t() @ shown)
            _add_gradient(head.bias, of_logits.sum(dim=0))
            self.module.shown(of_mean, of_latent).addmm_(of_logits, head.weight)
        return Gradients(of_mean, of_log_variance, of_latent, of_parameters)


class Gradients(NamedTuple):
    """Gradients of those `Outputs` that layers made, or that layers are shown."""

    mean: Tensor
    log_variance: Tensor
    latent: Tensor
    parameters: Tensor


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
