"""Which rows early stopping holds out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skvae._common.randomness import derive_seed

__all__ = ["split_rows"]


def split_rows(
    validation_fraction: float, fresh: NDArray[np.bool_], seed: int
) -> tuple[NDArray, NDArray, bool]:
    """Draw the rows to hold out among the fresh ones, where these are enough.

    Parameters
    ----------
    validation_fraction : float
        Share of the rows to hold out. Half of it is enough; fewer say too little.
    fresh : ndarray of shape (n_samples,)
        Which rows neither model nor teacher have seen, as far as is known.
    seed : int
        Seed of the fit.

    Returns
    -------
    chosen, held_out : ndarray of int
        Indices, sorted, of the rows to train on and of those that are held out.
    is_fresh : bool
        Whether all that are held out are fresh.
    """
    n_samples = len(fresh)
    n_held_out = max(1, round(validation_fraction * n_samples))
    if n_samples - n_held_out < 2:
        raise ValueError(
            f"Early stopping with validation_fraction={validation_fraction:g} leaves "
            f"{n_samples - n_held_out} of n_samples={n_samples} rows to train on: pass "
            "more rows or early_stopping=False."
        )
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(n_samples)
    candidates = order[fresh[order]]
    is_fresh = len(candidates) >= max(1, n_held_out // 2)
    held_out = (candidates if is_fresh else order)[:n_held_out]
    # Sorted, so that a file is read from one end to the other.
    held_out = np.sort(held_out)
    return np.setdiff1d(order, held_out), held_out, is_fresh
