"""Probes: witnesses fitted after the fact, to codes alone."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    has_fit_parameter,
)

from skvae._common.parameters import NumberInterval, fit_context
from skvae.information.boundary import check_teacher
from skvae.rows.tables import check_rows
from skvae.rows.weights import relative_weights

__all__ = ["SoftmaxProbe", "probe_in_turn"]


class SoftmaxProbe(BaseEstimator):
    """Linear softmax fitted to soft targets, a witness for codes that have none.

    Minimises ``mean_i KL(T_i || softmax(b + W z_i)) + penalty ||W||^2 / 2`` over
    standardised codes. It starts on the boundary, with ``W = 0`` and ``b = log Tbar``.

    Parameters
    ----------
    penalty : float, default=1e-3
        Weight of the squared weights, in nats a row; at least 0. It keeps the witness
        from being sure on rows that it has not seen.
    max_iter : int, default=200
        Iterations of L-BFGS.

    Attributes
    ----------
    coef_ : ndarray of shape (n_codes, n_components)
        Weights, for standardised codes.
    intercept_ : ndarray of shape (n_components,)
        Biases.
    center_, scale_ : ndarray of shape (n_codes,)
        What the codes are standardised by.
    n_features_in_ : int
        Number of code dimensions seen in `fit`.

    References
    ----------
    Alain and Bengio, arXiv 1610.01644 (linear probes).

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.certificate import SoftmaxProbe
    >>> codes = np.linspace(-3, 3, 50)[:, None]
    >>> T = 1 / (1 + np.exp(np.hstack([codes, -codes])))
    >>> log_q = SoftmaxProbe(penalty=0).fit(codes, T).predict_log_proba(codes)
    >>> bool(np.abs(np.exp(log_q) - T).max() < 1e-3)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "penalty": [NumberInterval(Real, 0, None, closed="left")],
        "max_iter": [NumberInterval(Integral, 1, None, closed="left")],
    }

    def __init__(self, penalty: float = 1e-3, max_iter: int = 200) -> None:
        self.penalty = penalty
        self.max_iter = max_iter

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, codes: ArrayLike, T: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> SoftmaxProbe:
        """Fit the probe.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_codes)
            Latent codes.
        T : array-like of shape (n_samples, n_components)
            Teacher distributions of the same rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in all averages, at least 0 and not all 0; None weighs all
            alike.

        Returns
        -------
        self : SoftmaxProbe
            The fitted probe.
        """
        # Imported on use: scipy.optimize would slow the import of the package.
        from scipy.optimize import minimize

        rows = check_rows(self, codes, dtype=np.float64)
        T = check_teacher(T)
        check_consistent_length(rows, T)
        relative = relative_weights(sample_weight, len(T))
        self.center_, deviation = rows.mean(axis=0), rows.std(axis=0)
        if relative is not None:
            self.center_ = relative @ rows / len(T)
            deviation = np.sqrt(relative @ np.square(rows - self.center_) / len(T))
        self.scale_ = np.where(deviation > 0, deviation, 1.0)
        standardised = (rows - self.center_) / self.scale_
        shape = (rows.shape[1] + 1, T.shape[1])

        def objective(flat: NDArray) -> tuple[float, NDArray]:
            weights, bias = _split(flat.reshape(shape))
            log_q = _log_softmax(standardised @ weights + bias)
            residual = (np.exp(log_q) - T) / len(T)
            if relative is not None:
                residual *= relative[:, np.newaxis]
            value = -np.average(np.einsum("ij,ij->i", T, log_q), weights=relative)
            value += 0.5 * self.penalty * np.sum(weights**2)
            gradient = np.vstack(
                [standardised.T @ residual + self.penalty * weights, residual.sum(axis=0)]
            )
            return float(value), gradient.ravel()

        start = np.zeros(shape)
        start[-1] = np.log(np.maximum(np.average(T, axis=0, weights=relative), 1e-12))
        solution = minimize(
            objective,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter},
        )
        self.coef_, self.intercept_ = _split(solution.x.reshape(shape))
        return self

    def predict_log_proba(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Log probabilities of the teacher's components.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_codes)
            Latent codes.

        Returns
        -------
        log_q : ndarray of shape (n_samples, n_components)
            Natural-log probabilities.
        """
        check_is_fitted(self)
        rows = check_rows(self, codes, dtype=np.float64, reset=False)
        return _log_softmax((rows - self.center_) / self.scale_ @ self.coef_ + self.intercept_)


def probe_in_turn(
    probe: Any,
    codes: NDArray,
    T: NDArray,
    random_state: int,
    n_blocks: int = 5,
    groups: ArrayLike | None = None,
    sample_weight: NDArray | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Score rows by probes that were fitted to other rows, drawn earlier.

    The rows are put in random order and cut into blocks; each block after the first is
    scored by a clone of the probe fitted to all blocks before it. So every score is
    predicted and none is fitted, and the product of e-values over the blocks is one: a
    scheme of folds that leave each other's scores dependent would not have that.

    Parameters
    ----------
    probe : estimator with fit(codes, T) and predict_log_proba(codes)
        Cloned for each block.
    codes : ndarray of shape (n_samples, n_codes)
        Codes.
    T : ndarray of shape (n_samples, n_components)
        Teacher distributions.
    random_state : int
        Seed of the order.
    n_blocks : int, default=5
        Number of blocks, at least two.
    groups : array-like of shape (n_samples,) or None, default=None
        Rows with the same entry, copies of each other, stay in one block where blocks can be
        made so: a probe that has seen a copy of a row has seen the row.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows, positive, for a probe whose `fit` takes them.

    Returns
    -------
    rows : ndarray of shape (n_scored,)
        Which rows were scored, in the order of the scores.
    log_q : ndarray of shape (n_scored, n_components)
        Their scores.
    reference : ndarray of shape (n_components,)
        Average teacher of the first block, which nothing is scored in; by weights, if any.

    Raises
    ------
    ValueError
        For fewer than two rows a block.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.certificate import SoftmaxProbe, probe_in_turn
    >>> T = np.eye(3)[np.arange(50) % 3]
    >>> codes = T + 0.1 * np.random.default_rng(0).standard_normal(T.shape)
    >>> rows, log_q, reference = probe_in_turn(SoftmaxProbe(), codes, T, random_state=0)
    >>> log_q.shape, bool((log_q.argmax(axis=1) == T[rows].argmax(axis=1)).all())
    ((40, 3), True)
    """
    if len(codes) < 2 * n_blocks:
        raise ValueError(
            f"A probe is fitted and scored in {n_blocks} blocks of at least two rows, got "
            f"n_samples={len(codes)}: pass at least {2 * n_blocks} rows."
        )
    order = np.random.default_rng([random_state, *b"order"]).permutation(len(codes))
    blocks = np.array_split(order, n_blocks)
    if groups is not None:
        together = _together(order, np.asarray(groups), n_blocks)
        # Of a few kinds of rows no five blocks can be made.
        if min(map(len, together)) >= 2:
            blocks = together
    scores = []
    by_weight = sample_weight if has_fit_parameter(probe, "sample_weight") else None
    for number in range(1, n_blocks):
        before = np.concatenate(blocks[:number])
        weights = {} if by_weight is None else {"sample_weight": by_weight[before]}
        fitted = clone(probe).fit(codes[before], T[before], **weights)
        scores.append(fitted.predict_log_proba(codes[blocks[number]]))
    first = blocks[0]
    of_first = None if sample_weight is None else sample_weight[first]
    reference = np.average(T[first], axis=0, weights=of_first)
    return np.concatenate(blocks[1:]), np.concatenate(scores), reference


def _together(
    order: NDArray[np.intp], groups: NDArray, n_blocks: int
) -> list[NDArray[np.intp]]:
    """Cut groups, in the order in which they are met, into as many blocks of whole ones."""
    _, first, of_group = np.unique(groups[order], return_index=True, return_inverse=True)
    met = np.argsort(np.argsort(first))[of_group]
    sizes = [len(block) for block in np.array_split(first, n_blocks)]
    block = np.repeat(np.arange(n_blocks), sizes)[met]
    return [order[block == number] for number in range(n_blocks)]


def _split(parameters: NDArray) -> tuple[NDArray, NDArray]:
    return parameters[:-1], parameters[-1]


def _log_softmax(logits: NDArray) -> NDArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
