"""Rows of a store, as a fitted estimator reads them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from skvae.nets.likelihoods import WITH_VARIANCE
from skvae.rows.finite import require_finite
from skvae.rows.stores import StoredRows, stored_rows
from skvae.training.distributed import ranks_of_reading
from skvae.vae.settings import check_support

__all__ = ["check_stored"]


def check_stored(estimator: Any, X: Any) -> StoredRows | None:
    """Return rows of a store, whose numbers are checked as they are read; None of others.

    None too where numbers are made of all rows: where columns are of several kinds, and where
    ranks share the rows out.
    """
    wants_all = estimator.columns_ is not None or ranks_of_reading() is not None
    rows = None if wants_all else stored_rows(X)
    if rows is None or not len(rows):
        # Without rows the errors are those of an array.
        return None
    validate_data(estimator, rows, skip_check_array=True, reset=False)
    net = estimator.net_
    if net.module__likelihood in WITH_VARIANCE:
        # That all are finite is seen to where they are standardised.
        return rows
    allow_nan = estimator._inference.has_missing
    size = net.module__counts and net.module__counts.size

    def check(block: NDArray) -> None:
        require_finite(block, type(estimator).__name__, allow_nan=allow_nan)
        check_support(net.module__likelihood, block, size)

    return rows.checked_by(check)
