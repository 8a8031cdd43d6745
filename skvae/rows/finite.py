"""Whether the numbers of a table are all finite, told in a fraction of scikit-learn's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite

from skvae.rows.sparse import SparseRows

__all__ = ["naming_mask", "require_finite"]


def require_finite(
    rows: Any,
    estimator_name: str,
    derived: NDArray | None = None,
    *,
    allow_nan: bool = False,
) -> None:
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
    allow_nan : bool, default=False
        Whether NaN will do, as a missing value.

    Raises
    ------
    ValueError
        Names what was found and what to do, as `sklearn.utils.assert_all_finite` does, and
        what takes missing values.

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
        with naming_mask():
            assert_all_finite(
                rows, allow_nan=allow_nan, estimator_name=estimator_name, input_name="X"
            )


@contextmanager
def naming_mask() -> Iterator[None]:
    """Let an error of scikit-learn about NaN say what bears missing values.

    Examples
    --------
    >>> from skvae.rows.finite import naming_mask
    >>> with naming_mask():
    ...     raise ValueError("Input X contains NaN.")
    Traceback (most recent call last):
    ...
    ValueError: Input X contains NaN.
    To train on rows with missing values, and to read them, pass missing="mask".
    """
    try:
        yield
    except ValueError as error:
        if "contains NaN" not in str(error):
            raise
        raise ValueError(
            f"{error}\nTo train on rows with missing values, and to read them, pass "
            'missing="mask".'
        ) from error


def _have_finite_squares(numbers: NDArray) -> bool:
    if not numbers.flags.c_contiguous:
        return bool(np.isfinite(numbers).all())
    flat = numbers.reshape(-1)
    # One pass of the fastest routine that there is for numbers in a row.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)))
