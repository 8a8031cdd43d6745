"""The simplex witness on paper: its vertices, its codes, and what they cost, in NumPy.

A simplex witness is fixed: ``q(k|z) = softmax(log b + scale * S'z)_k`` with the vertices
``S`` of a regular simplex and the answer ``b`` that it gives to ``z = 0``. Every teacher
without zeros has a code that it reads without error, so that a margin can be designed
before anything is trained (arXiv 2605.18224). It is the margin of the designed codes on
the rows they are designed for: what training makes of it is another matter.

Below, ``average_teacher`` is ``b``. None is the uniform distribution, as published. With
the teacher's own average, which `TeacherGuidedVAE` uses, the constant code 0 is exactly
the best constant student, and so has margin 0 under an unbalanced teacher too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.information.boundary import check_pair, check_teacher, margin

# Scales beyond which codes or their energies leave floating point.
SCALES = (1e-6, 1e6)
__all__ = [
    "analytic_code",
    "escape_force",
    "log_odds_energy",
    "margin_energy_path",
    "simplex_vertices",
]


def simplex_vertices(n_components: int) -> NDArray[np.float64]:
    """Vertices of a regular simplex around the origin.

    Parameters
    ----------
    n_components : int
        Number of vertices, K, at least 2.

    Returns
    -------
    vertices : ndarray of shape (n_components - 1, n_components)
        ``S``, one vertex a column, of unit length:
        ``S'S = K / (K - 1) * (I - 11'/K)``.

    Raises
    ------
    ValueError
        If there are fewer than two vertices.

    References
    ----------
    arXiv 2605.18224. The rows are those of a Helmert matrix (Lancaster, Amer. Math.
    Monthly 72, 1965), scaled.

    Examples
    --------
    >>> from skvae.information.simplex import simplex_vertices
    >>> simplex_vertices(2)
    array([[ 1., -1.]])
    >>> S = simplex_vertices(3)
    >>> (S.T @ S).round(12)
    array([[ 1. , -0.5, -0.5],
           [-0.5,  1. , -0.5],
           [-0.5, -0.5,  1. ]])
    """
    if n_components < 2:
        raise ValueError(f"A simplex has at least 2 vertices, got {n_components}.")
    row, column = np.ogrid[1:n_components, :n_components]
    helmert = np.where(column < row, 1.0, np.where(column == row, -1.0 * row, 0.0))
    unit_rows = helmert / np.sqrt(row * (row + 1.0))
    return np.sqrt(n_components / (n_components - 1)) * unit_rows


def analytic_code(
    T: ArrayLike, scale: float = 1.0, average_teacher: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Codes that the simplex witness reads without any error.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex, without zeros.
    scale : float, default=1.0
        Scale of the witness, positive.
    average_teacher : array-like of shape (n_components,) or None, default=None
        What the witness answers to the code 0; None is the uniform distribution.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components - 1)
        ``(K - 1) / (K scale) * S clr(T / average_teacher)``, where ``clr`` is the
        logarithm less its mean over the components.

    Raises
    ------
    ValueError
        If the teacher has zeros: their codes lie at infinity.

    References
    ----------
    arXiv 2605.18224.

    Examples
    --------
    With two components the code is the log odds, over twice the scale:

    >>> from skvae.information.simplex import analytic_code
    >>> analytic_code([[0.75, 0.25], [0.5, 0.5]], scale=0.5).round(6) + 0.0
    array([[1.098612],
           [0.      ]])
    """
    T = check_teacher(T)
    check_scale(scale)
    K = T.shape[1]
    factor = (K - 1) / (K * scale)
    return factor * log_odds_of(T, average_teacher) @ simplex_vertices(K).T


def log_odds_energy(T: ArrayLike, average_teacher: ArrayLike | None = None) -> float:
    """Energy of a teacher: how far its log odds are from those of a constant, squared.

    A teacher wants much information at little energy: temper it, or give it a floor.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex, without zeros.
    average_teacher : array-like of shape (n_components,) or None, default=None
        Distribution whose log odds are the origin; None is the uniform one.

    Returns
    -------
    energy : float
        ``E_T = mean_i ||clr(T_i / average_teacher)||^2``, in squared nats. The analytic
        codes at this scale have ``mean ||code||^2 / 2 = (K - 1) / (2 K scale^2) E_T``.

    Raises
    ------
    ValueError
        If the teacher has zeros: its energy is infinite.

    References
    ----------
    arXiv 2605.18224.

    Examples
    --------
    >>> from skvae.information.simplex import log_odds_energy
    >>> log_odds_energy([[0.5, 0.5], [0.5, 0.5]])
    0.0
    >>> log_odds_energy([[0.9, 0.1], [0.1, 0.9]]) > log_odds_energy([[0.6, 0.4], [0.4, 0.6]])
    True
    """
    log_odds = log_odds_of(check_teacher(T), average_teacher)
    return float(np.mean(np.square(log_odds).sum(axis=1)))


