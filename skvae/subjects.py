"""What is certified: a model or bare codes, a teacher, and rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_array, check_consistent_length

from skvae.information import MarginBound, alignment_cost, margin, margin_lower_bound
from skvae.information.boundary import check_informative, check_teacher, without_zeros
from skvae.probes import probe_in_turn

__all__ = ["Reading", "Subject"]

# Variance of the posterior mean above which a dimension counts as active
# (Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2).
ACTIVE_VARIANCE = 0.01
# Rows that a model is asked about at a time.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Reading:
    """A teacher on some rows, and what a witness made of their codes.

    Parameters
    ----------
    T : ndarray of shape (n_samples, n_components)
        Teacher distributions.
    log_q : ndarray of shape (n_draws, n_samples, n_components)
        Log probabilities of the witness at each draw of the code.
    reference : ndarray of shape (n_components,)
        A distribution without zeros, fixed before the rows were seen.
    """

    T: NDArray[np.float64]
    log_q: NDArray[np.float64]
    reference: NDArray[np.float64]

    @cached_property
    def teacher_information(self) -> float:
        """``I_T`` of the rows."""
        return check_informative(self.T)

    @cached_property
    def alignment_cost(self) -> float:
        """Mean cost over the draws."""
        return float(np.mean([alignment_cost(self.T, draw) for draw in self.log_q]))

    @cached_property
    def margin(self) -> float:
        """Mean margin over the draws."""
        return float(np.mean([margin(self.T, draw) for draw in self.log_q]))

    def row_margins(self) -> NDArray[np.float64]:
        """Margin of each row, averaged over its draws."""
        average = self.T.mean(axis=0)
        # Where the average is zero all rows are.
        log_average = np.log(np.where(average > 0, average, 1.0))
        return np.einsum("ik,ik->i", self.T, self.log_q.mean(axis=0) - log_average)

    def bound(self, confidence: float, method: Literal["e-value", "normal"]) -> MarginBound:
        """Lower confidence bound on the margin of the population."""
        return margin_lower_bound(
            self.T, self.log_q, self.reference, confidence=confidence, method=method
        )


class Subject:
    """A model and the rows it is certified on, read block by block.

    Parameters
    ----------
    model : object
        With the methods that `skvae.certificate` names, with `transform`, or an array
        of codes.
    X : array-like of shape (n_samples, n_features)
        Rows.
    X_teacher : array-like of n_samples rows, or None
        What the teacher sees in place of X.
    teacher : fitted estimator with predict_proba, or None
        None is the model's own, which its own witness goes with.
    probe : estimator with fit(codes, T) and predict_log_proba(codes)
        Takes the place of a witness that the model has not.
    n_draws, random_state : int
        Draws of the code at the sample read, and the seed of all that is drawn.
    """

    def __init__(self, model, X, X_teacher, *, teacher, probe, n_draws, random_state):
        self.model = model
        self.X = X
        self.X_teacher = X_teacher
        self.teacher = teacher
        self.probe = probe
        self.n_draws = n_draws
        self.random_state = random_state
        self.has_witness = teacher is None and hasattr(model, "witness_log_proba")
        if X_teacher is not None:
            check_consistent_length(X, X_teacher)
        elif self.has_witness and getattr(model, "teacher_sees_", "X") == "X_teacher":
            raise ValueError(
                "The teacher of this model was fitted to another view of the rows: pass it as "
                "X_teacher, as to fit."
            )
        self.T = self._teach(X if X_teacher is None else X_teacher)
        check_informative(self.T)

    @classmethod
    def of(
        cls, estimator: Any, X: Any, X_teacher: Any, *, teacher: Any, **settings: Any
    ) -> Subject:
        """Look through searches, pipelines and frozen estimators to the model itself."""
        model = _unwrap(estimator)
        if teacher is not None:
            if not hasattr(model, "transform"):
                model = check_array(model, dtype=np.float64, input_name="codes")
                if len(model) != _num_samples(X):
                    raise ValueError(
                        f"Codes and rows must be as many, got {len(model)} codes for "
                        f"{_num_samples(X)} rows."
                    )
            return cls(model, X, X_teacher, teacher=teacher, **settings)
        while isinstance(model, Pipeline):
            X = model[:-1].transform(X) if len(model) > 1 else X
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
        return cls(model, X, X_teacher, teacher=None, **settings)

    def by_probe(self) -> Subject:
        """Return the same model and rows, to be read by the probe."""
        other = copy.copy(self)
        other.has_witness = False
        return other

    @property
    def latents(self) -> tuple[str, ...]:
        """The reads there are: bare codes have no posterior to draw from."""
        return ("mean", "sample") if self.has_witness or self.posterior else ("mean",)

    def read(self, latent: str) -> Reading:
        """Return what the witness makes of the codes at this read."""
        if latent not in self.latents:
            raise TypeError(
                'latent="sample" needs a model with a posterior to draw codes from; '
                f'{type(self.model).__name__} has none: use latent="mean".'
            )
        if self.has_witness:
            return self._read_witness(latent)
        rows, log_q, reference = probe_in_turn(
            self.probe, self._codes(latent), self.T, self.random_state
        )
        return Reading(self.T[rows], log_q[None], without_zeros(reference))

    @cached_property
    def posterior(self) -> tuple[NDArray, NDArray] | None:
        """Posterior means and log variances of all rows, of a model that has them."""
        if not hasattr(self.model, "posterior"):
            return None
        joined = self._join(lambda rows: np.stack(self.model.posterior(rows), axis=1))
        return joined[:, 0], joined[:, 1]

    @cached_property
    def kl(self) -> NDArray[np.float64] | None:
        """Divergence of each row and dimension from the prior, of a model that has them."""
        if not hasattr(self.model, "posterior_kl"):
            return None
        return self._join(self.model.posterior_kl).astype(np.float64)

    @property
    def rate(self) -> float | None:
        """Mean divergence from the prior, in nats."""
        return None if self.kl is None else float(self.kl.sum(axis=1).mean())

    @cached_property
    def active_units(self) -> int:
        """Dimensions that vary: by more than 0.01 beside a normal prior, else at all."""
        least = 0.0 if self.kl is None else ACTIVE_VARIANCE
        return int((self._codes("mean").var(axis=0) > least).sum())

    def margin_reconstruction(self) -> float | None:
        """Return ``I_T`` less the mean divergence of the teacher on the reconstructions."""
        if not (self.has_witness and hasattr(self.model, "inverse_transform")):
            return None
        model = self.model
        if self.X_teacher is not None:
            return None

        def teach_reconstructions(rows: Any) -> NDArray:
            decoded = model.inverse_transform(model.transform(rows))
            if hasattr(rows, "iloc"):
                # A teacher that was fitted to named columns wants them named.
                decoded = type(rows)(decoded, columns=rows.columns)
            return model.teacher_proba(decoded)

        decoded = check_teacher(self._join(teach_reconstructions))
        # A hard teacher on reconstructions may rule out what it said of a row.
        return margin(self.T, np.log(decoded)) if (decoded > 0).all() else None

    def view_gap(self, witness: NDArray[np.float64]) -> float | None:
        """Return what the witness costs on the teacher of X, less that on its other view."""
        if self.X_teacher is None or np.shape(self.X)[1:] != np.shape(self.X_teacher)[1:]:
            return None
        return alignment_cost(self._teach(self.X), witness) - alignment_cost(self.T, witness)

    def origin(self) -> str:
        """Tell whether the rows were in fit, as far as the model knows."""
        fingerprint = getattr(self.model, "fingerprint_", None)
        share = float("nan") if fingerprint is None else fingerprint.share_of(self.X)
        if np.isnan(share):
            return "unknown"
        return {0.0: "held-out", 1.0: "training"}.get(share, "mixed")

    def _read_witness(self, latent: str) -> Reading:
        n_draws = self.n_draws if latent == "sample" else 1
        draws: list[list[NDArray]] = [[] for _ in range(n_draws)]
        for number, block in enumerate(_blocks(self.X)):
            stream = np.random.SeedSequence(self.random_state, spawn_key=(number,))
            for draw, seed in zip(draws, stream.generate_state(n_draws), strict=True):
                drawn = {"random_state": int(seed)} if latent == "sample" else {}
                draw.append(self.model.witness_log_proba(block, latent=latent, **drawn))
        log_q = np.stack([np.concatenate(draw) for draw in draws]).astype(np.float64)
        # Any distribution that was fixed before these rows were seen will do.
        uniform = np.full(self.T.shape[1], 1 / self.T.shape[1])
        reference = getattr(self.model, "average_teacher_", uniform)
        return Reading(self.T, log_q, without_zeros(reference))

    def _codes(self, latent: str) -> NDArray[np.float64]:
        if self.posterior is None:
            codes = self.model if isinstance(self.model, np.ndarray) else self._encode()
            return codes.astype(np.float64)
        mean, log_variance = (part.astype(np.float64) for part in self.posterior)
        if latent == "mean":
            return mean
        generator = np.random.default_rng([self.random_state, *b"codes"])
        return mean + np.exp(0.5 * log_variance) * generator.standard_normal(mean.shape)

    def _encode(self) -> NDArray:
        return self._join(lambda rows: np.asarray(self.model.transform(rows)))

    def _teach(self, rows: Any) -> NDArray[np.float64]:
        teach = self.model.teacher_proba if self.teacher is None else self.teacher.predict_proba
        return check_teacher(np.concatenate([teach(block) for block in _blocks(rows)]))

    def _join(self, function: Callable[[Any], NDArray]) -> NDArray:
        return np.concatenate([function(block) for block in _blocks(self.X)])


def _unwrap(estimator: Any) -> Any:
    """Take a model out of the searches and frozen estimators around it."""
    while True:
        inner = getattr(estimator, "best_estimator_", estimator)
        inner = inner.estimator if isinstance(inner, FrozenEstimator) else inner
        if inner is estimator:
            return inner
        estimator = inner


def _blocks(X: Any) -> Iterator[Any]:
    n_samples = _num_samples(X)
    for start in range(0, n_samples, BLOCK_ROWS):
        yield _safe_indexing(X, slice(start, min(start + BLOCK_ROWS, n_samples)))
