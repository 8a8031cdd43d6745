"""The table of inputs: a part of it as it is, and that an error in any of it would be seen."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
KINDS = [
    "float64 array",
    "float32 array",
    "int64 array",
    "bool array",
    "negative strides",
    "memory map",
    "list of lists",
    "tensor",
    "DataLoader that shuffles",
    "frame of floats and truth values",
    "nullable Float64 with NA",
    "column of times",
    "wrong names",
    "csr_matrix",
    "masked array",
    "complex array",
    "NaN, and one column less",
    "one row",
    "no rows",
    "four dimensions, no image_shape",
    "one column more",
    "column of words",
    "ragged list",
    "tensor that requires grad",
]
METHODS = [
    "fit",
    "partial_fit",
    'fit, likelihood="auto"',
    "transform",
    "score_samples",
    "teacher_proba",
    "inverse_transform",
    "certify",
    "update",
    "margin(T, )",
]


@pytest.fixture(scope="module")
def table():
    """Import the script, which is in no package."""
    path = DOCS / "experiments" / "inputs.py"
    spec = importlib.util.spec_from_file_location("inputs_table", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def named(among, names):
    found = [each for each in among if each.name in names]
    assert len(found) == len(names)
    return found


def test_no_cell_is_wrong_and_the_page_has_each_kind(table):
    kinds, methods = named(table.KINDS, KINDS), named(table.METHODS, METHODS)
    cells = table.try_all(kinds, methods)
    assert len(cells) == len(KINDS) * len(METHODS)
    assert [cell for cell in cells if cell.problem] == []
    page = (DOCS / "inputs.rst").read_text(encoding="utf-8")
    for each in (*table.KINDS, *table.METHODS):
        assert each.name.replace("__", r"\_\_") in page or each.needs


def refuse(vae, X, numbers):
    raise ValueError("A sentence, but not of ours.")


def change_and_refuse(vae, X, numbers):
    vae.n_iter_ = 7
    return vae.transform(X[:, :1])


def change(vae, X, numbers):
    vae.n_iter_ = 7
    return 1.0


def write(vae, X, numbers):
    X[0] = 0
    return 1.0


@pytest.mark.parametrize(
    ("call", "kind", "problem"),
    [
        (lambda vae, X, numbers: vae.transform(X), "float32 array", None),
        (lambda vae, X, numbers: vae.transform(X), "one column more", None),
        # In a file that is not ours, of a type that is not, in C, by the interpreter.
        (refuse, "float64 array", "raw error"),
        (lambda vae, X, numbers: {}[0], "float64 array", "raw error"),
        (lambda vae, X, numbers: np.asarray(X, float), "ragged list", "raw error"),
        (lambda vae, X, numbers: np.concatenate(X), "no rows", "raw error"),
        (lambda vae, X, numbers: vae.set_params(**3), "float64 array", "raw error"),
        (change_and_refuse, "float64 array", "half change"),
        (change, "float64 array", "half change"),
        (write, "float64 array", "written to"),
        (lambda vae, X, numbers: X.sum(), "complex array", "no such numbers"),
        (lambda vae, X, numbers: X.real.sum(), "complex array", "no such numbers"),
        (lambda vae, X, numbers: X + (X.dtype == "f4"), "float32 array", "off by 1.0e+00"),
        (lambda vae, X, numbers: X[:2], "every other row of an array", None),
        (lambda vae, X, numbers: np.full(3, np.nan), "float64 array", "not finite"),
        (
            lambda vae, X, numbers: lambda: vae.transform(X[:, :1]),
            "float64 array",
            "of no use",
        ),
    ],
)
def test_what_is_wrong_is_seen(table, monkeypatch, call, kind, problem):
    method = next(each for each in table.METHODS if each.name == "transform")
    method = replace(method, name="planted", call=call)
    monkeypatch.setattr(table, "METHODS", [*table.METHODS, method])
    vae = table.models(False).vae
    before = dict(vars(vae))
    table.reference.cache_clear()
    (cell,) = table.try_all(named(table.KINDS, [kind]), [method])
    vars(vae).update(before)
    assert (cell.problem is None) == (problem is None), cell
    assert problem is None or problem in cell.problem
