"""A callback that certifies a model while it trains, on rows that are given to it."""

from __future__ import annotations

import copy
from typing import Any, cast

from numpy.typing import ArrayLike
from skorch.callbacks import Callback

from skvae.certificate import CertificateReport, ConstantCollapseCertificate

__all__ = ["CertificateCallback", "figures"]


class CertificateCallback(Callback):
    """Certify the model after every few epochs, and record margin, bound and rate.

    Of every `every`-th epoch the history then has ``certified_margin``,
    ``certified_lower_bound`` and ``certified_rate``, in nats, at the read that the certificate
    decides by: in ``history_``, and in the net's history, which loggers read. It draws from
    streams of its own and reads a copy of the net, so that training ends with the bits that it
    has without.

    Each bound holds for its epoch by itself, on rows that the model and the teacher have not
    seen: what the rows are, the reports say. For an epoch that was picked by looking at these
    bounds, as the best of them, it does not hold; certify such a model on fresh rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to certify on, best ones that are not in `fit`. They are kept, and go into a pickle
        of an estimator that has this callback.
    X_teacher : array-like of n_samples rows, or None, default=None
        Another view of the same rows, where the teacher sees one.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows; None weighs all alike.
    certificate : ConstantCollapseCertificate or None, default=None
        With at most one teacher of its own. None is
        ``ConstantCollapseCertificate(latent="sample")``.
    every : int, default=5
        Epochs from one certificate to the next, counted from the first epoch of all.

    Attributes
    ----------
    reports_ : dict of int to CertificateReport
        By the number of the epoch; 0 is the model before its first. Training that continues
        begins with the report of what it goes on from.

    See Also
    --------
    skvae.ConstantCollapseCertificate : What is asked for a report.

    Notes
    -----
    The model is certified before training too, so that rows that it cannot read are refused
    then. It costs a pass of the encoder over X and over the training rows each time.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import TeacherGuidedVAE
    >>> from skvae.training import CertificateCallback
    >>> X = load_wine().data
    >>> certifying = CertificateCallback(X[1::2], every=50)
    >>> setting = {"max_epochs": 100, "early_stopping": False, "random_state": 0}
    >>> vae = TeacherGuidedVAE(callbacks=[certifying], lr=1e-2, **setting).fit(X[::2])
    >>> [record["epoch"] for record in vae.history_ if "certified_margin" in record]
    [50, 100]
    >>> certifying.reports_[100].verdict, certifying.reports_[100].rows
    ('certified', 'held-out')
    """

    reports_: dict[int, CertificateReport]

    def __init__(
        self,
        X: ArrayLike,
        X_teacher: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        certificate: ConstantCollapseCertificate | None = None,
        every: int = 5,
    ) -> None:
        self.X = X
        self.X_teacher = X_teacher
        self.sample_weight = sample_weight
        self.certificate = certificate
        self.every = every

    def __sklearn_clone__(self) -> CertificateCallback:
        # The rows are the same ones: a copy for each fold of a search would be for nothing.
        twin = copy.copy(self)
        twin.__dict__.pop("reports_", None)
        return twin

    def initialize(self) -> CertificateCallback:
        """Check what was given, and begin without reports."""
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(
                f"every must be a whole number of at least 1 of epochs, got {self.every!r}."
            )
        certificate = self._certificate()
        if not isinstance(certificate, ConstantCollapseCertificate):
            raise TypeError(
                "certificate must be a ConstantCollapseCertificate or None, got "
                f"{type(certificate).__name__}."
            )
        if isinstance(certificate.teacher, (list, tuple)):
            raise TypeError(
                "A CertificateCallback records the margin under one teacher, and this "
                f"certificate has {len(certificate.teacher)}: give a callback to each."
            )
        self.reports_ = {}
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Certify what training begins with."""
        self._certify(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Certify after every `every`-th epoch, and record what was found."""
        if net.history[-1, "epoch"] % self.every:
            return
        for name, value in figures(self._certify(net)).items():
            net.history.record(name, value)

    def _certify(self, net: Any) -> CertificateReport:
        epoch = net.history[-1, "epoch"] if net.history else 0
        rows = (self.X, self.X_teacher, self.sample_weight)
        found = self._certificate().certify(net.model_so_far(), *rows)
        report = self.reports_[epoch] = cast(CertificateReport, found)
        return report

    def _certificate(self) -> ConstantCollapseCertificate:
        if self.certificate is None:
            return ConstantCollapseCertificate(latent="sample")
        return self.certificate


def figures(report: CertificateReport) -> dict[str, float | None]:
    """Return what a history has of a report: margin, lower bound and rate where known, in nats.

    They are of the read that the certificate decides by.
    """
    found = {"certified_margin": report.margin, "certified_lower_bound": report.lower_bound}
    if report.rate is not None:
        found["certified_rate"] = report.rate
    return found
