"""What the decoder of a trained net makes of codes that are not its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from skvae._common.ambient import undisturbed
from skvae._common.threads import one_thread_if
from skvae.rows.finite import require_finite
from skvae.rows.numbers import to_numpy
from skvae.rows.tables import check_table
from skvae.vae.inference import Inference

__all__ = ["log_likelihood"]


@undisturbed()
@torch.inference_mode()
def log_likelihood(inference: Inference, rows: Any, codes: ArrayLike) -> NDArray[np.float64]:
    """Log density of rows given codes, in the units of the data, of shape (n_samples,)."""
    module, device = inference.module, inference.net.device
    rows = to_numpy(rows)
    latent = check_table(codes, "codes", dtype=[np.float64, np.float32])
    if latent.shape != (len(rows), module.latent_dim):
        raise ValueError(
            f"codes must have shape {(len(rows), module.latent_dim)}, a code of "
            f"latent_dim={module.latent_dim} for each row, got {latent.shape}."
        )
    module.eval()
    found = np.empty(len(rows))
    with one_thread_if(inference.net.is_small()):
        for chunk in gen_batches(len(rows), inference.chunk_rows):
            standardised = inference.units.apply(rows[chunk])
            require_finite(
                rows[chunk],
                inference.owner,
                derived=standardised,
                allow_nan=inference.has_missing,
            )
            x = torch.from_numpy(standardised).to(device)
            z = torch.from_numpy(latent[chunk].astype(np.float32, copy=False)).to(device)
            cost = module.decoder.reconstruction(x, module.decoder(z, x))
            found[chunk] = to_numpy(-cost)
            found[chunk] -= to_numpy(inference.log_scales(x))
    return found
