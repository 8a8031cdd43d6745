"""One call from a collapsed model to a rescued one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skvae._common.parameters import unfrozen
from skvae._common.progress import say
from skvae.certificate.reports import CertificateReport
from skvae.certificate.scorer import ConstantCollapseCertificate
from skvae.certificate.simultaneous import SimultaneousReport
from skvae.rows.sources import RowsLike
from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.warm_start import with_fresh_witness

__all__ = ["Rescue", "rescue"]

# Alignment as a multiple of beta, where the model to be rescued has too little.
WEIGHT_RATIO = 10.0


class Rescue(NamedTuple):
    """A rescued model, and what the certificate says before and after.

    Attributes
    ----------
    estimator : TeacherGuidedVAE
        The rescued model.
    before, after : CertificateReport or SimultaneousReport
        Reports of the old model and of the new one, on the same rows.

    See Also
    --------
    rescue : What returns it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE, rescue
    >>> X = load_iris().data
    >>> setting = {"alignment_weight": 0, "decoder_variance": 10.0, "random_state": 0}
    >>> collapsed = TeacherGuidedVAE(early_stopping=False, **setting).fit(X)
    >>> found = rescue(collapsed, X, max_epochs=60, lr=1e-2)
    >>> found.before.certified, found.after.certified
    (False, True)
    """

    estimator: TeacherGuidedVAE
    before: CertificateReport | SimultaneousReport
    after: CertificateReport | SimultaneousReport


def rescue(
    estimator: TeacherGuidedVAE,
    X: RowsLike,
    y: Any = None,
    X_teacher: Any = None,
    *,
    X_test: RowsLike | None = None,
    X_teacher_test: Any = None,
    certificate: ConstantCollapseCertificate | None = None,
    reset_witness: bool = False,
    **parameters: Any,
) -> Rescue:
    """Train a collapsed model on, with alignment, and certify it before and after.

    The new model has the parameters of the old one, starts from its weights and teacher
    (both in a `FrozenEstimator`, so that clones do too), without another prefit, and with an
    alignment weight of ten times beta, or its own where that is above beta.

    Parameters
    ----------
    estimator : fitted TeacherGuidedVAE
        The model to rescue; it is left untouched.
    X : array-like of shape (n_samples, n_features)
        Rows to train on.
    y : array-like of shape (n_samples,) or None, default=None
        Passed to the teacher's `fit` where `parameters` name another teacher.
    X_teacher : array-like of n_samples rows, or None, default=None
        Another view of the rows of X, where a teacher sees one.
    X_test : array-like of shape (n_test, n_features) or None, default=None
        Rows to certify on. None is X itself: training rows, as the reports then say.
    X_teacher_test : array-like of n_test rows, or None, default=None
        Their other view.
    certificate : ConstantCollapseCertificate or None, default=None
        None is ``ConstantCollapseCertificate(latent="sample")``.
    reset_witness : bool, default=False
        Whether a trained witness goes back to where it started, the best constant student
        of the rows that the old model was fitted to.
    **parameters
        Constructor parameters of `TeacherGuidedVAE` to change, such as ``max_epochs``,
        ``alignment_weight`` or ``guard``. With another ``teacher`` each report is by the
        teacher of its own model.

    Returns
    -------
    rescue : Rescue
        ``estimator``, ``before`` and ``after``.

    Raises
    ------
    TypeError
        If `estimator` is no `TeacherGuidedVAE`, or a parameter is none of its.
    NotFittedError
        If it is not fitted.
    ValueError
        If the rows, or the changed parameters, do not fit its weights.

    Warns
    -----
    UncertifiedWarning, WeakAlignmentWarning, InterruptedFitWarning
        As in `TeacherGuidedVAE.fit`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import GaussianMixtureTeacher, TeacherGuidedVAE, rescue
    >>> X = load_iris().data
    >>> teacher = GaussianMixtureTeacher(n_components=3)
    >>> vae = TeacherGuidedVAE(
    ...     latent_dim=2, teacher=teacher, alignment_weight=0, decoder_variance=10,
    ...     random_state=0,
    ... ).fit(X[::2])
    >>> rescued, before, after = rescue(vae, X[::2], X_test=X[1::2], lr=1e-2)
    >>> before.verdict, after.verdict
    ('collapsed', 'certified')
    """
    donor = unfrozen(estimator)
    if not isinstance(donor, TeacherGuidedVAE):
        raise TypeError(
            f"Only a fitted TeacherGuidedVAE can be rescued, got {type(donor).__name__}. Of a "
            "pipeline or a search pass that step, and rows as that step sees them."
        )
    check_is_fitted(donor)
    if "warm_start" in parameters:
        raise TypeError(
            "rescue starts from the estimator that it is given: pass no warm_start. To train "
            "from scratch call fit."
        )
    if X_teacher_test is not None and X_test is None:
        raise ValueError("X_teacher_test is a view of the rows of X_test, which are missing.")
    if certificate is None:
        certificate = ConstantCollapseCertificate(latent="sample")
    if not isinstance(certificate, ConstantCollapseCertificate):
        raise TypeError(
            "certificate must be a ConstantCollapseCertificate or None, got "
            f"{type(certificate).__name__}."
        )
    certificate._validate_params()
    unknown = sorted(parameters.keys() - donor.get_params(deep=False).keys())
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)} is no parameter of TeacherGuidedVAE that rescue could "
            "change."
        )
    rows, view = (X, X_teacher) if X_test is None else (X_test, X_teacher_test)
    before = _certify(certificate, donor, rows, view)
    # Training a model on never changes its net in place: what is shared stays as it is.
    start = copy.copy(donor).set_params(warm_start=False)
    if reset_witness:
        fitted = donor._fitted
        net = with_fresh_witness(fitted.net, fitted.average_teacher)
        start._adopt(replace(fitted, net=net))
    settings = {
        **donor.get_params(deep=False),
        "random_state": copy.deepcopy(donor.random_state),
        "teacher": _frozen(start.teacher_),
        "warm_start": FrozenEstimator(start),
        "prefit_epochs": 0,
        **parameters,
    }
    if "alignment_weight" not in parameters and donor.alignment_weight <= settings["beta"]:
        settings["alignment_weight"] = WEIGHT_RATIO * (settings["beta"] or 1.0)
    rescued = type(donor)(**settings).fit(X, y, X_teacher)
    after = _certify(certificate, rescued, rows, view)
    say(f"Rescue: {_in_words(before)} before, {_in_words(after)} after.", rescued.verbose)
    return Rescue(rescued, before, after)


def _in_words(report: CertificateReport | SimultaneousReport) -> str:
    worst = report.worst if isinstance(report, SimultaneousReport) else report
    return f"{worst.verdict} (bound at the {worst.latent} {worst.lower_bound or 0.0:.3f})"


def _frozen(teacher: Any) -> FrozenEstimator:
    return teacher if isinstance(teacher, FrozenEstimator) else FrozenEstimator(teacher)


def _certify(
    certificate: ConstantCollapseCertificate, model: TeacherGuidedVAE, rows: Any, view: Any
) -> CertificateReport | SimultaneousReport:
    """Certify a model by its own teacher, shown what that was fitted to."""
    if model.teacher_sees_ == "X":
        return certificate.certify(model, rows)
    if view is None:
        raise ValueError(
            "The teacher was fitted to another view of the rows: pass X_teacher, and with "
            "X_test also X_teacher_test."
        )
    return certificate.certify(model, rows, view)
