"""The certificate: a number that says whether a code is constant, and a report beside it.

Nothing here knows how a model was trained. An estimator can be certified if it has

- ``teacher_proba(X)``: the teacher's distributions, of shape (n_samples, n_components);
- ``witness_log_proba(X, latent=...)``: natural-log probabilities of a witness that sees
  the latent code alone, at the posterior mean or at a draw of the code;

and for the report also ``transform(X)``, the posterior means, and ``posterior_kl(X)``,
the divergences from the prior, both of shape (n_samples, latent_dim).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import Interval, StrOptions

from skvae.information import alignment_cost, margin
from skvae.information.boundary import check_informative, check_teacher

__all__ = ["CertificateReport", "ConstantCollapseCertificate"]

# Variance of the posterior mean above which a dimension counts as active
# (Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2).
ACTIVE_VARIANCE = 0.01
# A constant witness has a margin of at most zero; what exceeds zero by less than this is
# the rounding of the float64 sums.
ROUNDING = 1e-12


@dataclass(frozen=True)
class CertificateReport:
    """What a certificate found on one set of rows; all information in nats.

    ``certified`` is True if the margin at the read named by ``latent`` exceeds ``tau``.
    It says one thing: on these rows the witness, and so the code it reads, is not
    constant. It does not say that the code is good, nor that it keeps what anyone needs;
    and a margin of zero or less says *not certified*, not *collapsed*.

    Attributes
    ----------
    teacher_information : float
        ``I_T``: what the best constant student costs on these rows.
    alignment_cost_mean, alignment_cost_sample : float
        What the witness costs, reading the posterior mean and a draw of the code.
    margin_mean, margin_sample : float
        ``I_T`` less those costs. The margin at the mean can be had with codes far
        smaller than their noise; the margin at the sample is a lower bound, up to
        sampling error, on the nats that the code carries as the decoder sees it.
    rate : float
        Mean divergence of the posterior from the prior, an upper bound on the same.
    active_units : int
        Latent dimensions whose posterior mean varies by more than 0.01 over the rows.
    tau : float
        Safety margin asked for.
    latent : {"mean", "sample"}
        The read that decides.
    certified : bool
        The verdict.
    n_samples : int
        Number of rows.

    References
    ----------
    arXiv 2605.05813; active units: Burda et al., arXiv 1509.00519; the bound on the
    sample read: Barber and Agakov, NIPS 2003.
    """

    teacher_information: float
    alignment_cost_mean: float
    alignment_cost_sample: float
    margin_mean: float
    margin_sample: float
    rate: float
    active_units: int
    tau: float
    latent: str
    certified: bool
    n_samples: int

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as plain numbers, strings and booleans."""
        return asdict(self)

    def __str__(self) -> str:
        decides = {"mean": " ", "sample": " ", self.latent: "*"}
        verdict = "certified: not constant in x" if self.certified else "not certified"
        return "\n".join(
            [
                f"Constant-collapse certificate on {self.n_samples} rows (nats)",
                f"  teacher information I_T  {self.teacher_information:9.4f}",
                "                                mean    sample",
                f"  alignment cost           {self.alignment_cost_mean:9.4f} "
                f"{self.alignment_cost_sample:9.4f}",
                f"  margin                   {self.margin_mean:9.4f}{decides['mean']}"
                f"{self.margin_sample:9.4f}{decides['sample']}".rstrip(),
                f"  rate                     {self.rate:9.4f}",
                f"  active units             {self.active_units:9d}",
                f"  {verdict} (margin at the {self.latent} "
                f"{'>' if self.certified else '<='} tau = {self.tau:g})",
            ]
        )


