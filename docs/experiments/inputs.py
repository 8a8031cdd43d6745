"""What becomes of each kind of input in each public method, as a table.

    python docs/experiments/inputs.py

tries every method on every kind and writes docs/inputs.rst, in about a minute on one core. The
exit status is 1 if a cell is wrong:

- a *raw error*. An error is ours to show if it is a ValueError (which NotFittedError is), a
  TypeError or one of `skvae.exceptions`, and if the innermost frame of its traceback lies in
  skvae, or in scikit-learn, whose validation is ours too, and stands at a `raise` there. So
  what NumPy, torch, pandas and the like raise is raw, in Python or in C, whatever its type,
  and so is what the interpreter raises in a line of ours;
- a *half change*: after a refusal, or after a read, the estimator is not what it was;
- a *silent wrong answer*: other numbers than for the float64 array of the same numbers (by more
  than 1e-5, relative or absolute), an answer where there are no such numbers, one that is not
  finite, a fit to what makes the model useless, or an array that was written to.

polars and pyarrow are optional: what is made with them is left out where they are missing.
"""

from __future__ import annotations

import copy
import datetime
import dis
import functools
import importlib.util
import operator
import re
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import skvae
from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
    rescue,
)
from skvae.exceptions import BrokenBoundError, DeviceMemoryError, DivergenceError
from skvae.information import (
    SequentialMargin,
    margin,
    margin_lower_bound,
    teacher_information,
)
from skvae.protocol import collapse_prone_variance, run

PAGE = Path(__file__).parents[1] / "inputs.rst"
TOLERANCE = 1e-5
N_ROWS = 60
NAMES = list("abcd")
OURS = tuple(str(Path(package.__file__).parent) for package in (skvae, sklearn))
CLEAR_TYPES = (ValueError, TypeError, BrokenBoundError, DeviceMemoryError, DivergenceError)
# What a fit says of two epochs on sixty rows is beside the point here.
SETTING = {
    "latent_dim": 2,
    "hidden_layer_sizes": (8,),
    "max_epochs": 2,
    "batch_size": 32,
    "early_stopping": False,
    "device": "cpu",
}


class Table(NamedTuple):
    """Numbers that a method is given: float64, and whole multiples of a unit."""

    values: np.ndarray
    unit: float

    @property
    def whole(self):
        """The numbers in that unit."""
        return np.rint(self.values / self.unit)


def clusters():
    """Three clusters of whole numbers up to 100, as quarters: exact in every type of number."""
    rng = np.random.default_rng(0)
    centers = np.array([[60, 10, 10, 30], [10, 60, 10, 30], [10, 10, 60, 30]])
    whole = np.repeat(centers, N_ROWS // 3, axis=0) + rng.integers(-9, 40, (N_ROWS, 4))
    return 0.25 * whole[rng.permutation(N_ROWS)]


ROWS = Table(clusters(), 0.25)
TEACHER = Table(
    np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])[
        np.arange(N_ROWS) % 3
    ],
    0.125,
)
STUDENT = Table(np.log(0.5 * TEACHER.values + 0.5 / 3), 1.0)


# The kinds


@dataclass(frozen=True)
class Kind:
    """A way in which numbers come.

    Parameters
    ----------
    name, group : str
        As on the page.
    make : callable
        From a `Table` to what a method is given.
    numbers : callable
        From a `Table` to the float64 array of the same numbers; None where there is none, and
        an answer would be wrong.
    needs : str or None
        Package that it is made with.
    is_named : bool
        Whether the columns have the names that the models for named columns were fitted to.
    has_kinds : bool
        Whether ``likelihood="auto"`` finds categories in it: what is fitted to these has no
        array of numbers to be compared with.
    """

    name: str
    group: str
    make: Callable[[Table], Any]
    numbers: Callable[[Table], np.ndarray | None] = operator.attrgetter("values")
    needs: str | None = None
    is_named: bool = False
    has_kinds: bool = False


