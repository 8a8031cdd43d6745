"""``skvae`` and ``python -m skvae``: the protocol, and certificates of codes in files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = ("run", "certify")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a command line says: ``certify``, ``--completion``, or else ``run``.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command line; None is the process's own.

    Returns
    -------
    status : int
        0 if it went well, and the pattern held or the code was certified; 1 if not; 2 for
        unusable options or data; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    name, rest = "run", arguments
    if arguments and arguments[0] in COMMANDS:
        name, *rest = arguments
    elif arguments and arguments[0] == "--completion":
        name, rest = "completion", arguments[1:]
    # On use: who certifies waits for no torch.
    return int(import_module(f"skvae._commands.{name}").main(rest))


if __name__ == "__main__":
    sys.exit(main())
