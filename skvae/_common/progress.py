"""What a person sees of long work: a line that is rewritten, lines, and records in a log.

`verbose` means the same everywhere. 0 is silent. At 1 one line on stderr is rewritten as work
goes on, with the time left; at 2 a line a step is printed to stdout. At both the steps, and
what is said between them, are records of level INFO of the logger "skvae", which shows none by
itself: whoever wants them adds a handler.

A line is rewritten in the process that a person has started alone. Workers of joblib share its
terminal, and know nothing of each other: they would write over each other's lines.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from sklearn.utils.parallel import Parallel

from skvae._common.threads import surely

__all__ = ["CountedParallel", "Progress", "logger", "say", "write_line"]

# Seconds before a line that waits for the first step: more than none at all.
SOON = 1e-3

logger = logging.getLogger("skvae")
logger.addHandler(logging.NullHandler())


class Progress:
    """How far work of so many steps has come; a context manager.

    Parameters
    ----------
    verbose : int or bool
        0 is silent, 1 a line that is rewritten, more a line a step.
    total : int
        Steps that are to be done.
    what : str
        What is done, with a capital letter.
    unit : str
        What a step is.
    at_once : bool
        Whether the line is there before the first step is done.
    prints : bool
        Whether a line a step is printed from here; False where the caller does.

    Examples
    --------
    >>> from skvae._common.progress import Progress
    >>> with Progress(2, total=3, what="Searching", unit="fold") as progress:
    ...     progress.advance()
    ...     progress.advance(lambda: "all is well", n_steps=2)
    Searching, fold 1 of 3
    Searching, fold 3 of 3: all is well
    """

    def __init__(self, verbose, total, what, unit, *, at_once=True, prints=True):
        self.verbose = int(verbose)
        self.total = total
        self.what = what
        self.unit = unit
        self.at_once = at_once
        self.prints = prints
        self.n_done = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.verbose == 1 and _can_rewrite():
            self._bar = _bar_class()(
                total=self.total,
                desc=self.what,
                unit=f" {self.unit}s",
                # Every step is a long one: how long ago the last was drawn decides.
                miniters=1,
                delay=0 if self.at_once else SOON,
            )
            # One below another goes when it is done; a widget is to do so too.
            self._bar.leave = self._bar.pos == 0
        return self

    def __exit__(self, *error: object) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            surely(bar.close)

    def __getstate__(self) -> dict[str, Any]:
        # What is drawn on is no part of a model that is pickled while it trains.
        return {**self.__dict__, "_bar": None}

    def advance(self, words: Callable[[], str] | None = None, n_steps: int = 1) -> None:
        """Count steps that are done.

        Parameters
        ----------
        words : callable or None
            Returns what the last of them came to; called where it is shown alone.
        n_steps : int
            How many.
        """
        self.n_done += n_steps
        if not self.verbose:
            return
        found = words() if words else ""
        line = f"{self.what}, {self.unit} {self.n_done} of {self.total}"
        bar = self._bar
        if bar is not None:
            bar.set_postfix_str(found, refresh=False)
            bar.update(n_steps)
            if bar.last_print_t < bar.start_t + bar.delay:
                # What is done within a tenth of a second tqdm would never draw.
                bar.refresh()
                bar.last_print_t = bar.start_t + bar.delay
        say(f"{line}: {found}" if found else line, self.verbose if self.prints else 1, bar)

    def begin_at(self, n_steps: int) -> None:
        """Take steps for done that were done before: the time left is that of the others."""
        self.n_done = n_steps
        if self._bar is not None:
            self._bar.initial = self._bar.n = n_steps


class CountedParallel(Parallel):
    """`Parallel` of scikit-learn that tells how many of its tasks are done.

    Parameters
    ----------
    progress : Progress
        Is advanced by a step for each task.
    **parameters
        As in `joblib.Parallel`.

    Examples
    --------
    >>> from sklearn.utils.parallel import delayed
    >>> from skvae._common.progress import CountedParallel, Progress
    >>> with Progress(2, total=2, what="Raising", unit="number") as progress:
    ...     CountedParallel(progress)(delayed(pow)(base, 2) for base in (3, 4))
    Raising, number 1 of 2
    Raising, number 2 of 2
    [9, 16]
    """

    def __init__(self, progress, **parameters):
        super().__init__(**parameters)
        self.progress = progress
        self._counting = threading.Lock()

    def __call__(self, iterable: Any) -> list[Any]:
        """Return the results of the tasks, in their order."""
        results: list[Any] = super().__call__(iterable)
        # joblib may hand over the last ones before it has counted them.
        self._count(len(results))
        return results

    def print_progress(self) -> None:
        """Count what is completed: joblib calls it after each task, in a thread of its own."""
        self._count(self.n_completed_tasks)

    def _count(self, n_completed: int) -> None:
        with self._counting:
            n_new = n_completed - self.progress.n_done
            if n_new > 0:
                self.progress.advance(n_steps=n_new)


def say(message: str, verbose: int | bool, bar: Any = None) -> None:
    """Log a sentence unless `verbose` is 0, and print it from 2 on.

    Parameters
    ----------
    message : str
        The sentence.
    verbose : int or bool
        How loud.
    bar : tqdm or None
        Is taken off the screen while a handler may write there.
    """
    if not verbose:
        return
    if logger.isEnabledFor(logging.INFO):
        if bar is not None:
            bar.clear()
        logger.info("%s", message)
        if bar is not None:
            bar.refresh()
    if verbose > 1:
        write_line(message)


def write_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line, whole, above the lines that are being rewritten; to stdout by itself."""
    stream = sys.stdout if stream is None else stream
    # In one piece: a worker process may write to the same terminal.
    _bar_class().write(line + "\n", file=stream, end="")
    stream.flush()


def _can_rewrite() -> bool:
    return multiprocessing.parent_process() is None and sys.stderr is not None


@functools.cache
def _bar_class() -> Any:
    # In a notebook it is a widget. Importing it costs time, which who wants silence is spared.
    from tqdm.auto import tqdm

    return tqdm
