"""Command lines whose errors are one line."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

__all__ = ["INTERRUPTED", "UNUSABLE", "OneLineParser", "told"]

UNUSABLE, INTERRUPTED = 2, 130


class OneLineParser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        self.exit(UNUSABLE, f"skvae: error: {message} (see {self.prog} --help)\n")


def told(error: BaseException) -> int:
    """Print an error in one line; return the status of it."""
    sentences = [str(error), *getattr(error, "__notes__", [])]
    print(f"skvae: error: {' '.join(' '.join(sentences).split())}", file=sys.stderr)
    return UNUSABLE
