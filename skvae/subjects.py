"""What is certified: a model or bare codes, a teacher, and rows, read in one pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_array, check_consistent_length

from skvae.information import BoundaryStatistics, MarginBound, margin_lower_bound
from skvae.information.aggregate import PosteriorSample
from skvae.information.boundary import check_teacher, require_information, without_zeros
from skvae.probes import probe_in_turn
from skvae.spool import RowSpool

__all__ = ["Evidence", "Reading", "Subject"]

# Variance of the posterior mean above which a dimension counts as active
# (Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2).
ACTIVE_VARIANCE = 0.01
# Variance of codes, as a share of their squares, that may be rounding.
ROUNDING = 1e-12
# Rows that a model is asked about at a time, whatever batches they come in: so the size
# of the batches changes no draw.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Reading:
    """A teacher on some rows, and what a witness made of their codes.

    Parameters
    ----------
    T : ndarray of shape (n_samples, n_components)
        Teacher distributions.
    log_q : list of ndarray of shape (n_samples, n_components)
        Log probabilities of the witness, for each draw of the code.
    statistics : list of BoundaryStatistics
        The sample quantities of each draw.
    reference : ndarray of shape (n_components,)
        A distribution without zeros, fixed before the rows were seen.
    """

    T: NDArray[np.float64]
    log_q: list[NDArray[np.float64]]
    statistics: list[BoundaryStatistics]
    reference: NDArray[np.float64]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.statistics[0].n_samples

    @property
    def teacher_information(self) -> float:
        """``I_T`` of the rows."""
        return self.statistics[0].teacher_information

    @property
    def alignment_cost(self) -> float:
        """Mean cost over the draws."""
        return float(np.mean([draw.alignment_cost for draw in self.statistics]))

    @property
    def margin(self) -> float:
        """Mean margin over the draws."""
        return float(np.mean([draw.margin for draw in self.statistics]))

    @property
    def margin_standard_error(self) -> float:
        """Standard error of a margin, as if the draws of a row were one."""
        return max(draw.margin_standard_error for draw in self.statistics)

    def bound(self, confidence: float, method: Literal["e-value", "normal"]) -> MarginBound:
        """Lower confidence bound on the margin of the population."""
        return margin_lower_bound(
            self.T, self.log_q, self.reference, confidence=confidence, method=method
        )


class Subject:
    """A model and the rows it is certified on.

    Parameters
    ----------
    model : object
        With the methods that `skvae.certificate` names, with `transform`, or an array
        of codes.
    preprocess : list of fitted transformers
        What rows go through before the model, and the teacher, see them.
    X : array-like of shape (n_samples, n_features), or iterator of such batches
        Rows.
    X_teacher : array-like of n_samples rows, an iterator of batches, or None
        What the teacher sees in place of X.
    teacher : fitted estimator with predict_proba, or None
        None is the model's own, which its own witness goes with.
    probe : estimator with fit(codes, T) and predict_log_proba(codes)
        Takes the place of a witness that the model has not.
    keep_codes : bool
        Whether the probe will judge codes beside a witness of the model's own.
    n_draws, random_state : int
        Draws of the code at the sample read, and the seed of all that is drawn.
    """

    def __init__(
        self,
        model,
        preprocess,
        X,
        X_teacher,
        *,
        teacher,
        probe,
        keep_codes,
        n_draws,
        random_state,
    ):
        self.model = model
        self.preprocess = preprocess
        self.X = X
        self.X_teacher = X_teacher
        self.teacher = teacher
        self.probe = probe
        self.n_draws = n_draws
        self.random_state = random_state
        self.has_witness = teacher is None and hasattr(model, "witness_log_proba")
        self.keep_codes = keep_codes or not self.has_witness
        self.has_posterior = hasattr(model, "posterior")
        self.has_rate = hasattr(model, "posterior_kl")
        other_view = getattr(model, "teacher_sees_", "X") == "X_teacher"
        if self.has_witness and other_view and X_teacher is None:
            raise ValueError(
                "The teacher of this model was fitted to another view of the rows: pass it as "
                "X_teacher, as to fit."
            )

    @classmethod
    def of(
        cls, estimator: Any, X: Any, X_teacher: Any, *, teacher: Any, **settings: Any
    ) -> Subject:
        """Look through searches, pipelines and frozen estimators to the model itself."""
        if X_teacher is not None and not _is_stream(X) and not _is_stream(X_teacher):
            check_consistent_length(X, X_teacher)
        model, preprocess = _unwrap(estimator), []
        if teacher is not None:
            if not hasattr(model, "transform"):
                model = check_array(model, dtype=np.float64, input_name="codes")
                if not _is_stream(X):
                    _check_as_many(model, _num_samples(X))
            return cls(model, [], X, X_teacher, teacher=teacher, **settings)
        while isinstance(model, Pipeline):
            preprocess += [model[:-1]] if len(model) > 1 else []
            model = _unwrap(model[-1])
        missing = [
            name for name in ("teacher_proba", "witness_log_proba") if not hasattr(model, name)
        ]
        if missing and hasattr(model, "estimator"):
            raise NotFittedError(
                f"{type(model).__name__} holds no fitted model: call fit before certifying it, "
                "and not with refit=False."
            )
        if missing:
            raise TypeError(
                "A certificate needs a teacher. TeacherGuidedVAE has its own; "
                f"{type(model).__name__} lacks {' and '.join(missing)}: pass a fitted "
                "teacher, as in ConstantCollapseCertificate(teacher=teacher)."
            )
        return cls(model, preprocess, X, X_teacher, teacher=None, **settings)

    def by_probe(self) -> Subject:
        """Return the same model and rows, already read, for the probe to judge."""
        other = copy.copy(self)
        other.has_witness = False
        return other

    @property
    def latents(self) -> tuple[str, ...]:
        """The reads there are: bare codes have no posterior to draw from."""
        return ("mean", "sample") if self.has_witness or self.has_posterior else ("mean",)

    def gather(self) -> Evidence:
        """All that a report needs, from one pass over the rows."""
        return Evidence(self, self.latents, whole=True)

    def read(self, latent: str, evidence: Evidence | None = None) -> Reading:
        """Return what the witness, or the probe, makes of the codes at this read."""
        if latent not in self.latents:
            raise TypeError(
                'latent="sample" needs a model with a posterior to draw codes from; '
                f'{type(self.model).__name__} has none: use latent="mean".'
            )
        if evidence is None:
            evidence = Evidence(self, (latent,), whole=False)
        T = evidence.T.rows()
        if self.has_witness:
            uniform = np.full(T.shape[1], 1 / T.shape[1])
            # Any distribution that was fixed before these rows were seen will do.
            reference = getattr(self.model, "average_teacher_", uniform)
            log_q = [draw.rows() for draw in evidence.log_q[latent]]
            statistics = evidence.statistics[latent]
        else:
            codes = evidence.codes[latent].rows()
            rows, scores, reference = probe_in_turn(self.probe, codes, T, self.random_state)
            T, log_q = T[rows], [scores]
            statistics = [BoundaryStatistics().update(T, scores)]
        information = statistics[0].teacher_information
        require_information(information, *T.shape)
        return Reading(T, log_q, statistics, without_zeros(reference))

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield the rows as the model sees them, and as the teacher does."""
        start = 0
        for X, X_teacher in _paired(self.X, self.X_teacher):
            n_rows = _num_samples(X)
            if isinstance(self.model, np.ndarray):
                X = self.model[start : start + n_rows]
            start += n_rows
            for step in self.preprocess:
                X = step.transform(X)
                X_teacher = step.transform(X_teacher) if self.X_teacher is None else X_teacher
            yield X, X_teacher
        if isinstance(self.model, np.ndarray):
            _check_as_many(self.model, start)

    def teach(self, rows: Any) -> NDArray[np.float64]:
        """Return the checked distributions of the teacher."""
        teach = self.model.teacher_proba if self.teacher is None else self.teacher.predict_proba
        return check_teacher(teach(rows))


