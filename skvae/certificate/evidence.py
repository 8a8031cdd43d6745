"""What one pass over the rows of a subject gathers, for a certificate to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _num_samples

from skvae._common.spool import RowSpool
from skvae._common.threads import n_threads, side_by_side
from skvae.certificate.decoders import DecodedRows
from skvae.certificate.spread import CodeSpread
from skvae.certificate.subjects import Subject, check_codes
from skvae.information import BoundaryStatistics
from skvae.information.aggregate import PosteriorSample
from skvae.information.boundary import check_student, rows_counted_from
from skvae.information.statistics import TeacherBlock
from skvae.rows.fingerprint import DistinctRows
from skvae.rows.frames import columns_of, is_frame

__all__ = ["Evidence", "Told"]

# Of `CodeSpread`, as fields of a report.
OF_SPREAD = (
    *("information_bound", "unit_noise_bound"),
    *("code_scale", "dimension_ratio", "outlier_share"),
)
# Variance of the posterior mean above which a dimension counts as active
# (Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2).
ACTIVE_VARIANCE = 0.01
# Natural logarithm above which a variance, and what is drawn with it, may overflow.
LARGEST_LOG_VARIANCE = 700.0


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

    def __init__(self, subject: Subject, latents: tuple[str, ...], *, whole: bool):
        n_draws = {"mean": 1, "sample": subject.n_draws}
        self.subject = subject
        self.T = RowSpool()
        self.log_q = {read: [RowSpool() for _ in range(n_draws[read])] for read in latents}
        self.statistics = {
            read: [BoundaryStatistics() for _ in range(n_draws[read])] for read in latents
        }
        self.codes = {read: [RowSpool() for _ in range(n_draws[read])] for read in latents}
        self.posterior = PosteriorSample(subject.random_state)
        self.n_samples = 0
        self._of_model = Told(getattr(subject.model, "fingerprint_", None))
        fingerprint = subject.teacher_fingerprint
        is_same = fingerprint is getattr(subject.model, "fingerprint_", None)
        # A teacher that was fitted with the model has mostly seen the same rows.
        shares = is_same and subject.X_teacher is None and subject.teacher is None
        self._of_teacher = self._of_model if shares else Told(fingerprint)
        self._distinct: DistinctRows | None = DistinctRows()
        self._hashes: list[NDArray[np.uint64]] = []
        decoded = DecodedRows(subject)
        self.other_view = BoundaryStatistics()
        self.spread: CodeSpread | None = None
        self._kl: Any = 0.0
        # With squared weights: of the rate of a row, its square, and one.
        self._kl_again = self._kl_squares = self._weight_again = 0.0
        self._n_components: int | None = None
        self._block: Any = None
        # Closed here, or the traceback of an error would hold on to the threads.
        with closing(_read_ahead(subject, latents)) as blocks:
            for number, (X, X_teacher, shown, read) in enumerate(blocks):
                with rows_counted_from(self.n_samples):
                    self._block = X
                    T, codes = self._add(number, X, X_teacher, shown, read, latents, whole)
                if whole:
                    decoded.update(X, T, codes, self._weights_of(T))
        if self.n_samples == 0:
            raise ValueError("There are no rows to certify: got an empty stream.")
        self.margin_reconstruction = decoded.margin()
        self.decoder_gain = decoded.gain()
        self.notes = [*subject.notes, *decoded.notes]

    @property
    def rate(self) -> float | None:
        """Mean divergence from the prior, in nats."""
        return float(np.sum(self._kl)) / self.n_samples if self.subject.has_rate else None

    @property
    def rate_standard_error(self) -> float:
        """Standard error of the rate."""
        mean = float(np.sum(self._kl)) / self.n_samples
        spread = self._kl_squares - mean * (2 * self._kl_again - mean * self._weight_again)
        return max(spread, 0.0) ** 0.5 / self.n_samples

    @property
    def kl_per_dimension(self) -> tuple[float, ...] | None:
        """The rate, dimension by dimension."""
        if not self.subject.has_rate:
            return None
        return tuple((np.asarray(self._kl) / self.n_samples).tolist())

    @property
    def active_units(self) -> int | None:
        """Dimensions that vary: by more than 0.01 beside a normal prior, else at all."""
        if self.spread is None:
            return None
        variance = self.spread.variance
        return int(np.sum(variance > (ACTIVE_VARIANCE if self.subject.has_rate else 0.0)))

    def spread_of_codes(self) -> dict[str, Any]:
        """Return what a report has of how the codes lie, by field."""
        return {name: getattr(self.spread, name, None) for name in OF_SPREAD}

    @property
    def view_gap(self) -> float | None:
        """Margin under the view that was given, less that under the teacher of X."""
        if not self.other_view.n_samples:
            return None
        return self.statistics["mean"][0].margin - self.other_view.margin

    @property
    def rows(self) -> str:
        """Whether the rows were in the fit of the model, as far as it can tell."""
        return self._of_model.word(bool(self.subject.preprocess))

    @property
    def teacher_rows(self) -> str:
        """Whether the teacher was fitted to them, as far as it can tell."""
        as_given = self.subject.X_teacher is not None or self.subject.teacher is not None
        return self._of_teacher.word(bool(self.subject.preprocess) and not as_given)

    @property
    def n_distinct(self) -> int | None:
        """Number of rows that differ; None where they hold text."""
        return None if self._distinct is None else self._distinct.count()

    @property
    def groups(self) -> NDArray[np.uint64] | None:
        """A number for each row, the same for copies, where a probe will want it."""
        return None if self._distinct is None else np.concatenate(self._hashes)

    @property
    def has_copies(self) -> bool:
        """Whether some rows are alike that honest chance would not have made alike."""
        n_distinct = self.n_distinct
        return (
            self._distinct is not None
            and n_distinct is not None
            and n_distinct < self.n_samples
            and self._distinct.have_many_values
        )

    def _add(
        self,
        number: int,
        X: Any,
        X_teacher: Any,
        shown: Any,
        read: Callable[[], Any],
        latents: tuple[str, ...],
        whole: bool,
    ) -> tuple[NDArray[np.float64], Any]:
        """Add a block; return the teacher and the codes of its rows."""
        subject = self.subject
        T = subject.teach(X_teacher, self._n_components)
        self._n_components = T.shape[1]
        self.T.append(T)
        self.n_samples += len(T)
        codes = read()
        # Columns of several kinds are told apart by the numbers that the model makes of them.
        numbers = X
        if subject.columns is not None:
            has_numbers = subject.is_read_at_once
            numbers = codes.rows if has_numbers else subject.columns.encode(X)
        if whole or subject.keep_codes:
            # Distributions that are given in place of rows do not tell rows apart.
            told = shown if subject.is_bare else numbers
            self._count_distinct(told, numbers, are_rows=not _are_same(told, T))
        if subject.has_witness:
            self._add_witness(codes, T, latents)
        if subject.has_codes and (whole or not subject.has_witness):
            self._add_codes(number, codes, latents)
        if not whole:
            return T, codes
        weights = self._weights_of(T)
        if subject.has_rate:
            kl = check_codes(codes.kl, len(T), "posterior_kl(X)")
            self._kl = self._kl + _sum(kl, weights)
            squares = np.ones(len(T)) if weights is None else np.square(weights)
            self._kl_again += float(squares @ kl.sum(axis=1))
            self._kl_squares += float(squares @ np.square(kl.sum(axis=1)))
            self._weight_again += float(squares.sum())
        self._of_model.add(numbers)
        if self._of_teacher is not self._of_model:
            self._of_teacher.add(numbers if X_teacher is X else X_teacher)
        if subject.has_witness and subject.X_teacher is not None:
            teacher = getattr(subject.model, "teacher_", None)
            readable = getattr(teacher, "n_features_in_", None) == np.shape(X)[1]
            if readable and _same_columns(X, X_teacher):
                self.other_view.update(subject.teach(X), codes.log_witness_mean, weights)
        return T, codes

    def _weights_of(self, T: NDArray) -> NDArray | None:
        """Weights of the rows of the last block, which T is of."""
        weights = self.subject.weights
        return None if weights is None else weights[self.n_samples - len(T) : self.n_samples]

    def _count_distinct(self, *views: Any, are_rows: bool) -> None:
        """Count the rows by the first view that holds numbers; if none does, no more."""
        for X in views if are_rows else ():
            if self._distinct is None:
                return
            try:
                hashes = self._distinct.update(X)
            except (TypeError, ValueError):
                continue
            if self.subject.keep_codes:
                self._hashes.append(hashes)
            return
        self._distinct = None

    def _add_witness(self, codes: Any, T: NDArray, latents: tuple[str, ...]) -> None:
        teacher = TeacherBlock.of(T, self._weights_of(T))
        normalised = getattr(codes, "is_normalised", False)
        for latent in latents:
            at_mean = latent == "mean"
            draws = [codes.log_witness_mean] if at_mean else codes.log_witness_samples
            for draw, log_q in enumerate(draws):
                checked = check_student(log_q, T.shape, normalised)
                self.log_q[latent][draw].append(checked)
                self.statistics[latent][draw].add_checked(teacher, checked)

    def _add_codes(self, number: int, codes: Any, latents: tuple[str, ...]) -> None:
        n_rows = _num_samples(self._block)
        mean = check_codes(codes.mean, n_rows, "Codes")
        weights = self._weights_of(mean)
        if self.subject.has_posterior:
            log_variance = check_codes(codes.log_variance, n_rows, "Log variances of codes")
            if log_variance.max() > LARGEST_LOG_VARIANCE:
                raise ValueError(
                    f"Log variances of codes reach {log_variance.max():.3g}, and exp of that "
                    "overflows: pass natural logarithms of the variances, and not these or "
                    "their inverses."
                )
            self.posterior.update(mean, log_variance, weights)
        self.spread = self.spread or CodeSpread(mean[0])
        self.spread.update(mean, log_variance if self.subject.has_posterior else None, weights)
        if not self.subject.keep_codes:
            return
        if "mean" in latents:
            self.codes["mean"][0].append(mean)
        if "sample" in latents and self.subject.has_posterior:
            generator = np.random.default_rng([self.subject.random_state, number, *b"codes"])
            for draw in self.codes["sample"]:
                noise = generator.standard_normal(mean.shape)
                draw.append(mean + np.exp(0.5 * log_variance) * noise)


def _sum(values: NDArray, weights: NDArray | None) -> NDArray:
    return values.sum(axis=0) if weights is None else weights @ values


def _read_ahead(
    subject: Subject, latents: tuple[str, ...]
) -> Generator[tuple[Any, Any, Any, Callable[[], Any]]]:
    """Yield the blocks of the subject, each with what returns its codes.

    Where the model allows it, threads read the codes of the blocks that come next. All else,
    the teacher and what rows go through first, is left to the caller's thread: it may be
    anyone's, and need not bear several.
    """
    in_threads = getattr(subject.model, "can_read_in_threads", False)
    is_worth_it = subject.is_read_at_once and subject.is_long
    n_workers = n_threads() if in_threads and is_worth_it else 1
    # While the caller is busy with a block there is another for each thread.
    n_ahead = n_workers if n_workers > 1 else 0
    with side_by_side(n_workers) as call:
        waiting: deque[tuple[Any, Any, Any, Callable[[], Any]]] = deque()
        for number, (X, X_teacher, shown) in enumerate(subject.blocks()):
            waiting.append((X, X_teacher, shown, call(_read, subject, number, X, latents)))
            if len(waiting) > n_ahead:
                yield waiting.popleft()
        yield from waiting


def _read(subject: Subject, number: int, X: Any, latents: tuple[str, ...]) -> Any:
    """Read the codes of a block: at once where the model can, else one by one as asked."""
    stream = np.random.SeedSequence(subject.random_state, spawn_key=(number,))
    seeds = stream.generate_state(subject.n_draws).tolist() if "sample" in latents else []
    if subject.is_read_at_once:
        return subject.model.read_codes(X, seeds)
    return _OneByOne(subject, X, seeds)


class _OneByOne:
    """What `read_codes` returns, of a model that has a method for each, asked when needed."""

    def __init__(self, subject: Subject, X: Any, seeds: list[int]):
        self._subject = subject
        self._model = subject.model
        self._X = X
        self._seeds = seeds

    @cached_property
    def _posterior(self) -> tuple[NDArray, NDArray]:
        return self._model.posterior(self._X)

    @cached_property
    def transformed(self) -> NDArray:
        return self._model.transform(self._X)

    @property
    def mean(self) -> NDArray:
        if self._subject.has_posterior:
            return self._posterior[0]
        codes = self._X if self._subject.is_bare else self.transformed
        return check_codes(codes, None, "codes")

    @property
    def log_variance(self) -> NDArray:
        return self._posterior[1]

    @property
    def kl(self) -> NDArray:
        if hasattr(self._model, "posterior_kl"):
            return self._model.posterior_kl(self._X)
        mean, log_variance = self.mean, self.log_variance
        return 0.5 * (np.square(mean) + np.exp(log_variance) - 1 - log_variance)

    @cached_property
    def log_witness_mean(self) -> NDArray:
        return self._model.witness_log_proba(self._X, latent="mean")

    @property
    def log_witness_samples(self) -> Iterator[NDArray]:
        for seed in self._seeds:
            yield self._model.witness_log_proba(self._X, latent="sample", random_state=seed)


def _are_same(shown: Any, T: NDArray) -> bool:
    """Whether what was shown are the distributions, which are normalised in T."""
    if np.shape(shown) != T.shape:
        return False
    try:
        return np.allclose(np.asarray(shown, dtype=np.float64), T, rtol=1e-3, atol=0.0)
    except (TypeError, ValueError):
        return False


def _same_columns(X: Any, X_teacher: Any) -> bool:
    if is_frame(X) and is_frame(X_teacher):
        return columns_of(X) == columns_of(X_teacher)
    if is_frame(X) or is_frame(X_teacher):
        return False
    return np.shape(X)[1:] == np.shape(X_teacher)[1:]


class Told:
    """Count the rows of a fit among the rows that come."""

    def __init__(self, fingerprint: Any):
        self._fingerprint = fingerprint
        self._n_told = self._n_seen = 0

    def add(self, X: Any) -> None:
        if self._fingerprint is None:
            return
        try:
            told, seen = self._fingerprint.tell(X)
        except (TypeError, ValueError):
            # What is no number cannot be told: nothing of the whole is known then.
            self._fingerprint = None
            return
        self._n_told += told
        self._n_seen += seen

    def word(self, is_transformed: bool) -> str:
        """Say what became of them, in a word of a report."""
        if self._fingerprint is None or not self._n_told:
            return "unknown"
        if not self._n_seen:
            # fit_transform and transform may differ in the last digits, or in more: rows
            # that came through other steps need not be told again.
            return "unknown" if is_transformed else "held-out"
        return "training" if self._n_seen == self._n_told else "mixed"