class Holder:
    """What is no array, and has one."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype=dtype)


class Exporter:
    """What has the interface of an array, and is none."""

    def __init__(self, values):
        self._values = values
        self.__array_interface__ = values.__array_interface__


class Foreign(Holder):
    """An array of a library that calls itself one of the array API."""

    def __init__(self, values):
        super().__init__(values)
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array_namespace__(self, api_version=None):
        return np

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return self._values[index]


class Items(Dataset):
    """A data set of rows and labels."""

    def __init__(self, values):
        self._values = torch.as_tensor(values)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index], 0


class Stream(IterableDataset):
    """A data set without a length."""

    def __init__(self, values):
        self._values = values

    def __iter__(self):
        return iter(self._values)


def nothing(table):
    """Return None: there are no such numbers."""
    return


def cast(dtype):
    """Return how numbers look that have been of a type."""
    return lambda table: table.values.astype(dtype).astype(np.float64)


def frame(table, names=NAMES, **columns):
    """Return a pandas frame of the numbers, some of its columns replaced."""
    made = pd.DataFrame(table.values, columns=list(names)[: table.values.shape[1]])
    return made.assign(**columns) if columns else made


def with_whole(table):
    """Return the numbers with their first column in whole units."""
    values = table.values.copy()
    values[:, 0] = table.whole[:, 0]
    return values


def with_truth(table):
    """Return the numbers with a first column of zeros and ones."""
    values = table.values.copy()
    values[:, 0] = values[:, 0] > np.median(values[:, 0])
    return values


def missing(values):
    """Return the first entry of a column as missing."""
    return [None, *values[1:]]


def mapped(table):
    """Return a read-only map of a file, which is deleted as soon as it is not open."""
    with tempfile.TemporaryFile() as file:
        np.save(file, table.values)
        file.seek(0)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape)


def read_only(table):
    """Return an array that must not be written to."""
    values = table.values.copy()
    values.setflags(write=False)
    return values


def structured(table):
    """Return an array of records."""
    names = [f"f{number}" for number in range(table.values.shape[1])]
    return np.rec.fromarrays(table.values.T, names=names)


def put(value):
    """Return the numbers with one entry changed."""

    def changed(table):
        values = table.values.copy()
        values[1, 0] = value
        return values

    return changed


def polars(table, **columns):
    """Return a polars frame of the numbers, some of its columns replaced."""
    import polars as pl

    names = NAMES[: table.values.shape[1]]
    made = pl.DataFrame(table.values, schema=names)
    return made.with_columns(**columns) if columns else made


def polars_column(values, dtype=None):
    """Return a column of polars."""
    import polars as pl

    return pl.Series("a", values, dtype=None if dtype is None else getattr(pl, dtype))


def arrow(table, first=None):
    """Return a table of pyarrow, its first column replaced."""
    import pyarrow as pa

    columns = [pa.array(column) for column in table.values.T]
    if first is not None:
        columns[0] = pa.array(first)
    return pa.table(dict(zip(NAMES, columns, strict=False)))


def arrow_backed(table, gap=False):
    """Return a pandas frame whose columns are of pyarrow."""
    made = frame(table).convert_dtypes(dtype_backend="pyarrow").astype("double[pyarrow]")
    if gap:
        made.iloc[0, 0] = pd.NA
    return made


DAYS = [datetime.datetime(2020, 1, 1) + datetime.timedelta(days=day) for day in range(N_ROWS)]
SPANS = [datetime.timedelta(days=day) for day in range(N_ROWS)]
WORDS = ["red", "green", "blue"] * (N_ROWS // 3)

ARRAYS = "Arrays"
PYTHON = "Python and other holders of numbers"
TORCH = "torch"
PANDAS = "pandas"
OTHERS = "polars, pyarrow"
SPARSE = "Sparse, masked, and of other types"
VALUES = "Values"
SHAPES = "Shapes and columns"
NONE = "What is no table"

KINDS = [
    Kind("float64 array", ARRAYS, lambda t: t.values.copy()),
    Kind("float32 array", ARRAYS, lambda t: t.values.astype(np.float32), cast(np.float32)),
    Kind("float16 array", ARRAYS, lambda t: t.values.astype(np.float16), cast(np.float16)),
    Kind("long double array", ARRAYS, lambda t: t.values.astype(np.longdouble)),
    Kind("big-endian array", ARRAYS, lambda t: t.values.astype(">f8")),
    Kind(
        "int64 array",
        ARRAYS,
        lambda t: t.whole.astype(np.int64),
        operator.attrgetter("whole"),
    ),
    Kind(
        "uint8 array",
        ARRAYS,
        lambda t: t.whole.clip(0).astype(np.uint8),
        lambda t: t.whole.clip(0),
    ),
    Kind(
        "bool array",
        ARRAYS,
        lambda t: t.values > np.median(t.values, axis=0),
        lambda t: (t.values > np.median(t.values, axis=0)).astype(np.float64),
    ),
    Kind("Fortran order", ARRAYS, lambda t: np.asfortranarray(t.values)),
    Kind("negative strides", ARRAYS, lambda t: t.values[::-1, ::-1].copy()[::-1, ::-1]),
    Kind("every other row of an array", ARRAYS, lambda t: np.repeat(t.values, 2, axis=0)[::2]),
    Kind("read-only array", ARRAYS, read_only),
    Kind("memory map", ARRAYS, mapped),
    Kind("np.matrix", ARRAYS, lambda t: np.asmatrix(t.values)),
    Kind("list of lists", PYTHON, lambda t: t.values.tolist()),
    Kind("tuple of tuples", PYTHON, lambda t: tuple(map(tuple, t.values.tolist()))),
    Kind("list of arrays", PYTHON, lambda t: list(t.values)),
    Kind("list of tensors", PYTHON, lambda t: list(torch.as_tensor(t.values))),
    Kind(
        "list of ranges",
        PYTHON,
        lambda t: [range(row, row + t.values.shape[1]) for row in range(len(t.values))],
        lambda t: np.add.outer(np.arange(len(t.values)), np.arange(t.values.shape[1]) * 1.0),
    ),
    Kind("deque of rows", PYTHON, lambda t: deque(t.values.tolist())),
    Kind("memoryview", PYTHON, lambda t: memoryview(t.values)),
    Kind("object with __array__", PYTHON, lambda t: Holder(t.values)),
    Kind("object with __array_interface__", PYTHON, lambda t: Exporter(t.values)),
    Kind("object with __array_namespace__", PYTHON, lambda t: Foreign(t.values)),
    Kind("ragged list", PYTHON, lambda t: [*t.values.tolist()[:-1], [1.0]], nothing),
    Kind("tensor", TORCH, lambda t: torch.as_tensor(t.values)),
    Kind(
        "float32 tensor",
        TORCH,
        lambda t: torch.as_tensor(t.values, dtype=torch.float32),
        cast(np.float32),
    ),
    Kind(
        "bfloat16 tensor",
        TORCH,
        lambda t: torch.as_tensor(t.values, dtype=torch.bfloat16),
        lambda t: torch.as_tensor(t.values, dtype=torch.bfloat16).double().numpy(),
    ),
    Kind(
        "float8 tensor",
        TORCH,
        lambda t: torch.as_tensor(t.values).to(torch.float8_e4m3fn),
        lambda t: torch.as_tensor(t.values).to(torch.float8_e4m3fn).double().numpy(),
    ),
    Kind(
        "int64 tensor",
        TORCH,
        lambda t: torch.as_tensor(t.whole).long(),
        operator.attrgetter("whole"),
    ),
    Kind(
        "tensor that requires grad",
        TORCH,
        lambda t: torch.as_tensor(t.values).clone().requires_grad_(),
    ),
    Kind("transposed tensor", TORCH, lambda t: torch.as_tensor(t.values.T.copy()).T),
    Kind("sparse COO tensor", TORCH, lambda t: torch.as_tensor(t.values).to_sparse()),
    Kind("sparse CSR tensor", TORCH, lambda t: torch.as_tensor(t.values).to_sparse_csr()),
    Kind("complex tensor", TORCH, lambda t: torch.as_tensor(t.values) + 1j, nothing),
    Kind("meta tensor", TORCH, lambda t: torch.as_tensor(t.values).to("meta"), nothing),
    Kind("TensorDataset", TORCH, lambda t: TensorDataset(torch.as_tensor(t.values))),
    Kind("Dataset of rows and labels", TORCH, lambda t: Items(t.values)),
    Kind("IterableDataset", TORCH, lambda t: Stream(t.values)),
    Kind(
        "DataLoader that shuffles",
        TORCH,
        lambda t: DataLoader(Items(t.values), batch_size=7, shuffle=True),
    ),
    Kind("pandas frame of floats", PANDAS, frame, is_named=True),
    Kind(
        "frame of floats and whole numbers",
        PANDAS,
        lambda t: frame(t, a=t.whole[:, 0].astype(np.int16)),
        with_whole,
        is_named=True,
    ),
    Kind(
        "frame of floats and truth values",
        PANDAS,
        lambda t: frame(t, a=with_truth(t)[:, 0].astype(bool)),
        with_truth,
        is_named=True,
    ),
    Kind(
        "frame of truth values",
        PANDAS,
        lambda t: frame(t) > np.median(t.values, axis=0),
        lambda t: (t.values > np.median(t.values, axis=0)).astype(np.float64),
        is_named=True,
    ),
    Kind(
        "nullable Int64",
        PANDAS,
        lambda t: frame(t, a=pd.array(t.whole[:, 0].astype(int), dtype="Int64")),
        with_whole,
        is_named=True,
    ),
    Kind(
        "nullable Int64 with NA",
        PANDAS,
        lambda t: frame(t, a=pd.array(missing(t.whole[:, 0].astype(int)), dtype="Int64")),
        nothing,
        is_named=True,
    ),
    Kind(
        "nullable boolean",
        PANDAS,
        lambda t: frame(t, a=pd.array(with_truth(t)[:, 0].astype(bool), dtype="boolean")),
        with_truth,
        is_named=True,
    ),
    Kind(
        "nullable boolean with NA",
        PANDAS,
        lambda t: frame(
            t, a=pd.array(missing(with_truth(t)[:, 0].astype(bool)), dtype="boolean")
        ),
        nothing,
        is_named=True,
    ),
    Kind("nullable Float64", PANDAS, lambda t: frame(t).astype("Float64"), is_named=True),
    Kind(
        "nullable Float64 with NA",
        PANDAS,
        lambda t: frame(t, a=pd.array(missing(t.values[:, 0]), dtype="Float64")),
        nothing,
        is_named=True,
    ),
    Kind("frame backed by pyarrow", PANDAS, arrow_backed, needs="pyarrow", is_named=True),
    Kind(
        "frame backed by pyarrow with NA",
        PANDAS,
        lambda t: arrow_backed(t, gap=True),
        nothing,
        needs="pyarrow",
        is_named=True,
    ),
    Kind("object frame of floats", PANDAS, lambda t: frame(t).astype(object), is_named=True),
    Kind(
        "object frame with None",
        PANDAS,
        lambda t: frame(t, a=pd.Series(missing(t.values[:, 0]), dtype=object)),
        nothing,
        is_named=True,
    ),
    Kind(
        "frame with NaN",
        PANDAS,
        lambda t: frame(t, a=missing(t.values[:, 0])),
        nothing,
        is_named=True,
    ),
    Kind(
        "categories that are numbers",
        PANDAS,
        lambda t: frame(t, a=pd.Categorical(t.values[:, 0])),
        is_named=True,
        has_kinds=True,
    ),
    Kind(
        "categories that are words",
        PANDAS,
        lambda t: frame(t, a=pd.Categorical(WORDS)),
        nothing,
        is_named=True,
        has_kinds=True,
    ),
    Kind(
        "column of words",
        PANDAS,
        lambda t: frame(t, a=WORDS),
        nothing,
        is_named=True,
        has_kinds=True,
    ),
    Kind("column of times", PANDAS, lambda t: frame(t, a=DAYS), nothing, is_named=True),
    Kind(
        "column of times in a zone",
        PANDAS,
        lambda t: frame(t, a=pd.Series(DAYS).dt.tz_localize("UTC")),
        nothing,
        is_named=True,
    ),
    Kind(
        "column of spans of time", PANDAS, lambda t: frame(t, a=SPANS), nothing, is_named=True
    ),
    Kind(
        "column of periods",
        PANDAS,
        lambda t: frame(t, a=pd.period_range("2020", periods=N_ROWS, freq="D")),
        nothing,
        is_named=True,
    ),
    Kind(
        "column of complex numbers",
        PANDAS,
        lambda t: frame(t, a=t.values[:, 0] + 1j),
        nothing,
        is_named=True,
    ),
    Kind(
        "sparse columns",
        PANDAS,
        lambda t: frame(t).astype(pd.SparseDtype(float, 0.0)),
        is_named=True,
    ),
    Kind("duplicate names", PANDAS, lambda t: frame(t, "abca")),
    Kind("whole numbers as names", PANDAS, lambda t: frame(t, range(9))),
    Kind("names of mixed types", PANDAS, lambda t: frame(t, ["a", 1, "c", 2])),
    Kind(
        "MultiIndex of columns",
        PANDAS,
        lambda t: frame(t).set_axis(
            pd.MultiIndex.from_product([["a"], NAMES[: t.values.shape[1]]]), axis=1
        ),
    ),
    Kind(
        "MultiIndex of rows",
        PANDAS,
        lambda t: frame(t).set_axis(pd.MultiIndex.from_product([[0], range(len(t.values))])),
        is_named=True,
    ),
    Kind(
        "wrong names",
        PANDAS,
        lambda t: frame(t, "efgh"),
        is_named=True,
    ),
    Kind(
        "pandas Series", PANDAS, lambda t: pd.Series(t.values[:, 0]), lambda t: t.values[:, :1]
    ),
    Kind("polars frame", OTHERS, polars, needs="polars", is_named=True),
    Kind(
        "polars frame with whole numbers",
        OTHERS,
        lambda t: polars(t, a=polars_column(t.whole[:, 0].astype(int))),
        with_whole,
        needs="polars",
        is_named=True,
    ),
    Kind(
        "polars frame with truth values",
        OTHERS,
        lambda t: polars(t, a=polars_column(with_truth(t)[:, 0].astype(bool))),
        with_truth,
        needs="polars",
        is_named=True,
    ),
    Kind(
        "polars frame with a null",
        OTHERS,
        lambda t: polars(t, a=polars_column(missing(t.values[:, 0].tolist()))),
        nothing,
        needs="polars",
        is_named=True,
    ),
    Kind(
        "polars frame with words",
        OTHERS,
        lambda t: polars(t, a=polars_column(WORDS)),
        nothing,
        needs="polars",
        is_named=True,
        has_kinds=True,
    ),
    Kind(
        "polars frame with categories that are words",
        OTHERS,
        lambda t: polars(t, a=polars_column(WORDS, "Categorical")),
        nothing,
        needs="polars",
        is_named=True,
        has_kinds=True,
    ),
    Kind(
        "polars frame with times",
        OTHERS,
        lambda t: polars(t, a=polars_column(DAYS)),
        nothing,
        needs="polars",
        is_named=True,
    ),
    Kind(
        "polars frame with spans of time",
        OTHERS,
        lambda t: polars(t, a=polars_column(SPANS)),
        nothing,
        needs="polars",
        is_named=True,
    ),
    Kind(
        "polars frame with lists",
        OTHERS,
        lambda t: polars(t, a=polars_column([[1.0, 2.0]] * N_ROWS)),
        nothing,
        needs="polars",
        is_named=True,
    ),
    Kind("polars LazyFrame", OTHERS, lambda t: polars(t).lazy(), needs="polars", is_named=True),
    Kind(
        "polars Series",
        OTHERS,
        lambda t: polars_column(t.values[:, 0]),
        lambda t: t.values[:, :1],
        needs="polars",
    ),
    Kind("pyarrow Table", OTHERS, arrow, needs="pyarrow", is_named=True),
    Kind(
        "pyarrow Table with a null",
        OTHERS,
        lambda t: arrow(t, missing(t.values[:, 0].tolist())),
        nothing,
        needs="pyarrow",
        is_named=True,
    ),
    Kind(
        "pyarrow Table with words",
        OTHERS,
        lambda t: arrow(t, WORDS),
        nothing,
        needs="pyarrow",
        is_named=True,
        has_kinds=True,
    ),
    Kind(
        "pyarrow Table with times",
        OTHERS,
        lambda t: arrow(t, DAYS),
        nothing,
        needs="pyarrow",
        is_named=True,
    ),
    Kind(
        "pyarrow RecordBatch",
        OTHERS,
        lambda t: arrow(t).to_batches()[0],
        needs="pyarrow",
        is_named=True,
    ),
    Kind("csr_matrix", SPARSE, lambda t: sparse.csr_matrix(t.values)),
    Kind("csc_matrix", SPARSE, lambda t: sparse.csc_matrix(t.values)),
    Kind("csr_array", SPARSE, lambda t: sparse.csr_array(t.values)),
    Kind("coo_array", SPARSE, lambda t: sparse.coo_array(t.values)),
    Kind(
        "masked array",
        SPARSE,
        lambda t: np.ma.masked_array(t.values, mask=t.values == t.values[0, 0]),
        nothing,
    ),
    Kind("masked array without a mask", SPARSE, lambda t: np.ma.masked_array(t.values)),
    Kind("structured array", SPARSE, structured, nothing),
    Kind("complex array", SPARSE, lambda t: t.values + 1j, nothing),
    Kind("complex array without imaginary part", SPARSE, lambda t: t.values + 0j, nothing),
    Kind("datetime64 array", SPARSE, lambda t: t.whole.astype("int64").view("M8[s]"), nothing),
    Kind("timedelta64 array", SPARSE, lambda t: t.whole.astype("int64").view("m8[s]"), nothing),
    Kind("object array of floats", SPARSE, lambda t: t.values.astype(object)),
    Kind(
        "object array with None",
        SPARSE,
        lambda t: put(None)(Table(t.values.astype(object), 1)),
        nothing,
    ),
    Kind(
        "object array of times",
        SPARSE,
        lambda t: np.array([DAYS[: t.values.shape[1]]] * len(t.values), dtype=object),
        nothing,
    ),
    Kind("array of numbers as text", SPARSE, lambda t: t.values.astype(str), has_kinds=True),
    Kind(
        "list of numbers as text",
        SPARSE,
        lambda t: t.values.astype(str).tolist(),
        has_kinds=True,
    ),
    Kind("array of numbers as bytes", SPARSE, lambda t: t.values.astype(bytes), has_kinds=True),
    Kind("NaN", VALUES, put(np.nan), nothing),
    Kind("NaN, and one column less", VALUES, lambda t: put(np.nan)(t)[:, :-1], nothing),
    Kind(
        "NaN, and other names",
        VALUES,
        lambda t: frame(Table(put(np.nan)(t), 1.0), "efgh"),
        nothing,
        is_named=True,
    ),
    Kind("infinity", VALUES, put(np.inf), nothing),
    Kind("minus infinity", VALUES, put(-np.inf), nothing),
    Kind("an entry of 1e300", VALUES, put(1e300), put(1e300)),
    Kind("entries of 1e300", VALUES, lambda t: t.values * 1e300, lambda t: t.values * 1e300),
    Kind("entries of 1e-310", VALUES, lambda t: t.values * 1e-310, lambda t: t.values * 1e-310),
    Kind(
        "whole numbers beyond float64",
        VALUES,
        lambda t: put(10**400)(Table(t.values.astype(object), 1)),
        nothing,
    ),
    Kind(
        "a constant column",
        VALUES,
        lambda t: np.column_stack([np.ones(len(t.values)), t.values[:, 1:]]),
        lambda t: np.column_stack([np.ones(len(t.values)), t.values[:, 1:]]),
    ),
    Kind(
        "all rows equal",
        VALUES,
        lambda t: np.repeat(t.values[:1], len(t.values), axis=0),
        lambda t: np.repeat(t.values[:1], len(t.values), axis=0),
    ),
    Kind(
        "each row twice",
        VALUES,
        lambda t: np.repeat(t.values[::2], 2, axis=0),
        lambda t: np.repeat(t.values[::2], 2, axis=0),
    ),
    Kind("one row", SHAPES, lambda t: t.values[:1], lambda t: t.values[:1]),
    Kind("two rows", SHAPES, lambda t: t.values[:2], lambda t: t.values[:2]),
    Kind("no rows", SHAPES, lambda t: t.values[:0], nothing),
    Kind("no columns", SHAPES, lambda t: t.values[:, :0], nothing),
    Kind("frame without rows", SHAPES, lambda t: frame(t)[:0], nothing, is_named=True),
    Kind("frame without columns", SHAPES, lambda t: frame(t)[[]], nothing, is_named=True),
    Kind("empty list", SHAPES, lambda t: [], nothing),
    Kind("one dimension", SHAPES, lambda t: t.values[:, 0], lambda t: t.values[:, :1]),
    Kind("three dimensions", SHAPES, lambda t: t.values[:, None]),
    Kind("four dimensions, no image_shape", SHAPES, lambda t: t.values[:, None, None]),
    Kind("one column less", SHAPES, lambda t: t.values[:, :-1], lambda t: t.values[:, :-1]),
    Kind(
        "one column more",
        SHAPES,
        lambda t: np.column_stack([t.values, t.values[:, 0]]),
        lambda t: np.column_stack([t.values, t.values[:, 0]]),
    ),
    Kind("generator of batches", NONE, lambda t: (part for part in np.split(t.values, 4))),
    Kind("generator of rows", NONE, lambda t: (row for row in t.values), nothing),
    Kind("generator of nothing", NONE, lambda t: iter(()), nothing),
    Kind("set", NONE, lambda t: set(map(tuple, t.values.tolist())), nothing),
    Kind(
        "dict of columns", NONE, lambda t: dict(zip(NAMES, t.values.T, strict=False)), nothing
    ),
    Kind("range", NONE, lambda t: range(N_ROWS), nothing),
    Kind("text", NONE, lambda t: "X.npy", nothing),
    Kind("bytes", NONE, lambda t: b"X", nothing),
    Kind("path", NONE, lambda t: Path("X.npy"), nothing),
    # As X_teacher it stands for the rows.
    Kind("None", NONE, lambda t: None),
    Kind("number", NONE, lambda t: 3.0, nothing),
    Kind("array without dimensions", NONE, lambda t: np.array(3.0), nothing),
    Kind("estimator", NONE, lambda t: LogisticRegression(), nothing),
    Kind("class", NONE, lambda t: dict, nothing),
]


# The methods


@dataclass(frozen=True)
class Method:
    """A public method, and what it is given and asked.

    Parameters
    ----------
    name, family : str
        As on the page.
    subject : callable
        From whether the columns are named to what the method is of, or changes; None where
        that is nothing.
    call : callable
        From the subject, the data and their numbers to the numbers of the answer, or to a
        function that asks what was fitted for them.
    table : Table
        What the data are made of.
    """

    name: str
    family: str
    subject: Callable[[bool], Any]
    call: Callable[[Any, Any, np.ndarray | None], Any]
    table: Table = ROWS


class Models(NamedTuple):
    """What was fitted to the rows, with or without names of their columns."""

    vae: TeacherGuidedVAE
    auto: TeacherGuidedVAE
    mixture: GaussianMixtureTeacher
    tempered: TemperedTeacher
    search: TeacherSearch


def mixture():
    """Return a teacher that is not fitted."""
    return GaussianMixtureTeacher(n_components=3, random_state=0)


@functools.cache
def models(is_named):
    """Fit all that is asked about the data."""
    X = frame(ROWS) if is_named else ROWS.values
    return Models(
        TeacherGuidedVAE(**SETTING, teacher=mixture(), random_state=0).fit(X),
        TeacherGuidedVAE(**SETTING, teacher=mixture(), likelihood="auto", random_state=0).fit(
            X
        ),
        mixture().fit(X),
        TemperedTeacher(mixture(), temperature=2.0).fit(X),
        TeacherSearch({"n_components": [2, 3]}, n_refits=2, random_state=0).fit(X),
    )


def copied(name):
    """Return how to take a model that may be fitted anew."""
    return lambda is_named: copy.copy(getattr(models(is_named), name))


def like(numbers):
    """Return rows with as many columns as the data have, to ask what was fitted to them."""
    return np.resize(
        ROWS.values, (N_ROWS, ROWS.values.shape[1] if numbers is None else numbers.shape[1])
    )


def of_fitted(vae, data, numbers):
    """Return what tells what a fit found."""
    return lambda: (vae.transform(like(numbers)), vae.margin_, vae.teacher_information_)


def of_fitted_kinds(vae, data, numbers):
    """Return what tells what a fit found that chose the likelihoods of the columns."""
    vae.fit(data)
    asked = data if numbers is None else numbers
    return lambda: (vae.transform(asked), vae.margin_, vae.teacher_information_)


def of_other_view(vae, data, numbers):
    """Return what tells what a fit with the data as another view found."""
    return of_fitted(vae.fit(ROWS.values, X_teacher=data), data, ROWS.values)


def of_report(report):
    """Return the numbers of a report, and its words as numbers."""
    words = ["held-out", "training", "mixed", "unknown"]
    return (
        report.margin_mean,
        report.lower_bound_mean,
        *(getattr(report, name) or 0.0 for name in ("margin_sample", "lower_bound_sample")),
        *(report.rate or 0.0, report.margin_reconstruction or 0.0),
        *(report.n_samples, report.n_distinct or 0, report.has_copies),
        *(words.index(report.rows), words.index(report.teacher_rows)),
    )


def of_rescue(vae, data, numbers):
    """Return what a rescue found."""
    rescued, before, after = rescue(vae, data)
    return *of_report(before), *of_report(after), *of_fitted(rescued, data, numbers)()


def of_updated(subject, data, numbers):
    """Return the evidence of a monitor."""
    monitor, vae = subject
    ConstantCollapseCertificate(latent="sample").update(monitor, vae, data)
    return monitor.log_e_value, monitor.n_samples


def of_protocol(subject, data, numbers):
    """Return the record of one run."""
    result = run(
        data, arms=("prevention",), seeds=(0,), epochs=1, device="cpu", setting=SETTING
    )
    (record,) = result["runs"]
    report = record["report"]
    return record["elbo"], record["reconstruction_error"], report["margin_sample"]


def of_taught(teacher, data, numbers):
    """Return what asks a teacher that was fitted to the data."""
    teacher.fit(data)
    return functools.partial(teacher.predict_proba, like(numbers))


def of_bound(T, log_q):
    """Return a lower bound, and its evidence."""
    bound = margin_lower_bound(T, log_q, np.full(3, 1 / 3))
    return bound.lower_bound, bound.log_e_value


def own(is_named):
    """Return the model as it is: a read must not change it."""
    return models(is_named).vae


def own_auto(is_named):
    """Return the model that chose the likelihoods of its columns, as it is."""
    return models(is_named).auto


def watched(is_named):
    """Return a monitor, and the model that it watches."""
    vae = models(is_named).vae
    return SequentialMargin(np.full(3, 1 / 3)), vae


def nobody(is_named):
    """Return None: a function is of nothing."""
    return


def by_teacher(teacher):
    """Return a certificate by probe."""
    return ConstantCollapseCertificate(teacher=teacher)


CODES = Table(np.round(4 * ROWS.values[:, :2] / 25) / 4, 0.25)
TRAINING = "training"
READS = "reads"
AUTO = "auto"
AUTO_FIT = 'fit, likelihood="auto"'
CODES_FAMILY = "codes"
CERTIFICATE = "certificate"
TEACHERS = "teachers"
PROTOCOL = "protocol"
INFORMATION = "information"

METHODS = [
    Method("fit", TRAINING, copied("vae"), lambda v, X, n: of_fitted(v.fit(X), X, n)),
    Method("fit(X_teacher=)", TRAINING, copied("vae"), of_other_view),
    Method(
        "partial_fit",
        TRAINING,
        copied("vae"),
        lambda v, X, n: of_fitted(v.partial_fit(X), X, n),
    ),
    Method("rescue", TRAINING, own, of_rescue),
    Method("transform", READS, own, lambda v, X, n: v.transform(X)),
    Method("score", READS, own, lambda v, X, n: v.score(X)),
    Method("score_samples", READS, own, lambda v, X, n: v.score_samples(X)),
    Method(
        "witness_log_proba", READS, own, lambda v, X, n: v.witness_log_proba(X, latent="sample")
    ),
    Method("teacher_proba", READS, own, lambda v, X, n: v.teacher_proba(X)),
    Method("posterior", READS, own, lambda v, X, n: v.posterior(X)),
    Method("posterior_kl", READS, own, lambda v, X, n: v.posterior_kl(X)),
    Method(AUTO_FIT, AUTO, copied("auto"), of_fitted_kinds),
    Method("auto.transform", AUTO, own_auto, lambda v, X, n: v.transform(X)),
    Method("auto.score_samples", AUTO, own_auto, lambda v, X, n: v.score_samples(X)),
    Method("auto.teacher_proba", AUTO, own_auto, lambda v, X, n: v.teacher_proba(X)),
    Method(
        "auto.certify",
        AUTO,
        own_auto,
        lambda v, X, n: of_report(ConstantCollapseCertificate().certify(v, X)),
    ),
    Method(
        "inverse_transform", CODES_FAMILY, own, lambda v, X, n: v.inverse_transform(X), CODES
    ),
    Method(
        "certify(codes, X)",
        CODES_FAMILY,
        copied("mixture"),
        lambda m, codes, n: of_report(by_teacher(m).certify(codes, ROWS.values)),
        CODES,
    ),
    Method(
        "certificate.score",
        CERTIFICATE,
        own,
        lambda v, X, n: ConstantCollapseCertificate(confidence=0.9).score(v, X),
    ),
    Method(
        "certify",
        CERTIFICATE,
        own,
        lambda v, X, n: of_report(ConstantCollapseCertificate().certify(v, X)),
    ),
    Method(
        "certify(teacher=)",
        CERTIFICATE,
        own,
        lambda v, X, n: of_report(by_teacher(v.teacher_).certify(v, X)),
    ),
    Method("update", CERTIFICATE, watched, of_updated),
    Method("GaussianMixtureTeacher.fit", TEACHERS, copied("mixture"), of_taught),
    Method("TemperedTeacher.fit", TEACHERS, copied("tempered"), of_taught),
    Method("TeacherSearch.fit", TEACHERS, copied("search"), of_taught),
    *(
        Method(
            f"{name}.predict_proba",
            TEACHERS,
            copied(attribute),
            lambda m, X, n: m.predict_proba(X),
        )
        for name, attribute in (
            ("GaussianMixtureTeacher", "mixture"),
            ("TemperedTeacher", "tempered"),
            ("TeacherSearch", "search"),
        )
    ),
    Method("protocol.run", PROTOCOL, nobody, of_protocol),
    Method(
        "collapse_prone_variance", PROTOCOL, nobody, lambda s, X, n: collapse_prone_variance(X)
    ),
    Method(
        "teacher_information",
        INFORMATION,
        nobody,
        lambda s, T, n: teacher_information(T),
        TEACHER,
    ),
    Method(
        "margin(T, )", INFORMATION, nobody, lambda s, T, n: margin(T, STUDENT.values), TEACHER
    ),
    Method(
        "margin( , log_q)",
        INFORMATION,
        nobody,
        lambda s, log_q, n: margin(TEACHER.values, log_q),
        STUDENT,
    ),
    Method(
        "margin_lower_bound(T, )",
        INFORMATION,
        nobody,
        lambda s, T, n: of_bound(T, STUDENT.values),
        TEACHER,
    ),
    Method(
        "margin_lower_bound( , log_q)",
        INFORMATION,
        nobody,
        lambda s, log_q, n: of_bound(TEACHER.values, log_q),
        STUDENT,
    ),
]


# The cells


@dataclass(frozen=True)
class Cell:
    """What became of a kind of input in a method.

    Attributes
    ----------
    kind, method : str
        Their names.
    answer : str
        "works", or the type of an error and the first line of its message.
    problem : str or None
        What is wrong with it.
    place : str
        The innermost frame of the error.
    """

    kind: str
    method: str
    answer: str
    problem: str | None
    place: str = ""


def try_all(kinds: Iterable[Kind] = KINDS, methods: Iterable[Method] = METHODS) -> list[Cell]:
    """Return a cell for each kind and method, but for kinds whose package is missing."""
    methods = list(methods)
    there = [kind for kind in kinds if is_there(kind)]
    with warnings.catch_warnings():
        # Of names, of convergence, of numbers that overflow: not what is asked here.
        warnings.simplefilter("ignore")
        return [try_one(kind, method) for kind in there for method in methods]


def is_there(kind: Kind) -> bool:
    """Whether the package that a kind is made with is installed."""
    return kind.needs is None or importlib.util.find_spec(kind.needs) is not None


def try_one(kind: Kind, method: Method) -> Cell:
    """Call a method with a kind of input."""
    is_of_kinds = kind.has_kinds and method.name == AUTO_FIT
    data = kind.make(method.table)
    numbers = None if is_of_kinds else kind.numbers(method.table)
    subject = method.subject(kind.is_named)
    before, written = state_of(subject), written_to(data)
    try:
        answer = method.call(subject, data, numbers)
    except (KeyboardInterrupt, SystemExit):
        raise
    # polars panics with what is no Exception.
    except BaseException as error:
        place, is_raise = origin_of(error.__traceback__)
        answer = f"{type(error).__name__}: {first_line(error)}"
        problem = None
        if not isinstance(error, CLEAR_TYPES) or not is_raise:
            problem = "raw error"
        elif state_of(subject) != before:
            problem = "half change"
        return Cell(kind.name, method.name, answer, problem, place)
    try:
        found = flat(answer)
    except CLEAR_TYPES as error:
        problem = f"silent wrong answer: fitted, and of no use: {first_line(error)}"
    else:
        problem = wrong(found, numbers, method, written(), is_of_kinds)
        if method.subject in (own, own_auto) and state_of(subject) != before:
            problem = "half change"
    return Cell(kind.name, method.name, "works", problem)


def wrong(
    found: np.ndarray,
    numbers: np.ndarray | None,
    method: Method,
    was_written: bool,
    is_of_kinds: bool,
) -> str | None:
    """Return what is wrong with the numbers of an answer, if anything is."""
    if was_written:
        return "silent wrong answer: the array was written to"
    if is_of_kinds:
        return None if np.isfinite(found).all() else "silent wrong answer: not finite"
    if numbers is None:
        return "silent wrong answer: there are no such numbers"
    expected = reference(method.name, numbers.tobytes(), numbers.shape)
    if expected is None:
        return "silent wrong answer: the float64 array is refused"
    if expected.shape != found.shape:
        return f"silent wrong answer: shape {found.shape}, not {expected.shape}"
    # Where the density of a row is none in float32, it is none in any type of number.
    if not (np.isfinite(found) | (found == expected)).all():
        return "silent wrong answer: not finite"
    if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        finite = np.isfinite(expected)
        off = np.abs(found[finite] - expected[finite]).max()
        return f"silent wrong answer: off by {off:.1e}"
    return None


@functools.cache
def reference(name: str, content: bytes, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the answer to a float64 array; None where that is refused."""
    method = next(each for each in METHODS if each.name == name)
    numbers = np.frombuffer(content).reshape(shape).copy()
    try:
        return flat(method.call(method.subject(False), numbers, numbers))
    except CLEAR_TYPES:
        return None


