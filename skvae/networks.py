"""Torch modules: the encoder, the decoder, and the two joined with a witness."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        layers += [dense(n_in, n_out, generator), nn.ReLU()]
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
    """What one forward pass gives: the posterior, the decoder's parameters, the witness."""

    mean: Tensor
    log_variance: Tensor
    parameters: Tensor
    log_witness: Tensor


class VariationalAutoencoder(nn.Module):
    """Encoder, decoder and witness of one model.

    Parameters
    ----------
    n_features, latent_dim, hidden_layer_sizes
        As in `Encoder` and `Decoder`.
    likelihood : {"gaussian", "bernoulli"}
        Distribution of the rows given the code.
    log_variance, log_variance_floor : sequence of float or None
        As in `GaussianLikelihood`; None with others.
    average_teacher : sequence of float
        ``Tbar`` of the training rows, where the witness starts.
    witness : {"linear", "simplex"}
        Trained with the rest, or fixed.
    witness_scale : float
        Scale of a simplex witness.
    witness_input : {"sample", "mean"}
        Whether the witness reads a draw of the code or the posterior mean.
    precision : {"fp32", "bf16"}
        Of the products in encoder and decoder while training; all else, and all reading
        of a trained model, is in float32.
    seed : int
        Drives the initial weights.
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
    ):
        super().__init__()
        self.latent_dim = latent_dim
        self.witness_input = witness_input
        self.precision = precision
        self.encoder = Encoder(
            n_features, latent_dim, hidden_layer_sizes, torch_generator(seed, "encoder")
        )
        self.decoder = Decoder(
            n_features,
            latent_dim,
            hidden_layer_sizes,
            LIKELIHOODS[likelihood](log_variance, log_variance_floor),
            torch_generator(seed, "decoder"),
        )
        self.witness: LinearWitness | SimplexWitness
        if witness == "linear":
            self.witness = LinearWitness(latent_dim, average_teacher)
        else:
            self.witness = SimplexWitness(latent_dim, average_teacher, witness_scale)

    def forward(self, x: Tensor, generator: torch.Generator | Tensor) -> Outputs:
        """One draw of the code for each row, decoded and shown to the witness."""
        with self._products(x):
            mean, log_variance = self.encoder(x)
        mean, log_variance = mean.float(), log_variance.float()
        latent = draw_latent(mean, log_variance, generator)
        log_witness = self.witness(self.shown(mean, latent))
        with self._products(x):
            parameters = self.decoder(latent)
        return Outputs(mean, log_variance, parameters.float(), log_witness)

    def _products(self, x: Tensor) -> AbstractContextManager:
        """Lower the precision of matrix products, if asked for, in training alone."""
        if self.training and self.precision == "bf16":
            return torch.autocast(x.device.type, torch.bfloat16)
        return nullcontext()

    def shown(self, mean: Tensor, latent: Tensor) -> Tensor:
        """Return what the witness is trained on: the posterior mean or the draw."""
        return latent if self.witness_input == "sample" else mean


def draw_latent(
    mean: Tensor, log_variance: Tensor, generator: torch.Generator | Tensor
) -> Tensor:
    """Draw codes from the posterior, differentiably in its mean and log variance.

    In place of a generator there may be what `standard_normal` drew from it.
    """
    if isinstance(generator, Tensor):
        noise = generator
    else:
        noise = standard_normal(mean.shape, generator)
    return mean + torch.exp(0.5 * log_variance) * noise.to(mean.device)


def standard_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw noise on the generator's device.

    A CPU generator gives the same draws wherever the model lives.
    """
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)
