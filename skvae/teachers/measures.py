"""What a teacher is worth, measured on rows that its refits have not seen."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score

from skvae.information import best_constant_student, teacher_information
from skvae.information.boundary import MINIMAL_TEACHER_INFORMATION
from skvae.information.design import design_alpha
from skvae.information.simplex import log_odds_energy

__all__ = ["CONSTANT", "NO_MEASURES", "SCORES", "net_worth", "teacher_measures"]

CONSTANT = "It says the same of every held-out row."
ZEROS = (
    "It gives probabilities of exactly 0, so its energy is infinite: give it a floor, as "
    "TemperedTeacher(teacher, floor=0.01) does."
)
# The setting that margins are designed for: one nat of alignment pays for ten of rate.
_DESIGN: dict[str, Any] = {
    "scale": 2.0,
    "beta": 1.0,
    "alignment_weight": 10.0,
    "latent": "mean",
}
_AVERAGED = ("teacher_information", "energy", "balance", "margin", "rate")
NO_MEASURES = dict.fromkeys(("n_components", *_AVERAGED, "stability"), math.nan)
# Measures that can be the score, the more the better.
SCORES = ("teacher_information", "balance", "margin", "stability")


def net_worth(row: dict[str, Any]) -> float:
    """Net worth of a teacher's codes on rows that it was not fitted to.

    Parameters
    ----------
    row : dict
        Measures of a teacher, as in a row of ``TeacherSearch.results_``.

    Returns
    -------
    score : float
        ``stability * balance * (margin - rate / 10)`` in nats; -inf where the energy is
        infinite.

    Examples
    --------
    >>> from skvae.teachers.measures import net_worth
    >>> row = {"stability": 0.5, "balance": 1.0, "margin": 1.5, "rate": 5.0, "energy": 9.0}
    >>> net_worth(row)
    0.5
    """
    if not math.isfinite(row["energy"]):
        return -math.inf
    price = _DESIGN["beta"] / _DESIGN["alignment_weight"]
    return row["stability"] * row["balance"] * (row["margin"] - price * row["rate"])


def teacher_measures(refits: list[NDArray[np.float64]]) -> dict[str, Any]:
    """Measures of one candidate, from what its refits say of the same rows.

    Parameters
    ----------
    refits : list of ndarray of shape (n_samples, n_components)
        Checked distributions, two arrays or more. The numbers of components may differ,
        as those of classifiers do where a class is rare.

    Returns
    -------
    measures : dict
        ``n_components``; the averages over the refits of ``teacher_information``,
        ``energy``, ``balance``, ``margin`` and ``rate``; ``stability``; and ``problem``.
    """
    each = [_measures_of_one(T) for T in refits]
    averages = {name: float(np.mean([one[name] for one in each])) for name in _AVERAGED}
    assignments = [T.argmax(axis=1) for T in refits]
    agreements = [
        _agreement(one, other) for one, other in itertools.combinations(assignments, 2)
    ]
    problem = ""
    if averages["teacher_information"] < MINIMAL_TEACHER_INFORMATION:
        problem = CONSTANT
    elif not math.isfinite(averages["energy"]):
        problem = ZEROS
    return {
        "n_components": max(T.shape[1] for T in refits),
        **averages,
        "stability": float(np.mean(agreements)),
        "problem": problem,
    }


def _agreement(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    # Two assignments of all rows to one component agree on nothing but that.
    if len(np.unique(one)) == len(np.unique(other)) == 1:
        return 0.0
    return adjusted_mutual_info_score(one, other)


def _measures_of_one(T: NDArray[np.float64]) -> dict[str, float]:
    average = best_constant_student(T)
    used = average[average > 0]
    measures = {
        "teacher_information": teacher_information(T),
        "balance": float(np.exp(-np.sum(used * np.log(used))) / T.shape[1]),
    }
    # A teacher with one component has no log odds.
    if measures["teacher_information"] < MINIMAL_TEACHER_INFORMATION:
        return {**measures, "energy": 0.0, "margin": 0.0, "rate": 0.0}
    if not T.all():
        return {**measures, "energy": math.inf, "margin": 0.0, "rate": math.inf}
    design = design_alpha(T, average_teacher=average, **_DESIGN)
    return {
        **measures,
        "energy": log_odds_energy(T, average),
        "margin": design.margin,
        "rate": design.rate,
    }
