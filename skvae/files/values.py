"""From objects to plain values and arrays, and back: a closed list of what a file may hold.

Reading makes objects of the classes on that list alone, and gives them what they had as data.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skvae.files import foreign
from skvae.files.archive import SCALARS
from skvae.rows.columns import Column, Columns
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.frames import ColumnType

__all__ = ["Packer", "Unpacker", "holds", "is_optimizer", "with_state"]

# What a mapping in a file is, where it is none of Python.
KIND = "is"
# Classes of scikit-learn that the teachers of ours are made of, and others are wrapped in: they
# need no skops. Where they are by name, and where they come from.
PARTS_OF_TEACHERS = {
    "FrozenEstimator": "sklearn.frozen",
    "GaussianMixture": "sklearn.mixture",
    "PCA": "sklearn.decomposition",
    "Pipeline": "sklearn.pipeline",
    "StandardScaler": "sklearn.preprocessing",
}


@dataclass(frozen=True)
class Kept:
    """How objects of one class are kept.

    Parameters
    ----------
    cls : type
        The class; objects of a subclass are not kept by it.
    state_of : callable
        From an object, and the packer, to what it is made of.
    made_of : callable
        The way back, from what it is made of and the unpacker.
    """

    cls: type
    state_of: Callable[[Any, Packer], Mapping[str, Any]]
    made_of: Callable[[dict[str, Any], Unpacker], Any]


_kept: dict[str, Kept] = {}


def holds(
    cls: type,
    state_of: Callable[[Any, Packer], Mapping[str, Any]],
    made_of: Callable[[dict[str, Any], Unpacker], Any],
) -> None:
    """Let files hold objects of a class, under its name."""
    _kept[cls.__name__] = Kept(cls, state_of, made_of)


def with_state(cls: type, state: Mapping[str, Any]) -> Any:
    """Return an object of a class with a state; what is no data of one is refused."""
    for name in state:
        if not (name.isidentifier() and not callable(getattr(cls, name, None))):
            raise ValueError(f"{name!r} is no attribute of a {cls.__name__}")
    made: Any = object.__new__(cls)
    if hasattr(cls, "__setstate__"):
        made.__setstate__(dict(state))
    else:
        vars(made).update(state)
    return made


@dataclass
class Packer:
    """From objects to plain values, with the arrays beside them; each object once.

    Parameters
    ----------
    trusted : list of str
        Types, beside those of scikit-learn, that a foreign estimator may be made of.
    teacher : {"keep", "drop"}
        Whether models keep the teachers that they were fitted with.
    """

    trusted: list[str]
    teacher: str = "keep"
    arrays: dict[str, NDArray] = field(default_factory=dict)
    # Held, so that no other object gets the number of one that is gone.
    _seen: dict[int, tuple[Any, int]] = field(default_factory=dict)

    def pack(self, value: Any, place: str) -> Any:
        """Return plain values for a value, or say which part of it a file does not hold."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str) or isinstance(value, np.generic):
            return value
        if kind in (list, tuple):
            return kind(self.pack(each, f"{place}[{at}]") for at, each in enumerate(value))
        if kind is dict:
            return self._pack_mapping(value, place)
        if kind is bytes:
            return {KIND: "bytes", "array": self._keep(np.frombuffer(value, np.uint8))}
        if isinstance(value, PurePath):
            return {KIND: "path", "path": str(value)}
        if kind is timedelta:
            return {KIND: "timedelta", "parts": [value.days, value.seconds, value.microseconds]}
        if isinstance(value, type) and is_optimizer(value):
            return {KIND: "optimizer", "name": value.__name__}
        if kind is partial and isinstance(value.func, type) and not value.args:
            packed = {"of": value.func, "with": dict(value.keywords)}
            return {KIND: "partial", **self._pack_mapping(packed, place)}
        if id(value) in self._seen:
            return {KIND: "same", "number": self._seen[id(value)][1]}
        number = len(self._seen)
        self._seen[id(value)] = value, number
        return {"number": number, **self._pack_object(value, place)}

    def _pack_mapping(self, value: dict, place: str) -> Any:
        if all(type(key) is str and key != KIND and not key.startswith("$") for key in value):
            return {key: self.pack(each, f"{place}.{key}") for key, each in value.items()}
        pairs = [
            (self.pack(key, f"a key of {place}"), self.pack(each, f"{place}[{key!r}]"))
            for key, each in value.items()
        ]
        return {KIND: "pairs", "pairs": pairs}

    def _pack_object(self, value: Any, place: str) -> dict[str, Any]:
        kind = type(value)
        if kind is np.ndarray:
            return self._pack_array(value, place)
        if kind is np.random.RandomState:
            state = value.get_state(legacy=True)
            return {KIND: "RandomState", "state": self.pack(state, place)}
        kept = _kept.get(kind.__name__)
        if kept is not None and kept.cls is kind:
            state = self.pack(dict(kept.state_of(value, self)), kind.__name__)
            return {KIND: kind.__name__, "state": state}
        if kind is _part_of_teachers(kind.__name__):
            state = self.pack(value.__getstate__(), f"{place} ({kind.__name__})")
            return {KIND: kind.__name__, "state": state}
        if isinstance(value, BaseEstimator):
            content = np.frombuffer(foreign.dumped(value, place, self.trusted), np.uint8)
            return {KIND: "foreign", "array": self._keep(content)}
        raise TypeError(
            f"{place} is {_named(value)}, which a file does not hold: it would have to hold "
            "code. Set it to None before you save, and again after you load, or use pickle."
        )

    def _pack_array(self, value: NDArray, place: str) -> dict[str, Any]:
        if value.dtype.name in SCALARS:
            # The order in memory decides over the last digits of products.
            is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
            packed = {KIND: "array", "array": self._keep(value)}
            return {**packed, "order": "F"} if is_fortran else packed
        values = value.tolist()
        is_text = all(type(each) is str for each in value.flat)
        if value.dtype.kind == "U" or (value.dtype == object and is_text):
            return {KIND: "texts", "as objects": value.dtype == object, "values": values}
        raise TypeError(
            f"{place} is an array of {value.dtype}, which a file does not hold: numbers of up "
            "to 64 bits and texts are."
        )

    def _keep(self, array: NDArray) -> str:
        name = str(len(self.arrays))
        self.arrays[name] = array
        return name


