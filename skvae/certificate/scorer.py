"""The certificate: a number that says whether a code is constant, and a report beside it.

Nothing here knows how a model was trained. A model with a witness of its own has

- ``teacher_proba(X)``: the teacher's distributions, of shape (n_samples, n_components);
- ``witness_log_proba(X, latent=..., random_state=...)``: natural-log probabilities of a
  witness that sees the latent code alone, at the posterior mean or at a draw of it;

and for all of a report also ``transform``, ``posterior``, ``posterior_kl``,
``inverse_transform``, ``average_teacher_``, ``teacher_information_``, ``margin_`` and
``fingerprint_``. One that has ``read_codes(X, random_states)`` too is read by it, in one pass
of its encoder in place of one for each of these, and where it has ``log_likelihood(X, codes)``
its decoder is tested; where its ``can_read_in_threads`` is true, by several threads at a time.
Any other encoder is certified with a teacher that is given and a probe of its codes.
"""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils._metadata_requests import UNUSED
from sklearn.utils._param_validation import HasMethods, StrOptions

from skvae._common.ambient import undisturbed
from skvae._common.parameters import NumberInterval
from skvae._common.threads import is_small_table, n_threads, one_thread_if, side_by_side
from skvae.certificate.evidence import Evidence
from skvae.certificate.probes import SoftmaxProbe
from skvae.certificate.readings import check_chain, read
from skvae.certificate.reports import CertificateReport
from skvae.certificate.simultaneous import SimultaneousReport
from skvae.certificate.subjects import Subject
from skvae.certificate.verdicts import judged
from skvae.information import SequentialMargin
from skvae.information.betting import check_share
from skvae.rows.sources import RowsLike, as_rows, as_rows_or_stored
from skvae.rows.stores import stored_rows

__all__ = ["ConstantCollapseCertificate"]

# Confidence of the bounds in a report where none was asked for.
REPORT_CONFIDENCE = 0.95