def flat(answer: Any) -> np.ndarray:
    """Return all numbers of an answer in one row."""
    answer = answer() if callable(answer) else answer
    parts = answer if isinstance(answer, tuple) else (answer,)
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])


def state_of(subject: Any) -> Any:
    """Return what a refusal must leave as it was."""
    if isinstance(subject, tuple):
        monitor, vae = subject
        return monitor.n_samples, monitor.log_e_value, state_of(vae)
    if subject is None:
        return None
    # A refused fit may set what it found of the columns anew, to the same.
    held = {
        name: value.tolist() if name == "feature_names_in_" else id(value)
        for name, value in vars(subject).items()
    }
    weights = b""
    if hasattr(subject, "net_"):
        tensors = subject.net_.module_.state_dict().values()
        weights = b"".join(tensor.numpy().tobytes() for tensor in tensors)
    return held, weights


def written_to(data: Any) -> Callable[[], bool]:
    """Return what tells whether an array is no longer what it is now."""
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fiub":
        return lambda: False
    before = np.array(data)
    return lambda: not np.array_equal(np.asarray(data), before, equal_nan=True)


def origin_of(traceback: TracebackType | None) -> tuple[str, bool]:
    """Return where an error comes from, and whether a `raise` of ours is there."""
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    operations = {each.offset: each.opname for each in dis.get_instructions(code)}
    is_raise = operations[traceback.tb_lasti] == "RAISE_VARARGS"
    path = Path(code.co_filename)
    place = "/".join(path.parts[-3:])
    is_ours = code.co_filename.startswith(OURS)
    return f"{place}:{traceback.tb_lineno}", is_ours and is_raise