@dataclass
class Unpacker:
    """The way back from plain values and arrays to objects.

    Parameters
    ----------
    arrays : dict of ndarray
        As they were read.
    trusted : list of str
        As of a `Packer`.
    settings : dict
        What whoever loads a model says of it: its device, and modules that no file holds.
    """

    arrays: dict[str, NDArray]
    trusted: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    _made: dict[int, Any] = field(default_factory=dict)

    def unpack(self, value: Any) -> Any:
        """Return what was packed."""
        kind = type(value)
        if kind in (list, tuple):
            return kind(map(self.unpack, value))
        if kind is not dict:
            return value
        if KIND not in value:
            return {key: self.unpack(each) for key, each in value.items()}
        match value[KIND]:
            case "pairs":
                return {self.unpack(key): self.unpack(each) for key, each in value["pairs"]}
            case "bytes":
                return self._array(value, np.uint8).tobytes()
            case "path":
                return Path(value["path"])
            case "timedelta":
                return timedelta(*value["parts"])
            case "optimizer":
                return _optimizer(value["name"]) or _unknown(value["name"])
            case "partial":
                if value["of"][KIND] != "optimizer":
                    _unknown(value["of"])
                return partial(self.unpack(value["of"]), **self.unpack(value["with"]))
            case "same":
                return self._made[value["number"]]
        made = self._unpack_object(value)
        self._made[value["number"]] = made
        return made

    def _unpack_object(self, value: dict[str, Any]) -> Any:
        name = value[KIND]
        match name:
            case "array":
                array = self.arrays[value["array"]]
                return np.asfortranarray(array) if value.get("order") == "F" else array
            case "texts":
                return np.array(value["values"], dtype=object if value["as objects"] else str)
            case "RandomState":
                state = np.random.RandomState()
                state.set_state(self.unpack(value["state"]))
                return state
            case "foreign":
                return foreign.loaded(self._array(value, np.uint8).tobytes(), self.trusted)
        if name in _kept:
            return _kept[name].made_of(self.unpack(value["state"]), self)
        cls = _part_of_teachers(name) or _unknown(name)
        return with_state(cls, self.unpack(value["state"]))

    def _array(self, value: dict[str, Any], dtype: type) -> NDArray:
        array = self.arrays[value["array"]]
        if array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"an array is of {array.dtype} where bytes should be")
        return array


def _part_of_teachers(name: str) -> type | None:
    if name not in PARTS_OF_TEACHERS:
        return None
    # Together they take longer to import than all of skvae.
    found: type = getattr(importlib.import_module(PARTS_OF_TEACHERS[name]), name)
    return found


def is_optimizer(value: Any) -> bool:
    """Whether this is a class of `torch.optim`, or a partial of one: what a file holds."""
    made_by = value.func if isinstance(value, partial) else value
    return isinstance(made_by, type) and _optimizer(made_by.__name__) is made_by


def _optimizer(name: str) -> type | None:
    """Return a class of `torch.optim` by its name; None for others, and where torch is not."""
    torch: Any = sys.modules.get("torch")
    found = getattr(torch.optim, name, None) if torch else None
    is_one = isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
    return found if is_one else None


def _unknown(name: Any) -> Any:
    raise ValueError(f"it holds a {name!r}, which this version of skvae does not know")


def _named(value: Any) -> str:
    named = getattr(value, "__qualname__", None)
    kind = type(value)
    return (
        f"the {kind.__name__} {named}" if named else f"a {kind.__module__}.{kind.__qualname__}"
    )


def _fingerprint_of(state: dict[str, Any], unpacker: Unpacker) -> RowFingerprint:
    keys, sieve = state["keys"], state["sieve"]
    is_sound = (keys.dtype, sieve.dtype) == (np.uint16, np.uint8) and keys.shape[1:] == (3,)
    if not is_sound:
        raise ValueError("a fingerprint of rows is none")
    return RowFingerprint(keys, sieve)


holds(RowFingerprint, lambda value, packer: vars(value), _fingerprint_of)


def _state_of_columns(value: Columns, packer: Packer) -> dict[str, Any]:
    columns = [{**vars(each), "type": dict(vars(each.type))} for each in value.columns]
    return {"columns": columns, "library": value.library}


def _columns_of(state: dict[str, Any], unpacker: Unpacker) -> Columns:
    columns = [
        Column(**{**each, "type": ColumnType(**each["type"])}) for each in state["columns"]
    ]
    return Columns(tuple(columns), state["library"])


holds(Columns, _state_of_columns, _columns_of)
