"""Torch modules: the encoder, the decoder, and the two joined with a witness."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from skvae.likelihoods import LIKELIHOODS
from skvae.randomness import torch_generator
from skvae.witnesses import LinearWitness, SimplexWitness

__all__ = ["Decoder", "Encoder", "Outputs", "VariationalAutoencoder"]

# Standard deviations beyond which the encoder sees no difference. A column that is
# nearly constant in training may hold a value a thousand deviations out later.
ENCODER_INPUT_BOUND = 10.0
HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


class Encoder(nn.Module):
    """Posterior q(z|x): standardised rows to the means and log variances of the code.

    Parameters
    ----------
    n_features, latent_dim : int
        Width of the rows and of the code.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers, from the rows to the code; empty is linear.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(self, n_features, latent_dim, hidden_layer_sizes, generator):
        super().__init__()
        sizes = [n_features, *hidden_layer_sizes, 2 * latent_dim]
        self.layers = multilayer_perceptron(sizes, generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances, each of shape (n_samples, latent_dim)."""
        bounded = x.clamp(-ENCODER_INPUT_BOUND, ENCODER_INPUT_BOUND)
        mean, log_variance = self.layers(bounded).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Likelihood p(x|z): codes to the parameters of a distribution of the rows.

    Parameters
    ----------
    n_features, latent_dim : int
        Width of the rows and of the code.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers, from the *rows* to the code: used in reverse.
    likelihood : Likelihood
        Distribution of the rows given what the layers make of the code.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(self, n_features, latent_dim, hidden_layer_sizes, likelihood, generator):
        super().__init__()
        sizes = [latent_dim, *reversed(hidden_layer_sizes), n_features]
        self.layers = multilayer_perceptron(sizes, generator)
        self.likelihood = likelihood

    def forward(self, latent: Tensor) -> Tensor:
        """Parameters of the likelihood, of shape (n_samples, n_features)."""
        return self.layers(latent)

    def reconstruction(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Negative log likelihood of rows given what `forward` made of their codes."""
        return self.likelihood.reconstruction(x, parameters)

    def expectation(self, latent: Tensor) -> Tensor:
        """Mean of the rows given their codes."""
        return self.likelihood.expectation(self(latent))

    def draw(self, latent: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows given their codes."""
        return self.likelihood.draw(self(latent), generator)


class Outputs(NamedTuple):
    """What one forward pass gives: the posterior, the decoder's parameters, the witness.

    With several draws of the code `latent` has them on its first axis, and the rows of
    `parameters` belong to the draws one after the other.
    """

    mean: Tensor
    log_variance: Tensor
    parameters: Tensor
    log_witness: Tensor
    latent: Tensor


def log_counts(encoder: nn.Module, rows: tuple[Tensor]) -> tuple[Tensor]:
    """Show an encoder ``log(1 + x)`` of counts, which spread too far for it."""
    return (torch.log1p(rows[0]),)


class VariationalAutoencoder(nn.Module):
    """Encoder, decoder and witness of one model.

    Parameters
    ----------
    n_features, latent_dim, hidden_layer_sizes
        As in `Encoder` and `Decoder`.
    likelihood : str
        Distribution of the rows given the code: a name in `skvae.likelihoods.LIKELIHOODS`.
    log_variance, log_variance_floor : sequence of float or None
        As in `skvae.likelihoods.ColumnVariances`; None with likelihoods that have none.
    average_teacher : sequence of float
        ``Tbar`` of the training rows, where the witness starts.
    witness : {"linear", "simplex"}
        Trained with the rest, or fixed.
    witness_scale : float
        Scale of a simplex witness.
    witness_input : {"sample", "mean"}
        Whether the witness reads a draw of the code or the posterior mean.
    precision : {"fp32", "bf16", "fp16"}
        Of the products in encoder and decoder while training; all else, and all reading
        of a trained model, is in float32.
    seed : int
        Drives the initial weights.
    is_variance_shared : bool, default=False
        Whether one variance is learned for all columns.
    """

    def __init__(
        self,
        n_features,
        latent_dim,
        hidden_layer_sizes,
        likelihood,
        log_variance,
        log_variance_floor,
        average_teacher,
        witness,
        witness_scale,
        witness_input,
        precision,
        seed,
        is_variance_shared=False,
    ):
        super().__init__()
        self.latent_dim = latent_dim
        self.witness_input = witness_input
        self.precision = precision
        self.encoder = Encoder(
            n_features, latent_dim, hidden_layer_sizes, torch_generator(seed, "encoder")
        )
        if likelihood == "poisson":
            # A hook, whatever the encoder is made of.
            self.encoder.register_forward_pre_hook(log_counts)
        self.decoder = Decoder(
            n_features,
            latent_dim,
            hidden_layer_sizes,
            LIKELIHOODS[likelihood](log_variance, log_variance_floor, is_variance_shared),
            torch_generator(seed, "decoder"),
        )
        self.witness: LinearWitness | SimplexWitness
        if witness == "linear":
            self.witness = LinearWitness(latent_dim, average_teacher)
        else:
            self.witness = SimplexWitness(latent_dim, average_teacher, witness_scale)

    def forward(self, x: Tensor, generator: torch.Generator, n_draws: int = 1) -> Outputs:
        """Draw codes for each row and decode them; the witness is shown the first draw."""
        with self._products(x):
            mean, log_variance = self.encoder(x)
        mean, log_variance = mean.float(), log_variance.float()
        if n_draws == 1:
            latent = first = decoded = draw_latent(mean, log_variance, generator)
        else:
            latent = draw_latent(mean.expand(n_draws, -1, -1), log_variance, generator)
            first, decoded = latent[0], latent.flatten(0, 1)
        log_witness = self.witness(self.shown(mean, first))
        with self._products(x):
            parameters = self.decoder(decoded)
        return Outputs(mean, log_variance, parameters.float(), log_witness, latent)

    def _products(self, x: Tensor) -> AbstractContextManager:
        """Lower the precision of matrix products, if asked for, in training alone."""
        if self.training and self.precision in HALF_PRECISIONS:
            return torch.autocast(x.device.type, HALF_PRECISIONS[self.precision])
        return nullcontext()

    def shown(self, mean: Tensor, latent: Tensor) -> Tensor:
        """Return what the witness is trained on: the posterior mean or the draw."""
        return latent if self.witness_input == "sample" else mean


def draw_latent(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw codes from the posterior, differentiably in its mean and log variance.

    The noise is drawn on the generator's device: a CPU generator gives the same
    draws wherever the model lives.
    """
    noise = torch.randn(
        mean.shape, generator=generator, device=generator.device, dtype=torch.float32
    )
    return mean + torch.exp(0.5 * log_variance) * noise.to(mean.device)
