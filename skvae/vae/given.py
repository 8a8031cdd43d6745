"""What `fit` was given: rows, and what else there is of each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_consistent_length

from skvae.rows.columns import Columns
from skvae.rows.finite import naming_mask
from skvae.rows.frames import is_frame, is_series
from skvae.rows.images import flatten_images, resolve_image_shape
from skvae.rows.sources import as_rows
from skvae.rows.sparse import SparseRows, taken
from skvae.rows.tables import check_rows
from skvae.rows.weights import check_weights, relative_weights
from skvae.vae.encoding import check_encoded, columns_for
from skvae.vae.warm_start import check_columns

__all__ = ["GivenRows", "Weights", "weights_of"]


class Weights(TypedDict, total=False):
    """What `fit` takes by keyword alone.

    To scikit-learn, a ``sample_weight`` in the signature of `fit` is the promise that a row of
    weight 2 and the row twice give one model, to the last digit and in any order: what no
    training on random batches with random noise can keep. So `fit` asks for it by a request of
    metadata alone.
    """

    sample_weight: ArrayLike | None


@dataclass(frozen=True)
class GivenRows:
    """Rows that `fit` was given, checked, without those that weigh nothing.

    Parameters
    ----------
    X : frame, or array-like of shape (n_samples, n_features)
        The rows, one image a row: as they came where they have names or text.
    rows : ndarray or SparseRows of shape (n_samples, n_encoded)
        The same as floats: finite ones, and NaN for what is missing where that is allowed.
        Categories are blocks of columns.
    columns : Columns or None
        From the one to the other, where the columns are of several kinds.
    image_shape : tuple of int or None
        ``(channels, height, width)``; None where they are no images.
    n_features_in : int
        Number of columns, as they came.
    feature_names : ndarray of shape (n_features,) or None
        Names of the columns, where they are all strings.
    owner : str
        Name of the estimator, for errors.
    y : array-like of shape (n_samples,) or None
        Labels.
    X_teacher : array-like of n_samples rows, or None
        Another view of the rows.
    weights : ndarray of shape (n_samples,) or None
        Weights of the rows, one on average; None where all weigh the same.
    """

    X: Any
    rows: Any
    columns: Columns | None
    image_shape: tuple[int, int, int] | None
    n_features_in: int
    feature_names: NDArray | None
    owner: str
    y: Any
    X_teacher: Any
    weights: NDArray[np.float64] | None

    @property
    def encoded_names(self) -> Any:
        """Names of the columns of `rows`, where they have such."""
        return self.feature_names if self.columns is None else self.columns.encoded_names

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        X_teacher: Any,
        keywords: Weights,
        donor: Any,
        reset: bool,
        n_least: int,
    ) -> GivenRows:
        """Check what an estimator was given.

        Parameters
        ----------
        estimator : TeacherGuidedVAE
            What the rows are for.
        X, y, X_teacher
            As in its `fit`.
        keywords : dict
            Keyword arguments, of which `sample_weight` is the only one.
        donor : TeacherGuidedVAE or None
            What training starts from, fitted.
        reset : bool
            Whether the estimator takes over what the columns are.
        n_least : int
            Rows that there have to be.
        """
        for name in keywords.keys() - {"sample_weight"}:
            owner = type(estimator).__name__
            raise TypeError(f"fit of {owner} got an unexpected keyword argument {name!r}.")
        X = as_rows(X)
        image_shape = estimator.image_shape
        if image_shape is None and donor is not None:
            image_shape = donor.image_shape_
        image_shape = resolve_image_shape(image_shape, estimator.architecture, X)
        X = flatten_images(X, image_shape)
        fitted = None if donor is None else donor._fitted
        columns = columns_for(estimator.likelihood, X, fitted, image_shape)
        allow_nan = estimator.missing == "mask"
        with naming_mask():
            if columns is None:
                rows = check_rows(
                    estimator,
                    X,
                    dtype=[np.float64, np.float32],
                    accept_sparse=False if allow_nan else "csr",
                    ensure_all_finite="allow-nan" if allow_nan else True,
                    reset=reset,
                    ensure_min_samples=n_least,
                )
            else:
                rows = check_encoded(
                    estimator, X, columns, reset=reset, n_least=n_least, allow_nan=allow_nan
                )
        if donor is not None:
            check_columns(donor, X)
        if y is not None:
            check_consistent_length(rows, y)
            y = y if is_frame(y) or is_series(y) else np.asarray(as_rows(y))
        if X_teacher is not None:
            X_teacher = as_rows(X_teacher)
            check_consistent_length(rows, X_teacher)
        names = getattr(estimator, "feature_names_in_", None)
        owner = type(estimator).__name__
        if columns is None:
            # A frame of sparse columns is known by its matrix.
            X = X if is_frame(X) and not isinstance(rows, SparseRows) else rows
        columns_of_rows = (columns, image_shape, estimator.n_features_in_, names)
        given = cls(X, rows, *columns_of_rows, owner, y, X_teacher, None)
        return given._weighed(keywords.get("sample_weight"), n_least)

    def _weighed(self, sample_weight: Any, n_least: int) -> GivenRows:
        """Return the rows that weigh something, with their weights."""
        if sample_weight is None:
            return self
        weights = check_weights(sample_weight, len(self.rows))
        kept = np.flatnonzero(weights)
        if len(kept) < n_least:
            raise ValueError(
                f"sample_weight is above zero for {len(kept)} of n_samples={len(weights)} "
                f"rows, and at least {n_least} are needed to train on."
            )
        relative = relative_weights(weights[kept], len(kept))
        if len(kept) == len(weights):
            return replace(self, weights=relative)
        # As if the others had not been there, to the bit.
        y, X_teacher = (
            None if each is None else _safe_indexing(each, kept)
            for each in (self.y, self.X_teacher)
        )
        rows = taken(self.rows, kept)
        X = rows if self.X is self.rows else _safe_indexing(self.X, kept)
        return replace(self, X=X, rows=rows, y=y, X_teacher=X_teacher, weights=relative)


def weights_of(
    weights: NDArray[np.float64] | None, chosen: NDArray[np.intp] | None
) -> NDArray[np.float64] | None:
    """Return the weights of some of the rows, one on average among them."""
    if weights is None or chosen is None:
        return weights
    return relative_weights(weights[chosen], len(chosen))