class Evidence:
    """What one pass over the rows of a subject gathers.

    Sample quantities are summed up as they come. What the bounds read again, the teacher
    and the witness of each row, is spooled; codes are kept where a probe will be fitted.

    Parameters
    ----------
    subject : Subject
        What is certified.
    latents : tuple of str
        The reads.
    whole : bool
        Whether to gather all that a report shows.
    """

    def __init__(self, subject, latents, *, whole):
        n_draws = {"mean": 1, "sample": subject.n_draws}
        self.subject = subject
        self.T = RowSpool()
        self.log_q = {read: [RowSpool() for _ in range(n_draws[read])] for read in latents}
        self.statistics = {
            read: [BoundaryStatistics() for _ in range(n_draws[read])] for read in latents
        }
        self.codes = {read: RowSpool() for read in latents}
        self.posterior = PosteriorSample(subject.random_state)
        self.n_samples = self.n_told = self.n_seen = 0
        self.has_reconstruction = (
            whole
            and subject.has_witness
            and subject.X_teacher is None
            and hasattr(subject.model, "inverse_transform")
        )
        self.reconstruction = BoundaryStatistics()
        self.other_view = BoundaryStatistics()
        self._kl = self._row_kl_squares = self._code = self._code_squares = 0.0
        for number, (X, X_teacher) in enumerate(subject.blocks()):
            self._add(number, X, X_teacher, latents, whole)
        if self.n_samples == 0:
            raise ValueError("There are no rows to certify: got an empty stream.")

    @property
    def rate(self) -> float | None:
        """Mean divergence from the prior, in nats."""
        return float(np.sum(self._kl)) / self.n_samples if self.subject.has_rate else None

    @property
    def rate_standard_error(self) -> float:
        """Standard error of the rate."""
        mean = float(np.sum(self._kl)) / self.n_samples
        variance = max(float(self._row_kl_squares) / self.n_samples - mean**2, 0.0)
        return (variance / self.n_samples) ** 0.5

    @property
    def kl_per_dimension(self) -> tuple[float, ...] | None:
        """The rate, dimension by dimension."""
        if not self.subject.has_rate:
            return None
        return tuple((np.asarray(self._kl) / self.n_samples).tolist())

    @property
    def active_units(self) -> int:
        """Dimensions that vary: by more than 0.01 beside a normal prior, else at all."""
        mean = self._code / self.n_samples
        variance = self._code_squares / self.n_samples - mean**2
        least = ACTIVE_VARIANCE if self.subject.has_rate else ROUNDING * self._code_squares
        return int(np.sum(variance > least))

    @property
    def margin_reconstruction(self) -> float | None:
        """``I_T`` less the mean divergence of the teacher on the reconstructions."""
        return self.reconstruction.margin if self.has_reconstruction else None

    @property
    def view_gap(self) -> float | None:
        """What the witness costs on the teacher of X, less that on its other view."""
        if not self.other_view.n_samples:
            return None
        return self.other_view.alignment_cost - self.statistics["mean"][0].alignment_cost

    @property
    def rows(self) -> str:
        """Whether the rows were in fit, as far as the model can tell."""
        if not self.n_told:
            return "unknown"
        if not self.n_seen:
            return "held-out"
        return "training" if self.n_seen == self.n_told else "mixed"

    def _add(
        self, number: int, X: Any, X_teacher: Any, latents: tuple[str, ...], whole: bool
    ) -> None:
        subject = self.subject
        T = subject.teach(X_teacher)
        self.T.append(T)
        self.n_samples += len(T)
        if subject.has_witness:
            self._add_witness(number, X, T, latents)
        if whole or not subject.has_witness:
            self._add_codes(number, X, latents)
        if not whole:
            return
        if subject.has_rate:
            kl = np.asarray(subject.model.posterior_kl(X), dtype=np.float64)
            self._kl = self._kl + kl.sum(axis=0)
            self._row_kl_squares += float(np.square(kl.sum(axis=1)).sum())
        fingerprint = getattr(subject.model, "fingerprint_", None)
        if fingerprint is not None:
            told, seen = fingerprint.tell(X)
            self.n_told += told
            self.n_seen += seen
        if self.has_reconstruction:
            self._add_reconstruction(X, T)
        if (
            subject.has_witness
            and subject.X_teacher is not None
            and np.shape(X)[1:] == np.shape(X_teacher)[1:]
        ):
            self.other_view.update(subject.teach(X), self._last_log_q)

    def _add_witness(self, number: int, X: Any, T: NDArray, latents: tuple[str, ...]) -> None:
        stream = np.random.SeedSequence(self.subject.random_state, spawn_key=(number,))
        for latent in latents:
            n_draws = len(self.log_q[latent])
            for draw, seed in enumerate(stream.generate_state(n_draws)):
                drawn = {"random_state": int(seed)} if latent == "sample" else {}
                log_q = self.subject.model.witness_log_proba(X, latent=latent, **drawn)
                self.log_q[latent][draw].append(log_q)
                self.statistics[latent][draw].update(T, log_q)
                if latent == "mean":
                    self._last_log_q = log_q

    def _add_codes(self, number: int, X: Any, latents: tuple[str, ...]) -> None:
        model = self.subject.model
        if self.subject.has_posterior:
            mean, log_variance = (
                np.asarray(part, dtype=np.float64) for part in model.posterior(X)
            )
            self.posterior.update(mean, log_variance)
        else:
            mean = np.asarray(X if isinstance(model, np.ndarray) else model.transform(X))
            mean = mean.astype(np.float64)
        if not np.any(self._code_squares):
            self._code_origin = mean[0]
        from_origin = mean - self._code_origin
        self._code = self._code + from_origin.sum(axis=0)
        self._code_squares = self._code_squares + np.square(from_origin).sum(axis=0)
        if not self.subject.keep_codes:
            return
        if "mean" in latents:
            self.codes["mean"].append(mean)
        if "sample" in latents and self.subject.has_posterior:
            generator = np.random.default_rng([self.subject.random_state, number, *b"codes"])
            noise = generator.standard_normal(mean.shape)
            self.codes["sample"].append(mean + np.exp(0.5 * log_variance) * noise)

    def _add_reconstruction(self, X: Any, T: NDArray) -> None:
        model = self.subject.model
        decoded = model.inverse_transform(model.transform(X))
        if hasattr(X, "iloc"):
            # A teacher that was fitted to named columns wants them named.
            decoded = type(X)(decoded, columns=X.columns)
        of_decoded = check_teacher(model.teacher_proba(decoded))
        # A hard teacher on reconstructions may rule out what it said of a row.
        self.has_reconstruction = bool((of_decoded > 0).all())
        if self.has_reconstruction:
            self.reconstruction.update(T, np.log(of_decoded))


