"""What `peers.py` measures, in the environment that it makes."""

from __future__ import annotations

import logging
import tempfile
import warnings
from functools import partial

import anndata
import numpy as np
import scvi
import torch
from hand_loop import HandWrittenVAE, optimizer_of, train_epoch
from peer_nets import Decoder, Encoder
from products import HIDDEN, LATENT_DIM
from pyod.models import vae as outlier_vae
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from sklearn.preprocessing import StandardScaler
from tables import clusters
from timing import Session, parser, time_of_an_epoch

from skvae import PrecomputedTeacher, TeacherGuidedVAE
from skvae.datasets import digits

BATCH_SIZES = (128, 512)


def by_pythae(X, batch_size):
    def train(n_epochs):
        n_features = X.shape[1]
        config = VAEConfig(input_dim=(n_features,), latent_dim=LATENT_DIM)
        with tempfile.TemporaryDirectory() as folder:
            BaseTrainer(
                VAE(config, Encoder(n_features), Decoder(n_features)),
                BaseDataset(torch.from_numpy(X), torch.zeros(len(X))),
                training_config=BaseTrainerConfig(
                    output_dir=folder,
                    num_epochs=n_epochs,
                    per_device_train_batch_size=batch_size,
                    learning_rate=1e-3,
                    optimizer_cls="AdamW",
                    optimizer_params={"weight_decay": 0.0},
                    no_cuda=True,
                ),
            ).train()

    return train


def by_scvi_tools(X, batch_size):
    # It asks for counts, and takes what is at least 0.
    table = anndata.AnnData(X - X.min())
    scvi.model.SCVI.setup_anndata(table)

    def train(n_epochs):
        scvi.model.SCVI(
            table,
            n_hidden=HIDDEN[0],
            n_layers=len(HIDDEN),
            n_latent=LATENT_DIM,
            dropout_rate=0.0,
            gene_likelihood="normal",
            log_variational=False,
            use_batch_norm="none",
            use_layer_norm="none",
        ).train(
            max_epochs=n_epochs,
            accelerator="cpu",
            batch_size=batch_size,
            train_size=1.0,
            plan_kwargs={"lr": 1e-3, "weight_decay": 0.0, "optimizer": "AdamW"},
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )

    return train


def by_pyod(X, batch_size):
    def train(n_epochs):
        outlier_vae.VAE(
            preprocessing=False,
            lr=1e-3,
            epoch_num=n_epochs,
            batch_size=batch_size,
            optimizer_params={"weight_decay": 0.0},
            encoder_neuron_list=list(HIDDEN),
            decoder_neuron_list=list(HIDDEN),
            latent_dim=LATENT_DIM,
            dropout_rate=0.0,
            device="cpu",
            verbose=0,
        ).fit(X)

    return train


def by_skvae(X, T, batch_size):
    def train(n_epochs):
        TeacherGuidedVAE(
            hidden_layer_sizes=HIDDEN,
            latent_dim=LATENT_DIM,
            teacher=PrecomputedTeacher(),
            alignment_weight=0.0,
            decoder_variance=1.0,
            batch_size=batch_size,
            max_epochs=n_epochs,
            early_stopping=False,
            precision="fp32",
            device="cpu",
            random_state=0,
        ).fit(X, X_teacher=T)

    return train


def by_hand(X, T, batch_size):
    rows, targets = torch.from_numpy(X), torch.from_numpy(T)
    variance = torch.ones(X.shape[1])

    def train(n_epochs):
        model = HandWrittenVAE(X.shape[1], T.shape[1], HIDDEN, LATENT_DIM)
        optimizer = optimizer_of(model)
        for _ in range(n_epochs):
            train_epoch(
                model, optimizer, rows, targets, variance,
                batch_size=batch_size, beta=1.0, alignment_weight=0.0,
            )  # fmt: skip

    return train


def main():
    session = Session("peers", parser(__doc__).parse_args())
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name, table in {"digits": digits(), "synthetic": clusters(20_000, 32)}.items():
        X = StandardScaler().fit_transform(table).astype(np.float32)
        T = np.random.default_rng(0).dirichlet(np.ones(10), len(X)).astype(np.float32)
        for batch_size in BATCH_SIZES:
            session.compare(
                f"{name}, {len(X):,} x {X.shape[1]}, batch {batch_size}",
                {
                    "skvae": by_skvae(X, T, batch_size),
                    "loop by hand": by_hand(X, T, batch_size),
                    "pythae": by_pythae(X, batch_size),
                    "scvi-tools": by_scvi_tools(X, batch_size),
                    "pyod": by_pyod(X, batch_size),
                },
                ("pythae", "scvi-tools", "pyod"),
                partial(time_of_an_epoch, n_epochs=round(20_000 / len(X))),
            )
    session.close()


if __name__ == "__main__":
    main()
