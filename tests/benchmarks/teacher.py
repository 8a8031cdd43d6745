"""The default teacher against scikit-learn's own pipeline, and its share of a default fit.

python tests/benchmarks/teacher.py --fashion-mnist FOLDER --out FOLDER
"""

from __future__ import annotations

import warnings
from pathlib import Path

from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import many_rows
from timing import Session, median, parser, time_of_an_epoch

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.vae.budget import with_budget


def plain_pipeline(teacher):
    return make_pipeline(
        StandardScaler(),
        PCA(teacher.pca_components, random_state=0),
        GaussianMixture(
            teacher.n_components,
            covariance_type=teacher.covariance_type,
            reg_covar=teacher.reg_covar,
            n_init=teacher.n_init,
            max_iter=teacher.max_iter,
            random_state=0,
        ),
    )


def main():
    command = parser(__doc__)
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    options = command.parse_args()
    session = Session("teacher", options)
    warnings.simplefilter("ignore")
    name, X = many_rows(options.fashion_mnist)
    teacher = GaussianMixtureTeacher(random_state=0)
    size = f"{name}, {X.shape[0]:,} x {X.shape[1]}"
    fits = session.compare(
        f"teacher, {size}",
        {
            "GaussianMixtureTeacher": lambda: teacher.fit(X),
            "scikit-learn pipeline": lambda: plain_pipeline(teacher).fit(X),
        },
        ("scikit-learn pipeline",),
    )
    pipeline = plain_pipeline(teacher).fit(X)
    session.compare(
        f"predict_proba, {size}",
        {
            "GaussianMixtureTeacher": lambda: teacher.predict_proba(X),
            "scikit-learn pipeline": lambda: pipeline.predict_proba(X),
        },
        ("scikit-learn pipeline",),
    )

    def train(n_epochs):
        TeacherGuidedVAE(
            teacher=FrozenEstimator(teacher),
            max_epochs=n_epochs,
            early_stopping=False,
            device="cpu",
            random_state=0,
        ).fit(X)

    trainings = session.compare(
        f"default training, {size}", {"skvae": train}, ("skvae",), time_of_an_epoch
    )
    clock = session.clock
    epoch = median(trainings["skvae"], clock)
    fixed = median(trainings["skvae"], f"fixed_{clock}")
    fitted = median(fits["GaussianMixtureTeacher"], clock)
    defaults = TeacherGuidedVAE().get_params(deep=False)
    n_epochs = with_budget(defaults, len(X), is_judged=False)["max_epochs"]
    whole = fitted + fixed + n_epochs * epoch
    session.say("")
    session.say(
        f"a default fit of {n_epochs} epochs, extrapolated: {whole:.1f} s, "
        f"of which its teacher {fitted:.2f} s, {fitted / whole:.1%}"
    )
    session.close()


if __name__ == "__main__":
    main()
