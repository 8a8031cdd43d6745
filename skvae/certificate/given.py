"""Codes and targets that are given as arrays, by any program, certified by probe."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from skvae.certificate.reports import CertificateReport
from skvae.certificate.scorer import ConstantCollapseCertificate
from skvae.certificate.subjects import check_codes
from skvae.information.boundary import check_teacher
from skvae.rows.fingerprint import DistinctRows
from skvae.rows.numbers import to_numpy

__all__ = ["as_distributions", "certify_given", "check_targets"]


def as_distributions(targets: Any) -> NDArray[np.float64]:
    """Return what is to be found in the codes as distributions, one a row.

    Classes become distributions that are sure of one class each. No floor is mixed in, for the
    certificate takes teachers with zeros: ``I_T`` is then the entropy of the classes.

    Parameters
    ----------
    targets : array-like of shape (n_samples,), (n_samples, 1) or (n_samples, n_components)
        Classes, whole numbers or text, or distributions over two components or more.

    Returns
    -------
    T : ndarray of shape (n_samples, n_components)
        Rows that sum to one; classes are in sorted order.

    Raises
    ------
    ValueError
        For a class that is missing or no whole number, one class alone, more classes than half
        the rows (those are names), and rows that are no distributions.

    Examples
    --------
    >>> from skvae.certificate.given import as_distributions
    >>> as_distributions(["b", "a", "b", "a"])
    array([[0., 1.],
           [1., 0.],
           [0., 1.],
           [1., 0.]])
    """
    values = check_targets(targets)
    if values.ndim == 2:
        return values
    classes, place = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"All {len(place)} rows are of one class, {str(classes[0])!r}: there is nothing to "
            "tell apart. Give rows of two classes or more."
        )
    if 2 * len(classes) > len(place):
        raise ValueError(
            f"targets has {len(classes)} different values in {len(place)} rows: those are "
            "names or measurements, and no classes. Give a column of classes that have several "
            "rows each."
        )
    return np.eye(len(classes))[place]


def check_targets(targets: Any) -> NDArray:
    """Return distributions, normalised, or classes in one dimension, as numbers or as text."""
    targets = to_numpy(targets)
    values = np.asarray(targets)
    if values.ndim == 2 and values.shape[1] > 1:
        return check_teacher(targets, "targets")
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(
            "targets must be a class or a distribution for each row, got an array of shape "
            f"{values.shape}."
        )
    return _checked_classes(values.reshape(-1))


def _checked_classes(values: NDArray) -> NDArray:
    """Return classes as numbers or as text, or say which row has none."""
    if values.dtype.kind in "biu":
        return values
    if values.dtype.kind == "f":
        bad, rule = ~(values == np.floor(values)), "a class is a whole number or text"
        bad |= ~np.isfinite(values)
    elif values.dtype.kind in "OUS":
        missing = [value is None or value != value for value in values.tolist()]
        values = values.astype(str)
        text = np.char.strip(values)
        bad, rule = (text == "") | (np.char.lower(text) == "nan"), "the class is missing"
        bad |= np.array(missing)
    else:
        raise ValueError(
            f"targets holds {values.dtype}: a class is a whole number or text, and a "
            "distribution has a column for each component."
        )
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Row {row} of targets: {rule}, got {str(values[row])!r} ({int(bad.sum())} of "
            f"{len(values)} rows are affected)."
        )
    return values


def certify_given(
    codes: Any,
    targets: Any,
    *,
    log_variances: Any = None,
    rows: Any = None,
    held_out: bool | None = None,
    teacher_rows: str | None = None,
    certificate: ConstantCollapseCertificate | None = None,
) -> CertificateReport:
    """Certify codes by probe, from arrays alone.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_codes)
        Codes, or means of their posterior.
    targets : array-like
        As `as_distributions` takes them.
    log_variances : array-like of shape (n_samples, n_codes), or None, default=None
        Natural-log variances of the posterior, for the read at the sample.
    rows : array-like of shape (n_samples, n_features), or None, default=None
        What the codes are of. Of rows that come several times one is certified, for copies are
        not independent of each other. Without them copies are not told.
    held_out : bool or None, default=None
        Whether neither the encoder nor the targets' own source was fitted to the rows; None is
        not known.
    teacher_rows : str or None, default=None
        Whether the teacher was fitted to them, in a word of a report, where that is told
        otherwise than by `held_out`.
    certificate : ConstantCollapseCertificate or None, default=None
        With the settings that are wanted; its teacher is not asked.

    Returns
    -------
    report : CertificateReport
        By probe.
    """
    means = check_codes(codes, None, "codes")
    T = as_distributions(targets)
    _check_as_many(T, "targets", means)
    spread = None
    if log_variances is not None:
        spread = check_codes(log_variances, None, "log variances")
        _check_as_many(spread, "log variances", means)
        if spread.shape != means.shape:
            raise ValueError(
                "log variances must have a column for each of the codes, got shape "
                f"{spread.shape} for codes of shape {means.shape}."
            )
    notes = [
        "Whether rows are copies of each other is not known: the bound asks for rows that "
        "are none."
    ]
    # Rows that are known by a name alone are not counted.
    names = np.arange(len(means)).astype(str)[:, np.newaxis]
    if rows is not None:
        kept = _first_of_each(rows, means)
        n_copies = len(means) - len(kept)
        means, T = means[kept], T[kept]
        spread = None if spread is None else spread[kept]
        names = np.arange(len(kept))[:, np.newaxis]
        notes = [f"{n_copies} copies of other rows were left out."] if n_copies else []
    of_model = {None: None, True: "held-out", False: "training"}[held_out]
    of_teacher = teacher_rows or ("held-out" if held_out else None)
    asked = {} if certificate is None else certificate.get_params(deep=False)
    teacher = _GivenTeacher(of_teacher)
    certificate = ConstantCollapseCertificate(**{**asked, "teacher": teacher, "probe": False})
    model: Any = _GivenCodes(means, of_model)
    if spread is not None:
        model = _GivenPosterior(means, of_model, spread)
    report = cast(CertificateReport, certificate.certify(model, names, X_teacher=T))
    return dataclasses.replace(report, notes=(*notes, *report.notes))


def _check_as_many(values: NDArray, name: str, codes: NDArray) -> None:
    if len(values) != len(codes):
        raise ValueError(
            f"codes and {name} must have as many rows, and in one order: got {len(codes)} "
            f"and {len(values)}."
        )


def _first_of_each(rows: Any, codes: NDArray) -> NDArray[np.intp]:
    hashes = DistinctRows().update(rows)
    _check_as_many(hashes, "rows", codes)
    _, first = np.unique(hashes, return_index=True)
    return np.sort(first)


class _Stated:
    """What somebody says of the origin of rows, in place of a fingerprint that tells it."""

    def __init__(self, word: str):
        self._share = {"held-out": 0, "mixed": 1, "training": 2}[word]

    def tell(self, X: Any) -> tuple[int, int]:
        """Count rows that are told, two of each, and how many of these were seen."""
        return 2 * len(X), self._share * len(X)


class _GivenTeacher:
    def __init__(self, word: str | None):
        self.fingerprint_ = None if word is None or word == "unknown" else _Stated(word)

    def predict_proba(self, T: NDArray) -> NDArray:
        return T


class _GivenCodes:
    """A model that is asked for rows by their number."""

    def __init__(self, means: NDArray, word: str | None):
        self._means = means
        self.fingerprint_ = None if word is None else _Stated(word)

    def transform(self, names: NDArray) -> NDArray:
        return self._means[names[:, 0].astype(int)]


class _GivenPosterior(_GivenCodes):
    def __init__(self, means: NDArray, word: str | None, log_variances: NDArray):
        super().__init__(means, word)
        self._log_variances = log_variances

    def posterior(self, names: NDArray) -> tuple[NDArray, NDArray]:
        return self.transform(names), self._log_variances[names[:, 0].astype(int)]