def margin_energy_path(
    T: ArrayLike,
    alphas: ArrayLike,
    scale: float = 1.0,
    average_teacher: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Margin and energy of the analytic codes, shrunk by each of `alphas`.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex, without zeros.
    alphas : array-like of shape (n_alphas,)
        Factors on the analytic code.
    scale : float, default=1.0
        Scale of the witness, positive.
    average_teacher : array-like of shape (n_components,) or None, default=None
        What the witness answers to the code 0; None is the uniform distribution.

    Returns
    -------
    margins : ndarray of shape (n_alphas,)
        ``G(alpha)`` in nats, of the witness that reads ``alpha * analytic_code``: at 1
        the teacher information, at 0 ``-KL(Tbar || average_teacher)``, which is 0 for
        the teacher's own average.
    energies : ndarray of shape (n_alphas,)
        ``alpha^2 mean ||analytic_code||^2 / 2`` in nats: the rate of these codes where
        the posterior has unit variance.

    Raises
    ------
    ValueError
        If the teacher has zeros.

    References
    ----------
    arXiv 2605.18224.

    Examples
    --------
    >>> from skvae.information.simplex import margin_energy_path
    >>> T = [[0.9, 0.1], [0.1, 0.9]]
    >>> margins, energies = margin_energy_path(T, [0.0, 0.5, 1.0])
    >>> margins.round(4)
    array([0.    , 0.2956, 0.3681])
    >>> (energies / energies[-1]).round(4)
    array([0.  , 0.25, 1.  ])
    """
    T = check_teacher(T)
    check_scale(scale)
    alphas = np.asarray(alphas, dtype=np.float64).reshape(-1)
    log_odds = log_odds_of(T, average_teacher)
    log_b = log_average_of(average_teacher, T.shape[1])
    margins = np.array([margin(T, log_softmax(log_b + a * log_odds)) for a in alphas])
    return margins, np.square(alphas) * code_energy(log_odds, scale)


def escape_force(T: ArrayLike, log_q: ArrayLike, scale: float = 1.0) -> NDArray[np.float64]:
    """Force that the alignment exerts on each code through a simplex witness.

    Where the code is collapsed, ``q = Tbar`` in every row, the force is zero in all of
    them if and only if the teacher is constant: a rescue always has a direction.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex.
    log_q : array-like of shape (n_samples, n_components)
        Natural-log probabilities of the witness for the same rows.
    scale : float, default=1.0
        Scale of the witness, positive.

    Returns
    -------
    force : ndarray of shape (n_samples, n_components - 1)
        ``-d KL(T || q) / dz = scale * S (T - q)``, in nats per unit of the code.

    References
    ----------
    arXiv 2605.18224.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information.simplex import escape_force
    >>> T = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> escape_force(T, np.log([[0.5, 0.5], [0.5, 0.5]]))
    array([[ 0.8],
           [-0.8]])
    """
    check_scale(scale)
    T, log_q = check_pair(T, log_q)
    return scale * (T - np.exp(log_q)) @ simplex_vertices(T.shape[1]).T


def log_average_of(average_teacher: ArrayLike | None, n_components: int) -> NDArray[np.float64]:
    """Logarithms of what the witness answers to the code 0."""
    if average_teacher is None:
        return np.full(n_components, -np.log(n_components))
    average = np.asarray(average_teacher, dtype=np.float64)
    if (
        average.shape != (n_components,)
        or not (average > 0).all()
        or abs(average.sum() - 1) > 1e-5
    ):
        raise ValueError(
            f"average_teacher must hold {n_components} positive probabilities that sum to one, "
            f"got {np.array2string(average, threshold=12)}."
        )
    return np.log(average)


def log_odds_of(
    T: NDArray[np.float64], average_teacher: ArrayLike | None
) -> NDArray[np.float64]:
    """``clr(T / average_teacher)``, of shape (n_samples, n_components)."""
    if T.shape[1] < 2:
        raise ValueError("A teacher with one component is constant: it has no log odds.")
    zeros = np.count_nonzero(T == 0)
    if zeros:
        raise ValueError(
            f"The teacher has {zeros} probabilities of exactly 0, whose log odds are infinite: "
            "give it a floor first, as GaussianMixtureTeacher(floor=0.01) or "
            "TemperedTeacher(teacher, floor=0.01) do."
        )
    log_ratio = np.log(T) - log_average_of(average_teacher, T.shape[1])
    return log_ratio - log_ratio.mean(axis=1, keepdims=True)


def code_energy(
    log_odds: NDArray[np.float64], scale: float, weights: NDArray[np.float64] | None = None
) -> float:
    """``mean ||analytic_code||^2 / 2``, in nats."""
    K = log_odds.shape[1]
    energy = np.average(np.square(log_odds).sum(axis=1), weights=weights)
    return float((K - 1) / (2 * K * scale**2) * energy)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits as log probabilities, row by row."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def check_scale(scale: float) -> None:
    """Refuse a scale at which codes or their energies leave floating point."""
    least, greatest = SCALES
    if not least <= scale <= greatest:
        raise ValueError(
            f"The scale of a simplex witness must be from {least:g} to {greatest:g}, got "
            f"{scale!r}."
        )
