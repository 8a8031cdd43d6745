"""What is certified: a model or bare codes, a teacher, and rows, read in one pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse, vstack
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_consistent_length

from skvae._common.parameters import unfrozen
from skvae.information.bound import largest_weight
from skvae.information.boundary import check_taught
from skvae.rows.columns import Columns
from skvae.rows.frames import is_frame, joined_frames
from skvae.rows.sources import as_rows
from skvae.rows.sparse import as_taken_by
from skvae.rows.stores import StoredRows
from skvae.rows.tables import check_table
from skvae.rows.weights import check_weights, relative_weights

__all__ = ["Subject"]

# Rows that a model is asked about at a time, whatever batches they come in: so the size
# of the batches changes no draw.
BLOCK_ROWS = 4096
# Margins that are taken for rounding.
ROUNDING = 1e-12


class Subject:
    """A model and the rows it is certified on.

    Parameters
    ----------
    model : object
        With the methods that `skvae.certificate.scorer` names, with `transform`, or an array
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
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the rows. Rows that weigh nothing are left out.
    max_weight : float or None
        What none of them exceeds, as it was known beforehand.

    Attributes
    ----------
    weights : ndarray of shape (n_kept,) or None
        Weights of the rows that are left, one on average; None where all are alike.
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
        sample_weight=None,
        max_weight=None,
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
        self.has_codes = _can_be_read(model)
        if keep_codes and not self.has_codes:
            raise TypeError(
                f"probe=True needs codes: {type(model).__name__} has neither transform nor "
                "posterior."
            )
        self.has_rate = self.has_posterior or hasattr(model, "posterior_kl")
        self.kept = self.sample_weight = self.weights = None
        self.max_weight = max_weight
        if sample_weight is not None:
            self._weigh(sample_weight)
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
        if teacher is not None and _is_array(model):
            model = check_codes(as_rows(model), None, "codes")
            if not _is_stream(X):
                _check_as_many(model, _num_samples(X))
        # Under a teacher that is given a pipeline is an encoder like any other, unless its
        # last step can be read further.
        while isinstance(model, Pipeline) and (
            teacher is None or hasattr(_unwrap(model[-1]), "posterior")
        ):
            preprocess += [step for _, step in model.steps[:-1] if _transforms(step)]
            model = _unwrap(model[-1])
            if teacher is None and not hasattr(model, "witness_log_proba"):
                raise TypeError(
                    f"A pipeline is certified by its last step, and {type(model).__name__} has "
                    "no code: pass the part of it that ends in the autoencoder, as in "
                    "certificate.certify(pipeline[:-1], X)."
                )
        if teacher is not None and _can_be_read(model):
            return cls(model, preprocess, X, X_teacher, teacher=teacher, **settings)
        needed = (
            ("transform",) if teacher is not None else ("teacher_proba", "witness_log_proba")
        )
        missing = [name for name in needed if not hasattr(model, name)]
        if missing and hasattr(model, "estimator"):
            raise NotFittedError(
                f"{type(model).__name__} holds no fitted model: call fit before certifying it, "
                "and not with refit=False."
            )
        if missing and isinstance(model, Pipeline):
            raise TypeError(
                f"A pipeline is certified by its codes, and the last step, "
                f"{type(model[-1]).__name__}, makes none: pass the part of it that ends in a "
                "transformer, as in certificate.certify(pipeline[:-1], X)."
            )
        if missing and teacher is not None:
            raise TypeError(
                f"A probe needs codes: {type(model).__name__} has no transform, and is no "
                "array."
            )
        if missing:
            raise TypeError(
                "A certificate needs a teacher. TeacherGuidedVAE has its own; "
                f"{type(model).__name__} lacks {' and '.join(missing)}: pass a fitted "
                "teacher, as in ConstantCollapseCertificate(teacher=teacher)."
            )
        return cls(model, preprocess, X, X_teacher, teacher=None, **settings)

    def _weigh(self, sample_weight: Any) -> None:
        if _is_stream(self.X) or _is_stream(self.X_teacher):
            raise ValueError(
                "sample_weight has an entry for each row, and how many an iterator will yield "
                "is not known: pass the rows as an array or a memory map."
            )
        weights = check_weights(sample_weight, _num_samples(self.X))
        kept = np.flatnonzero(weights)
        self.sample_weight = weights[kept]
        self.weights = relative_weights(self.sample_weight, len(kept))
        if len(kept) < len(weights):
            self.kept = kept

    @property
    def notes(self) -> list[str]:
        """What a report says of weights; where all are alike, only below a maximum."""
        weights, largest = self.sample_weight, self.max_weight
        if weights is None or (self.weights is None and largest in (None, weights.max())):
            return []
        if largest is None:
            return ["Rows have weights, which the bound takes for given."]
        return [f"Rows have weights, which in the population are at most {largest:g}."]

    def check_bound(self, by_probe: bool) -> None:
        """Refuse weights for which no bound is proved."""
        if self.max_weight is not None and self.sample_weight is not None:
            largest_weight(self.sample_weight, self.max_weight)
        if by_probe and self.weights is not None and self.max_weight is None:
            raise ValueError(
                "The bound of a probe on weighted rows is proved only where it was known, "
                "before the rows were drawn, what no weight exceeds: pass that number, as in "
                "ConstantCollapseCertificate(max_weight=...)."
            )

    def by_probe(self) -> Subject:
        """Return the same model and rows, already read, for the probe to judge."""
        other = copy.copy(self)
        other.has_witness = False
        return other

    @property
    def is_read_at_once(self) -> bool:
        """Whether the model reads all of a block of rows in one pass of its encoder."""
        return self.has_witness and hasattr(self.model, "read_codes")

    @property
    def columns(self) -> Columns | None:
        """What the model makes numbers of rows by, where columns are of several kinds."""
        found = getattr(self.model, "columns_", None)
        return found if isinstance(found, Columns) else None

    @property
    def is_bare(self) -> bool:
        """Whether there are codes alone, and no model."""
        return isinstance(self.model, np.ndarray)

    @property
    def is_long(self) -> bool:
        """Whether the rows, as far as they can be counted, are more than one block."""
        return not _is_stream(self.X) and _num_samples(self.X) > BLOCK_ROWS

    @property
    def latents(self) -> tuple[str, ...]:
        """The reads there are: bare codes have no posterior to draw from."""
        return ("mean", "sample") if self.has_witness or self.has_posterior else ("mean",)

    @property
    def of_training(self) -> tuple[float | None, float | None]:
        """Teacher information and margin of the training rows of the model's own witness."""
        if not self.has_witness:
            return None, None
        information = getattr(self.model, "teacher_information_", None)
        margin = getattr(self.model, "margin_", None)
        if margin is not None and abs(margin) <= ROUNDING:
            margin = 0.0
        return information, margin

    def decides(self, latent: str) -> str:
        """Return the read that a verdict goes by where this one is asked for.

        A probe is fitted to the codes as they are: means however small it makes as large as it
        needs. So where there are draws it is judged by those.
        """
        if latent not in self.latents:
            raise TypeError(
                'latent="sample" needs a model with a posterior to draw codes from; '
                f'{type(self.model).__name__} has none: use latent="mean".'
            )
        return "sample" if not self.has_witness and self.has_posterior else latent

    def blocks(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yield rows as the model sees them, as the teacher does, and as they are told apart.

        Bare codes are told apart by the rows that they are of.
        """
        start = 0
        codes = self.model
        if isinstance(codes, np.ndarray) and self.kept is not None:
            _check_as_many(codes, _num_samples(self.X))
            codes = codes[self.kept]
        for X, X_teacher in _paired(self.X, self.X_teacher, self.kept):
            n_rows, came = _num_samples(X), X
            if isinstance(codes, np.ndarray):
                X = codes[start : start + n_rows]
            for step in self.preprocess:
                X = step.transform(X)
            start += n_rows
            # A teacher that is given sees the rows as they came; a model's own, as it does.
            as_model = self.X_teacher is None and self.teacher is None
            yield X, X if as_model else X_teacher, came if self.is_bare else X
        if isinstance(codes, np.ndarray):
            _check_as_many(codes, start)

    @property
    def teacher_fingerprint(self) -> Any:
        """What tells the rows that the teacher was fitted to; None where that is not known."""
        if self.teacher is not None:
            return getattr(unfrozen(self.teacher), "fingerprint_", None)
        return getattr(self.model, "teacher_fingerprint_", None)

    def teach(self, rows: Any, n_components: int | None = None) -> NDArray[np.float64]:
        """Return the distributions of the teacher, checked."""
        if self.teacher is None:
            source, T = self.model, self.model.teacher_proba(rows)
        else:
            source = self.teacher
            seen = as_taken_by(self.teacher, _as_taught(self.teacher, rows))
            T = self.teacher.predict_proba(seen)
        return check_taught(T, _num_samples(rows), source, n_components)


def _unwrap(estimator: Any) -> Any:
    """Take a model out of the searches and frozen estimators around it."""
    while True:
        inner = getattr(estimator, "best_estimator_", estimator)
        inner = inner.estimator if isinstance(inner, FrozenEstimator) else inner
        if inner is estimator:
            return inner
        estimator = inner


def _as_taught(teacher: Any, rows: Any) -> Any:
    """Return images one a row where the teacher was fitted to such rows, as a view."""
    shape = tuple(getattr(rows, "shape", ()))
    n_features = math.prod(shape[1:])
    if len(shape) != 4 or getattr(teacher, "n_features_in_", None) != n_features:
        return rows
    return rows.reshape(shape[0], n_features)


def check_codes(values: Any, n_rows: int | None, name: str) -> NDArray[np.float64]:
    """Return what a model gave of the codes: finite numbers, a row for each it was given."""
    codes = check_table(values, name, dtype=np.float64)
    if n_rows is not None and len(codes) != n_rows:
        raise ValueError(f"{name} must have a row for each of {n_rows}, got {len(codes)}.")
    return codes


def _check_as_many(codes: NDArray, n_rows: int) -> None:
    if len(codes) != n_rows:
        raise ValueError(
            f"Codes and rows must be as many, got {len(codes)} codes for {n_rows} rows."
        )


def _is_stream(X: Any) -> bool:
    return hasattr(X, "__next__")


def _is_array(model: Any) -> bool:
    # A data frame has a transform of its own, which is no encoder's.
    return isinstance(model, (list, tuple)) or hasattr(model, "__array__") or is_frame(model)


def _transforms(step: Any) -> bool:
    """Whether a step of a pipeline changes rows that are read: one that resamples does not."""
    return step not in (None, "passthrough") and not hasattr(step, "fit_resample")


def _can_be_read(model: Any) -> bool:
    return isinstance(model, np.ndarray) or any(
        hasattr(model, name) for name in ("posterior", "transform")
    )


def _paired(X: Any, X_teacher: Any, kept: NDArray | None) -> Iterator[tuple[Any, Any]]:
    """Yield blocks of rows beside what the teacher sees of them."""
    if X_teacher is None:
        yield from ((block, block) for block in _blocks(X, kept))
        return
    for block, view in zip_longest(_blocks(X, kept), _blocks(X_teacher, kept)):
        if block is None or view is None or _num_samples(block) != _num_samples(view):
            raise ValueError(
                "X and X_teacher must hold the same rows, and one of them ended before the "
                "other: give both as many rows."
            )
        yield block, view


def _blocks(X: Any, kept: NDArray | None) -> Iterator[Any]:
    """Cut rows, or a stream of batches of any size, into blocks of one size.

    Of rows that are no stream those with the indices `kept`, where these are given.
    """
    if isinstance(X, StoredRows):
        if kept is None:
            yield from X.blocks(BLOCK_ROWS)
            return
        X = as_rows(cast(Any, X))
    if kept is not None:
        for start in range(0, len(kept), BLOCK_ROWS):
            yield _safe_indexing(X, kept[start : start + BLOCK_ROWS])
        return
    if not _is_stream(X):
        n_samples = _num_samples(X)
        for start in range(0, n_samples, BLOCK_ROWS):
            yield _safe_indexing(X, slice(start, min(start + BLOCK_ROWS, n_samples)))
        return
    waiting: list[Any] = []
    n_waiting = 0
    for batch in X:
        batch = as_rows(batch)
        is_whole = is_frame(batch) or issparse(batch)
        waiting.append(batch if is_whole else np.asarray(batch))
        n_waiting += _num_samples(batch)
        while n_waiting >= BLOCK_ROWS:
            joined = _joined(waiting)
            yield _safe_indexing(joined, slice(0, BLOCK_ROWS))
            n_waiting -= BLOCK_ROWS
            waiting = [_safe_indexing(joined, slice(BLOCK_ROWS, BLOCK_ROWS + n_waiting))]
    if n_waiting:
        yield _joined(waiting)


def _joined(batches: list[Any]) -> Any:
    if issparse(batches[0]):
        return vstack(batches, format="csr")
    return joined_frames(batches) if is_frame(batches[0]) else np.concatenate(batches)
