"""Pickled batches of bytes, read by the few instructions that such a batch has.

A pickle is a program, and a stranger's may call functions, ask for gigabytes by naming a place
in a table, or nest tuples until the interpreter overflows. Python 2 wrote the published
batches by two dozen instructions of protocol 2; here they build flat values only, so that what
a file takes in memory, and how deep it nests, is bounded by its length.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["unpickle_batch"]

PROTOCOL_2 = b"\x80\x02"
# A training file of CIFAR-100 has 0.2 million.
MAX_INSTRUCTIONS = 2 * 2**20
LONGEST_TUPLE = 8  # the state of an array's type
LONGEST_NUMBER = 8
LONGEST_NAME = 100


def unpickle_batch(content: bytes, path: Path) -> dict[bytes, Any]:
    """Return the dictionary in a pickle of Python 2, or say why it was not loaded.

    Its values are bytes, numbers, and lists and tuples of these, or arrays of unsigned bytes.
    Nothing that it names is imported or called.
    """
    try:
        batch = _Program(content).run()
        if not isinstance(batch, dict):
            raise ValueError(f"it holds no dictionary but a {type(batch).__name__}")
        return {
            key: value.pixels if isinstance(value, _Array) else value
            for key, value in batch.items()
        }
    except _ForeignNameError as error:
        raise ValueError(
            f"{path} was not loaded: it asks for {error}, which no such batch holds. It may be "
            "malicious; download the archive again."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, or no pickled batch ({error}): unpack the archive again."
        ) from error


class _ForeignNameError(Exception):
    pass


class _Name:
    """Takes the place of a function or a class that a batch names."""


RECONSTRUCT, NDARRAY, DTYPE, UNSIGNED_BYTES = (_Name() for _ in range(4))
NAMES = {
    b"numpy.core.multiarray\n_reconstruct": RECONSTRUCT,
    b"numpy\nndarray": NDARRAY,
    b"numpy\ndtype": DTYPE,
}
# What a tuple may hold; so tuples are never deeper than two.
SINGLE = (int, bytes, bool, type(None), _Name)


class _Array:
    """Takes the place of an array until its state is set."""

    pixels: NDArray[np.uint8] | None = None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("its array has no state")
        _, shape, dtype, column_major, content = state
        if dtype is not UNSIGNED_BYTES or not isinstance(content, bytes):
            raise ValueError("its array is not one of unsigned bytes")
        if not isinstance(shape, tuple) or any(type(size) is not int for size in shape):
            raise ValueError("its array has no shape")
        if any(size < 0 for size in shape) or len(content) != math.prod(shape):
            raise ValueError(f"its array of shape {shape} cannot have {len(content)} bytes")
        array = np.frombuffer(content, np.uint8)
        self.pixels = array.reshape(shape, order="F" if column_major else "C")


class _Program:
    """The stack machine of pickle; the letters of its instructions are those of pickletools."""

    def __init__(self, content: bytes):
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        if self._take(2) != PROTOCOL_2:
            raise ValueError("it does not begin as protocol 2 of pickle, of Python 2")
        for _ in range(MAX_INSTRUCTIONS):
            code = self._take(1)
            if code == b".":
                return self._result()
            self._follow(code)
        raise ValueError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")

    def _follow(self, code: bytes) -> None:
        stack = self._stack
        match code:
            case b"K":
                stack.append(self._number(1))
            case b"U":
                stack.append(self._take(self._number(1)))
            case b"q":
                self._memo[self._number(1)] = self._top()
            case b"r":
                self._memo[self._number(4)] = self._top()
            case b"h":
                stack.append(self._recall(self._number(1)))
            case b"j":
                stack.append(self._recall(self._number(4)))
            case b"M":
                stack.append(self._number(2))
            case b"J":
                stack.append(self._number(4, signed=True))
            case b"\x8a":
                # The long of Python 2, which it has on Windows for a size of an array.
                length = self._number(1)
                if length > LONGEST_NUMBER:
                    raise ValueError(f"it has a number of {length} bytes")
                stack.append(self._number(length, signed=True))
            case b"T":
                stack.append(self._take(self._number(4)))
            case b"N":
                stack.append(None)
            case b"\x88" | b"\x89":
                stack.append(code == b"\x88")
            case b"(":
                self._marks.append(len(stack))
            case b")":
                stack.append(())
            case b"]":
                stack.append([])
            case b"}":
                stack.append({})
            case b"\x85" | b"\x86" | b"\x87":
                stack.append(_flat_tuple(self._pop(code[0] - 0x84)))
            case b"t":
                stack.append(_flat_tuple(self._pop_to_mark()))
            case b"a":
                self._extend(self._pop(1))
            case b"e":
                self._extend(self._pop_to_mark())
            case b"s":
                self._update(self._pop(2))
            case b"u":
                self._update(self._pop_to_mark())
            case b"c":
                stack.append(self._name())
            case b"R":
                stack.append(_call(*self._pop(2)))
            case b"b":
                self._build(*self._pop(1))
            case _:
                raise ValueError(
                    f"byte {self._at - 1} is the instruction {code!r}, which no batch has"
                )

    def _take(self, length: int) -> bytes:
        piece = self._content[self._at : self._at + length]
        if len(piece) < length:
            raise ValueError("it ends within an instruction")
        self._at += length
        return piece

    def _number(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self._take(width), "little", signed=signed)

    def _name(self) -> _Name:
        following = self._content[self._at : self._at + LONGEST_NAME]
        module, line_end, rest = following.partition(b"\n")
        name, end, _ = rest.partition(b"\n")
        if not end and len(following) < LONGEST_NAME:
            raise ValueError("it ends within a name")
        whole = module + line_end + name
        if whole not in NAMES:
            raise _ForeignNameError(repr(b".".join((module, name)).decode(errors="replace")))
        self._take(len(whole) + 1)
        return NAMES[whole]

    def _recall(self, place: int) -> Any:
        if place not in self._memo:
            raise ValueError(f"it recalls value {place}, which it has not kept")
        return self._memo[place]

    def _top(self) -> Any:
        (top,) = self._pop(1)
        self._stack.append(top)
        return top

    def _pop(self, number: int) -> list[Any]:
        start = len(self._stack) - number
        # What was there before an open mark is out of reach.
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("an instruction lacks what it works on")
        popped = self._stack[start:]
        del self._stack[start:]
        return popped

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("an instruction lacks its mark")
        popped = self._pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return popped

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list or any(type(item) not in (int, bytes) for item in items):
            raise ValueError("a list has something other than numbers and strings")
        target += items

    def _update(self, items: list[Any]) -> None:
        target, keys, values = self._top(), items[::2], items[1::2]
        if type(target) is not dict or len(keys) != len(values):
            raise ValueError("a dictionary has a key without a value")
        # Strings only, for hashing a tuple of tuples may take for ever.
        if any(type(key) is not bytes for key in keys):
            raise ValueError("a dictionary has a key that is no string")
        if any(type(value) is dict for value in values):
            raise ValueError("a dictionary has another within")
        target.update(zip(keys, values, strict=True))

    def _build(self, state: Any) -> None:
        target = self._top()
        if isinstance(target, _Array):
            target.set_state(state)
        # The state of a type is byte order and alignment: a byte has neither.
        elif target is not UNSIGNED_BYTES:
            raise ValueError("it sets the state of something other than an array")

    def _result(self) -> Any:
        result = self._top()
        if len(self._stack) != 1 or self._at != len(self._content):
            raise ValueError("it does not end where its value is complete")
        return result


def _flat_tuple(items: list[Any]) -> tuple[Any, ...]:
    """Return a short tuple of single values, and of short tuples of single values."""
    parts = [part for item in items for part in (item if type(item) is tuple else (item,))]
    if len(items) > LONGEST_TUPLE or any(type(part) not in SINGLE for part in parts):
        raise ValueError("a tuple is too long or too deep")
    return tuple(items)


def _call(function: Any, arguments: Any) -> Any:
    if function is RECONSTRUCT and arguments == (NDARRAY, (0,), b"b"):
        return _Array()
    if function is DTYPE and type(arguments) is tuple and arguments:
        code = arguments[0]
        if code == b"u1":
            return UNSIGNED_BYTES
        shown = code[:20] if type(code) is bytes else type(code).__name__
        raise ValueError(f"its array has the type {shown!r}, not unsigned bytes")
    raise ValueError("it calls something other than what makes an array")
