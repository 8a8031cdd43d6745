"""Torch modules: the encoder, the decoder, and the two joined with a witness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skvae._common.randomness import torch_generator
from skvae.nets.autoregressive import MaskedConvolutions, MaskedDense
from skvae.nets.convolutions import convolutional_decoder, convolutional_encoder
from skvae.nets.layers import multilayer_perceptron
from skvae.nets.missing import shape_encoded, without_missing
from skvae.nets.mixed import likelihood_of
from skvae.nets.own_modules import check_made, multiply_adds, own_module
from skvae.nets.shown import logs_for, shown_to
from skvae.nets.witnesses import begin_witness

__all__ = [
    "AutoregressiveDecoder",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "Decoder",
    "Encoder",
    "ModuleDecoder",
    "ModuleEncoder",
    "Outputs",
    "VariationalAutoencoder",
]

HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ModuleEncoder(nn.Module):
    """Posterior q(z|x): standardised rows to the means and log variances of the code.

    Parameters
    ----------
    layers : nn.Module
        From rows to a tensor of shape (n_samples, 2 * latent_dim), means first, or to a
        tuple of both halves.
    logs : RowSizes, SomeCounts or None, default=None
        What makes logarithms of counts, which spread too far for the layers, as
        `skvae.nets.shown.logs_for` returns it. None shows them the rows.
    sees_mask : bool, default=False
        Whether entries of the rows may be NaN. The layers are shown zero in their place, and
        as many columns more, 1 where there is an entry and 0 where there is none.
    """

    def __init__(self, layers, logs=None, sees_mask=False):
        super().__init__()
        self.layers = layers
        self.logs = logs
        self.sees_mask = sees_mask

    def forward(self, x: Tensor, overwrite: bool = False) -> tuple[Tensor, Tensor]:
        """Means and log variances, each of shape (n_samples, latent_dim).

        With `overwrite` the rows need not be what they were afterwards.
        """
        n_rows = x.shape[0]
        made = self.layers(self.seen(x, out=x if overwrite else None))
        mean, log_variance = made if isinstance(made, tuple) else made.chunk(2, dim=1)
        # A module of someone else may do in use what it did not do when it was tried.
        check_made("encoder", n_rows, mean, log_variance)
        return mean, log_variance

    def seen(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Rows as the layers are shown them, written to `out` if it is given and is as wide."""
        if not self.sees_mask:
            return shown_to(self.logs, x, out)
        x, observed = without_missing(x)
        return torch.cat([shown_to(self.logs, x), observed.to(x.dtype)], dim=1)


class Encoder(ModuleEncoder):
    """Posterior of dense layers.

    Parameters
    ----------
    n_inputs, latent_dim : int
        Width of what the layers are shown, and of the code.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers, from the rows to the code; empty is linear.
    generator : torch.Generator
        Source of the initial weights.
    **shown : RowSizes or SomeCounts, bool
        `logs` and `sees_mask`, as in `ModuleEncoder`.
    """

    def __init__(self, n_inputs, latent_dim, hidden_layer_sizes, generator, **shown):
        widths = [n_inputs, *hidden_layer_sizes, 2 * latent_dim]
        super().__init__(multilayer_perceptron(widths, generator), **shown)


class ConvolutionalEncoder(ModuleEncoder):
    """Posterior of convolutional layers.

    Parameters
    ----------
    image_shape, latent_dim, channels, generator
        As in `convolutional_encoder`; the shape is that of what the layers are shown.
    **shown : RowSizes or SomeCounts, bool
        `logs` and `sees_mask`, as in `ModuleEncoder`.
    """

    def __init__(self, image_shape, latent_dim, channels, generator, **shown):
        layers = convolutional_encoder(image_shape, latent_dim, channels, generator)
        super().__init__(layers, **shown)


