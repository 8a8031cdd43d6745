"""Searches over the estimator's parameters, and what they score and refit by."""

from skvae.model_selection.refit import best_certified, certified_elbo_scorer, elbo_scorer
from skvae.model_selection.stacked_search import StackedGridSearchCV

__all__ = [
    "StackedGridSearchCV",
    "best_certified",
    "certified_elbo_scorer",
    "elbo_scorer",
]
