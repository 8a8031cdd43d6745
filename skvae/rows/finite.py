"""Whether the numbers of a table are all finite, told in a fraction of scikit-learn's time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite

from skvae.rows.sparse import SparseRows

__all__ = ["require_finite"]


def require_finite(rows: Any, estimator_name: str, derived: NDArray | None = None) -> None:
    """Raise the error of scikit-learn if a number of these rows is not finite.

    Parameters
    ----------
    rows : ndarray or SparseRows of shape (n_samples, n_features)
        Rows as they were given.
    estimator_name : str
        Whose rows they are, for the message.
    derived : ndarray or None, default=None
        Numbers made of them one by one, which are not finite where a row is not: looked at
        in their place where they are in the processor's cache, and the rows are not.

    Raises
    ------
    ValueError
        Names what was found and what to do, as `sklearn.utils.assert_all_finite` does.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rows.finite import require_finite
    >>> require_finite(np.ones((3, 2)), "TeacherGuidedVAE")
    >>> require_finite(np.array([[1.0, np.inf]]), "TeacherGuidedVAE")
    Traceback (most recent call last):
    ...
    ValueError: Input X contains infinity or a value too large for dtype('float64').
    """
    if isinstance(rows, SparseRows):
        rows = rows.matrix.data
    numbers = rows if derived is None else derived
    if not _have_finite_squares(numbers):
        # Or only their squares are too large, or what they were turned into.
        assert_all_finite(rows, estimator_name=estimator_name, input_name="X")


def _have_finite_squares(numbers: NDArray) -> bool:
    if not numbers.flags.c_contiguous:
        return bool(np.isfinite(numbers).all())
    flat = numbers.reshape(-1)
    # One pass of the fastest routine that there is for numbers in a row.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)))
