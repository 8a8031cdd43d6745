"""Torch modules that stand alone: rows in the units of the data to codes, and back.

The nets that `networks` puts together want standardised rows; these have the units inside, and
need nothing of an estimator. They take a batch of any size and look at nothing but its shape:
what they make of NaN is NaN. What they are given in float64 they answer in float64, everything
else in float32. In either case the layers compute in the precision of their weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from skvae.nets.networks import ModuleDecoder, ModuleEncoder
from skvae.nets.witnesses import LinearWitness, SimplexWitness
from skvae.rows.scaling import Standardization

Module = TypeVar("Module", bound=nn.Module)

__all__ = ["CodeWitness", "ColumnUnits", "RowDecoder", "RowEncoder", "with_fixed_weights"]

# Types of rows that float32 has all digits of.
SINGLE = (torch.float32, torch.float16, torch.bfloat16)
GREATEST_FLOAT32 = float(np.finfo(np.float32).max)


class ColumnUnits(nn.Module):
    """Units of the columns, which stay in float64 when all around them is cast.

    Parameters
    ----------
    units : Standardization
        From the units of the data to those of the net.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.nets.standalone import ColumnUnits
    >>> from skvae.rows.scaling import Standardization
    >>> units = ColumnUnits(Standardization.of(np.array([[1e8 + 1.0], [1e8 + 3.0]])))
    >>> rows = torch.tensor([[1e8 + 2.5]], dtype=torch.float64)
    >>> units.half().standardised(rows)
    tensor([[0.5000]], dtype=torch.float64)
    """

    center: Tensor
    scale: Tensor

    def __init__(self, units):
        super().__init__()
        # The centre in two parts: what float32 has of it, and what that leaves. The difference
        # of a float32 row that is near it and the first part is exact.
        near = units.center.clip(-GREATEST_FLOAT32, GREATEST_FLOAT32).astype(np.float32)
        parts = np.stack([near, units.center - near])
        self.register_buffer("center", torch.from_numpy(parts))
        self.register_buffer("scale", torch.from_numpy(units.scale.copy()))
        self.suits_float32 = units.suits_float32

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.scale)

    def standardised(self, rows: Tensor) -> Tensor:
        """Return rows in the units of the net; in float64 unless float32 has all digits."""
        center, scale = self._in_precision_of(rows)
        return ((rows.to(scale.dtype) - center[0]) - center[1]) / scale

    def restored(self, standardised: Tensor) -> Tensor:
        """Return rows in the units of the data, in the same precision as `standardised`."""
        center, scale = self._in_precision_of(standardised)
        restored = (standardised.to(scale.dtype) * scale + center[1]) + center[0]
        return restored.to(standardised.dtype)

    def _in_precision_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        is_single = self.suits_float32 and rows.dtype in SINGLE
        dtype = torch.float32 if is_single else self.scale.dtype
        return self.center.to(dtype), self.scale.to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ColumnUnits:
        # What casts or moves a module comes by here. Cast to float32, as by float(), the units
        # would lose what rows far from zero differ by; Apple's GPUs alone have no float64.
        device = fn(torch.empty(0, device=self.scale.device)).device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.center = self.center.to(device, dtype)
        self.scale = self.scale.to(device, dtype)
        return self


class RowEncoder(nn.Module):
    """Rows in the units of the data to the means and log variances of their codes.

    Parameters
    ----------
    encoder : ModuleEncoder
        Of standardised rows.
    units : Standardization
        From the units of the data to those of the net.
    image_shape : tuple of int or None
        ``(channels, height, width)`` of a row; None for rows that are no images.
    """

    def __init__(self, encoder: ModuleEncoder, units: Standardization, image_shape=None):
        super().__init__()
        self.units = ColumnUnits(units)
        self.encoder = encoder
        self.image_shape = image_shape

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encode rows of shape (n_samples, n_features), or images of (n_samples, *image_shape).

        Means and natural-log variances of ``q(z|x)``, each of shape (n_samples, latent_dim).
        """
        x = self.units.standardised(self._flat(rows)).to(_precision(self.encoder))
        mean, log_variance = self.encoder(x)
        dtype = _answered_in(rows)
        return mean.to(dtype), log_variance.to(dtype)

    def _flat(self, rows: Tensor) -> Tensor:
        n_features = self.units.n_features
        if rows.ndim == 4 and tuple(rows.shape[1:]) == self.image_shape:
            return rows.flatten(1)
        if rows.ndim != 2 or rows.shape[1] != n_features:
            images = "" if self.image_shape is None else f" or (n_samples, *{self.image_shape})"
            raise ValueError(
                f"The encoder wants rows of shape (n_samples, {n_features}){images}, got a "
                f"tensor of shape {tuple(rows.shape)}."
            )
        return rows


class RowDecoder(nn.Module):
    """Codes to rows in the units of the data: the means of ``p(x|z)``.

    Parameters
    ----------
    decoder : ModuleDecoder
        To standardised rows. Of an autoregressive one the rows are conditional means, each
        column given those before it.
    units : Standardization
        From the units of the data to those of the net.
    latent_dim : int
        Width of a code.
    """

    def __init__(self, decoder: ModuleDecoder, units: Standardization, latent_dim: int):
        super().__init__()
        self.units = ColumnUnits(units)
        self.decoder = decoder
        self.latent_dim = latent_dim

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes of shape (n_samples, latent_dim) to rows of (n_samples, n_features)."""
        _check_codes(codes, self.latent_dim, "decoder")
        expected = self.decoder.expectation(codes.to(_precision(self.decoder)))
        return self.units.restored(expected.to(_answered_in(codes)))


class CodeWitness(nn.Module):
    """Codes to the log probabilities that the witness gives the teacher's components.

    Parameters
    ----------
    witness : LinearWitness or SimplexWitness
        Of codes.
    latent_dim : int
        Width of a code.
    """

    def __init__(self, witness: LinearWitness | SimplexWitness, latent_dim: int):
        super().__init__()
        self.witness = witness
        self.latent_dim = latent_dim

    def forward(self, codes: Tensor) -> Tensor:
        """Natural logarithms of ``q(k|z)``, of shape (n_samples, n_components)."""
        _check_codes(codes, self.latent_dim, "witness")
        logits = self.witness.logits(codes.to(_precision(self.witness)))
        return torch.log_softmax(logits.to(_answered_in(codes)), dim=1)


def with_fixed_weights(module: Module) -> Module:
    """Return a module with the same memory for its weights, and no gradients of them."""
    kept: dict[int, Tensor] = {id(buffer): buffer for buffer in module.buffers()}
    for weight in module.parameters():
        kept[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False)
    return copy.deepcopy(module, kept)


def _check_codes(codes: Tensor, latent_dim: int, name: str) -> None:
    if codes.ndim != 2 or codes.shape[1] != latent_dim:
        raise ValueError(
            f"The {name} wants codes of shape (n_samples, {latent_dim}), got a tensor of shape "
            f"{tuple(codes.shape)}."
        )


def _precision(module: nn.Module) -> torch.dtype:
    """Type of the first floating weight or buffer: what all are cast to together."""
    tensors = [*module.parameters(), *module.buffers()]
    return next((each.dtype for each in tensors if each.is_floating_point()), torch.float32)


def _answered_in(given: Tensor) -> torch.dtype:
    return torch.float64 if given.dtype == torch.float64 else torch.float32
