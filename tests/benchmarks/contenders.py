"""Trainings that are measured, each a function of its number of epochs."""

from __future__ import annotations

from hand_loop import optimizer_of, train_epoch
from sklearn.frozen import FrozenEstimator

from skvae import TeacherGuidedVAE
from skvae.training.devices import has_products_in

WEIGHTS = {"beta": 1.0, "alignment_weight": 10.0}
# From here on a processor gains by products in bf16, if it has them.
LEAST_BATCH_SIZE_OF_BF16 = 256


def ours(X, teacher, **settings):
    """Fit the estimator to rows with a fitted teacher."""

    def train(n_epochs):
        TeacherGuidedVAE(
            teacher=FrozenEstimator(teacher),
            max_epochs=n_epochs,
            early_stopping=False,
            device="cpu",
            random_state=0,
            **WEIGHTS,
            **{"precision": "fp32", **settings},
        ).fit(X)

    return train


def by_hand(make_model, rows, targets, variance, batch_size):
    """Train the model of a person who writes the loop."""

    def train(n_epochs):
        model = make_model()
        optimizer = optimizer_of(model)
        for _ in range(n_epochs):
            train_epoch(
                model, optimizer, rows, targets, variance, batch_size=batch_size, **WEIGHTS
            )

    return train


def gains_by_bf16(batch_size):
    """Whether bf16 is worth measuring here."""
    return batch_size >= LEAST_BATCH_SIZE_OF_BF16 and has_products_in("bf16", "cpu")
