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

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from skvae.information.boundary import check_pair, check_teacher, margin

# Scales beyond which codes or their energies leave floating point.
SCALES = (1e-6, 1e6)
# A designed posterior variance costs at least half of this at a sample: with beta = 0 no
# positive variance is the best.
LEAST_NOISE = 1e-6

__all__ = [
    "Design",
    "analytic_code",
    "design_alpha",
    "escape_force",
    "log_odds_energy",
    "margin_energy_path",
    "simplex_vertices",
]


class Design(NamedTuple):
    """Posterior that suits a simplex witness, and what it is worth on its rows.

    The posterior of a row is ``N(alpha * analytic_code, variance)`` in the first
    ``n_components - 1`` dimensions and the prior in the others.

    Attributes
    ----------
    alpha : float
        Factor on the analytic code, in [0, 1].
    variance : float
        Posterior variance in each dimension that the witness reads, in (0, 1].
    margin : float
        Nats. At the mean the margin of these codes on these rows; at a sample a lower bound
        on it, which where it is not positive says nothing.
    rate : float
        Their divergence from the prior in nats, averaged over the rows.
    proved_margin : float
        Nats, at most `margin`. Every model whose alignment cost ``L``, at the same read, and
        rate ``R`` on these rows satisfy ``alignment_weight * L + beta * R <=
        alignment_weight * (I_T - margin) + beta * rate`` has at least this margin on them. If
        the decoder gains nothing from the code, that is every model whose objective is no
        higher than that of the design. -inf with ``alignment_weight=0``.
    """

    alpha: float
    variance: float
    margin: float
    rate: float
    proved_margin: float


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
    _check_scale(scale)
    K = T.shape[1]
    factor = (K - 1) / (K * scale)
    return factor * _log_odds(T, average_teacher) @ simplex_vertices(K).T


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
    log_odds = _log_odds(check_teacher(T), average_teacher)
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
    _check_scale(scale)
    alphas = np.asarray(alphas, dtype=np.float64).reshape(-1)
    log_odds = _log_odds(T, average_teacher)
    log_b = _log_average(average_teacher, T.shape[1])
    margins = np.array([margin(T, _log_softmax(log_b + a * log_odds)) for a in alphas])
    return margins, np.square(alphas) * _code_energy(log_odds, scale)


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
    _check_scale(scale)
    T, log_q = check_pair(T, log_q)
    return scale * (T - np.exp(log_q)) @ simplex_vertices(T.shape[1]).T