class ModuleDecoder(nn.Module):
    """Likelihood p(x|z): codes to the parameters of a distribution of the rows.

    Parameters
    ----------
    layers : nn.Module
        From codes to one parameter a column, as rows or as images.
    likelihood : Likelihood
        Distribution of the rows given what the layers make of the code.
    """

    # Whether entries of the rows that are scored may be NaN: they leave the likelihood.
    bears_missing = False

    def __init__(self, layers, likelihood):
        super().__init__()
        self.layers = layers
        self.likelihood = likelihood

    def forward(self, latent: Tensor, x: Tensor | None = None) -> Tensor:
        """Parameters of the likelihood, of shape (n_samples, n_features).

        Only an autoregressive decoder looks at the rows `x`.
        """
        made = self.layers(latent).flatten(1)
        check_made("decoder", latent.shape[0], made)
        return made

    def reconstruction(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Negative log likelihood of rows given what `forward` made of their codes."""
        x, observed = without_missing(x) if self.bears_missing else (x, None)
        return self.likelihood.reconstruction(x, parameters, observed)

    def expectation(self, latent: Tensor) -> Tensor:
        """Mean of the rows given their codes."""
        return self.likelihood.expectation(self(latent))

    def draw(self, latent: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows given their codes."""
        return self.likelihood.draw(self(latent), generator)


class Decoder(ModuleDecoder):
    """Likelihood of dense layers.

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
        sizes = [latent_dim, *reversed(hidden_layer_sizes), n_features]
        super().__init__(multilayer_perceptron(sizes, generator), likelihood)


class ConvolutionalDecoder(ModuleDecoder):
    """Likelihood of convolutional layers.

    Parameters
    ----------
    image_shape, latent_dim, channels, generator
        As in `convolutional_decoder`.
    likelihood : Likelihood
        Distribution of the rows given what the layers make of the code.
    """

    def __init__(self, image_shape, latent_dim, channels, likelihood, generator):
        super().__init__(
            convolutional_decoder(image_shape, latent_dim, channels, generator), likelihood
        )


class AutoregressiveDecoder(ModuleDecoder):
    """Likelihood p(x|z) as the product of p(x_j | x_1, .., x_{j-1}, z) over the columns.

    Parameters
    ----------
    layers : MaskedDense or MaskedConvolutions
        From codes and rows to the parameters of each column given those before it.
    likelihood : Likelihood
        Distribution of a column given what the layers say.
    logs : RowSizes, SomeCounts or None, default=None
        As in `ModuleEncoder`.
    """

    def __init__(self, layers, likelihood, logs=None):
        super().__init__(layers, likelihood)
        self.logs = logs

    def forward(self, latent: Tensor, x: Tensor | None = None) -> Tensor:
        """Parameters of each column of `x` given those before it, (n_samples, n_features)."""
        if x is None:
            raise ValueError(
                "An autoregressive decoder needs the rows beside their codes: call "
                "decoder(latent, x)."
            )
        return self.layers(latent, shown_to(self.logs, x))

    def expectation(self, latent: Tensor) -> Tensor:
        """Rows of conditional means, each column given the means before it.

        One definite row a code, and not E[x|z], which is an average over all rows that
        may come before a column.
        """
        return self._in_turn(latent, self.likelihood.expectation)

    def draw(self, latent: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows given their codes, each column given the draws before it; on the CPU."""
        with torch.no_grad():
            drawn = self._in_turn(latent, lambda made: self.likelihood.draw(made, generator))
        return drawn.cpu()

    def _in_turn(self, latent: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        columns = self.layers.order
        rows = latent.new_zeros(latent.shape[0], len(columns))
        for column in columns:
            # Rows in the making are of the typical size, whatever there is of them.
            shown = rows if self.logs is None else self.logs.log_counts_of_typical(rows)
            made = self.layers(latent, shown_to(None, shown))
            chosen = choose(made)[:, column].to(rows.device)
            # Autograd still needs the rows that the column was made of.
            rows = rows.clone() if chosen.requires_grad else rows
            rows[:, column] = chosen
        return rows


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


class VariationalAutoencoder(nn.Module):
    """Encoder, decoder and witness of one model.

    Parameters
    ----------
    n_features, latent_dim, hidden_layer_sizes
        As in `Encoder` and `Decoder`.
    likelihood : str or sequence of (str, int, object)
        Distribution of the rows given the code: a name in `skvae.nets.likelihoods.LIKELIHOODS`,
        or kinds of columns as in `skvae.nets.mixed.MixedLikelihood`.
    log_variance, log_variance_floor : sequence of float or None
        As in `skvae.nets.likelihoods.ColumnVariances`; None with likelihoods that have none.
    average_teacher : sequence of float
        ``Tbar`` of the training rows, where the witness starts.
    witness : {"linear", "mlp", "simplex"}
        The first two are trained with the rest, the last is fixed.
    witness_scale : float
        Scale of a simplex witness.
    witness_input : {"sample", "mean"}
        Whether the witness reads a draw of the code or the posterior mean.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the products in encoder and decoder while training; all else, and all reading
        of a trained model, is in float32. "auto" is float32 until somebody has chosen.
    seed : int
        Drives the initial weights.
    architecture : {"dense", "conv"}
        Of the encoder and the decoder that are not given.
    image_shape : tuple of int or None
        ``(channels, height, width)`` of a row; None for rows that are no images.
    channels : sequence of int
        As in `convolutional_encoder`.
    encoder : nn.Module, callable or None
        As in `own_module`.
    decoder : nn.Module, callable, "autoregressive" or None
        As in `own_module`, or one that also sees the columns before.
    is_variance_shared : bool, default=False
        Whether one variance is learned for all columns.
    missing : {"error", "mask"}, default="error"
        Whether entries of the rows may be NaN, as in `ModuleEncoder` and `ModuleDecoder`.
    counts : CountUnits or None, default=None
        Of likelihoods of counts: what rows are measured by, and the rates that they start at.

    Attributes
    ----------
    multiply_adds : int
        What a row costs in a pass forward.
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
        architecture="dense",
        image_shape=None,
        channels=(),
        encoder=None,
        decoder=None,
        is_variance_shared=False,
        missing="error",
        counts=None,
    ):
        super().__init__()
        self.latent_dim = latent_dim
        self.witness_input = witness_input
        self.precision = precision
        shape = (n_features,) if image_shape is None else tuple(image_shape)
        logs = logs_for(likelihood, counts)
        shown = {"logs": logs, "sees_mask": missing == "mask"}
        seen = shape_encoded(shape, missing)
        generator = torch_generator(seed, "encoder")
        self.encoder: ModuleEncoder
        if encoder is not None:
            module = own_module(encoder, "encoder", seen, latent_dim, seed)
            layers = nn.Sequential(nn.Unflatten(1, seen), module)
            self.encoder = ModuleEncoder(layers, **shown)
        elif architecture == "conv":
            self.encoder = ConvolutionalEncoder(seen, latent_dim, channels, generator, **shown)
        else:
            self.encoder = Encoder(
                math.prod(seen), latent_dim, hidden_layer_sizes, generator, **shown
            )
        generator = torch_generator(seed, "decoder")
        distribution = likelihood_of(
            likelihood, log_variance, log_variance_floor, is_variance_shared, counts
        )
        self.decoder: ModuleDecoder
        if decoder == "autoregressive":
            self.decoder = AutoregressiveDecoder(
                MaskedConvolutions(shape, latent_dim, channels, generator)
                if architecture == "conv"
                else MaskedDense(n_features, latent_dim, hidden_layer_sizes, generator),
                distribution,
                logs,
            )
        elif decoder is not None:
            module = own_module(decoder, "decoder", shape, latent_dim, seed)
            self.decoder = ModuleDecoder(module, distribution)
        elif architecture == "conv":
            self.decoder = ConvolutionalDecoder(
                shape, latent_dim, channels, distribution, generator
            )
        else:
            self.decoder = Decoder(
                n_features, latent_dim, hidden_layer_sizes, distribution, generator
            )
        self.decoder.bears_missing = missing == "mask"
        self.witness = begin_witness(witness, latent_dim, average_teacher, witness_scale, seed)
        if architecture == "dense" and encoder is None and decoder in (None, "autoregressive"):
            self.multiply_adds = sum(weights.numel() for weights in self.parameters())
        else:
            x, latent = torch.zeros(2, n_features), torch.zeros(2, latent_dim)
            users = (ModuleEncoder, ModuleDecoder)
            of_two = sum(
                multiply_adds(part, *inputs, is_of_user=type(part) in users)
                for part, inputs in ((self.encoder, (x,)), (self.decoder, (latent, x)))
            )
            self.multiply_adds = of_two // 2

    def forward(
        self, x: Tensor, generator: torch.Generator | Tensor, n_draws: int = 1
    ) -> Outputs:
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
            parameters = self.decoder(decoded, x if n_draws == 1 else x.repeat(n_draws, 1))
        return Outputs(mean, log_variance, parameters.float(), log_witness, latent)

    def _products(self, x: Tensor) -> AbstractContextManager:
        """Lower the precision of matrix products, if asked for, in training alone."""
        if self.training and self.precision in HALF_PRECISIONS:
            return torch.autocast(x.device.type, HALF_PRECISIONS[self.precision])
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


def through_draw(gradient: Tensor, latent: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of mean and log variance, given that of the codes that `draw_latent` drew.

    Both have the shape of `mean`; several draws of a row add up.
    """
    of_log_variance = 0.5 * gradient * (latent - mean)
    if gradient.ndim > mean.ndim:
        return gradient.sum(dim=0), of_log_variance.sum(dim=0)
    return gradient, of_log_variance


def standard_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw noise on the generator's device.

    A CPU generator gives the same draws wherever the model lives.
    """
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)
