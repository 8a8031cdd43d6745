"""Reading a trained net: arrays in, arrays out, a chunk of rows at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skvae._common.ambient import undisturbed
from skvae._common.randomness import torch_generator
from skvae._common.threads import n_threads, one_thread_if, side_by_side
from skvae.nets.networks import (
    ModuleDecoder,
    ModuleEncoder,
    VariationalAutoencoder,
    draw_latent,
    standard_normal,
)
from skvae.nets.standalone import ColumnUnits, with_fixed_weights
from skvae.objective.row_terms import importance_bound, kl, kl_per_dimension
from skvae.rows.finite import require_finite
from skvae.rows.numbers import to_numpy
from skvae.rows.scaling import Standardization
from skvae.rows.sparse import SparseRows, taken
from skvae.rows.stores import StoredRows
from skvae.training.distributed import ranks_of_reading
from skvae.training.net import VAENet
from skvae.vae.tensors import in_most_digits, of_tensors_too

__all__ = ["CodeReadings", "Inference"]

# Rows that go through the net together, and images, whose feature maps are larger.
CHUNK_ROWS = 1024
CHUNK_IMAGES = 256
# Entries of sparse rows that are dense at a time, in each thread.
SPARSE_CHUNK_ENTRIES = 2**20
# Entries of rows of a store that are read before the next.
BLOCK_ENTRIES = 2**22
# Draws of the code in the ELBO, in antithetic pairs, the same for every row: so the
# score of a row does not depend on the rows beside it.
ELBO_DRAWS = 16


class CodeReadings(NamedTuple):
    """All that a certificate reads of the codes of some rows.

    Attributes
    ----------
    mean, log_variance : ndarray of shape (n_samples, latent_dim)
        Means and natural-log variances of ``q(z|x)``, in float32.
    kl : ndarray of shape (n_samples, latent_dim)
        Its divergence from the prior in each dimension, in nats, in float32.
    log_witness_mean : ndarray of shape (n_samples, n_components)
        Log probabilities of the witness at the posterior mean.
    log_witness_samples : list of ndarray of shape (n_samples, n_components)
        The same at a draw of the code, for each draw.
    rows : ndarray of shape (n_samples, n_features)
        The rows that were read, as numbers.
    """

    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32]
    kl: NDArray[np.float32]
    log_witness_mean: NDArray[np.float64]
    log_witness_samples: list[NDArray[np.float64]]
    rows: NDArray

    @property
    def transformed(self) -> NDArray[np.float32]:
        """What `transform` returns: the posterior means."""
        return self.mean

    @property
    def is_normalised(self) -> bool:
        """Whether the witness's rows are distributions to the last digits of a float64."""
        return True