def first_line(error: BaseException) -> str:
    """Return the first line of a message, without what differs from run to run."""
    line = (str(error).strip().splitlines() or [""])[0]
    line = re.sub(r"0x[0-9a-f]+", "0x...", line)
    return line if len(line) <= 160 else line[:157] + "..."


# The page

FAMILIES = (TRAINING, READS, AUTO, CODES_FAMILY, CERTIFICATE, TEACHERS, PROTOCOL, INFORMATION)
# What may differ between two answers that say the same.
VARIABLE = re.compile(
    r"\b(X|T|log_q|codes|TeacherGuidedVAE|GaussianMixtureTeacher|TeacherSearch)\b"
    r"|[-+]?\d+(\.\d*)?(e[-+]?\d+)?| is required( by \w+)?"
)

INTRODUCTION = """\
Kinds of input
==============

Every public method that takes rows, codes or distributions was given each kind of input below.
It *works* where the answer is that for the float64 array of the same numbers, to 1e-5.
Otherwise the input is refused, and the table has the error and the first line of its message;
one stands for those that differ in the name of the argument or of the estimator, or in a
number. Nothing else happens: no error of another library comes through, a refusal leaves an
estimator as it was, and no array is written to.{wrong}

Where all methods of a family answer alike, the table has its name:

{families}

Those of *auto* are of an estimator with ``likelihood="auto"``. Where its `fit` finds
categories, there is no array of the same numbers: it *works* where what it makes of them is
finite.

::

    python docs/experiments/inputs.py

writes this page, and fails where the first paragraph does not hold; it says how that is told.
The rows were {n_rows} of four columns. Models were fitted to a float64 array, or to a pandas
frame where a kind has the names of its columns.{left_out}
"""


