"""Tables whose columns are of several kinds, as the one table of numbers that a fit is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from torch import Tensor

from skvae.nets.mixed import KINDS
from skvae.rows.columns import CATEGORICAL, UNSEEN, Columns, as_mixed_table
from skvae.rows.tables import check_names

__all__ = ["check_encoded", "check_kinds", "columns_for", "decoded", "has_columns", "kinds_of"]

# Degrees of freedom above which Student's t distribution has a variance.
LEAST_DEGREES = 2


def has_columns(likelihood: Any) -> bool:
    """Whether columns have to be looked at one by one: not of one kind of numbers for all."""
    return not isinstance(likelihood, str) or likelihood in ("auto", CATEGORICAL)


def check_kinds(likelihood: Any) -> None:
    """Refuse what is no likelihood, nor a mapping to such."""
    if isinstance(likelihood, Mapping):
        for key, kind in likelihood.items():
            _check_kind(kind, f"likelihood[{key!r}]")
    else:
        _check_kind(likelihood, "likelihood")


def _check_kind(kind: Any, name: str) -> None:
    if isinstance(kind, str) and kind in (*KINDS, "auto"):
        return
    if isinstance(kind, tuple) and len(kind) == 2:
        likelihood, option = kind
        is_number = isinstance(option, (int, float, np.number)) and option > LEAST_DEGREES
        if likelihood == "student_t" and is_number:
            return
        if likelihood == CATEGORICAL and option == UNSEEN:
            return
    raise ValueError(
        f"{name} must be one of {('auto', *KINDS)}, or ('student_t', degrees) with more "
        f"than {LEAST_DEGREES} degrees of freedom, or ('{CATEGORICAL}', '{UNSEEN}'), got "
        f"{kind!r}."
    )


def columns_for(likelihood: Any, X: Any, donor: Any, image_shape: Any) -> Columns | None:
    """Return the columns of training rows; None where all are numbers of one kind.

    Parameters
    ----------
    likelihood : str, tuple or mapping
        As of `TeacherGuidedVAE`.
    X : frame or array-like of shape (n_samples, n_features)
        Training rows.
    donor : Fitted or None
        What training starts from: with the same likelihood its columns are taken, as later
        rows need not hold all that the first ones did.
    image_shape : tuple of int or None
        Of rows that are images.
    """
    check_kinds(likelihood)
    if not has_columns(likelihood):
        return None
    if image_shape is not None:
        raise ValueError(
            f"likelihood={likelihood!r} is for tables, whose columns are of several kinds, and "
            "these rows are images: name the likelihood of their pixels, such as "
            '"continuous_bernoulli".'
        )
    if donor is not None and donor.columns is not None:
        if donor.settings["likelihood"] == likelihood:
            return donor.columns
        columns = Columns.of(X, likelihood)
        if columns.mapping != donor.columns.mapping or columns.blocks != donor.columns.blocks:
            raise ValueError(
                "The weights to start from do not fit: the columns are "
                f"{donor.columns.mapping} in the fitted model and {columns.mapping} in the one "
                "to be trained. Give both the same likelihood and the same categories, or pass "
                "warm_start=False."
            )
        return donor.columns
    return Columns.of(X, likelihood)


def check_encoded(
    estimator: Any,
    X: Any,
    columns: Columns,
    *,
    reset: bool,
    n_least: int = 1,
    allow_nan: bool = False,
) -> NDArray:
    """Return rows as numbers, their names checked as scikit-learn does; NaN is missing.

    Where they are refused the estimator keeps the names of columns that it had.
    """
    owner = type(estimator).__name__
    X = as_mixed_table(X)

    def encode() -> NDArray:
        rows = columns.encode(X)
        missing = None if allow_nan else columns.missing_in(rows)
        if missing is not None:
            name, row = missing
            raise ValueError(
                f"Input X contains NaN: column {name!r} has a missing value in row {row}. "
                f'{owner} takes rows that are whole: pass missing="mask", impute it, or leave '
                "the row out."
            )
        with config_context(array_api_dispatch=False):
            checked: NDArray = check_array(
                rows,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                ensure_min_samples=n_least,
                estimator=estimator,
                input_name="X",
            )
        return checked

    return check_names(estimator, X, encode, reset=reset)


def kinds_of(estimator: Any) -> dict[Any, str]:
    """Name the likelihood of each column of a fitted estimator."""
    fitted = estimator._fitted
    if fitted.columns is not None:
        found: dict[Any, str] = fitted.columns.likelihoods
        return found
    names = fitted.feature_names_in
    names = range(fitted.n_features_in) if names is None else names.tolist()
    return dict.fromkeys(names, fitted.net.module__likelihood)


def decoded(estimator: Any, rows: Any, *, means: bool) -> Any:
    """Return rows that a decoder made as the table that an estimator was fitted to has them.

    Tensors, which hold no text, stay encoded.
    """
    columns = estimator._fitted.columns
    if columns is None or isinstance(rows, Tensor):
        return rows
    wanted = _get_output_config("transform", estimator)["dense"]
    return columns.decode(rows, means=means, library=None if wanted == "default" else wanted)
