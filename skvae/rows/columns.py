"""Kinds of columns: which distribution each of a table has, and the table as one of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._indexing import _get_column_indices

from skvae.rows.column_values import ColumnValues, values_of
from skvae.rows.frames import ColumnType, frame_of_columns, is_frame, library_of
from skvae.rows.tables import check_table, require_columns

__all__ = ["Column", "Columns", "EncodedRows", "Kind", "as_mixed_table"]

# A likelihood by name, or by name and what is given of it.
Kind = str | tuple[str, Any]

# What has a kind of its own for each level, and what a level of its own for unseen values is
# asked for by.
CATEGORICAL = "categorical"
UNSEEN = "unseen"
# Types of whole numbers, as narwhals calls them.
WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
# Levels of a column beyond which it says who a row is, and not what kind.
MOST_LEVELS = 1000


@dataclass(frozen=True)
class Column:
    """One column of a table, as it came.

    Parameters
    ----------
    name : str or int
        Its name in a frame; its position in an array.
    likelihood : str
        Name of its distribution given a code.
    option : float, str or None
        What is given of it: degrees of freedom, or "unseen".
    levels : tuple or None
        Its categories, where it has such; then it is encoded as a block of as many columns, or
        of one more for values that were not seen.
    type : ColumnType
        Its type, of which an array says nothing.
    """

    name: Any
    likelihood: str
    option: Any = None
    levels: tuple[Any, ...] | None = None
    type: ColumnType = field(default_factory=ColumnType)

    @property
    def width(self) -> int:
        """Number of columns that it is encoded as."""
        if self.levels is None:
            return 1
        return len(self.levels) + (self.option == UNSEEN)


@dataclass(frozen=True)
class Columns:
    """The columns of a table, each with its kind, learned from training rows.

    Parameters
    ----------
    columns : tuple of Column
        In their order.
    library : str or None
        Of the frame that they were learned from: "pandas", "polars", "pyarrow" or another that
        narwhals knows; None where that was an array.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.rows import Columns
    >>> X = pd.DataFrame({"age": [31.0, 58.0], "lives": ["own", "rent"], "well": [True, False]})
    >>> columns = Columns.of(X, "auto")
    >>> columns.likelihoods
    {'age': 'gaussian', 'lives': 'categorical', 'well': 'bernoulli'}
    >>> columns.encode(X)
    array([[31.,  1.,  0.,  1.],
           [58.,  0.,  1.,  0.]])
    >>> bool(columns.decode(columns.encode(X)).equals(X))
    True
    """

    columns: tuple[Column, ...]
    library: str | None

    @classmethod
    def of(cls, X: Any, likelihood: Any) -> Columns:
        """Learn the columns of a table.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows.
        likelihood : str, tuple or mapping
            A kind for all columns; or "auto", by what they hold: text, categories and what is
            neither a number nor a truth value is categorical, truth values and columns of
            nothing but 0 and 1 are Bernoulli, other numbers Gaussian; or a mapping from columns
            to kinds, with "auto" for those that it does not name. Its keys are what
            `sklearn.compose.ColumnTransformer` takes, but for lists, for which there are
            tuples: names, positions, and functions that are given X and return such.

        Raises
        ------
        ValueError
            For keys that name no column, or one that another names, times, and more than 1,000
            categories in a column.
        """
        X = as_mixed_table(X)
        names, values = values_of(X)
        kinds = _kinds_of(X, names, likelihood)
        columns = tuple(
            _learned(name, each, kind)
            for name, each, kind in zip(names, values, kinds, strict=True)
        )
        return cls(columns, library_of(X) if is_frame(X) else None)

    @property
    def likelihoods(self) -> dict[Any, str]:
        """Names of the distributions, by column."""
        return {each.name: each.likelihood for each in self.columns}

    @property
    def mapping(self) -> dict[Any, Kind]:
        """Kinds by column: what `of` makes the same of, from the same rows."""
        return {
            each.name: each.likelihood
            if each.option is None
            else (each.likelihood, each.option)
            for each in self.columns
        }

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """Where each column is in the encoded table."""
        ends = np.cumsum([each.width for each in self.columns]).tolist()
        return tuple(map(slice, [0, *ends], ends))

    @property
    def n_encoded(self) -> int:
        """Number of columns of the encoded table."""
        return self.blocks[-1].stop

    @property
    def encoded_names(self) -> list[str]:
        """Names of the columns of the encoded table, levels after an equals sign."""
        names = []
        for each in self.columns:
            levels = [None] if each.levels is None else list(each.levels)
            levels += [UNSEEN] * (each.width - len(levels))
            names += [str(each.name) if of is None else f"{each.name}={of}" for of in levels]
        return names

    @property
    def net_likelihood(self) -> str | tuple[tuple[str, int, Any], ...]:
        """What a net is told: a name, or of each column its name, width and option."""
        kinds = {(each.likelihood, each.option, each.width) for each in self.columns}
        first = self.columns[0]
        if len(kinds) == 1 and first.option is None and first.levels is None:
            return first.likelihood
        return tuple((each.likelihood, each.width, each.option) for each in self.columns)

    @property
    def is_numeric(self) -> bool:
        """Whether no column is encoded as a block."""
        return all(each.levels is None for each in self.columns)

    def encode(self, X: Any) -> NDArray:
        """Return a table of these columns as numbers.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows with the same columns, in the same order; names are not looked at.

        Returns
        -------
        encoded : ndarray of shape (n_samples, n_encoded)
            Numbers as they are, truth values as 0 and 1, categories as a block of columns with
            a one among zeros. What is missing, be it NaN, None or pandas' NA, is NaN, a missing
            category in all its block.

        Raises
        ------
        ValueError
            Names the column, and a value in it that is no number, or no category of `fit`.
        """
        X = as_mixed_table(X)
        is_plain = isinstance(X, np.ndarray) and X.dtype.kind in "fiub"
        if is_plain and self.is_numeric:
            return X if X.dtype in (np.float64, np.float32) else X.astype(np.float64)
        _, values = values_of(X)
        encoded = np.empty((len(values[0].values), self.n_encoded))
        for column, block, each in zip(self.columns, self.blocks, values, strict=True):
            if column.levels is None:
                encoded[:, block.start] = each.as_numbers(column.name, column.likelihood)
            else:
                encoded[:, block] = _one_hot(column, each)
        return encoded

    def decode(
        self, encoded: NDArray, *, means: bool = False, library: str | None = None
    ) -> Any:
        """Return encoded rows as a table like the one of `of`: a frame where that was one.

        Parameters
        ----------
        encoded : ndarray of shape (n_samples, n_encoded)
            Rows, or their means: the likeliest category, and truth value, is taken.
        means : bool, default=False
            Whether numbers are means, which stay floats also where the column has whole ones.
            If not they are rounded there: types are kept.
        library : str or None, default=None
            Of the frame to be made; None is that of the frame of `of`.

        Returns
        -------
        rows : frame or ndarray of shape (n_samples, n_features)
            An array is of floats, or of objects where some categories are no numbers.
        """
        values = [
            _decoded(column, encoded[:, block], means)
            for column, block in zip(self.columns, self.blocks, strict=True)
        ]
        if self.library is None and library is None:
            return _array_of(values)
        names = [
            f"x{each.name}" if self.library is None else each.name for each in self.columns
        ]
        types = [
            each.type.for_means if means and _has_means(each) else each.type
            for each in self.columns
        ]
        is_own = library is None or library == self.library
        made_in: Any = library or self.library
        return frame_of_columns(names, values, types, made_in, is_own=is_own)

    def missing_in(self, encoded: NDArray) -> tuple[Any, int] | None:
        """Return a column with a missing value, and the row of it; None where none has one."""
        is_missing = np.isnan(encoded)
        if not is_missing.any():
            return None
        row, place = np.argwhere(is_missing)[0].tolist()
        at = next(n for n, block in enumerate(self.blocks) if place < block.stop)
        return self.columns[at].name, row


@dataclass(frozen=True)
class EncodedRows:
    """Rows that `Columns.encode` has made numbers of and a model has read.

    The way back to a table and here again would lose what the columns of `fit` have no value
    for: a level that was not seen, a fraction in a column of whole numbers.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_encoded)
        The numbers.
    """

    rows: NDArray


def as_mixed_table(X: Any) -> Any:
    """Return a frame as it is, and all else as an array with two axes, of any type."""
    if is_frame(X):
        require_columns(X, "X")
        return X
    is_table = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiubOUS"
    if is_table and not isinstance(X, np.ma.MaskedArray):
        return X
    if isinstance(X, (list, tuple)):
        try:
            made = np.asarray(X, dtype=object)
        except ValueError:
            made = np.empty(0, dtype=object)
        if made.ndim == 2:
            return made
    # Raises what is to be said of anything else.
    return check_table(X, "X", ensure_all_finite=False)


def _kinds_of(X: Any, names: Sequence[Any], likelihood: Any) -> list[Kind]:
    """Return the kind of each column, "auto" where it is to be found."""
    if not isinstance(likelihood, Mapping):
        return [likelihood] * len(names)
    kinds: dict[int, Kind] = {}
    for key, kind in likelihood.items():
        for position in _positions(X, names, key):
            if position in kinds:
                raise ValueError(
                    f"likelihood names the column {names[position]!r} twice: let each column "
                    "be in one of its keys."
                )
            kinds[position] = kind
    return [kinds.get(position, "auto") for position in range(len(names))]


def _positions(X: Any, names: Sequence[Any], key: Any) -> list[int]:
    try:
        chosen = key(X) if callable(key) else key
        # A name of pandas may be a number, and another than its position.
        if isinstance(chosen, (str, Integral)) and chosen in names:
            return [names.index(chosen)]
        if not isinstance(chosen, (str, Integral, slice)):
            chosen = list(chosen)
        found: list[int] = np.ravel(_get_column_indices(X, chosen)).tolist()
        return found
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"likelihood has the key {key!r}, which names no columns of X: {error}. There are "
            f"{str(list(names))[:300]}."
        ) from error


def _learned(name: Any, values: ColumnValues, kind: Kind) -> Column:
    if kind == "auto":
        kind = _found(name, values)
    likelihood, option = kind if isinstance(kind, tuple) else (kind, None)
    levels = None
    if likelihood == CATEGORICAL:
        levels = values.levels(name)
        if not levels:
            raise ValueError(
                f"Column {name!r} of X has no value in {len(values.values)} rows: leave it "
                "out, or pass rows in which it has some."
            )
        if len(levels) > MOST_LEVELS:
            raise ValueError(
                f"Column {name!r} of X has {len(levels):,} different values, and a categorical "
                f"one may have {MOST_LEVELS:,}: leave it out, group its values, or give it "
                "another likelihood."
            )
    return Column(name, likelihood, option, levels, values.type)


def _found(name: Any, values: ColumnValues) -> str:
    if not values.are_numbers:
        if values.are_times:
            raise ValueError(
                f"Column {name!r} of X holds times, which are no numbers: turn them into "
                "numbers that mean something, such as days since a date, or let the column be "
                f'"{CATEGORICAL}".'
            )
        return CATEGORICAL
    return "bernoulli" if values.are_truths or values.are_binary else "gaussian"


def _one_hot(column: Column, values: ColumnValues) -> NDArray[np.float64]:
    levels = column.levels or ()
    place_of = {level: place for place, level in enumerate(levels)}
    other = column.width - 1 if column.option == UNSEEN else None
    entries = values.values.tolist()
    places = np.empty(len(entries), dtype=np.intp)
    for row, (entry, is_missing) in enumerate(zip(entries, values.is_missing, strict=True)):
        place = 0 if is_missing else place_of.get(entry, other)
        if place is None:
            known = ", ".join(map(repr, levels[:10]))
            more = ", ..." if len(levels) > 10 else ""
            raise ValueError(
                f"Column {column.name!r} of X has the value {entry!r} in row {row}, which it "
                f"had not in fit: it had {known}{more}. Fit to rows that have it, or ask for a "
                f'level for such values, as by likelihood={{{column.name!r}: ("{CATEGORICAL}", '
                f'"{UNSEEN}")}}.'
            )
        places[row] = place
    encoded = np.zeros((len(entries), column.width))
    encoded[np.arange(len(entries)), places] = 1.0
    encoded[values.is_missing] = np.nan
    return encoded


def _decoded(column: Column, block: NDArray, means: bool) -> NDArray:
    """Return the values of a column; None where they are missing, or none of its own."""
    if column.levels is None:
        return _decoded_numbers(column, block[:, 0], means)
    # Not by NumPy, which would make arrays of what is a sequence.
    levels = np.empty(column.width + 1, dtype=object)
    levels[: len(column.levels)] = column.levels
    is_missing = np.isnan(block).any(axis=1)
    places = np.where(
        is_missing, column.width, np.where(is_missing[:, None], 0, block).argmax(1)
    )
    return levels[places]


def _decoded_numbers(column: Column, values: NDArray, means: bool) -> NDArray:
    is_truth = column.type.kind == "Boolean"
    is_whole = column.type.kind in WHOLE
    if not is_truth and (means or not is_whole):
        return values
    is_missing = np.isnan(values)
    if is_truth:
        exact = values > 0.5
    else:
        # A draw may be below what a type without a sign has.
        limits = np.iinfo(column.type.kind.lower())
        rounded = np.rint(np.where(is_missing, 0, values))
        exact = np.full(len(values), limits.max, dtype=limits.dtype)
        is_within = rounded < float(limits.max)
        exact[is_within] = np.maximum(rounded[is_within], limits.min)
    if not is_missing.any():
        return exact
    objects = exact.astype(object)
    objects[is_missing] = None
    return objects


def _has_means(column: Column) -> bool:
    return column.levels is None and column.type.kind != "Boolean"


def _array_of(values: Sequence[NDArray]) -> NDArray:
    """Return columns as an array of floats, or of objects where some are no numbers."""
    table = np.stack([each.astype(object) for each in values], axis=1)
    is_numeric = all(
        each.dtype.kind != "O" or all(isinstance(one, (float, int)) for one in each.tolist())
        for each in values
    )
    return table.astype(np.float64) if is_numeric else table
