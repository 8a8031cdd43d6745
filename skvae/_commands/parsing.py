"""Command lines whose errors are one line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["INTERRUPTED", "UNUSABLE", "OneLineParser", "number", "told"]

UNUSABLE, INTERRUPTED = 2, 130


class OneLineParser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        self.exit(UNUSABLE, f"skvae: error: {message} (see {self.prog} --help)\n")


def number(rule: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a type of options: finite numbers of which something holds, which `rule` says.

    Refused by the parser, a number is called by its option, and not by a parameter.
    """

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and holds(value)):
            raise argparse.ArgumentTypeError(f"expected a number {rule}, got {text!r}")
        return value

    return parsed


def told(error: BaseException) -> int:
    """Print an error in one line; return the status of it."""
    sentences = [str(error), *getattr(error, "__notes__", [])]
    print(f"skvae: error: {' '.join(' '.join(sentences).split())}", file=sys.stderr)
    return UNUSABLE
