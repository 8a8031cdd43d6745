"""What a user writes, with types: it passes ``mypy --strict``, and it runs."""

from collections.abc import Sequence
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import GridSearchCV

import skvae
from skvae import (
    CertificateReport,
    CollapseMonitor,
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    Rescue,
    SimultaneousReport,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
    datasets,
    protocol,
    rescue,
)
from skvae.certificate import SoftmaxProbe
from skvae.displays import ArmComparisonDisplay, MarginHistoryDisplay
from skvae.exceptions import ConstantTeacherError
from skvae.information import MarginBound, SequentialMargin, margin, margin_lower_bound
from skvae.model_selection import StackedGridSearchCV
from skvae.objective import kl_per_dimension
from skvae.rows import RowFingerprint, as_rows

FAST: dict[str, Any] = {"latent_dim": 2, "max_epochs": 2, "device": "cpu"}


class Encoder(torch.nn.Module):
    """An encoder of one's own."""

    def __init__(self, shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(shape[0], 2 * latent_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def codes_of(X: ArrayLike) -> NDArray[np.float32]:
    """Train a model, and use all that it can do."""
    teacher = GaussianMixtureTeacher(n_components=3, covariance_type="diag", random_state=0)
    vae = TeacherGuidedVAE(
        latent_dim=2,
        hidden_layer_sizes=[8],
        encoder=Encoder,
        teacher=teacher,
        decoder_variance=1.0,
        guard=0.1,
        kl_capacity=None,
        max_epochs=2,
        device="cpu",
        random_state=np.random.RandomState(0),
    )
    assert_type(vae.fit(X), TeacherGuidedVAE)
    assert_type(vae.partial_fit(X), TeacherGuidedVAE)
    weights = [1.0] * np.shape(X)[0]
    assert_type(vae.partial_fit(X, sample_weight=weights), TeacherGuidedVAE)
    assert_type(vae.score(X, sample_weight=weights), float)
    codes = vae.transform(X)
    assert_type(codes, NDArray[np.float32])
    assert_type(vae.inverse_transform(codes), Any)
    assert_type(vae.sample(3, random_state=0), Any)
    assert_type(vae.score_samples(X), NDArray[np.float32])
    assert_type(vae.score(X), float)
    assert_type(vae.witness_log_proba(X, latent="sample"), NDArray[np.float64])
    assert_type(vae.teacher_proba(X), NDArray[np.float64])
    mean, log_variance = vae.posterior(X)
    assert_type(mean, NDArray[np.float32])
    assert_type(vae.posterior_kl(X), NDArray[np.float32])
    assert_type(vae.read_codes(X, [0]).log_variance, NDArray[np.float32])
    assert_type(vae.margin_, float)
    assert_type(vae.n_iter_, int)
    assert_type(vae.device_, str)
    assert_type([record["elbo"] for record in vae.history_], list[float])
    assert_type(vae.fingerprint_, RowFingerprint)
    assert log_variance.shape == mean.shape
    return codes


def verdicts(models: Sequence[TeacherGuidedVAE], X: ArrayLike) -> list[str]:
    """Certify models."""
    certificate = ConstantCollapseCertificate(tau=0.0, confidence=0.95, probe=True)
    found = []
    for vae in models:
        assert_type(certificate(vae, X), float)
        assert_type(certificate.score(vae, X), float)
        report = certificate.certify(vae, X)
        assert_type(report, CertificateReport | SimultaneousReport)
        assert_type(report.certified, bool)
        if isinstance(report, CertificateReport):
            assert_type(report.margin_mean, float)
            assert_type(report.rate, float | None)
            assert_type(report.kl_per_dimension, tuple[float, ...] | None)
            assert_type(report.probe, CertificateReport | None)
            found.append(report.verdict)
            print(report.line(), len(report.to_json()))
        else:
            assert_type(report.worst, CertificateReport)
        print(report, report.to_dict()["verdict"])
        print(len(report.to_html()))
    codes = CollapseMonitor(held_out=True).update(np.arange(40) % 2, np.ones((40, 2)))
    assert_type(codes.report(), CertificateReport)
    watched = SequentialMargin(np.full(10, 0.1))
    for vae in models:
        watched = certificate.update(watched, vae, X)
    assert_type(watched.log_e_value, float)
    return found


def rescued(collapsed: TeacherGuidedVAE, X: ArrayLike, X_test: ArrayLike) -> TeacherGuidedVAE:
    """Rescue a model."""
    result = rescue(collapsed, X, X_test=X_test, max_epochs=2)
    assert_type(result, Rescue)
    print(result.before.certified, result.after.certified)
    return result.estimator


def teachers(X: ArrayLike, y: ArrayLike) -> list[NDArray[np.float64]]:
    """Fit each kind of teacher."""
    search = TeacherSearch(
        {"n_components": [2, 3]}, scoring=lambda row: -float(row["rate"]), n_refits=2
    )
    assert_type(search.fit(X), TeacherSearch)
    print(search.best_params_, search.results_["score"])
    tempered = TemperedTeacher(GaussianMixtureTeacher(n_components=2), temperature=2.0)
    given = np.full((len(np.asarray(X)), 2), 0.5)
    found = [
        search.predict_proba(X),
        tempered.fit(X, y).predict_proba(X),
        PrecomputedTeacher().fit(given).predict_proba(given),
    ]
    assert_type(found, list[NDArray[np.float64]])
    return found


def numbers(T: NDArray[np.float64], codes: NDArray[np.float64]) -> float:
    """Read margins off arrays."""
    log_q = SoftmaxProbe(penalty=0.0).fit(codes, T).predict_log_proba(codes)
    assert_type(margin(T, log_q), float)
    bound = margin_lower_bound(T, log_q, T.mean(axis=0), confidence=0.9)
    assert_type(bound, MarginBound)
    assert_type(kl_per_dimension(torch.zeros(1, 2), torch.zeros(1, 2)), torch.Tensor)
    return bound.lower_bound


def experiment(X: ArrayLike) -> str:
    """Run an experiment, and draw it."""
    results = protocol.run(X, arms=["prevention"], seeds=[0], epochs=2, device="cpu")
    runs = results["runs"]
    display = ArmComparisonDisplay.from_protocol(runs)
    assert_type(display, ArmComparisonDisplay)
    return protocol.markdown_table(runs)


def searches(X: ArrayLike) -> dict[str, Any]:
    """Search by scikit-learn's search, and by the one that trains candidates together."""
    vae = TeacherGuidedVAE(**FAST)
    grid = {"beta": [0.5, 1.0]}
    stacked = StackedGridSearchCV(vae, grid, scoring=ConstantCollapseCertificate(), cv=2)
    assert_type(stacked.fit(X), StackedGridSearchCV)
    search = GridSearchCV(vae, grid, scoring=ConstantCollapseCertificate(), cv=2).fit(X)
    best: TeacherGuidedVAE = search.best_estimator_
    print(best.margin_)
    return {**stacked.best_params_, **search.best_params_}


def data_sets(vae: TeacherGuidedVAE, X: NDArray[np.float64]) -> NDArray[np.float32]:
    """Encode lists, tensors and data sets, which are rows too."""
    tensor = torch.from_numpy(X)
    dataset = torch.utils.data.TensorDataset(tensor)
    loader = torch.utils.data.DataLoader(dataset, batch_size=64)
    print(vae.score(dataset), vae.score(loader), vae.score(X.tolist()))
    assert as_rows(dataset, column=0).shape == X.shape
    return vae.transform(tensor)


def main() -> None:
    """Call all of it."""
    X = datasets.digits()[:200]
    y = datasets.load("digits").target[:200]
    print(skvae.__version__, codes_of(X).shape)
    collapsed = TeacherGuidedVAE(alignment_weight=0, random_state=0, **FAST).fit(X)
    model = rescued(collapsed, X, X)
    fresh = TeacherGuidedVAE(warm_start=collapsed, memory=None, **FAST).fit(X)
    MarginHistoryDisplay.from_estimator({"rescue": fresh})
    print(verdicts([model, fresh], X), searches(X), experiment(X))
    codes = data_sets(fresh, X)
    for T in teachers(X, y):
        try:
            print(numbers(T, codes.astype(np.float64)))
        except ConstantTeacherError as error:
            print(error)


if __name__ == "__main__":
    main()
