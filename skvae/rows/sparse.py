"""Rows of a sparse matrix, dense where they are looked at and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["SparseRows", "as_taken_by", "held_sparse", "matrix_of", "taken"]


class SparseRows:
    """A matrix in CSR form, with the few things that are asked of an array of rows.

    An index makes dense rows: whoever takes one asks for few. `TeacherGuidedVAE` takes a matrix
    as it is, and makes them of it; a `GaussianMixtureTeacher` or a `TeacherSearch` that is
    fitted by itself takes them in place of a matrix: scikit-learn knows nothing that has
    `predict_proba` and is no classifier, and checks what takes sparse matrices for one.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n_samples, n_features)
        In any form, of numbers; CSR is taken as it is, and others become that. Entries that are
        stored twice are added up, in a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skvae.rows.sparse import SparseRows, taken
    >>> rows = SparseRows(sparse.csr_array(np.eye(3)))
    >>> rows[1:]
    array([[0., 1., 0.],
           [0., 0., 1.]])
    >>> len(taken(rows, [0, 2]))
    2
    """

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        matrix = matrix.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        self.matrix = matrix

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, rows: Any) -> NDArray:
        dense: NDArray = self.matrix[rows].toarray()
        return dense

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self.matrix.dtype

    @property
    def size(self) -> int:
        """Number of entries, zeros among them."""
        return len(self) * self.shape[1]

    def min(self) -> float:
        """Return the least entry."""
        return float(self.matrix.min())

    def max(self) -> float:
        """Return the greatest entry."""
        return float(self.matrix.max())

    def column(self, position: int) -> NDArray:
        """Return a column, dense."""
        values: NDArray = self.matrix[:, [position]].toarray()[:, 0]
        return values

    def without_column(self, position: int) -> SparseRows:
        """Return the rows without a column."""
        others = np.flatnonzero(np.arange(self.shape[1]) != position)
        return SparseRows(self.matrix[:, others])


def taken(rows: Any, which: Any) -> Any:
    """Return some of the rows, as sparse as they were."""
    return SparseRows(rows.matrix[which]) if isinstance(rows, SparseRows) else rows[which]


def matrix_of(rows: Any) -> Any:
    """Return rows as other libraries know them: an array, or a matrix of scipy."""
    return rows.matrix if isinstance(rows, SparseRows) else rows


def as_taken_by(teacher: Any, rows: Any) -> Any:
    """Return sparse rows as a teacher takes them: `SparseRows` where it does, else a matrix."""
    rows = matrix_of(rows)
    takes = getattr(teacher, "_takes_sparse_rows", False)
    return SparseRows(rows) if takes and sparse.issparse(rows) else rows


def held_sparse(data: Any) -> Any:
    """Return the sparse matrix that this is, or holds as its ``X``, in CSR form; else None.

    An `anndata.AnnData` holds one, and is not needed to be told.
    """
    if isinstance(data, SparseRows):
        return data.matrix
    held: Any = data if sparse.issparse(data) else getattr(data, "X", None)
    return held.tocsr() if sparse.issparse(held) else None
