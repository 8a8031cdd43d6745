"""Docstrings that share sections."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["shares"]


def shares(**sections: str) -> Callable[[Any], Any]:
    """Decorate what has ``{name}`` on lines of its docstring where a shared section belongs.

    Examples
    --------
    >>> from skvae._common.docstrings import shares
    >>> @shares(returns="It is an int.")
    ... def one():
    ...     "Return one. {returns}"
    >>> one.__doc__
    'Return one. It is an int.'
    """

    def fill(documented: Any) -> Any:
        # Python leaves docstrings out with -OO.
        if documented.__doc__:
            text = inspect.cleandoc(documented.__doc__)
            for name, section in sections.items():
                text = text.replace(f"{{{name}}}", inspect.cleandoc(section))
            documented.__doc__ = f"{text}\n" if "\n" in text else text
        return documented

    return fill