def _unwrap(estimator: Any) -> Any:
    """Take a model out of the searches and frozen estimators around it."""
    while True:
        inner = getattr(estimator, "best_estimator_", estimator)
        inner = inner.estimator if isinstance(inner, FrozenEstimator) else inner
        if inner is estimator:
            return inner
        estimator = inner


def _check_as_many(codes: NDArray, n_rows: int) -> None:
    if len(codes) != n_rows:
        raise ValueError(
            f"Codes and rows must be as many, got {len(codes)} codes for {n_rows} rows."
        )


def _is_stream(X: Any) -> bool:
    return hasattr(X, "__next__")


def _paired(X: Any, X_teacher: Any) -> Iterator[tuple[Any, Any]]:
    """Yield blocks of rows beside what the teacher sees of them."""
    if X_teacher is None:
        yield from ((block, block) for block in _blocks(X))
    else:
        yield from zip(_blocks(X), _blocks(X_teacher), strict=True)


def _blocks(X: Any) -> Iterator[Any]:
    """Cut rows, or a stream of batches of any size, into blocks of one size."""
    if not _is_stream(X):
        n_samples = _num_samples(X)
        for start in range(0, n_samples, BLOCK_ROWS):
            yield _safe_indexing(X, slice(start, min(start + BLOCK_ROWS, n_samples)))
        return
    waiting: list[NDArray] = []
    n_waiting = 0
    for batch in X:
        waiting.append(np.asarray(batch))
        n_waiting += len(waiting[-1])
        while n_waiting >= BLOCK_ROWS:
            joined = np.concatenate(waiting)
            yield joined[:BLOCK_ROWS]
            waiting, n_waiting = [joined[BLOCK_ROWS:]], n_waiting - BLOCK_ROWS
    if n_waiting:
        yield np.concatenate(waiting)
