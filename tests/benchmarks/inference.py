"""Reading a trained model against the matrix products of one read of its encoder.

python tests/benchmarks/inference.py --fashion-mnist FOLDER --out FOLDER
"""

from __future__ import annotations

import warnings
from pathlib import Path

from products import HIDDEN, LATENT_DIM, encoder_read, net_read
from tables import many_rows
from timing import Session, parser

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

# What is read does not depend on how well the model was trained.
TRAINING_ROWS = 5_000


def main():
    command = parser(__doc__)
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    options = command.parse_args()
    session = Session("inference", options)
    warnings.simplefilter("ignore")
    name, X = many_rows(options.fashion_mnist)
    vae = TeacherGuidedVAE(
        hidden_layer_sizes=HIDDEN,
        latent_dim=LATENT_DIM,
        max_epochs=1,
        device="cpu",
        random_state=0,
    ).fit(X[:TRAINING_ROWS])
    certificate = ConstantCollapseCertificate(latent="sample", confidence=0.95)
    session.compare(
        f"{name}, {X.shape[0]:,} x {X.shape[1]}",
        {
            "forward products of the encoder": encoder_read(*X.shape),
            "forward products of the net": net_read(*X.shape),
            "transform": lambda: vae.transform(X),
            "teacher_proba": lambda: vae.teacher_proba(X),
            "score": lambda: certificate.score(vae, X),
            "certify": lambda: certificate.certify(vae, X),
        },
        ("forward products of the encoder", "forward products of the net"),
    )
    session.close()


if __name__ == "__main__":
    main()