@dataclass(frozen=True)
class Inference:
    """What a trained net says of rows in the units of the data.

    Parameters
    ----------
    net : VAENet
        The trained net.
    units : Standardization
        From the units of the data to those of the net.
    seed : int
        Seed of the estimator, from which the fixed draws of the ELBO derive.
    owner : str
        Name of the estimator, for errors about rows that are not finite.
    are_weights_fixed : bool, default=False
        Whether gradients of what is read stop at the weights.

    Notes
    -----
    What is documented of arrays of rows holds of a tensor of them: it is a tensor then, on the
    device of the rows, and differentiable in them.
    """

    net: VAENet
    units: Standardization
    seed: int
    owner: str
    are_weights_fixed: bool = False

    @cached_property
    def module(self) -> VariationalAutoencoder:
        """The net, or one with the same weights that no gradient reaches."""
        module: VariationalAutoencoder = self.net.module_
        return with_fixed_weights(module) if self.are_weights_fixed else module

    def with_fixed_weights(self) -> Inference:
        """Return what reads the same, and leaves no gradients at the weights of the net."""
        return self if self.are_weights_fixed else replace(self, are_weights_fixed=True)

    @property
    def is_thread_safe(self) -> bool:
        """Whether several threads may read rows at a time: through the library's own layers."""
        on_cpu = torch.device(self.net.device).type == "cpu"
        # Ranks have to wait for each other in one order.
        return self._has_own_layers and on_cpu and ranks_of_reading() is None

    @property
    def has_missing(self) -> bool:
        """Whether entries of the rows may be NaN, and leave their density."""
        return bool(self.module.decoder.bears_missing)

    def log_scales(self, x: Tensor) -> Tensor | float:
        """Sum of the log units of the observed entries of each of these standardised rows."""
        if not self.has_missing:
            return self.units.log_scale_sum
        log_scale = torch.from_numpy(np.log(self.units.scale)).to(x.device, x.dtype)
        return torch.mv((~torch.isnan(x)).to(x.dtype), log_scale)

    @property
    def _has_own_layers(self) -> bool:
        """Whether encoder and decoder are the library's own."""
        module = self.module
        parts = type(module.encoder), type(module.decoder)
        return ModuleEncoder not in parts and ModuleDecoder not in parts

    @undisturbed()
    @of_tensors_too
    def encode(self, rows: NDArray) -> NDArray[np.float32]:
        """Posterior means, of shape (n_samples, latent_dim)."""
        return self._map(lambda x: self._encoded(x)[0], rows)

    @undisturbed()
    @of_tensors_too
    def posterior(self, rows: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Posterior means and log variances, each of shape (n_samples, latent_dim)."""
        mean, log_variance = self._map_all(self._encoded, rows)
        return mean, log_variance

    @undisturbed()
    @of_tensors_too
    def posterior_kl(self, rows: NDArray) -> NDArray[np.float32]:
        """Divergence from the prior in each dimension, of shape (n_samples, latent_dim)."""
        return self._map(lambda x: kl_per_dimension(*self._encoded(x)), rows)

    @undisturbed()
    @of_tensors_too
    def log_witness(
        self, rows: NDArray, generator: torch.Generator | None
    ) -> NDArray[np.float64]:
        """Log probabilities of the witness at the mean, or at a draw from `generator`."""

        def latents(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, ...]:
            return (mean if generator is None else draw_latent(mean, log_variance, generator),)

        (log_q,) = self._witnessed(self.posterior(rows), latents)
        return log_q

    @undisturbed()
    def read(self, rows: NDArray, generators: Sequence[torch.Generator]) -> CodeReadings:
        """Posterior, divergence and witness, at the mean and at a draw of each generator.

        Arrays, of a tensor too.
        """
        rows = to_numpy(rows)

        def encode(x: Tensor) -> tuple[Tensor, ...]:
            posterior = self._encoded(x)
            return *posterior, kl_per_dimension(*posterior)

        def latents(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, ...]:
            noise = [standard_normal(mean.shape, generator) for generator in generators]
            return mean, *(draw_latent(mean, log_variance, torch.stack(noise)) if noise else ())

        mean, log_variance, kl = self._map_all(encode, rows)
        at_mean, *at_samples = self._witnessed((mean, log_variance), latents)
        return CodeReadings(mean, log_variance, kl, at_mean, at_samples, rows)

    @undisturbed()
    @of_tensors_too
    def elbo(self, rows: NDArray, n_draws: int = ELBO_DRAWS) -> NDArray[np.float32]:
        """Evidence lower bound at beta = 1, in the units of the data, of shape (n_samples,)."""
        module = self.module
        half = torch.randn(
            n_draws // 2,
            module.latent_dim,
            generator=torch_generator(self.seed, "elbo"),
            dtype=torch.float32,
        )
        # Exact first and second moments make the score of a linear decoder exact, but for
        # correlations between the dimensions of the noise.
        half = half / half.square().mean(dim=0).sqrt()
        noises = torch.cat([half, -half]).to(self.net.device)

        def bound(x: Tensor) -> Tensor:
            mean, log_variance = module.encoder(x)
            deviation = torch.exp(0.5 * log_variance)
            reconstruction = torch.stack(
                [
                    module.decoder.reconstruction(
                        x, module.decoder(mean + deviation * noise, x)
                    )
                    for noise in noises
                ]
            ).mean(dim=0)
            return -(reconstruction + kl(mean, log_variance)) - self.log_scales(x)

        return self._map(bound, rows)

    @undisturbed()
    @of_tensors_too
    def importance_bound(self, rows: NDArray, n_draws: int) -> NDArray[np.float32]:
        """Importance-weighted bound in the units of the data, of shape (n_samples,)."""
        module = self.module
        noises = torch.randn(
            n_draws,
            module.latent_dim,
            generator=torch_generator(self.seed, "importance"),
            dtype=torch.float32,
        ).to(self.net.device)

        def bound(x: Tensor) -> Tensor:
            mean, log_variance = module.encoder(x)
            deviation = torch.exp(0.5 * log_variance)
            # One draw at a time: its weight alone is a bound from one draw.
            log_sum = torch.full((len(x),), -torch.inf, device=x.device)
            for noise in noises:
                latent = mean + deviation * noise
                reconstruction = module.decoder.reconstruction(x, module.decoder(latent, x))
                log_weight = importance_bound(
                    reconstruction[None], latent[None], mean, log_variance
                )
                log_sum = torch.logaddexp(log_sum, log_weight)
            return log_sum - math.log(n_draws) - self.log_scales(x)

        return self._map(bound, rows)

    @undisturbed()
    @of_tensors_too
    def decode(self, codes: Any) -> Any:
        """Return the decoder means of codes, in the units of the data."""
        unscaled = Standardization.identity(codes.shape[1])
        decoder = self.module.decoder
        made = self._map(decoder.expectation, codes, unscaled)
        if isinstance(made, Tensor):
            rows: Any = ColumnUnits(self.units).to(made.device).restored(in_most_digits(made))
            is_finite = bool(torch.isfinite(rows).all())
        else:
            rows = self.units.restore(made)
            # By NumPy: torch would split it over threads, which no forked child has.
            is_finite = bool(np.isfinite(rows).all())
        if not is_finite:
            raise ValueError(
                "Codes are too far from the prior to be decoded: their rows are not finite. "
                f"They reach {abs(codes).max():.3g}, and those of rows about 1."
            )
        return rows

    @undisturbed()
    def draw(self, n_samples: int, generator: torch.Generator) -> NDArray[np.float64]:
        """Draws from the model, in the units of the data."""
        shape = n_samples, self.module.latent_dim
        return self.draw_given(standard_normal(shape, generator).numpy(), generator)

    @undisturbed()
    def draw_given(self, codes: NDArray, generator: torch.Generator) -> NDArray[np.float64]:
        """Draws from the decoder at these codes, in the units of the data."""
        decoder = self.module.decoder
        (rows,) = self._in_turn(
            lambda latent: (decoder.draw(latent, generator),), torch.from_numpy(codes)
        )
        return self.units.restore(rows)

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of a chunk that nothing else is read of afterwards."""
        mean, log_variance = self.module.encoder(x, overwrite=not torch.is_grad_enabled())
        if not self._has_own_layers:
            self._check_codes(mean, log_variance)
        return mean, log_variance

    def _check_codes(self, mean: Tensor, log_variance: Tensor) -> None:
        """Refuse what a user's encoder made of rows that are finite."""
        latent_dim = self.module.latent_dim
        if mean.shape[1] != latent_dim:
            raise ValueError(
                f"encoder must return codes of latent_dim={latent_dim}, as it did in training: "
                f"it returned {mean.shape[1]} columns."
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(log_variance).all()):
            raise ValueError(
                "encoder returned NaN or infinity for rows that are finite: look at its "
                "layers, and for rows that are far from those of fit."
            )

    def _witnessed(
        self,
        codes: Sequence[Any],
        latents: Callable[..., tuple[Tensor, ...]],
    ) -> list[Any]:
        """Log probabilities of the witness at each of the latents that chunks of codes give."""
        witness = self.module.witness

        def logits(*chunk: Tensor) -> tuple[Tensor, ...]:
            return tuple(map(witness.logits, latents(*chunk)))

        if isinstance(codes[0], Tensor):
            found = self._map_tensors(logits, *codes)
            return [torch.log_softmax(in_most_digits(each), dim=1) for each in found]
        read = self._in_turn(logits, *map(torch.from_numpy, codes))
        with one_thread_if(self.net.is_small()):
            return list(map(_normalised, read))

    def _map(
        self,
        function: Callable[[Tensor], Tensor],
        rows: Any,
        units: Standardization | None = None,
    ) -> Any:
        """Apply `function` to standardised chunks on the device; join what it returns."""

        @wraps(function)
        def as_tuple(x: Tensor) -> tuple[Tensor, ...]:
            return (function(x),)

        (joined,) = self._map_all(as_tuple, rows, units)
        return joined

    def _map_all(
        self,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        rows: Any,
        units: Standardization | None = None,
    ) -> list[Any]:
        """Apply a function of several results to standardised chunks; join each of them.

        It must draw nothing: where the net bears it, threads take a share of the chunks each.
        """
        if isinstance(rows, Tensor):
            columns = ColumnUnits(units or self.units).to(rows.device)
            return self._map_tensors(function, rows, prepare=columns.standardised)
        self.module.eval()
        joined = _Joined(len(rows))
        n_rows = self.chunk_rows
        if isinstance(rows, SparseRows):
            # Who has them sparse has no room for many that are dense.
            n_rows = max(1, min(n_rows, SPARSE_CHUNK_ENTRIES // rows.shape[1]))
        n_most = min(n_rows, len(rows))
        of_thread = threading.local()

        @torch.inference_mode()
        def read(rows: Any, first: int, start: int) -> None:
            # Of sparse rows few are ever dense.
            block = taken(rows, slice(start, start + n_rows))
            if not hasattr(of_thread, "buffer"):
                of_thread.buffer = np.empty((n_most, rows.shape[1]), dtype=np.float32)
            chunk = (units or self.units).apply(block, out=of_thread.buffer[: len(block)])
            require_finite(block, self.owner, derived=chunk, allow_nan=self.has_missing)
            joined.write(first + start, function(torch.from_numpy(chunk).to(self.net.device)))

        starts = range(0, len(rows), n_rows)
        ranks = ranks_of_reading()
        if ranks is not None:
            share = ranks.share_of(len(starts))
            starts = starts[share.start : share.stop]
        parts: Iterable[tuple[Any, range]] = [(rows, starts)]
        if isinstance(rows, StoredRows):
            # Whole chunks, so that these are the same wherever the rows are.
            n_block = n_rows * max(1, BLOCK_ENTRIES // (n_rows * max(1, rows.shape[1])))
            parts = ((part, range(0, len(part), n_rows)) for part in rows.blocks(n_block))
        n_workers = min(n_threads(), len(starts) // 2) if self.is_thread_safe else 1
        with one_thread_if(self.net.is_small()), side_by_side(n_workers) as call:
            first = 0
            for part, of_part in parts:
                readings = [call(read, part, first, start) for start in of_part]
                for reading in readings:
                    reading()
                first += len(part)
        if ranks is None:
            return joined.arrays
        own = slice(starts.start, starts.stop) if starts else slice(0)
        found = [each[own] for each in joined.arrays]
        name = function.__qualname__.partition(".<")[0]
        return ranks.in_order(found, rows, name, self._checksum())

    def _checksum(self) -> int:
        """Tell the weights from others."""
        checksum = 0
        for weights in self.module.state_dict().values():
            checksum = crc32(np.ascontiguousarray(weights.numpy(force=True)).data, checksum)
        return checksum

    @torch.inference_mode()
    def _in_turn(
        self, function: Callable[..., tuple[Tensor, ...]], *codes: Tensor
    ) -> list[NDArray[np.float32]]:
        """Apply a function that may draw to chunks of codes, in order; join the results."""
        self.module.eval()
        joined = _Joined(len(codes[0]))
        with one_thread_if(self.net.is_small()):
            for start in range(0, len(codes[0]), self.chunk_rows):
                chunk = [each[start : start + self.chunk_rows] for each in codes]
                joined.write(start, function(*(each.to(self.net.device) for each in chunk)))
        return joined.arrays

    def _map_tensors(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        *tensors: Tensor,
        prepare: Callable[[Tensor], Tensor] = Tensor.float,
    ) -> list[Tensor]:
        """Apply a function that may draw to chunks of tensors, in order; join each result."""
        self.module.eval()
        made = []
        with one_thread_if(self.net.is_small()):
            for start in range(0, len(tensors[0]), self.chunk_rows):
                chunk = [prepare(each[start : start + self.chunk_rows]) for each in tensors]
                found = function(*(each.float().to(self.net.device) for each in chunk))
                made.append([part.to(tensors[0].device) for part in found])
        return [torch.cat(parts) for parts in zip(*made, strict=True)]

    @property
    def chunk_rows(self) -> int:
        """Rows that go through the net together."""
        return CHUNK_ROWS if self.net.module__image_shape is None else CHUNK_IMAGES


class _Joined:
    """Results of chunks, each written where it belongs as it comes.

    A list of them to be joined at the end would take twice the memory.
    """

    def __init__(self, n_rows: int):
        self.arrays: list[NDArray[np.float32]] = []
        self._n_rows = n_rows
        self._lock = threading.Lock()

    def write(self, start: int, results: tuple[Tensor, ...]) -> None:
        """Write what the chunk that begins at a row gave; threads may, at a time."""
        with self._lock:
            self.arrays = self.arrays or [
                np.empty((self._n_rows, *result.shape[1:]), dtype=np.float32)
                for result in results
            ]
        for whole, result in zip(self.arrays, results, strict=True):
            whole[start : start + len(result)] = result.numpy(force=True)


def _normalised(witness_logits: NDArray[np.float32]) -> NDArray[np.float64]:
    # The rounding of a float32 softmax must not buy a margin. That of torch takes four times
    # as long over rows as short as these.
    log_q = torch.from_numpy(witness_logits).double()
    log_q -= log_q.amax(dim=1, keepdim=True)
    log_q -= log_q.exp().sum(dim=1, keepdim=True).log()
    normalised: NDArray[np.float64] = log_q.numpy()
    return normalised
