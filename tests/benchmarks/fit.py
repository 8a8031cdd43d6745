"""Seconds an epoch of training against a loop by hand and against its matrix products.

    python tests/benchmarks/fit.py --fashion-mnist FOLDER --out FOLDER

Also against skorch's own net with its default DataLoader, at one batch size, and in bf16 where
the processor has such products and gains by them.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from contenders import WEIGHTS, by_hand, gains_by_bf16, ours
from hand_loop import HandWrittenVAE, objective
from products import HIDDEN, LATENT_DIM, training_pass
from skorch import NeuralNet
from tables import training_tables
from timing import Session, parser, time_of_an_epoch

from skvae import GaussianMixtureTeacher
from skvae.rows.scaling import Standardization

BATCH_SIZES = (64, 128, 256, 512, 1024)
STOCK_BATCH_SIZE = 128
# An epoch is the difference of two trainings: this many rows more make it stand out.
ROWS_MORE = 40_000
DECODER_VARIANCE = 0.1


class StockModule(HandWrittenVAE):
    """Hands its input on, which skorch does not show the criterion."""

    def forward(self, x):
        return x, *super().forward(x)


class StockCriterion(torch.nn.Module):
    def __init__(self, variance):
        super().__init__()
        self.variance = variance

    def forward(self, outputs, T):
        x, *rest = outputs
        return objective(x, T, rest, self.variance, **WEIGHTS)


def by_stock_skorch(rows, targets, variance, batch_size):
    def train(n_epochs):
        NeuralNet(
            StockModule,
            module__n_features=rows.shape[1],
            module__n_components=targets.shape[1],
            module__hidden=HIDDEN,
            module__latent_dim=LATENT_DIM,
            criterion=StockCriterion,
            criterion__variance=variance,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=0.0,
            lr=1e-3,
            batch_size=batch_size,
            max_epochs=n_epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).fit(rows, targets)

    return train


def measure(name, X, options):
    session = Session(f"fit_{name.lower()}", options)
    session.say("seconds an epoch; fixed: what training takes beside its epochs")
    teacher = GaussianMixtureTeacher(random_state=0).fit(X)
    units = Standardization.of(X)
    rows = torch.from_numpy(units.apply(X))
    targets = torch.as_tensor(teacher.predict_proba(X), dtype=torch.float32)
    variance = torch.as_tensor(DECODER_VARIANCE / np.square(units.scale), dtype=torch.float32)
    n_epochs = max(1, round(ROWS_MORE / len(X)))
    settings = {
        "hidden_layer_sizes": HIDDEN,
        "latent_dim": LATENT_DIM,
        "decoder_variance": DECODER_VARIANCE,
    }
    make_model = partial(HandWrittenVAE, X.shape[1], targets.shape[1], HIDDEN, LATENT_DIM)
    for batch_size in options.batch_sizes:
        settings["batch_size"] = batch_size
        trainings = {
            "skvae": ours(X, teacher, **settings),
            "loop by hand": by_hand(make_model, rows, targets, variance, batch_size),
            "products": training_pass(*rows.shape, targets.shape[1], batch_size),
        }
        if gains_by_bf16(batch_size):
            trainings["skvae, bf16"] = ours(X, teacher, precision="bf16", **settings)
        if batch_size == STOCK_BATCH_SIZE:
            trainings["stock skorch"] = by_stock_skorch(rows, targets, variance, batch_size)
        session.compare(
            f"{name}, {len(X):,} x {X.shape[1]}, batch {batch_size}",
            trainings,
            ("loop by hand", "products"),
            partial(time_of_an_epoch, n_epochs=n_epochs),
        )
    session.close()


def main():
    command = parser(__doc__)
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    names = ("digits", "synthetic", "Fashion-MNIST")
    command.add_argument("--tables", nargs="+", choices=names, default=names)
    command.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES)
    options = command.parse_args()
    # One epoch certifies nothing, and says so.
    warnings.simplefilter("ignore")
    for name, X in training_tables(options.fashion_mnist).items():
        if name in options.tables:
            measure(name, X, options)


if __name__ == "__main__":
    main()