class ConstantCollapseCertificate(BaseEstimator):
    """Scorer that measures how far a code is from being provably constant.

    The score is ``G_tau = I_T - L - tau`` on the rows it is given: the teacher, its
    average, its information ``I_T`` and the cost ``L`` of the witness all come from the
    same rows. With a `confidence` it is instead a lower confidence bound, less tau, on the
    population margin of the *mixed* witness, 98% of the witness and 2% of a constant: a witness
    of the code too, so that above 0 the code is certified not to be constant in x, and nothing
    more. The margin of the witness itself may be far lower, where it is sure and wrong on rare
    rows. Higher is better. Score rows that neither the model nor its teacher was fitted to.

    Parameters
    ----------
    tau : float, default=0.0
        Nats, at least 0, that are taken off the score and that a report compares the lower
        bound with: with a bound, a margin of the mixed witness, not of the witness itself.
    latent : {"mean", "sample"}, default="mean"
        What the witness reads: the posterior mean (the published certificate), or draws of
        the code, which are what the decoder sees and what a probe is judged by in any case,
        wherever the model has a posterior.
    confidence : float or None, default=None
        In (0, 1). None scores by the margin of the sample; reports then have bounds at
        0.95.
    method : {"e-value", "normal"}, default="e-value"
        Of the bound: valid at every number of rows, or approximate; see
        `skvae.information.margin_lower_bound`.
    max_weight : float or None, default=None
        A number that no weight of a row exceeds, known before the rows were drawn: with it the
        bound of weighted rows is one for the population, reweighted; without it, for the rows'
        weights as they are, see `skvae.information.margin_lower_bound`. A probe needs it.
    n_draws : int, default=4
        Draws of the code that are averaged at the sample read. Rows remain the unit of
        the bound.
    teacher : fitted estimator with predict_proba, a list of them, or None, default=None
        Used in place of the model's own teacher, which its own witness was trained on: a
        probe then takes the witness's place. Needed for a model that has no teacher. A
        list gives one report each; at each read their bounds hold together at the confidence
        asked for (each at ``1 - (1 - confidence) / n_teachers``), and the worst is the score.
    witness : estimator with fit(codes, T) and predict_log_proba(codes), or None, default=None
        The probe: cloned and fitted to codes alone, never to the rows that it scores.
        None is `skvae.certificate.SoftmaxProbe()`, a linear softmax.
    probe : bool, default=False
        Whether a report of a model with a witness of its own also has the certificate by
        probe, so that "the information is there, but the witness does not use it" and
        "nothing is there" are told apart.
    random_state : int, default=0
        Seed of the draws of the code and of the order in which probes score rows.

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
    >>> vae = TeacherGuidedVAE(latent_dim=2, teacher=teacher, lr=1e-2, random_state=0)
    >>> certificate = ConstantCollapseCertificate()
    >>> certificate.score(vae.fit(X[::2]), X[1::2]) > 0
    True
    >>> certificate.certify(vae, X[1::2]).verdict
    'certified'
    """

    _parameter_constraints: ClassVar[dict] = {
        "tau": [NumberInterval(Real, 0, None, closed="left")],
        "latent": [StrOptions({"mean", "sample"})],
        "confidence": [NumberInterval(Real, 0, 1, closed="neither"), None],
        "method": [StrOptions({"e-value", "normal"})],
        "max_weight": [NumberInterval(Real, 0, None, closed="neither"), None],
        "n_draws": [NumberInterval(Integral, 1, None, closed="left")],
        "teacher": [HasMethods(["predict_proba"]), list, tuple, None],
        "witness": [HasMethods(["fit", "predict_log_proba"]), None],
        "probe": ["boolean"],
        "random_state": [NumberInterval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        tau: float = 0.0,
        latent: str = "mean",
        *,
        confidence: float | None = None,
        method: str = "e-value",
        max_weight: float | None = None,
        n_draws: int = 4,
        teacher: Any = None,
        witness: Any = None,
        probe: bool = False,
        random_state: int = 0,
    ) -> None:
        self.tau = tau
        self.latent = latent
        self.confidence = confidence
        self.method = method
        self.max_weight = max_weight
        self.n_draws = n_draws
        self.teacher = teacher
        self.witness = witness
        self.probe = probe
        self.random_state = random_state

    def __sklearn_clone__(self) -> ConstantCollapseCertificate:
        # A search clones its scorer; a plain clone would strip the teacher of its fit.
        return copy.deepcopy(self)

    # The estimator that is scored is no metadata to be routed.
    __metadata_request__score: ClassVar[dict] = {"estimator": UNUSED}

    def __call__(self, *args: Any, **metadata: Any) -> float:
        """Score, as scikit-learn calls a scorer; see `score`."""
        return self.score(*args, **metadata)

    def score(
        self,
        estimator: Any,
        X: RowsLike,
        y: Any = None,
        X_teacher: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Margin of the estimator on these rows, or its lower bound, less tau.

        Parameters
        ----------
        estimator : fitted estimator, a Pipeline or a search that ends in one, or codes
            A model with a teacher and a witness, as `TeacherGuidedVAE` has; with a
            `teacher` given, anything with `transform`, or an array of codes, one a row.
        X : array-like of shape (n_samples, n_features), or iterator of batches of rows
            Rows, best ones that were not in `fit`. Memory maps, streams and stores, such as a
            Dask array, are read once, block by block, and not held in memory; a probe holds the
            codes, though, and several teachers need no stream. A data set is read by
            `skvae.rows.as_rows`.
        y : None, default=None
            Ignored; there for consistency with scikit-learn.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see in place of X.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in every average, at least 0 and not all 0; only their ratios
            count, but for `max_weight`. None weighs all alike. Not with an iterator.

        Returns
        -------
        margin : float
            ``G_tau`` of the witness on these rows or, with a `confidence`, the lower bound on
            the population margin of the mixed witness, less tau, in nats; at most ``I_T -
            tau``. The worst of them where several teachers were given.

        Raises
        ------
        ConstantTeacherError
            If the teacher is constant over these rows.
        TypeError
            If the estimator has no teacher and witness, and no teacher was given.
        """
        self._validate_params()
        X = as_rows_or_stored(X)
        if isinstance(self.teacher, (list, tuple)):
            family = self._one_by_one(self.confidence, X, X_teacher)
            return min(each(estimator, X, y, X_teacher, sample_weight) for each in family)
        with undisturbed(), one_thread_if(is_small_table(X)):
            subject = self._subject(estimator, X, X_teacher, sample_weight)
            if self.confidence is not None:
                subject.check_bound(by_probe=not subject.has_witness)
            latent = subject.decides(self.latent)
            evidence = Evidence(subject, (latent,), whole=False)
            reading = read(subject, latent, evidence)
            if self.confidence is None:
                return reading.margin - self.tau
            return reading.bound(self.confidence, self.method).lower_bound - self.tau

    def certify(
        self,
        estimator: Any,
        X: RowsLike,
        X_teacher: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> CertificateReport | SimultaneousReport:
        """Report of the estimator on these rows.

        Parameters
        ----------
        estimator : fitted estimator, a Pipeline or a search that ends in one, or codes
            As in `score`.
        X : array-like of shape (n_samples, n_features), or iterator of batches of rows
            As in `score`.
        X_teacher : array-like of n_samples rows, or None, default=None
            As in `score`.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            As in `score`.

        Returns
        -------
        report : CertificateReport, or SimultaneousReport for several teachers
            Costs, margins and bounds at both reads, rate, active units and verdict.

        Raises
        ------
        ConstantTeacherError
            If the teacher is constant over these rows.
        TypeError
            If the estimator has no teacher and witness, and no teacher was given.
        BrokenBoundError
            If the margin at the sample exceeds the rate, on 30 rows or more, by more than
            their errors: a bug, here or in the model.
        """
        self._validate_params()
        X = as_rows_or_stored(X)
        if isinstance(self.teacher, (list, tuple)):
            confidence = self._report_confidence()
            reports = [
                cast(CertificateReport, each.certify(estimator, X, X_teacher, sample_weight))
                for each in self._one_by_one(confidence, X, X_teacher)
            ]
            return SimultaneousReport(tuple(reports), confidence)
        with undisturbed(), one_thread_if(is_small_table(X)):
            subject = self._subject(estimator, X, X_teacher, sample_weight)
            subject.check_bound(by_probe=subject.keep_codes)
            return self._report_of(subject)

    def update(
        self, monitor: SequentialMargin, estimator: Any, X: RowsLike, X_teacher: Any = None
    ) -> SequentialMargin:
        """Add a batch of fresh rows, unweighted, to a monitor, each read with its own draws.

        What `witness_log_proba` returns without a seed repeats its noise at every call, and
        evidence from rows that share their noise is none.

        Parameters
        ----------
        monitor : SequentialMargin
            Of the estimator's teacher. It is changed.
        estimator : fitted estimator with a witness of its own
            As in `score`.
        X : array-like of shape (n_samples, n_features)
            Rows that nothing was fitted to, and that the monitor has not been given.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see in place of X.

        Returns
        -------
        monitor : SequentialMargin
            The same, with the rows added. When an error is raised it is as it was before.

        Raises
        ------
        TypeError
            If the estimator has no witness of its own, or several teachers were given.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
        >>> from skvae.information import SequentialMargin
        >>> X = load_iris().data
        >>> vae = TeacherGuidedVAE(random_state=0, lr=1e-2).fit(X[::2])
        >>> monitor = SequentialMargin(vae.average_teacher_)
        >>> certificate = ConstantCollapseCertificate(latent="sample")
        >>> for batch in (X[1:75:2], X[75::2]):
        ...     monitor = certificate.update(monitor, vae, batch)
        >>> monitor.n_samples
        75
        """
        self._validate_params()
        X = as_rows(X)
        # What the monitor was given before is another number for each batch.
        seeds = np.random.SeedSequence([self.random_state, monitor.n_samples, *b"monitor"])
        with undisturbed(), one_thread_if(is_small_table(X)):
            parameters = {**self.get_params(deep=False), "probe": False}
            own = ConstantCollapseCertificate(**parameters)
            own.random_state = int(seeds.generate_state(1)[0])
            if isinstance(self.teacher, (list, tuple)):
                raise TypeError("A monitor watches the margin by one teacher: give one.")
            subject = own._subject(estimator, X, X_teacher)
            if not subject.has_witness:
                raise TypeError(
                    "A monitor is given what a witness says that was fixed before the batch "
                    f"was seen, and {type(subject.model).__name__} has none of its own for "
                    "this teacher: certify it by probe instead."
                )
            evidence = Evidence(subject, (self.latent,), whole=False)
            draws = [draw.rows() for draw in evidence.log_q[self.latent]]
            return monitor.update(evidence.T.rows(), np.stack(draws))

    def _report_of(self, subject: Subject) -> CertificateReport:
        evidence = Evidence(subject, subject.latents, whole=True)
        by_probe = None
        if self.probe and subject.has_witness:
            by_probe = self._report(subject.by_probe(), evidence, None)
        return self._report(subject, evidence, by_probe)

    def _report(
        self, subject: Subject, evidence: Evidence, by_probe: CertificateReport | None
    ) -> CertificateReport:
        readings = {latent: read(subject, latent, evidence) for latent in subject.latents}
        confidence = self._report_confidence()
        with side_by_side(n_threads()) as call:
            waiting = {
                latent: call(reading.bound, confidence, self.method)
                for latent, reading in readings.items()
            }
            mutual_information = call(evidence.posterior.mutual_information)
            bounds = {latent: bound() for latent, bound in waiting.items()}
        if "sample" in readings and evidence.rate is not None:
            check_chain(readings["sample"], evidence)
        at_mean, latent = readings["mean"], subject.decides(self.latent)
        information, margin = subject.of_training
        asked = (confidence, self.tau, evidence.n_samples)

        def at_sample(found: dict[str, Any], name: str) -> Any:
            return getattr(found["sample"], name) if "sample" in found else None

        report = CertificateReport(
            verdict="collapsed",
            teacher_information=at_mean.teacher_information,
            alignment_cost_mean=at_mean.alignment_cost,
            alignment_cost_sample=at_sample(readings, "alignment_cost"),
            margin_mean=at_mean.margin,
            margin_sample=at_sample(readings, "margin"),
            lower_bound_mean=bounds["mean"].lower_bound,
            lower_bound_sample=at_sample(bounds, "lower_bound"),
            log_e_value_mean=bounds["mean"].log_e_value,
            log_e_value_sample=at_sample(bounds, "log_e_value"),
            confidence=float(confidence),
            method=self.method,
            rate=evidence.rate,
            mutual_information=mutual_information(),
            kl_per_dimension=evidence.kl_per_dimension,
            active_units=None if evidence.rate is None else evidence.active_units,
            margin_reconstruction=evidence.margin_reconstruction,
            decoder_gain=evidence.decoder_gain,
            view_gap=evidence.view_gap,
            training_information=information,
            training_margin=margin,
            rows_needed=readings[latent].rows_needed(bounds[latent], *asked),
            **evidence.spread_of_codes(),
            tau=float(self.tau),
            latent=latent,
            n_samples=at_mean.n_samples,
            rows=evidence.rows,
            teacher_rows=evidence.teacher_rows,
            n_distinct=evidence.n_distinct,
            has_copies=evidence.has_copies,
            notes=tuple(evidence.notes),
            witness="own" if subject.has_witness else "probe",
            probe=by_probe,
        )
        return judged(report)

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.confidence is not None:
            check_share(float(self.confidence), "confidence")

    def _report_confidence(self) -> float:
        return REPORT_CONFIDENCE if self.confidence is None else float(self.confidence)

    def _one_by_one(
        self, confidence: float | None, X: Any, X_teacher: Any
    ) -> list[ConstantCollapseCertificate]:
        """One certificate a teacher, whose bounds at each read hold at this confidence."""
        if hasattr(X, "__next__") or hasattr(X_teacher, "__next__"):
            raise ValueError(
                "Several teachers read the rows one after the other, and an iterator can be "
                "read once: pass an array or a memory map."
            )
        if not self.teacher:
            raise ValueError("teacher is an empty list: give at least one fitted teacher.")
        if confidence is not None:
            confidence = 1 - (1 - confidence) / len(self.teacher)
        parameters = {**self.get_params(deep=False), "confidence": confidence}
        return [
            ConstantCollapseCertificate(**{**parameters, "teacher": teacher})
            for teacher in self.teacher
        ]

    def _subject(
        self, estimator: Any, X: Any, X_teacher: Any, sample_weight: Any = None
    ) -> Subject:
        witness = SoftmaxProbe() if self.witness is None else self.witness
        stored = stored_rows(X_teacher)
        X_teacher = X_teacher if stored is None else stored
        subject = Subject.of(
            estimator,
            X,
            X_teacher,
            teacher=self.teacher,
            probe=witness,
            keep_codes=self.probe,
            n_draws=self.n_draws,
            random_state=self.random_state,
            sample_weight=sample_weight,
            max_weight=self.max_weight,
        )
        subject.decides(self.latent)
        return subject
