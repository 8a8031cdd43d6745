"""A grid search on digits with and without a memory of its teachers, in one and two processes.

python tests/benchmarks/grid.py --out FOLDER
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from counted_teacher import CountedTeacher
from sklearn.model_selection import GridSearchCV
from timing import Session, parser

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits

GRID = {"alignment_weight": [3.0, 10.0, 30.0], "beta": [0.5, 1.0]}
FOLDS = 3


def search(X, n_epochs, remembers, n_jobs, counts):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as memory:
        vae = TeacherGuidedVAE(
            teacher=CountedTeacher(folder),
            memory=memory if remembers else None,
            max_epochs=n_epochs,
            early_stopping=False,
            device="cpu",
            random_state=0,
        )
        certificate = ConstantCollapseCertificate()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            GridSearchCV(vae, GRID, scoring=certificate, cv=FOLDS, n_jobs=n_jobs).fit(X)
        counts[remembers, n_jobs] = len(list(Path(folder).iterdir()))


def main():
    command = parser(__doc__)
    command.add_argument("--epochs", type=int, default=5)
    options = command.parse_args()
    # The processor's time of worker processes is not this process's.
    session = Session("grid", options, clock="wall")
    X = digits()
    counts: dict[tuple[bool, int], int] = {}
    names = {
        (remembers, n_jobs): f"{'memory' if remembers else 'no memory'}, n_jobs={n_jobs}"
        for n_jobs in (1, 2)
        for remembers in (False, True)
    }
    session.compare(
        f"{len(X):,} x {X.shape[1]}, {options.epochs} epochs",
        {
            name: lambda setting=setting: search(X, options.epochs, *setting, counts)
            for setting, name in names.items()
        },
        (names[False, 1],),
    )
    session.say("")
    fits = FOLDS * len(GRID["alignment_weight"]) * len(GRID["beta"]) + 1
    for setting, name in names.items():
        session.say(f"{name}: {counts[setting]} teachers fitted for {fits} models")
    session.close()


if __name__ == "__main__":
    main()
