"""Searches over the estimator's parameters."""

from skvae.model_selection.stacked_search import StackedGridSearchCV

__all__ = [
    "StackedGridSearchCV",
]
