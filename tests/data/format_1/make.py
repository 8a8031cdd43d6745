"""Write the files of format 1, and what they say: ``python tests/data/format_1/make.py``.

They were written once. Every later version reads them; one that writes another format gets
files of its own beside them.
"""

import json
from pathlib import Path

import numpy as np

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
)

HERE = Path(__file__).parent


def rows():
    """Rows that need no generator of random numbers."""
    angles = np.arange(90.0)[:, None] * np.array([1.0, 1.7, 2.3, 2.9])
    return 4 * np.repeat(np.eye(3, 4), 30, axis=0) + 0.5 * np.sin(angles)


def main():
    X = rows()
    mixture = GaussianMixtureTeacher(n_components=3, random_state=0)
    brief = {"latent_dim": 2, "hidden_layer_sizes": (4,), "random_state": 0, "device": "cpu"}
    model = TeacherGuidedVAE(
        **brief, teacher=mixture, max_epochs=20, lr=1e-2, early_stopping=True
    ).fit(X)
    streamed = TeacherGuidedVAE(
        **brief, teacher=TemperedTeacher(mixture), witness="simplex", guard=0.05
    ).partial_fit(X)
    teachers = {
        "mixture": mixture.fit(X),
        "tempered": TemperedTeacher(mixture, temperature=2.0).fit(X),
        "precomputed": PrecomputedTeacher().fit(np.full((2, 3), 1 / 3)),
    }
    search = TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(X)
    certificate = ConstantCollapseCertificate()
    kinds = {"model": model, "streamed model": streamed, **teachers, "search": search}
    kinds["report"] = certificate.certify(model, X)
    both = ConstantCollapseCertificate(teacher=[mixture, teachers["tempered"]])
    kinds["simultaneous report"] = both.certify(model, X)
    for name, each in kinds.items():
        each.save(HERE / f"{name.replace(' ', '_')}.skvae")
    said = {
        name: {
            "codes": each.transform(X[::10]).tolist(),
            "elbo": each.score_samples(X[::10]).tolist(),
            "witness": each.witness_log_proba(X[::10]).tolist(),
            "margin": each.margin_,
            "epochs": each.n_iter_,
        }
        for name, each in kinds.items()
        if isinstance(each, TeacherGuidedVAE)
    }
    said |= {
        name: each.predict_proba(X[::10]).tolist()
        for name, each in kinds.items()
        if hasattr(each, "predict_proba") and name != "precomputed"
    }
    said |= {name: kinds[name].to_dict() for name in ("report", "simultaneous report")}
    (HERE / "said.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
