"""What a search for a teacher tries: grids and estimators, listed one by one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags

from skvae._common.parameters import same_settings
from skvae.teachers.mixture import GaussianMixtureTeacher

__all__ = ["Candidate", "check_labels", "list_candidates", "shared_fits"]


@dataclass(frozen=True)
class Candidate:
    """A teacher to try.

    Parameters
    ----------
    teacher : estimator
        As it was asked for.
    params : dict
        Its values in a grid.
    stripped : estimator
        The same with a neutral value for all that `fit` never sees.
    settings : dict
        What was stripped off.
    """

    teacher: Any
    params: dict[str, Any]
    stripped: Any
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """How it prints, in one line."""
        return " ".join(repr(self.teacher).split())

    @classmethod
    def of(cls, teacher: Any, params: dict[str, Any]) -> Candidate:
        neutral = getattr(type(teacher), "_applied_after_fit", {})
        if neutral:
            # These values go around the checks that `fit` makes.
            teacher._validate_params()
        settings = {name: getattr(teacher, name) for name in neutral}
        stripped = clone(teacher).set_params(**neutral) if neutral else teacher
        return cls(teacher, params, stripped, settings)

    def finish(self, fitted: Any) -> Any:
        """Return a fitted `stripped` with what was stripped off."""
        return copy.copy(fitted).set_params(**self.settings) if self.settings else fitted


def list_candidates(candidates: Any, n_fitted: int, n_features: int) -> list[Candidate]:
    mixture = GaussianMixtureTeacher()
    if candidates is None:
        candidates = _default_grid(n_fitted, n_features)
        mixture.scaling = "columns"
    elif not isinstance(candidates, (list, tuple)):
        candidates = [candidates]
    listed: list[Candidate] = []
    for candidate in candidates:
        if isinstance(candidate, dict):
            listed += [
                Candidate.of(clone(mixture).set_params(**params), params)
                for params in map(_plain, ParameterGrid(candidate))
            ]
        elif all(hasattr(candidate, name) for name in ("fit", "predict_proba")):
            listed.append(Candidate.of(candidate, {}))
        else:
            raise TypeError(
                "candidates must hold grids (dicts over the parameters of "
                "GaussianMixtureTeacher) and estimators with fit and predict_proba, got "
                f"{candidate!r}."
            )
    if not listed:
        raise ValueError("candidates is empty: give at least one, or None for the default.")
    return listed


def check_labels(candidates: list[Candidate], y: Any) -> None:
    for index, candidate in enumerate(candidates):
        teacher = candidate.teacher
        frozen = isinstance(teacher, FrozenEstimator)
        needs_labels = is_classifier(teacher) or get_tags(teacher).target_tags.required
        if y is None and needs_labels and not frozen:
            raise ValueError(
                f"Candidate {index}, {candidate.name}, is a classifier and learns from labels, "
                "got y=None: pass y to fit, or leave it out."
            )


def shared_fits(candidates: list[Candidate]) -> list[list[int]]:
    """Group the indices of candidates that one fit serves."""
    groups: list[list[int]] = []
    for index, candidate in enumerate(candidates):
        for group in groups:
            if same_settings(candidates[group[0]].stripped, candidate.stripped):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _default_grid(n_fitted: int, n_features: int) -> list[dict[str, list]]:
    mixtures: dict[str, list] = {
        "pca_components": sorted({min(number, n_features) for number in (8, 24)}),
        "n_components": [K for K in (3, 5, 10, 20) if n_fitted >= 12 * K] or [2],
        "covariance_type": ["spherical", "tied"],
    }
    return [
        {**mixtures, "temperature": [1.0, 2.0], "floor": [0.01]},
        {**mixtures, "temperature": [1.0], "floor": [0.05]},
    ]


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Python numbers in place of NumPy's, which a grid made by NumPy holds."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in params.items()
    }
