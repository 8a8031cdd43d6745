"""Standard methods as constructor parameters: nothing else distinguishes a baseline."""

from __future__ import annotations

from typing import Any

__all__ = ["BASELINES"]

# None has an alignment: what the teacher says reaches no weight of the encoder or decoder.
BASELINES: dict[str, dict[str, Any]] = {
    # Kingma and Welling, arXiv 1312.6114.
    "vae": {"alignment_weight": 0.0, "beta": 1.0},
    # Higgins et al., ICLR 2017.
    "beta-vae-4": {"alignment_weight": 0.0, "beta": 4.0},
    "beta-vae-0.25": {"alignment_weight": 0.0, "beta": 0.25},
    # No divergence from the prior: reconstruction from a code with noise of its own choice.
    "autoencoder": {"alignment_weight": 0.0, "beta": 0.0},
    # Rybkin, Daniilidis and Levine, ICML 2021 (sigma-VAE), with a variance for each column.
    "learned-variance": {"alignment_weight": 0.0, "decoder_variance": "learned"},
}
