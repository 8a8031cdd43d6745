"""What tests share: settings of the estimator, devices, estimators to check, where ranks meet.

A test of what holds whatever the setting runs over `SETTINGS`; a new parameter gets a line
there, and with it every such test.
"""

import socket
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import GradientNormClipping
from torch import nn

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE, TeacherSearch, TemperedTeacher
from skvae.nets.likelihoods import OF_COUNTS

__all__ = ["DEVICES", "ESTIMATORS", "READS", "SETTINGS", "meeting_of", "rows_for"]


class Clipping(GradientNormClipping):
    """A callback that is printed alike in every process, as names of tests have to be."""

    def __repr__(self):
        return f"Clipping({self.gradient_clip_value})"


def linear_encoder(shape, latent_dim):
    return nn.Linear(shape[0], 2 * latent_dim)


def linear_decoder(shape, latent_dim):
    return nn.Linear(latent_dim, shape[0])


# Parameters of the estimator, one setting for each way through a fit.
SETTINGS = {
    "default": {},
    "collapse": {"alignment_weight": 0.0, "decoder_variance": 100.0},
    "linear": {"hidden_layer_sizes": (), "decoder_variance": 0.5},
    "conv": {"architecture": "conv", "image_shape": (1, 2, 2), "channels": 4},
    "autoregressive": {"decoder": "autoregressive"},
    "own modules": {"encoder": linear_encoder, "decoder": linear_decoder},
    "mean read": {"witness_input": "mean"},
    "mlp witness": {"witness": "mlp", "alignment_target": 0.6},
    "simplex witness": {"witness": "simplex", "prefit_epochs": 2},
    "guard": {"guard": 0.05},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "average": {"ema_decay": 0.9, "early_stopping": True, "validation_fraction": 0.3},
    "warm-up": {"kl_warmup": 0.5, "kl_cycles": 2},
    "free bits": {"free_bits": 0.1},
    "capacity": {"kl_capacity": 1.0},
    "batch terms": {"mmd_weight": 1.0, "tc_weight": 1.0},
    "importance": {"n_importance_samples": 3},
    "aggressive": {"aggressive_steps": 1},
    "laplace": {"likelihood": "laplace", "decoder_variance": "shared"},
    "bernoulli": {"likelihood": "bernoulli"},
    "continuous bernoulli": {"likelihood": "continuous_bernoulli"},
    "poisson": {"likelihood": "poisson"},
    "student": {"likelihood": "student_t"},
    "mixed": {"likelihood": {0: "categorical", 1: "poisson", 2: "auto", 3: "bernoulli"}},
    "mask": {"missing": "mask"},
    "negative binomial": {"likelihood": "negative_binomial"},
    "counts without a size": {"likelihood": "poisson", "size": None},
    "counts with an exposure": {"likelihood": "poisson", "size": 1},
    "weight decay": {"weight_decay": 0.1, "batch_size": 50},
    "bf16": {"precision": "bf16"},
    "optimizer": {"optimizer": partial(torch.optim.SGD, momentum=0.9), "weight_decay": 0.01},
    "lr schedule": {"lr_schedule": "one-cycle"},
    "clipping": {"max_grad_norm": 0.5, "lr_schedule": "cosine"},
}


def rows_for(setting, clusters):
    """Rows that a setting's likelihood gives a density."""
    likelihood = setting.get("likelihood", "gaussian")
    lowest = clusters.min()
    if isinstance(likelihood, dict) and likelihood.get(3) == "bernoulli":
        counts = np.maximum(clusters[:, :2].round(), 0)
        return np.column_stack([counts, clusters[:, 2], clusters[:, 3] > 1])
    if "bernoulli" in likelihood:
        return (clusters - lowest) / (clusters.max() - lowest)
    if likelihood not in OF_COUNTS:
        return clusters
    counts = (clusters - lowest).round()
    # What an exposure may be too.
    counts[:, 1] += 1
    return counts


# Those that are there.
DEVICES = [
    name
    for name, is_there in [
        ("cpu", True),
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    ]
    if is_there
]

# All that is asked of a fitted estimator of some rows.
READS = {
    "transform": lambda vae, X: vae.transform(X),
    "score_samples": lambda vae, X: vae.score_samples(X),
    "witness at the mean": lambda vae, X: vae.witness_log_proba(X),
    "witness at a sample": lambda vae, X: vae.witness_log_proba(X, latent="sample"),
    "posterior_kl": lambda vae, X: vae.posterior_kl(X),
    "teacher_proba": lambda vae, X: vae.teacher_proba(X),
}

# Estimators that scikit-learn's own checks are run on.
_briefly = partial(TeacherGuidedVAE, max_epochs=20)
ESTIMATORS = [
    _briefly(),
    _briefly(witness="simplex", prefit_epochs=2, guard=0.01),
    _briefly(
        kl_warmup=0.5,
        kl_cycles=2,
        kl_capacity=2.0,
        mmd_weight=10.0,
        witness="mlp",
        alignment_target=0.5,
    ),
    _briefly(free_bits=0.1, tc_weight=1.0, aggressive_steps=1, likelihood="laplace"),
    _briefly(n_importance_samples=3, decoder_variance="shared"),
    _briefly(likelihood="auto"),
    _briefly(missing="mask"),
    _briefly(
        optimizer=torch.optim.RMSprop,
        lr_schedule="cosine",
        max_grad_norm=1.0,
        # One without a state: `fit` uses the callbacks that it is given.
        callbacks=[Clipping(10.0)],
    ),
    GaussianMixtureTeacher(),
    TemperedTeacher(GaussianMixtureTeacher(n_components=3, random_state=0)),
    TemperedTeacher(LogisticRegression()),
    TeacherSearch({"n_components": [2], "temperature": [1.0, 2.0]}, random_state=0),
]


def meeting_of(n_ranks):
    """Return what a launcher tells all of so many processes in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
