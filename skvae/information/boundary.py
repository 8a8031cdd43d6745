"""The constant-collapse boundary, in NumPy and in nats.

A fixed teacher ``T(k|x)`` gives each row of the data a distribution over K
components. A *constant* student, one distribution for all rows, costs at least
the teacher information; so a student that costs less is not constant
(arXiv 2605.05813). All four functions take one sample: the same rows serve the
average teacher, the teacher information and the cost, because the identity

    mean_i KL(T_i || c) = I_T + KL(Tbar || c)      for every constant c

holds for one set of rows only. Where rows have weights every mean is the weighted one, and
the identity is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.exceptions import ConstantTeacherError
from skvae.rows.numbers import as_array
from skvae.rows.weights import relative_weights

__all__ = ["alignment_cost", "best_constant_student", "margin", "teacher_information"]

# A float32 softmax over a hundred components strays from one by about 1e-6.
_ROW_SUM_TOLERANCE = 1e-5
# Rows held in float64 at a time.
_BLOCK_ROWS = 2**16
# Share of the uniform distribution in a reference.
_REFERENCE_FLOOR = 1e-3
# Below this a teacher tells its rows apart by less than the rounding of a float32 net.
MINIMAL_TEACHER_INFORMATION = 1e-8
# Nats below which a teacher has next to nothing to say of the rows.
LITTLE_INFORMATION = 0.1


def teacher_information(T: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Teacher information: what the best constant student costs.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex. Exact zeros are
        allowed (``0 log 0 = 0``).
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0: a row of weight 2 counts as two. None
        weighs all alike.

    Returns
    -------
    information : float
        ``I_T = mean_i KL(T_i || Tbar)`` in nats, between 0 and ``log(n_components)``.
        It is 0 if and only if all rows are equal.

    Raises
    ------
    ValueError
        If ``T`` is not two-dimensional, a row (which is named) is not a probability
        distribution, or the weights are refused.

    References
    ----------
    arXiv 2605.05813; the quantity is the Jensen-Shannon divergence of the rows
    (Lin, IEEE Trans. Inf. Theory 37(1), 1991).

    Examples
    --------
    Two rows that share nothing tell ``log 2`` nats apart:

    >>> from skvae.information import teacher_information
    >>> round(teacher_information([[1.0, 0.0], [0.0, 1.0]]), 6)
    0.693147
    >>> teacher_information([[0.3, 0.7], [0.3, 0.7]])
    0.0
    """
    T = as_array(T, "T")
    log_average = _log(best_constant_student(T, sample_weight))
    total = sum(
        float(_sum(_expectation(block, _log(block) - log_average), weights))
        for block, weights in _teacher_blocks(T, sample_weight)
    )
    return max(total / len(T), 0.0)


