"""Reading a trained model by hand, and against the products of one read of its encoder.

python tests/benchmarks/inference.py --fashion-mnist FOLDER --out FOLDER
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from hand_loop import HandWrittenVAE, encode, margin
from products import HIDDEN, LATENT_DIM, encoder_read, net_read
from tables import clusters, many_rows
from timing import Session, parser

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.rows.scaling import Standardization

# What is read does not depend on how well the model was trained.
TRAINING_ROWS = 5_000


def _in_float32(values):
    return torch.as_tensor(values, dtype=torch.float32)


def measure(name, X, session):
    vae = TeacherGuidedVAE(
        hidden_layer_sizes=HIDDEN,
        latent_dim=LATENT_DIM,
        max_epochs=1,
        early_stopping=False,
        device="cpu",
        random_state=0,
    ).fit(X[:TRAINING_ROWS])
    certificate = ConstantCollapseCertificate(latent="sample", confidence=0.95)
    units = Standardization.of(X)
    net = HandWrittenVAE(X.shape[1], vae.teacher_.n_components, HIDDEN, LATENT_DIM)
    rows = (torch.from_numpy(X), *map(_in_float32, (units.center, units.scale)))

    def margin_by_hand():
        T = vae.teacher_.pipeline_.predict_proba(X)
        return margin(net, *rows, torch.as_tensor(T, dtype=torch.float32))

    session.compare(
        f"{name}, {X.shape[0]:,} x {X.shape[1]}",
        {
            "forward products of the encoder": encoder_read(*X.shape),
            "forward products of the net": net_read(*X.shape),
            "encoding by hand": lambda: encode(net, *rows),
            "margin by hand": margin_by_hand,
            "transform": lambda: vae.transform(X),
            "teacher_proba": lambda: vae.teacher_proba(X),
            "score": lambda: certificate.score(vae, X),
            "certify": lambda: certificate.certify(vae, X),
        },
        ("forward products of the encoder", "encoding by hand"),
    )


def main():
    command = parser(__doc__)
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    options = command.parse_args()
    session = Session("inference", options)
    warnings.simplefilter("ignore")
    measure(*many_rows(options.fashion_mnist), session)
    measure("synthetic", clusters(200_000, 32), session)
    session.close()


if __name__ == "__main__":
    main()
