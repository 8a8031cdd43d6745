"""Which part of an experiment an error is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["noted"]


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say in a note what an error that comes through was about.

    Parameters
    ----------
    what : str
        Such as the name of an arm; nothing is said where it is empty.

    Examples
    --------
    >>> from skvae.protocol.notes import noted
    >>> try:
    ...     with noted("collapse"):
    ...         raise ValueError("no such parameter")
    ... except ValueError as error:
    ...     print(error.__notes__)
    ['This was collapse.']
    """
    try:
        yield
    except Exception as error:
        if what:
            error.add_note(f"This was {what}.")
        raise
