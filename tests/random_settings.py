"""Models of random settings: saved and loaded, cloned and pickled, they are what they were.

``python tests/random_settings.py`` tries six hundred; the tests try some of them.
"""

from __future__ import annotations

import pickle
import re
import sys
import tempfile
import warnings
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from shared import READS, linear_decoder, linear_encoder, rows_for
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
)

MIXTURE = GaussianMixtureTeacher(n_components=3)
# Values to draw from, for each parameter; those that are left out are drawn from their default.
VALUES = {
    "latent_dim": [2, 3, np.int64(5)],
    "hidden_layer_sizes": [(), (8,), [8, 4], 6, np.array([5, 7])],
    "architecture": ["dense", "dense", "dense", "conv"],
    "image_shape": [None, None, (1, 2, 2)],
    "channels": [4, (3, 5)],
    "encoder": [None, None, None, linear_encoder],
    "decoder": [None, None, None, "autoregressive", linear_decoder],
    "teacher": [
        MIXTURE,
        MIXTURE,
        TemperedTeacher(MIXTURE),
        TemperedTeacher(LogisticRegression()),
        TeacherSearch({"n_components": [2, 3]}),
        LogisticRegression(),
        None,
    ],
    "alignment_weight": [0.0, 5, 10.0, np.float32(20)],
    "alignment_target": [None, None, 0.5],
    "beta": [1.0, 1.0, 0.5, 2],
    "kl_warmup": [0.0, 0.0, 0.5],
    "kl_cycles": [1, 1, 2],
    "free_bits": [0.0, 0.0, 0.1],
    "kl_capacity": [None, None, 1.0],
    "mmd_weight": [0.0, 0.0, 1.0],
    "tc_weight": [0.0, 0.0, 0.5],
    "n_importance_samples": [1, 1, 1, 3],
    "aggressive_steps": [0, 0, 1],
    "likelihood": [
        "gaussian",
        "gaussian",
        "laplace",
        "bernoulli",
        "continuous_bernoulli",
        "negative_binomial",
        "poisson",
        ("student_t", 5.0),
        "auto",
        {0: "laplace", (1, 2): ("categorical", "unseen")},
    ],
    "size": ["total", None, 1],
    "decoder_variance": ["learned", "learned", "shared", 0.5],
    "missing": ["error", "error", "mask"],
    "variance_floor": ["auto", "auto", 1e-6, 0.1],
    "witness_input": ["sample", "mean"],
    "witness": ["linear", "mlp", "simplex"],
    "witness_scale": [2.0, 1.0],
    "prefit_epochs": [0, 0, 1],
    "prefit_alpha": ["design", 0.5],
    "guard": [None, None, 0.01],
    "batch_size": [128, 16, 7],
    "max_epochs": [1, 2, 3],
    "lr": [1e-2, np.float64(1e-3)],
    "weight_decay": [0.0, 0.1],
    "optimizer": [None, None, torch.optim.SGD, torch.optim.RMSprop],
    "lr_schedule": [None, "cosine", "one-cycle"],
    "max_grad_norm": [None, 5.0],
    "callbacks": [None, ()],
    "checkpoint": [None],
    "checkpoint_every": [timedelta(minutes=10), 2],
    "ema_decay": [None, "auto", 0.9],
    "early_stopping": [False, True, "auto"],
    "validation_fraction": [0.1, 0.3],
    "n_iter_no_change": [10, 1],
    "tol": [1e-4, 0],
    "warm_start": [False, True],
    "max_teacher_rows": [100_000, 40],
    "memory": [None],
    "device": ["cpu"],
    "data_on_device": ["auto", True, False],
    "distributed": ["auto", False],
    "precision": ["auto", "fp32", "bf16"],
    "compile": [False],
    "random_state": [0, 7, np.int32(3), "RandomState"],
    "verbose": [0, False],
}


def drawn(rng):
    """Draw a value for each parameter, most of them the default."""
    setting = {}
    for name, values in VALUES.items():
        usual = name in ("device", "max_epochs", "teacher", "hidden_layer_sizes", "latent_dim")
        if usual or rng.random() < 0.3:
            setting[name] = values[rng.integers(len(values))]
    if setting.get("architecture") == "conv":
        setting["image_shape"] = (1, 2, 2)
    if isinstance(setting.get("random_state", 0), str):
        setting["random_state"] = np.random.RandomState(5)
    return {**setting, "random_state": setting.get("random_state", 1)}


def table():
    rng = np.random.default_rng(0)
    return 4 * np.repeat(np.eye(3, 4), 25, axis=0) + 0.5 * rng.standard_normal((75, 4))


def said(vae, X):
    """All that a model says of rows, and its history, in a form that can be compared."""
    found = {name: read(vae, X).tobytes() for name, read in READS.items()}
    report = ConstantCollapseCertificate().certify(vae, X)
    return found, repr(vae.history_), report, vae.margin_


def parameters_of(vae):
    """Parameters as they print, without addresses in memory."""
    return re.sub(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]+", "", repr(vae.get_params()))


def without_seconds(vae):
    for record in vae.history_:
        record["seconds"] = 0.0


def check(setting, path):
    """Fit a setting and compare its copies; return why it could not be fitted, or None."""
    X, y = rows_for(setting, table()), np.repeat([0, 1, 2], 25)
    vae = TeacherGuidedVAE(**setting)
    unfitted = pickle.dumps(vae)
    try:
        vae.fit(X, y)
    except ValueError as error:
        return str(error)
    own = {
        name: setting[name] for name in ("encoder", "decoder") if callable(setting.get(name))
    }
    vae.save(path)
    copies = [TeacherGuidedVAE.load(path, **own), pickle.loads(pickle.dumps(vae))]
    expected = said(vae, X)
    for copied in copies:
        assert said(copied, X) == expected
        assert parameters_of(copied) == parameters_of(vae)
    # A clone is what it was before, and so is one of a copy.
    for copied in (vae, *copies):
        again = clone(copied)
        assert parameters_of(again) == parameters_of(pickle.loads(unfitted))
    generator = setting["random_state"]
    if isinstance(generator, np.random.RandomState):
        assert copies[0].random_state.randint(2**30) == generator.randint(2**30)
    if isinstance(generator, (int, np.integer)):
        again = clone(copies[0]).fit(X, y)
        for each in (again, vae):
            without_seconds(each)
        assert said(again, X) == said(vae, X)
    if hasattr(vae, "partial_fit"):
        for each in (vae, *copies):
            without_seconds(each.partial_fit(X, y))
        for copied in copies:
            without_seconds(copied)
            assert said(copied, X) == said(vae, X)
    return None


def survey(n_valid, folder, seed=0):
    """Check so many settings that can be fitted; return why others could not."""
    rng = np.random.default_rng(seed)
    reasons: Counter = Counter()
    drawn_of: Counter = Counter()
    found = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while found < n_valid:
            setting = drawn(rng)
            reason = check(setting, Path(folder) / "some.skvae")
            found += reason is None
            if reason is None:
                drawn_of.update(setting.keys())
            else:
                reasons[reason[:60]] += 1
    return reasons, drawn_of


if __name__ == "__main__":
    n_valid = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as folder:
        reasons, drawn_of = survey(n_valid, folder)
    print(f"{n_valid} settings are the same saved and loaded, cloned and pickled.")
    print(f"{len(drawn_of)} parameters, each in {min(drawn_of.values())} of them or more.")
    print(f"{sum(reasons.values())} others contradict themselves:")
    for reason, number in reasons.most_common():
        print(f"{number:5} {reason}")
