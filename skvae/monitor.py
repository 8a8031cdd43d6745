"""A certificate for training loops of one's own: rows come in batches, reports come out."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.certificate import CertificateReport, ConstantCollapseCertificate
from skvae.certificate.evidence import Told
from skvae.certificate.given import certify_given, check_targets
from skvae.certificate.subjects import check_codes
from skvae.information.boundary import check_taught
from skvae.rows.numbers import to_numpy

__all__ = ["CollapseMonitor"]

OF_TRAINING = (
    "These rows trained the encoder: where its weights changed between batches, the codes are "
    "of several encoders."
)


class CollapseMonitor:
    """Certify, by probe, the codes of any training loop in any framework.

    It is given codes batch by batch, beside the rows that they are of or what should be found
    in them. A report is of the codes since the last one: feed it with one encoder at a time,
    as in a pass over validation rows at the end of an epoch, and ask for the report then.
    *Certified* means that the code is not constant in x, with the stated confidence, and no
    more.

    Parameters
    ----------
    teacher : fitted estimator with predict_proba, or None, default=None
        What is asked for the distributions of the rows that are shown. None expects these
        themselves, or classes, in place of rows.
    held_out : bool or None, default=None
        Whether the rows were in no fit, of the encoder or the teacher. False: they train the
        encoder. None: nobody says. Reports have it in `rows` and `teacher_rows`, and say of
        rows that were trained on that the bound speaks of no others. Where the teacher knows
        which rows it was fitted to, as those of skvae do, `teacher_rows` is what it says.
    max_rows : int, default=10000
        Rows that are kept, at least 10. Of more, each is kept with the same chance.
    certificate : ConstantCollapseCertificate or None, default=None
        With the `tau`, `confidence`, probe (`witness`) and so on that are wanted.
    random_state : int, default=0
        Seed of which rows are kept.

    Attributes
    ----------
    reports_ : list of CertificateReport
        All reports so far.
    n_seen_ : int
        Rows since the last report.

    See Also
    --------
    skvae.training.CertificateCallback : The same for training by skvae or skorch.
    skvae.information.SequentialMargin : Evidence that may be watched after every batch.

    Notes
    -----
    What is kept is at most `max_rows` rows of codes, log variances and targets, and the
    reports; the rows x are not. Drawing by Algorithm R (Vitter, ACM Transactions on
    Mathematical Software 11(1), 1985), at random and blind to what the rows hold, so that the
    bound holds for the rows that are kept as for all.

    Each bound holds for its report. For an epoch that was picked by looking at these reports it
    does not hold; certify that one on rows that had no part in the choice.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import CollapseMonitor
    >>> rng = np.random.default_rng(0)
    >>> monitor = CollapseMonitor(held_out=True)
    >>> for batch in range(10):
    ...     labels = rng.integers(0, 3, 32)
    ...     codes = np.eye(3)[labels] + 0.1 * rng.standard_normal((32, 3))
    ...     monitor = monitor.update(labels, codes)
    >>> report = monitor.report()
    >>> report.verdict, report.rows, monitor.n_seen_
    ('certified', 'held-out', 0)
    """

    teacher: Any
    held_out: bool | None
    max_rows: int
    certificate: ConstantCollapseCertificate | None
    random_state: int
    reports_: list[CertificateReport]
    n_seen_: int

    def __init__(
        self,
        teacher: Any = None,
        *,
        held_out: bool | None = None,
        max_rows: int = 10_000,
        certificate: ConstantCollapseCertificate | None = None,
        random_state: int = 0,
    ) -> None:
        if teacher is not None and not hasattr(teacher, "predict_proba"):
            raise TypeError(
                "teacher must be a fitted estimator with predict_proba, or None where targets "
                f"are given in place of rows, got {type(teacher).__name__}."
            )
        if not (held_out is None or isinstance(held_out, bool)):
            raise ValueError(f"held_out must be True, False or None, got {held_out!r}.")
        if isinstance(max_rows, bool) or not operator.index(max_rows) >= 10:
            raise ValueError(
                f"max_rows must be a whole number of at least 10, got {max_rows!r}."
            )
        if certificate is not None and not isinstance(certificate, ConstantCollapseCertificate):
            raise TypeError(
                "certificate must be a ConstantCollapseCertificate or None, got "
                f"{type(certificate).__name__}."
            )
        self.teacher = teacher
        self.held_out = held_out
        self.max_rows = int(max_rows)
        self.certificate = certificate
        self.random_state = random_state
        self.reports_ = []
        self.reset()

    def reset(self) -> Self:
        """Let go of the rows since the last report.

        Returns
        -------
        self : CollapseMonitor
            This object.
        """
        # Another stream for each report: else the same places would be kept each time.
        self._generator = np.random.default_rng([self.random_state, len(self.reports_)])
        self.n_seen_ = 0
        self._kept: dict[str, NDArray] = {}
        self._told = Told(getattr(self.teacher, "fingerprint_", None))
        return self

    def update(
        self, x_or_targets: Any, codes: ArrayLike, log_variances: ArrayLike | None = None
    ) -> Self:
        """Add a batch: an epoch of rows at once, or a few.

        Parameters
        ----------
        x_or_targets : array-like of n_samples rows
            Rows, as the teacher takes them; without a teacher distributions, of shape
            (n_samples, n_components), or classes (whole numbers or text), one a row.
        codes : array-like of shape (n_samples, n_codes)
            Their codes, or means of their posteriors: arrays, tensors on any device (gradients
            are let go of), and whatever NumPy makes an array of.
        log_variances : array-like of shape (n_samples, n_codes), or None, default=None
            Natural-log variances of the posteriors; with them reports are of draws too, and
            go by those. In all batches of a report, or in none.

        Returns
        -------
        self : CollapseMonitor
            This object, with the batch added. When an error is raised it is as it was before.

        Raises
        ------
        ValueError
            For codes and rows that are not as many, do not go with the batches before, are not
            finite, or are no targets.
        """
        batch = {"codes": check_codes(_plain(codes), None, "codes")}
        if log_variances is not None:
            batch["log variances"] = check_codes(_plain(log_variances), None, "log variances")
            if batch["log variances"].shape != batch["codes"].shape:
                raise ValueError(
                    f"log_variances must have the shape of codes, {batch['codes'].shape}, got "
                    f"{batch['log variances'].shape}."
                )
        n_rows = len(batch["codes"])
        if self.teacher is not None:
            T = self.teacher.predict_proba(x_or_targets)
            batch["targets"] = check_taught(T, n_rows, self.teacher)
        else:
            batch["targets"] = check_targets(_plain(x_or_targets))
            if len(batch["targets"]) != n_rows:
                raise ValueError(
                    f"codes and targets must have as many rows, got {n_rows} and "
                    f"{len(batch['targets'])}."
                )
        self._check_alike(batch)
        self._keep(batch)
        if self.teacher is not None:
            self._told.add(x_or_targets)
        return self

    def report(self) -> CertificateReport:
        """Certify the codes since the last report, and begin anew.

        Returns
        -------
        report : CertificateReport
            By probe. It is added to `reports_`.

        Raises
        ------
        ValueError
            If there are fewer than 10 rows, or nothing to tell apart in them. The rows are then
            still there.
        """
        n_kept = min(self.n_seen_, self.max_rows)
        if n_kept < 10:
            raise ValueError(
                f"A report takes at least 10 rows, and there were {n_kept} since the last one: "
                "call update first."
            )
        kept = {name: values[:n_kept] for name, values in self._kept.items()}
        found = certify_given(
            kept["codes"],
            kept["targets"],
            log_variances=kept.get("log variances"),
            held_out=self.held_out,
            teacher_rows=None if self.teacher is None else self._teacher_rows(),
            certificate=self.certificate,
        )
        notes = [OF_TRAINING] if self.held_out is False else []
        if n_kept < self.n_seen_:
            notes.append(f"{n_kept:,} of {self.n_seen_:,} rows were kept, drawn at random.")
        report = dataclasses.replace(found, notes=(*notes, *found.notes))
        self.reports_.append(report)
        self.reset()
        return report

    def __repr__(self) -> str:
        return (
            f"CollapseMonitor(teacher={self.teacher!r}, held_out={self.held_out}, "
            f"max_rows={self.max_rows}): {self.n_seen_} rows since the last report"
        )

    def _teacher_rows(self) -> str | None:
        word = self._told.word(False)
        # A teacher that does not know its rows is as its user says.
        return None if word == "unknown" else word

    def _check_alike(self, batch: dict[str, NDArray]) -> None:
        """Refuse what does not go with the batches before it."""
        if not self._kept:
            return
        if batch.keys() != self._kept.keys():
            raise ValueError(
                "log_variances must come with all batches of a report or with none: call "
                "reset to begin anew."
            )
        for name, values in batch.items():
            before = self._kept[name]
            is_text = (values.dtype.kind == "U", before.dtype.kind == "U")
            if values.shape[1:] != before.shape[1:] or len(set(is_text)) > 1:
                raise ValueError(
                    f"{name} must be of one kind and shape in all batches of a report: got "
                    f"rows of shape {values.shape[1:]} and type {values.dtype}, and before of "
                    f"{before.shape[1:]} and {before.dtype}. Call reset to begin anew."
                )

    def _keep(self, batch: dict[str, NDArray]) -> None:
        """Take each row into the place that Algorithm R has for it, if any."""
        n_rows = len(batch["codes"])
        number = np.arange(self.n_seen_, self.n_seen_ + n_rows)
        # Row number i, from 0, gets one of i + 1 places, of which those that are kept are few.
        place = np.where(number < self.max_rows, number, 0)
        later = number >= self.max_rows
        place[later] = self._generator.integers(0, number[later] + 1)
        chosen = np.flatnonzero(place < self.max_rows)
        for name, values in batch.items():
            self._kept[name] = self._with_room(self._kept.get(name), values, n_rows)
            self._kept[name][place[chosen]] = values[chosen]
        self.n_seen_ += n_rows

    def _with_room(self, kept: NDArray | None, values: NDArray, n_rows: int) -> NDArray:
        """Return the array with room for a batch, twice as large where it had to grow."""
        needed = min(self.n_seen_ + n_rows, self.max_rows)
        if kept is None:
            return np.empty((needed, *values.shape[1:]), dtype=values.dtype)
        # Longer text, or other numbers.
        dtype = np.promote_types(kept.dtype, values.dtype)
        if len(kept) >= needed:
            return kept.astype(dtype, copy=False)
        grown = np.empty((min(2 * needed, self.max_rows), *kept.shape[1:]), dtype=dtype)
        grown[: len(kept)] = kept
        return grown


def _plain(values: Any) -> Any:
    """Return arrays of other libraries as those of NumPy."""
    values = to_numpy(values)
    if hasattr(values, "__array__") or not hasattr(values, "__dlpack__"):
        return values
    return np.from_dlpack(values)
