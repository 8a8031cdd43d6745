"""Codes and targets in files of any program, as arrays."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.rows.tables import as_table

__all__ = ["SUFFIXES", "read_numbers", "read_targets"]

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".txt", ".parquet")
DELIMITERS = ",;\t"
# What programs write in place of a class that is missing, as pandas reads them.
MISSING = ("", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
# What NumPy raises of an array in a file that is none, or is damaged.
DAMAGES = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)


def read_numbers(path: Path, name: str, n_rows: int | None = None) -> NDArray:
    """Return a matrix of numbers.

    Parameters
    ----------
    path : Path
        A file with one of the `SUFFIXES`; of text, with a line above the numbers or without.
    name : str
        What to call it in errors.
    n_rows : int or None, default=None
        How many rows there should be, by which a line above them is told that is itself of
        numbers, as pandas writes it for columns without names.

    Raises
    ------
    ValueError
        If it holds no matrix of finite numbers, or a column of it counts its rows.
    """
    values = _read(path)
    if isinstance(values, list):
        values = _numbers_of(values, path, n_rows)
    elif values.ndim != 2 or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise ValueError(
            f"{path} must hold a matrix of numbers, a row for each of {name}: got an array of "
            f"shape {values.shape} and type {values.dtype}."
        )
    bad = ~np.isfinite(as_table(values)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path} has missing or infinite values in {int(bad.sum())} of {len(values)} rows "
            f"(the first is row {int(np.argmax(bad))}): leave such rows out of all files."
        )
    _refuse_counts(values, path)
    return values


def read_targets(path: Path, n_rows: int) -> NDArray:
    """Return distributions, of two columns or more, or one column of classes.

    Blanks around a class in a text are no part of it, as they are none of a number.

    Parameters
    ----------
    path : Path
        As in `read_numbers`.
    n_rows : int
        How many rows there should be. In a file with one line more the first is a name.

    Raises
    ------
    ValueError
        If a class is missing in a text, with its line; and as in `read_numbers`.
    """
    values = _read(path)
    if not isinstance(values, list):
        if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
            return values.reshape(-1)
        return read_numbers(path, "targets")
    if len(values[0]) > 1:
        return _numbers_of(values, path, n_rows)
    cells = [line[0].strip() if line else "" for line in values]
    is_named = cells[0] and not _are_numbers(cells[:1]) and _are_numbers(cells[1:])
    n_names = int(is_named or len(cells) == n_rows + 1)
    classes = cells[n_names:]
    missing = [row for row, label in enumerate(classes) if label in MISSING]
    if missing:
        row = missing[0]
        raise ValueError(
            f"{path}, line {row + n_names + 1}: the class is missing, got {classes[row]!r} "
            f"({len(missing)} of {len(classes)} rows are affected). Leave such rows out of all "
            "files, or give a class of that name another."
        )
    return np.array(classes, dtype=np.float64 if _are_numbers(classes) else None)


def _read(path: Path) -> Any:
    """Return an array, or the cells of a text line by line."""
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path} must be a file of {', '.join(SUFFIXES)}, got suffix {path.suffix!r}."
        )
    if not path.is_file():
        what = "is no regular file" if path.exists() else "is not there"
        raise FileNotFoundError(f"The file {path} {what}.")
    if path.suffix == ".parquet":
        return _of_parquet(path)
    return _of_arrays(path) if path.suffix in (".npy", ".npz") else _of_text(path)


def _of_arrays(path: Path) -> NDArray:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = [name for name in found.files if name == "X"] or found.files
            if len(names) == 1:
                return found[names[0]]
    except DAMAGES as error:
        raise ValueError(
            f"{path} cannot be read: it is damaged, or holds objects and no plain array (text "
            f"is saved by labels.astype(str)). {error}"
        ) from error
    raise ValueError(
        f"{path} must hold one array, or one that is named X; it holds "
        f"{', '.join(names) or 'none'}."
    )


def _of_parquet(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"{path}: Parquet takes pyarrow, which is not installed; write .csv or .npy."
        ) from error
    try:
        columns = [column.to_numpy() for column in parquet.read_table(path).columns]
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    if len(columns) == 1:
        return columns[0][:, np.newaxis]
    return np.column_stack(columns) if columns else np.empty((0, 0))


def _of_text(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    delimiter = max(DELIMITERS, key=text.splitlines()[0].count)
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    while lines[-1] == []:
        lines.pop()
    return lines


def _numbers_of(
    lines: Sequence[Sequence[str]], path: Path, n_rows: int | None
) -> NDArray[np.float64]:
    """Return the numbers of a text, without the line of names above them, if there is one."""
    first = lines[0]
    n_columns = len(first)
    counted = list(first) == [str(column) for column in range(n_columns)]
    # Names that are numbers: three or more that count are no row, fewer may be.
    is_named = any(cell and not _is_number(cell) for cell in first) or (
        counted and (n_columns > 2 or len(lines) - 1 == n_rows)
    )
    numbered = list(first[1:]) == [str(column) for column in range(n_columns - 1)]
    if first[0] == "" and n_columns > 1 and (is_named or numbered):
        raise ValueError(
            f"The first column of {path} has no name: it counts the rows, as pandas and R "
            "write it, and is no part of them. Leave it out (index=False, row.names=FALSE)."
        )
    rows = lines[is_named:]
    widths = {len(row) for row in rows}
    if widths - {n_columns} or not rows:
        row = next((i for i, row in enumerate(rows) if len(row) != n_columns), 0)
        found = len(rows[row]) if rows else 0
        raise ValueError(
            f"{path} must have as many columns in each row: the first line has {n_columns}, "
            f"and row {row} has {found}."
        )
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        row, column = next(
            (i, j)
            for i, cells in enumerate(rows)
            for j, cell in enumerate(cells)
            if not _is_number(cell)
        )
        raise ValueError(
            f"{path} must hold numbers: row {row}, column {column} is {rows[row][column]!r}."
        ) from error


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_counts(values: NDArray, path: Path) -> None:
    """Refuse a column that numbers the rows, which the order of sorted rows is told from."""
    numbers = np.arange(len(values))
    for column in range(values.shape[1]) if len(values) > 2 else ():
        if np.array_equal(values[:, column] - values[0, column], numbers):
            raise ValueError(
                f"Column {column} of {path} counts the rows, and is no part of them: leave it "
                "out."
            )