def page(cells: list[Cell]) -> str:
    """Return the page, in reStructuredText."""
    families = "\n".join(
        f"- *{name}*: "
        + ", ".join(f"``{each.name}``" for each in METHODS if each.family == name)
        for name in FAMILIES
    )
    absent = [kind.name for kind in KINDS if not is_there(kind)]
    left_out = f" Left out, as a package was missing: {', '.join(absent)}." if absent else ""
    n_wrong = sum(cell.problem is not None for cell in cells)
    wrong = f" That fails in {n_wrong} of {len(cells)} cases, in bold." if n_wrong else ""
    parts = [
        INTRODUCTION.format(families=families, n_rows=N_ROWS, left_out=left_out, wrong=wrong)
    ]
    answers = {kind.name: answers_to(kind, cells) for kind in KINDS if is_there(kind)}
    for group in dict.fromkeys(kind.group for kind in KINDS):
        alike: dict[Any, list[str]] = {}
        for kind in KINDS:
            if kind.group == group and is_there(kind):
                key = tuple((methods, same) for methods, same, _ in answers[kind.name])
                alike.setdefault(key, []).append(kind.name)
        parts.append(section(group, [(names, answers[names[0]]) for names in alike.values()]))
    return "\n".join(parts)


def answers_to(kind: Kind, cells: list[Cell]) -> list[tuple[str, str, str]]:
    """Return which methods answer alike, what they have in common, and one of the answers."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.kind == kind.name:
            text = cell.answer if cell.problem is None else f"{cell.answer} ({cell.problem})"
            groups.setdefault(VARIABLE.sub("_", text), []).append(cell)
    found = []
    for same, alike in groups.items():
        shown = alike[0].answer
        if shown != "works":
            shown = f"``{shown.replace('`', chr(39))}``"
        if alike[0].problem is not None:
            shown += f" **{alike[0].problem}**"
        found.append((together([cell.method for cell in alike]), same, shown))
    return found


def together(names: list[str]) -> str:
    """Return the names of methods, those of a whole family by its word."""
    if len(names) == len(METHODS):
        return "all"
    words = []
    for family in FAMILIES:
        members = [each.name for each in METHODS if each.family == family]
        inside = [name for name in members if name in names]
        words += [f"*{family}*"] if inside == members else [f"``{name}``" for name in inside]
    return ", ".join(words)


def section(title: str, entries: list[tuple[list[str], list[tuple[str, str, str]]]]) -> str:
    """Return a heading and a table."""
    lines = [
        title,
        "-" * len(title),
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 20 35 45",
        "",
        "   * - Kind",
        "     - Methods",
        "     - Answer",
    ]
    for kinds, answers in entries:
        first = "; ".join(kind.replace("__", r"\_\_") for kind in kinds)
        for methods, _, shown in answers:
            lines += [f"   * - {first}".rstrip(), f"     - {methods}", f"     - {shown}"]
            first = ""
    return "\n".join([*lines, ""])


def main() -> int:
    """Try all, say what is wrong, and write the page."""
    cells = try_all()
    problems = [cell for cell in cells if cell.problem]
    for cell in problems:
        print(f"{cell.kind} | {cell.method} | {cell.problem} | {cell.answer} | {cell.place}")
    n_works = sum(cell.answer == "works" for cell in cells)
    print(f"{len(cells)} cells: {n_works} work, and {len(problems)} are wrong.")
    PAGE.write_text(page(cells), encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
