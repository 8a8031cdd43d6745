"""Docstrings of all that is public: numpydoc takes them, and they say what signatures say."""

import dataclasses
import importlib
import inspect
import re

import pytest
from test_package import given_out

from skvae.datasets.photographs import PHOTOGRAPHS

numpydoc = pytest.importorskip("numpydoc")
from numpydoc.docscrape import get_doc_object  # noqa: E402
from numpydoc.validate import validate  # noqa: E402

# Matters of taste: a See Also and more than a line of every name, no names of results, and a
# summary whose first word may be a noun in the plural.
TASTE = {"ES01", "SA01", "RT02", "SS05"}
# Wings whose classes have methods for other wings, and not for users.
INNER = ("skvae.rows", "skvae.training")


def of_others(owner, name):
    """Whether a method stands in for one of a base class that is not ours."""
    return any(name in vars(base) for base in owner.__mro__ if "skvae" not in base.__module__)


def is_record(public):
    return dataclasses.is_dataclass(public) or hasattr(public, "_fields")


def is_error(public):
    return isinstance(public, type) and issubclass(public, Exception)


def documented():
    for path, names in sorted(given_out().items()):
        for name in sorted(names):
            public = getattr(importlib.import_module(path), name)
            if inspect.isclass(public):
                yield f"{path}.{name}"
                if path in INNER:
                    continue
                for method, value in vars(public).items():
                    is_own = isinstance(value, (property, classmethod, staticmethod))
                    is_own = is_own or inspect.isfunction(value)
                    if is_own and not method.startswith("_") and not of_others(public, method):
                        yield f"{path}.{name}.{method}"
            elif callable(public):
                yield f"{path}.{name}"


NAMES = sorted(documented())


def resolved(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        owner = None
        for part in parts[length:]:
            owner, found = found, getattr(found, part)
        return owner, found
    raise AssertionError(name)


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc_takes_it(name):
    owner, public = resolved(name)
    taste = set(TASTE)
    if inspect.isclass(owner) or is_error(public):
        # The example of a class shows its methods.
        taste.add("EX01")
    if is_record(public):
        # What it is made of is its attributes.
        taste.add("PR01")
    errors = [each for each in validate(name)["errors"] if each[0] not in taste]
    assert errors == []


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_the_signature(name):
    _, public = resolved(name)
    if not callable(public) or is_record(public) or is_error(public):
        return
    told = {each.name: each.type for each in get_doc_object(public)["Parameters"]}
    for name, parameter in inspect.signature(public).parameters.items():
        default = parameter.default
        # Those that are passed on have none, and what is to be called has no other words.
        if name in told and (default is inspect.Parameter.empty or not callable(default)):
            (said,) = re.findall(r"default=(.+)$", told[name].strip()) or [None]
            if default is inspect.Parameter.empty:
                assert said is None, told[name]
            else:
                assert repr(
                    eval(said, {"nan": float("nan"), "PHOTOGRAPHS": PHOTOGRAPHS})
                ) == repr(default), told[name]