def design_alpha(
    T: ArrayLike,
    scale: float = 1.0,
    beta: float = 1.0,
    alignment_weight: float = 10.0,
    average_teacher: ArrayLike | None = None,
    latent: str = "mean",
) -> Design:
    """Shrink the analytic code to where alignment and divergence from the prior balance.

    `alpha` minimises over [0, 1] the convex function (strictly so, unless the teacher is
    `average_teacher` in every row)

        alignment_weight * (I_T - G(alpha)) + beta * alpha^2 mean ||analytic_code||^2 / 2.

    A witness that reads draws of the code pays for their noise as well: at posterior
    variance ``v`` at most ``scale^2 v / 2`` nats more, by Jensen's inequality, as the
    vertices have unit length. `variance` balances that against the divergence from the
    prior: ``beta (K - 1) / (beta (K - 1) + alignment_weight scale^2)``, and at least
    ``1e-6 / scale^2``.

    Training may leave the design for what costs less, and end with a smaller margin. With
    ``V = alignment_weight * margin - beta * rate`` of the design, what is at least as good
    has a margin of ``V / alignment_weight`` or more, as no rate is negative; and, at a sample,
    where the rate is no less than the margin, of ``V / (alignment_weight - beta)`` if ``V``
    is positive. That is `proved_margin`.

    Parameters
    ----------
    T : array-like of shape (n_samples, n_components)
        Teacher distributions, one row each on the simplex, without zeros.
    scale : float, default=1.0
        Scale of the witness, positive.
    beta : float, default=1.0
        Weight of the divergence from the prior, at least 0.
    alignment_weight : float, default=10.0
        Weight of the alignment, at least 0, and not 0 together with `beta`.
    average_teacher : array-like of shape (n_components,) or None, default=None
        What the witness answers to the code 0; None is the uniform distribution.
    latent : {"mean", "sample"}, default="mean"
        Whether the witness reads the posterior mean or a draw.

    Returns
    -------
    design : Design
        ``alpha``, ``variance``, ``margin``, ``rate`` and ``proved_margin``.

    Raises
    ------
    ValueError
        If the teacher has zeros, or both weights are 0.

    References
    ----------
    arXiv 2605.18224 for the mean; the sample is skvae's own, see docs/simplex.rst.

    Examples
    --------
    >>> from skvae.information.simplex import design_alpha
    >>> T = [[0.9, 0.1], [0.1, 0.9]]
    >>> design = design_alpha(T, scale=2.0)
    >>> round(design.alpha, 3), round(design.margin, 3), round(design.rate, 3)
    (0.938, 0.367, 0.133)
    >>> design_alpha(T, scale=2.0, beta=0.0).alpha
    1.0
    >>> design_alpha(T, scale=2.0, latent="sample").margin < design.margin
    True

    At the mean, and a weight of ten betas, what costs no more than the design has its margin
    less at most a tenth of its rate:

    >>> round(design.proved_margin, 3)
    0.354
    """
    T = check_teacher(T)
    _check_scale(scale)
    if latent not in ("mean", "sample"):
        raise ValueError(f"latent must be 'mean' or 'sample', got {latent!r}.")
    larger = max(beta, alignment_weight)
    if not (min(beta, alignment_weight) >= 0 and 0 < larger < np.inf):
        raise ValueError(
            "beta and alignment_weight must be finite, at least 0 and not both 0, got "
            f"beta={beta!r} and alignment_weight={alignment_weight!r}."
        )
    # Only their ratio counts.
    beta, alignment_weight = beta / larger, alignment_weight / larger
    log_odds = _log_odds(T, average_teacher)
    log_b = _log_average(average_teacher, T.shape[1])
    energy = _code_energy(log_odds, scale)

    def slope(alpha: float) -> float:
        q = np.exp(_log_softmax(log_b + alpha * log_odds))
        cost_slope = float(np.mean(((q - T) * log_odds).sum(axis=1)))
        return alignment_weight * cost_slope + 2 * beta * alpha * energy

    # Convex: the slope rises from at most 0 at 0 to at least 0 at 1.
    if slope(1.0) <= 0:
        alpha = 1.0
    elif slope(0.0) >= 0:
        alpha = 0.0
    else:
        alpha = float(brentq(slope, 0.0, 1.0, xtol=1e-12))
    designed = margin(T, _log_softmax(log_b + alpha * log_odds))
    rate = alpha**2 * energy
    variance = 1.0
    if latent == "sample":
        n_read = T.shape[1] - 1
        variance = beta * n_read / (beta * n_read + alignment_weight * scale**2)
        variance = max(variance, min(1.0, LEAST_NOISE / scale**2))
        designed -= 0.5 * scale**2 * variance
        rate += 0.5 * n_read * (variance - 1 - math.log(variance))
    proved = _proved_margin(designed, rate, beta, alignment_weight, latent)
    return Design(alpha, variance, designed, rate, proved)


def _proved_margin(
    designed: float, rate: float, beta: float, alignment_weight: float, latent: str
) -> float:
    """Least margin of what costs no more than the design: Proposition 4 of docs/simplex.rst."""
    if alignment_weight == 0:
        return -math.inf
    worth = alignment_weight * designed - beta * rate
    # A positive worth implies the larger weight for the alignment, but for rounding.
    if latent == "sample" and worth > 0 and alignment_weight > beta:
        return min(designed, worth / (alignment_weight - beta))
    return designed - beta / alignment_weight * rate


def _log_average(average_teacher: ArrayLike | None, n_components: int) -> NDArray[np.float64]:
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


def _log_odds(T: NDArray[np.float64], average_teacher: ArrayLike | None) -> NDArray[np.float64]:
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
    log_ratio = np.log(T) - _log_average(average_teacher, T.shape[1])
    return log_ratio - log_ratio.mean(axis=1, keepdims=True)


def _code_energy(log_odds: NDArray[np.float64], scale: float) -> float:
    """``mean ||analytic_code||^2 / 2``, in nats."""
    K = log_odds.shape[1]
    return float((K - 1) / (2 * K * scale**2) * np.mean(np.square(log_odds).sum(axis=1)))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _check_scale(scale: float) -> None:
    least, greatest = SCALES
    if not least <= scale <= greatest:
        raise ValueError(
            f"The scale of a simplex witness must be from {least:g} to {greatest:g}, got "
            f"{scale!r}."
        )
