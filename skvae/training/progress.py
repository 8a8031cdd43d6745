"""What is told of training: its beginning, each epoch, its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from skorch.callbacks import PrintLog

from skvae._common.progress import Progress, say, write_line
from skvae.training.stopping import StopTraining

__all__ = ["EpochLog", "epoch_in_words", "epochs_in_words", "silent", "told"]


class EpochLog(PrintLog):
    """Tell of an epoch when all else is recorded of it: of all callbacks it is the last.

    At ``verbose=2`` it prints skorch's line, which costs as much as a small step to make.
    """

    def on_epoch_end(self, net, **kwargs):
        """Advance the line of the training that goes on, if any is told."""
        if net._progress is None:
            return
        if net.verbose > 1:
            super().on_epoch_end(net, **kwargs)
        net._progress.advance(lambda: epoch_in_words(net.history[-1]))

    def _sink(self, text, verbose):
        write_line(text)


@contextmanager
def told(net: Any, rows: Any, n_epochs: int | None) -> Iterator[None]:
    """Tell what the net goes through inside, as loudly as its `verbose` is.

    Parameters
    ----------
    net : VAENet
        Initialised.
    rows : TrainingRows
        What it is trained on.
    n_epochs : int or None
        Passes over them at the most; None is its ``max_epochs``.
    """
    if not net.verbose:
        yield
        return
    total = net.max_epochs if n_epochs is None else n_epochs
    n_before = len(net.history)
    say(
        f"Training begins: {len(rows)} rows, {total} epochs at the most, on {net.device}.",
        net.verbose,
    )
    how = "failed"
    with Progress(net.verbose, total, "Training", "epoch", prints=False) as progress:
        net._progress = progress
        try:
            yield
            how = "is done"
        except StopTraining:
            how = "stopped early"
            raise
        except KeyboardInterrupt:
            how = "was interrupted"
            raise
        finally:
            whole = [record for record in net.history[n_before:] if "dur" in record]
            # Early stopping ends an epoch before its turn to be told comes.
            if len(whole) > progress.n_done:
                for _, callback in net.callbacks_:
                    if isinstance(callback, EpochLog):
                        callback.on_epoch_end(net)
            net._progress = None
            seconds = sum(record["dur"] for record in whole)
            say(f"Training {how} after {len(whole)} epochs, {seconds:.1f} s.", net.verbose)


@contextmanager
def silent(net: Any) -> Iterator[None]:
    """Keep skorch from printing inside."""
    verbose, net.verbose = net.verbose, 0
    try:
        yield
    finally:
        net.verbose = verbose


def epoch_in_words(record: Mapping[str, float]) -> str:
    """Return ELBO and margin of an epoch, those of held-out rows where there are any."""
    held_out = "valid_" if "valid_margin" in record else ""
    return (
        f"{'held-out ' if held_out else ''}ELBO {record[held_out + 'elbo']:.3f}, "
        f"margin {record[held_out + 'margin']:.3f}"
    )


def epochs_in_words(records: Sequence[Mapping[str, float]]) -> str:
    """Return the range of ELBOs and of margins in an epoch of several models."""
    elbos, margins = ([record[name] for record in records] for name in ("elbo", "margin"))
    if not records:
        return "none is left"
    return (
        f"ELBO {min(elbos):.3f} to {max(elbos):.3f}, "
        f"margin {min(margins):.3f} to {max(margins):.3f}"
    )
