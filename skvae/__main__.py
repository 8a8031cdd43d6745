"""``python -m skvae``: prevention, collapse and rescue on one data set, in one command."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from numpy.typing import NDArray
from tqdm import tqdm

from skvae import datasets, protocol
from skvae.devices import resolve_device
from skvae.displays import MarginHistoryDisplay
from skvae.exceptions import InterruptedFitWarning

HELD, BROKEN, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
RESULTS, FIGURE = "results.json", "margins.png"

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "arm": lambda run: run["arm"],
    "seed": lambda run: str(run["seed"]),
    "I_T": lambda run: f"{run['report']['teacher_information']:.3f}",
    "cost(mean)": lambda run: f"{run['report']['alignment_cost_mean']:.3f}",
    "cost(sample)": lambda run: f"{run['report']['alignment_cost_sample']:.3f}",
    "margin(mean)": lambda run: f"{run['report']['margin_mean']:.3f}",
    "margin(sample)": lambda run: f"{run['report']['margin_sample']:.3f}",
    "bound(sample)": lambda run: f"{run['report']['lower_bound_sample']:.3f}",
    "rate": lambda run: f"{run['report']['rate']:.4f}",
    "active": lambda run: str(run["report"]["active_units"]),
    "ELBO": lambda run: f"{run['elbo']:.2f}",
    "verdict": lambda run: run["report"]["verdict"],
}
LEGEND = (
    "Nats, on held-out rows. 'certified': the 95% lower bound on the margin at the sample\n"
    "read is above 0, so the witness, and with it the latent code, is not constant in x. It\n"
    "means no more."
)


class OneLineParser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        self.exit(UNUSABLE, f"skvae: error: {message} (see python -m skvae --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the protocol and print, draw and write what it found.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command line; None is the process's own.

    Returns
    -------
    status : int
        0 if the pattern held, 1 if not, 2 for unusable options or data, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    try:
        _check_folder(options.out)
        resolve_device(options.device)
        X = datasets.digits() if options.data == "digits" else datasets.load_array(options.data)
        result = _run(X, options)
        broken = protocol.broken_promises(result["runs"])
        result = {
            "versions": _versions(),
            "data": options.data,
            **result,
            "pattern_held": not broken,
            "broken_promises": broken,
            "seconds": time.perf_counter() - started,
        }
        _print(result)
        _write_all(options.out, result)
    except (ValueError, OSError) as error:
        print(f"skvae: error: {' '.join(str(error).split())}", file=sys.stderr)
        return UNUSABLE
    except (KeyboardInterrupt, InterruptedFitWarning):
        print("skvae: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return BROKEN if broken else HELD


def _print(result: dict[str, Any]) -> None:
    print(_table(result["runs"]))
    print(LEGEND)
    for sentence in result["broken_promises"]:
        print(f"The pattern did not hold. {sentence}.")
    if result["pattern_held"]:
        print(
            "The pattern held for every seed: certified with alignment, collapsed without it, "
            "rescued."
        )


def _write_all(folder: Path, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / RESULTS, lambda file: file.write(text.encode()))
    try:
        figure = _figure(result["runs"]).figure_
        _write(folder / FIGURE, lambda file: figure.savefig(file, dpi=150))
    except ImportError as error:
        print(f"No figure: {error}")
    print(f"Written to {folder} in {result['seconds']:.0f} s in all.")


def _versions() -> dict[str, str]:
    libraries = ("skvae", "torch", "scikit-learn", "skorch", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m skvae",
        description="Train a teacher-guided VAE with alignment (prevention), without it "
        "(collapse), and from the collapsed model with it (rescue); certify each on "
        "held-out rows.",
        epilog="Exit status: 0 the pattern held, 1 it did not, 2 unusable options or data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", default="digits", help="digits, or a .npy or .npz file with a matrix"
    )
    parser.add_argument("--seeds", type=_positive, default=3, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=_positive, default=100, help="epochs of each arm")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--out", type=Path, default=Path("skvae-results"), help="folder for results and figure"
    )
    parser.add_argument("--jobs", type=_positive, default=1, help="processes to train in")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def _check_folder(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--out {folder}: {existing} is not a folder that can be written to.")
    for name in (RESULTS, FIGURE):
        if (folder / name).is_dir():
            raise ValueError(f"--out {folder}: {name} in it is a folder; name another place.")


def _run(X: NDArray, options: argparse.Namespace) -> dict[str, Any]:
    n_arms = len(protocol.ARMS) * options.seeds
    # Data that no teacher can be fitted to is refused before a bar is drawn.
    with tqdm(total=n_arms, unit="arm", desc="training", delay=1) as bar:
        return protocol.run(
            X,
            seeds=range(options.seeds),
            epochs=options.epochs,
            device=options.device,
            n_jobs=options.jobs,
            on_progress=bar.update,
        )


def _table(runs: Sequence[dict[str, Any]]) -> str:
    order = list(protocol.ARMS)
    ordered = sorted(runs, key=lambda run: (order.index(run["arm"]), run["seed"]))
    rows = [list(COLUMNS)] + [[cell(run) for cell in COLUMNS.values()] for run in ordered]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _figure(runs: Sequence[dict[str, Any]]) -> MarginHistoryDisplay:
    curves = []
    for run in runs:
        history = run["history"]
        # Rescue goes on where collapse ended.
        start = len(history) if run["arm"] == "rescue" else 0
        curves.append(
            {
                "label": run["arm"],
                "epochs": [start + record["epoch"] for record in history],
                "margin": [record["margin"] for record in history],
            }
        )
    information = sum(run["report"]["teacher_information"] for run in runs) / len(runs)
    display = MarginHistoryDisplay(curves, information).plot()
    display.ax_.set_title("Margin in training, one line a seed; rescue starts from collapse")
    return display


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a whole file or none."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
