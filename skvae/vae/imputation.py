"""What a trained net makes of missing entries, given those that were observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from torch import Tensor

from skvae._common.ambient import undisturbed
from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.nets.networks import standard_normal
from skvae.objective.row_terms import importance_bound
from skvae.rows.finite import require_finite
from skvae.vae.inference import Inference

__all__ = ["imputed"]


@undisturbed()
@torch.inference_mode()
def imputed(
    inference: Inference, rows: NDArray, n_draws: int, generator: torch.Generator | None
) -> NDArray[np.float64]:
    """Return rows in which each missing entry is its conditional mean, or a draw.

    Parameters
    ----------
    inference : Inference
        Of a net that bears missing entries.
    rows : ndarray of shape (n_samples, n_features)
        NaN is missing.
    n_draws : int
        Codes that are drawn of each row.
    generator : torch.Generator or None
        Of draws; None is the conditional mean.

    References
    ----------
    Mattei and Frellsen, arXiv 1812.02633, equations 12 (the mean, by self-normalised importance
    weights) and 13 (draws, by sampling importance resampling).
    """
    module, device = inference.module.eval(), inference.net.device
    noises = standard_normal(
        (n_draws, module.latent_dim), torch_generator(inference.seed, "imputation")
    ).to(device)
    filled = rows.astype(np.float64)
    incomplete = np.flatnonzero(np.isnan(rows).any(axis=1))
    with one_thread_if(inference.net.is_small()):
        for chunk in gen_batches(len(incomplete), inference.chunk_rows):
            block = rows[incomplete[chunk]]
            standardised = inference.units.apply(block)
            require_finite(block, inference.owner, derived=standardised, allow_nan=True)
            x = torch.from_numpy(standardised).to(device)
            if generator is None:
                made = _conditional_means(module, x, noises)
            else:
                made = _conditional_draws(module, x, noises, generator)
            restored = inference.units.restore(made.numpy(force=True))
            filled[incomplete[chunk]] = np.where(np.isnan(block), restored, block)
    return filled


def _conditional_means(module: Any, x: Tensor, noises: Tensor) -> Tensor:
    """Weighted means of what the decoder expects of each draw of the code."""
    log_most = torch.full((len(x),), -torch.inf, device=x.device)
    total, means = torch.zeros_like(log_most), torch.zeros_like(x)
    for _, parameters, log_weight in _drawn(module, x, noises):
        # In one pass: what was summed is taken to the scale of the greatest weight so far.
        greater = torch.maximum(log_most, log_weight)
        before, weight = torch.exp(log_most - greater), torch.exp(log_weight - greater)
        expected = module.decoder.likelihood.expectation(parameters)
        means = means * before[:, None] + expected * weight[:, None]
        total, log_most = total * before + weight, greater
    return means / total[:, None]


def _conditional_draws(
    module: Any, x: Tensor, noises: Tensor, generator: torch.Generator
) -> Tensor:
    """Draws of the decoder at a code that is drawn among those of a row by its weight."""
    most = torch.full((len(x),), -torch.inf, device=x.device)
    chosen: Tensor | None = None
    for latent, _, log_weight in _drawn(module, x, noises):
        # The greatest of log weights and Gumbel noise is a draw by the weights.
        waits = torch.empty(len(x)).exponential_(generator=generator)
        score = log_weight - torch.log(waits).to(x.device)
        chosen = latent if chosen is None else chosen
        chosen = torch.where((score > most)[:, None], latent, chosen)
        most = torch.maximum(most, score)
    return module.decoder.draw(chosen, generator)


def _drawn(module: Any, x: Tensor, noises: Tensor) -> Any:
    """Yield draws of the code, what the decoder makes of them, and log importance weights."""
    mean, log_variance = module.encoder(x)
    deviation = torch.exp(0.5 * log_variance)
    for noise in noises:
        latent = mean + deviation * noise
        parameters = module.decoder(latent)
        cost = module.decoder.reconstruction(x, parameters)
        log_weight = importance_bound(cost[None], latent[None], mean, log_variance)
        yield latent, parameters, log_weight
