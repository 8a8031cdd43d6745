"""Designing a margin before training, for a witness that is known: a simplex witness."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from skvae.information.boundary import check_teacher, margin
from skvae.information.simplex import (
    check_scale,
    code_energy,
    log_average_of,
    log_odds_of,
    log_softmax,
)
from skvae.rows.weights import relative_weights

__all__ = ["Design", "design_alpha"]

# A designed posterior variance costs at least half of this at a sample: with beta = 0 no
# positive variance is the best.
LEAST_NOISE = 1e-6


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

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.information import design_alpha
    >>> design = design_alpha(0.9 * np.eye(3)[np.arange(30) % 3] + 0.1 / 3)
    >>> 0 < design.alpha <= 1, 0 < design.proved_margin <= design.margin < 1.1
    (True, True)
    """

    alpha: float
    variance: float
    margin: float
    rate: float
    proved_margin: float


def design_alpha(
    T: ArrayLike,
    scale: float = 1.0,
    beta: float = 1.0,
    alignment_weight: float = 10.0,
    average_teacher: ArrayLike | None = None,
    latent: str = "mean",
    sample_weight: ArrayLike | None = None,
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
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows in all averages, at least 0 and not all 0; None weighs all alike.

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
    >>> from skvae.information import design_alpha
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
    check_scale(scale)
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
    log_odds = log_odds_of(T, average_teacher)
    log_b = log_average_of(average_teacher, T.shape[1])
    weights = relative_weights(sample_weight, len(T))
    energy = code_energy(log_odds, scale, weights)

    def slope(alpha: float) -> float:
        q = np.exp(log_softmax(log_b + alpha * log_odds))
        cost_slope = float(np.average(((q - T) * log_odds).sum(axis=1), weights=weights))
        return alignment_weight * cost_slope + 2 * beta * alpha * energy

    # Convex: the slope rises from at most 0 at 0 to at least 0 at 1.
    if slope(1.0) <= 0:
        alpha = 1.0
    elif slope(0.0) >= 0:
        alpha = 0.0
    else:
        alpha = float(brentq(slope, 0.0, 1.0, xtol=1e-12))
    designed = margin(T, log_softmax(log_b + alpha * log_odds), weights)
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
