"""The usual variational autoencoders as constructor parameters, none with a teacher's help."""

from __future__ import annotations

from typing import Any

__all__ = ["BASELINES"]

# docs/objectives.rst has the source of each.
SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {},
    "autoencoder": {"beta": 0.0},
    "beta-vae-0.25": {"beta": 0.25},
    "beta-vae-4": {"beta": 4.0},
    "kl-annealing": {"kl_warmup": 0.5},
    "cyclical-annealing": {"kl_warmup": 0.5, "kl_cycles": 4},
    "free-bits": {"free_bits": 0.25},
    "kl-capacity": {"beta": 20.0, "kl_capacity": 8.0, "kl_warmup": 0.5},
    "mmd-vae": {"beta": 0.0, "mmd_weight": 100.0},
    "info-vae": {"beta": 0.5, "mmd_weight": 100.0},
    "beta-tcvae": {"tc_weight": 5.0},
    "learned-variance": {"decoder_variance": "learned"},
    "sigma-vae": {"decoder_variance": "shared"},
    "laplace-vae": {"likelihood": "laplace"},
    "aggressive": {"aggressive_steps": 5},
    "iwae": {"n_importance_samples": 8},
}
BASELINES: dict[str, dict[str, Any]] = {
    name: {"alignment_weight": 0.0, **parameters} for name, parameters in SETTINGS.items()
}