class ConstantCollapseCertificate(BaseEstimator):
    """Scorer that measures how far a code is from being provably constant.

    The score is ``G_tau = I_T - L - tau`` on the rows it is given: the teacher, its
    average, its information ``I_T`` and the cost ``L`` of the witness all come from the
    same rows. Higher is better; above 0 the code is certified not to be constant in x
    on these rows, and nothing more. Score rows that were not in `fit`.

    Parameters
    ----------
    tau : float, default=0.0
        Safety margin in nats, at least 0.
    latent : {"mean", "sample"}, default="mean"
        What the witness reads: the posterior mean (the published certificate), or a
        draw of the code, as the decoder does (the stricter one).

    See Also
    --------
    TeacherGuidedVAE : An estimator with a teacher and a witness.
    CertificateReport : All that `certify` finds.

    References
    ----------
    arXiv 2605.05813.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
    >>> from skvae import TeacherGuidedVAE
    >>> X = load_iris().data
    >>> teacher = GaussianMixtureTeacher(n_components=3)
    >>> vae = TeacherGuidedVAE(latent_dim=2, teacher=teacher, random_state=0)
    >>> certificate = ConstantCollapseCertificate()
    >>> certificate.score(vae.fit(X[::2]), X[1::2]) > 0
    True
    >>> certificate.certify(vae, X[1::2]).certified
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "tau": [Interval(Real, 0, None, closed="left")],
        "latent": [StrOptions({"mean", "sample"})],
    }

    def __init__(self, tau=0.0, latent="mean"):
        self.tau = tau
        self.latent = latent

    def __call__(self, estimator: Any, X: ArrayLike, y: Any = None) -> float:
        """Score, as scikit-learn calls a scorer; see `score`."""
        return self.score(estimator, X, y)

    def score(self, estimator: Any, X: ArrayLike, y: Any = None) -> float:
        """Margin of the estimator on these rows, less tau.

        Parameters
        ----------
        estimator : fitted estimator, or a Pipeline or a search that ends in one
            With `teacher_proba` and `witness_log_proba`, as `TeacherGuidedVAE` has.
        X : array-like of shape (n_samples, n_features)
            Rows, best ones that were not in `fit`.
        y : None
            Ignored; there for consistency with scikit-learn.

        Returns
        -------
        margin : float
            ``G_tau`` in nats, at most ``I_T - tau``.

        Raises
        ------
        ConstantTeacherError
            If the teacher is constant over these rows.
        TypeError
            If the estimator has no teacher and witness.
        """
        self._validate_params()
        model, X = _model_and_rows(estimator, X)
        T = check_teacher(model.teacher_proba(X))
        check_informative(T)
        return margin(T, model.witness_log_proba(X, latent=self.latent)) - self.tau

    def certify(self, estimator: Any, X: ArrayLike) -> CertificateReport:
        """Report of the estimator on these rows.

        Parameters
        ----------
        estimator : fitted estimator, or a Pipeline or a search that ends in one
            With `teacher_proba`, `witness_log_proba`, `transform` and `posterior_kl`, as
            `TeacherGuidedVAE` has.
        X : array-like of shape (n_samples, n_features)
            Rows, best ones that were not in `fit`.

        Returns
        -------
        report : CertificateReport
            Costs and margins at both reads, rate, active units and verdict.

        Raises
        ------
        ConstantTeacherError
            If the teacher is constant over these rows.
        TypeError
            If the estimator has no teacher and witness.
        """
        self._validate_params()
        model, X = _model_and_rows(estimator, X)
        T = check_teacher(model.teacher_proba(X))
        information = check_informative(T)
        log_q = {
            latent: model.witness_log_proba(X, latent=latent) for latent in ("mean", "sample")
        }
        margins = {latent: margin(T, log_q[latent]) for latent in log_q}
        variance = model.transform(X).var(axis=0, dtype=np.float64)
        return CertificateReport(
            teacher_information=information,
            alignment_cost_mean=alignment_cost(T, log_q["mean"]),
            alignment_cost_sample=alignment_cost(T, log_q["sample"]),
            margin_mean=margins["mean"],
            margin_sample=margins["sample"],
            rate=float(model.posterior_kl(X).sum(axis=1, dtype=np.float64).mean()),
            active_units=int((variance > ACTIVE_VARIANCE).sum()),
            tau=float(self.tau),
            latent=self.latent,
            certified=margins[self.latent] > self.tau + ROUNDING,
            n_samples=len(T),
        )


def _model_and_rows(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return what has teacher and witness, and the rows as it gets to see them."""
    model = getattr(estimator, "best_estimator_", estimator)
    model = model.estimator if isinstance(model, FrozenEstimator) else model
    if isinstance(model, Pipeline):
        if len(model) > 1:
            X = model[:-1].transform(X)
        model = model[-1]
    missing = [
        name for name in ("teacher_proba", "witness_log_proba") if not hasattr(model, name)
    ]
    if missing:
        if hasattr(estimator, "estimator") and not hasattr(estimator, "best_estimator_"):
            raise NotFittedError(f"{estimator!r} is not fitted: call fit before certifying it.")
        raise TypeError(
            "A certificate needs an estimator with a teacher and a witness, such as "
            f"TeacherGuidedVAE; {type(model).__name__} lacks {' and '.join(missing)}."
        )
    return model, X