def best_constant_student(
    T: ArrayLike, sample_weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Best constant student: the average of the teacher over the rows.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0: a row of weight 2 counts as two. None
        weighs all alike.

    Returns
    -------
    average : ndarray of shape (n_components,)
        ``Tbar = mean_i T_i``, the only minimiser of ``mean_i KL(T_i || c)`` over
        constant distributions ``c``.

    Raises
    ------
    ValueError
        If ``T`` is not two-dimensional, a row (which is named) is not a probability
        distribution, or the weights are refused.

    References
    ----------
    arXiv 2605.05813.

    Examples
    --------
    >>> from skvae.information import best_constant_student
    >>> best_constant_student([[1.0, 0.0], [0.5, 0.5]])
    array([0.75, 0.25])
    """
    T = as_array(T, "T")
    total = sum(_sum(block, weights) for block, weights in _teacher_blocks(T, sample_weight))
    return np.asarray(total / len(T))


def alignment_cost(
    T: ArrayLike, log_q: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Alignment cost of a student: the mean divergence from the teacher, teacher first.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex.
    log_q : array-like of shape (n_samples, n_components)
        Natural-log probabilities of the student for the same rows.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0: a row of weight 2 counts as two. None
        weighs all alike.

    Returns
    -------
    cost : float
        ``L = mean_i KL(T_i || q_i)`` in nats, at least 0.

    Raises
    ------
    ValueError
        If the shapes differ, or a row (which is named) of ``T`` is not a
        distribution or of ``log_q`` not the logarithm of one. Infinite entries of
        ``log_q`` are refused: a student sure of something impossible costs
        infinitely much, so give it a floor first.

    References
    ----------
    arXiv 2605.05813.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import alignment_cost
    >>> T = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> round(alignment_cost(T, np.log(T)), 12)
    0.0
    """
    T, log_q = check_pair(T, log_q)
    weights = relative_weights(sample_weight, len(T))
    return max(float(_mean(_expectation(T, _log(T) - log_q), weights)), 0.0)


def margin(T: ArrayLike, log_q: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Margin of a student: the teacher information less its alignment cost.

    A positive margin proves that the student is not constant over the rows, and
    so that what it reads is not. The converse is false: a margin of zero or less
    proves nothing.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex.
    log_q : array-like of shape (n_samples, n_components)
        Natural-log probabilities of the student for the same rows.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows, at least 0 and not all 0: a row of weight 2 counts as two. None
        weighs all alike.

    Returns
    -------
    margin : float
        ``G = I_T - L`` in nats, at most ``I_T``. It is summed in the form
        ``mean_i sum_k T_ik (log q_ik - log Tbar_k)``, which keeps its digits near 0.

    Raises
    ------
    ValueError
        As for `alignment_cost`.

    References
    ----------
    arXiv 2605.05813.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import margin
    >>> T = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> round(margin(T, np.log(T)), 6)
    0.275396

    No constant student has a positive margin; the average teacher has margin 0:

    >>> round(margin(T, np.log([[0.5, 0.5], [0.5, 0.5]])), 6)
    -0.005008
    >>> abs(margin(T, np.log([[0.55, 0.45], [0.55, 0.45]]))) < 1e-15
    True
    """
    T, log_q = check_pair(T, log_q)
    weights = relative_weights(sample_weight, len(T))
    return float(_mean(_expectation(T, log_q - _log(_mean(T, weights))), weights))


def check_teacher(T: ArrayLike, name: str = "T") -> NDArray[np.float64]:
    """Return T in float64 with rows that sum to one, or say which row is no distribution.

    `name` is what its user knows it by.
    """
    T = _as_matrix(T, name)
    _refuse_entries(~np.isfinite(T), name, T, "entries must be finite")
    _refuse_entries(T < 0, name, T, "entries must not be negative")
    total = T.sum(axis=1, keepdims=True)
    _refuse_rows(
        np.abs(total[:, 0] - 1.0) > _ROW_SUM_TOLERANCE, name, T, "entries must sum to one"
    )
    return T / total


def check_taught(
    T: Any, n_rows: int, teacher: object, n_components: int | None = None
) -> NDArray[np.float64]:
    """Return what a teacher gave for so many rows, checked; name the teacher where it is wrong.

    `n_components` is what it gave for other rows of the same table.
    """
    if isinstance(T, list) and len({np.ndim(each) for each in T} - {2}) == 0:
        raise ValueError(
            f"The teacher must give one distribution a row: predict_proba of {teacher!r} "
            f"returned a list of {len(T)} arrays, one for each of its outputs. Pass a teacher "
            "with one output."
        )
    try:
        checked = check_teacher(T)
    except (TypeError, ValueError) as error:
        # Rows are named first, for `rows_counted_from`.
        raise ValueError(f"{error} That is what {teacher!r} gave.") from error
    if len(checked) != n_rows:
        raise ValueError(
            f"The teacher must give one distribution a row: predict_proba of {teacher!r} "
            f"returned {len(checked)} rows for {n_rows}."
        )
    if n_components not in (None, checked.shape[1]):
        raise ValueError(
            f"The teacher must have the same components for every row: {teacher!r} gave "
            f"{n_components} for the rows before, and {checked.shape[1]} for these."
        )
    return checked


def _teacher_blocks(
    T: ArrayLike, sample_weight: ArrayLike | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
    """Yield the rows in float64, checked, and weights; those of a large table in blocks."""
    T = as_array(T, "T")
    if T.ndim != 2 or len(T) <= _BLOCK_ROWS:
        yield check_teacher(T), relative_weights(sample_weight, len(T))
        return
    weights = relative_weights(sample_weight, len(T))
    for start in range(0, len(T), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        with rows_counted_from(start):
            block = check_teacher(T[rows])
        yield block, None if weights is None else weights[rows]


@contextmanager
def rows_counted_from(start: int) -> Iterator[None]:
    """Say in an error that names a row of a block where in the table the block begins."""
    try:
        yield
    except ValueError as error:
        if start == 0 or not str(error).startswith("Row "):
            raise
        raise ValueError(f"Counting rows from row {start}: {error}") from error


def check_informative(T: NDArray, sample_weight: NDArray | None = None) -> float:
    """Return the teacher information of T, or refuse a constant teacher."""
    information = teacher_information(T, sample_weight)
    require_information(information, *T.shape)
    return information


def require_information(
    information: float,
    n_samples: int,
    n_components: int,
    in_training: float | None = None,
) -> None:
    """Refuse a teacher that is constant over the rows; say so if it was not in training."""
    if information < MINIMAL_TEACHER_INFORMATION:
        to_blame = (
            "Use a teacher that tells the rows apart (two or more components), or rows that "
            "differ."
        )
        if in_training is not None and in_training >= MINIMAL_TEACHER_INFORMATION:
            to_blame = f"In the training rows it saw {in_training:.3g} nats, "
            if in_training > LITTLE_INFORMATION:
                to_blame += "so it is these rows: certify rows that were drawn as those were."
            else:
                to_blame += (
                    "next to nothing either: look for extreme values in them, beside which all "
                    "other rows are alike, or take another teacher."
                )
        raise ConstantTeacherError(
            f"The teacher is constant over these {n_samples} rows: its information is "
            f"I_T = {information:.3g} nats (K = {n_components} components), less than "
            f"{MINIMAL_TEACHER_INFORMATION:g}. No witness can cost less than the best constant "
            f"student then, so nothing can be certified. {to_blame}"
        )


def check_pair(
    T: ArrayLike, log_q: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the teacher and the student, both normalised in float64.

    The student is normalised because a margin must not be bought with the
    rounding of a float32 softmax: each row is then exactly a distribution.
    """
    T = check_teacher(T)
    return T, check_student(log_q, T.shape)


def check_student(
    log_q: ArrayLike, shape: tuple[int, ...], normalised: bool = False
) -> NDArray[np.float64]:
    """Return the student of a teacher of this shape, normalised in float64, or say why not.

    One that is `normalised` in float64 already is not normalised again.
    """
    log_q = _as_matrix(log_q, "log_q")
    if log_q.shape != shape:
        raise ValueError(
            f"T and log_q must have the same shape, got {shape} and {log_q.shape}: "
            "both hold one row per sample and one column per teacher component."
        )
    _refuse_entries(
        ~np.isfinite(log_q),
        "log_q",
        log_q,
        "entries must be finite natural-log probabilities "
        "(mix a probability of exactly zero with a small floor first)",
    )
    if normalised:
        return log_q
    log_total = log_sum_exp(log_q)
    _refuse_rows(
        np.abs(log_total[:, 0]) > 10 * _ROW_SUM_TOLERANCE,
        "log_q",
        log_q,
        "probabilities exp(log_q) must sum to one (pass log_softmax of the logits)",
    )
    return log_q - log_total


def without_zeros(average: NDArray) -> NDArray[np.float64]:
    """Mix an average teacher with a little of the uniform one, to serve as a reference."""
    return (1 - _REFERENCE_FLOOR) * average + _REFERENCE_FLOOR / len(average)


def _as_matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = as_array(values, name).astype(np.float64, copy=False)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"{name} must be a non-empty array of shape (n_samples, n_components), "
            f"got shape {matrix.shape}."
        )
    return matrix


def _refuse_entries(bad: NDArray, name: str, values: NDArray, rule: str) -> None:
    # Which rows they are in takes longer to say than that there are none.
    if bad.any():
        _refuse_rows(bad.any(axis=1), name, values, rule)


def _refuse_rows(bad: Any, name: str, values: NDArray, rule: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Row {row} of {name}: {rule}, got {np.array2string(values[row], threshold=12)} "
            f"({int(bad.sum())} of {len(values)} rows are affected)."
        )


def _log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # Where p is zero it is multiplied by zero later on: any finite value serves.
    return np.log(p, out=np.zeros_like(p), where=p > 0)


def _expectation(T: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", T, values)


def _sum(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Any:
    return values.sum(axis=0) if weights is None else weights @ values


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Any:
    return values.mean(axis=0) if weights is None else weights @ values / len(values)


def log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the sum of the exponentials of each row, of shape (n_samples, 1)."""
    # NumPy reduces many short rows slowly, and a few long ones fast.
    columns = np.ascontiguousarray(values.T)
    peak = columns.max(axis=0)
    return (peak + np.log(np.exp(columns - peak).sum(axis=0)))[:, np.newaxis]
