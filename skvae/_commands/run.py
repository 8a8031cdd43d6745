"""``skvae run``: the protocol on one data set, in one command."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from skvae import datasets, protocol
from skvae._commands.parsing import INTERRUPTED, OneLineParser, number, told
from skvae._common.progress import write_line
from skvae._common.whole_files import write_text, write_whole
from skvae.datasets.files import MAX_BYTES
from skvae.displays import ArmComparisonDisplay, MarginHistoryDisplay
from skvae.displays.drawing import pyplot
from skvae.exceptions import (
    DamagedResultWarning,
    DeviceMemoryError,
    DivergenceError,
    InterruptedFitWarning,
)
from skvae.protocol.tables import csv_table, markdown_table
from skvae.training.devices import resolve_device

HELD, BROKEN = 0, 1
RUNS = "runs"
RESULTS, LINES, CSV, MARKDOWN = "results.json", "results.jsonl", "results.csv", "results.md"
MARGINS, COMPARISON = "margins.png", "arms.png"
# What a person can do something about; anything else is a bug, and shows where it is.
TOLD = (ValueError, OSError, DivergenceError, DeviceMemoryError, BrokenProcessPool)

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
SUMMARY_LEGEND = (
    "Means over seeds and teachers (least to greatest). Squared errors are in the units of X."
)


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
    options = parser().parse_args(arguments)
    started = time.perf_counter()
    try:
        _check_folder(options.out)
        resolve_device(options.device)
        result = _run(options)
        broken = protocol.broken_promises(result["runs"])
        result = {
            "versions": {"python": platform.python_version(), **protocol.versions()},
            "data": options.data,
            **result,
            "pattern_held": not broken,
            "broken_promises": broken,
            "seconds": time.perf_counter() - started,
        }
        _print(result)
        _write_all(options.out, result)
    except TOLD as error:
        return told(error)
    except (KeyboardInterrupt, InterruptedFitWarning):
        runs = options.out / RUNS
        kept = (
            f"finished runs are kept in {runs}; the same command goes on from there."
            if any(runs.glob("*.json"))
            else "nothing was written."
        )
        print(f"skvae: interrupted; {kept}", file=sys.stderr)
        return INTERRUPTED
    return BROKEN if broken else HELD


def _print(result: dict[str, Any]) -> None:
    runs = result["runs"]
    if all(run["arm"] in protocol.ARMS and run["teacher"] == 0 for run in runs):
        print(_table(runs))
    else:
        print(markdown_table(runs))
        print(SUMMARY_LEGEND)
    print(LEGEND)
    for sentence in result["broken_promises"]:
        print(f"The pattern did not hold. {sentence}.")
    if result["pattern_held"]:
        baselines = any(run["arm"] in protocol.BASELINES for run in runs)
        print(
            "The pattern held for every seed: certified with alignment, collapsed without it, "
            f"rescued{'; no baseline certified by its own witness' if baselines else ''}."
        )


def _write_all(folder: Path, result: dict[str, Any]) -> None:
    runs = result["runs"]
    texts = {
        RESULTS: json.dumps(result, indent=1),
        LINES: "".join(json.dumps(run) + "\n" for run in runs),
        CSV: csv_table(runs),
        MARKDOWN: markdown_table(runs),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    try:
        displays: dict[str, Any] = {
            MARGINS: _margins(runs),
            COMPARISON: ArmComparisonDisplay.from_protocol(runs),
        }
        for name, display in displays.items():
            write_whole(folder / name, partial(display.figure_.savefig, dpi=150))
            pyplot().close(display.figure_)
    except ImportError as error:
        print(f"No figure: {error}")
    if result["n_other_files"]:
        print(
            f"{result['n_other_files']} files in {folder / RUNS} are runs of other set-ups, "
            "and were left alone."
        )
    print(f"Written to {folder} in {result['seconds']:.0f} s in all.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    parser = OneLineParser(
        prog="python -m skvae",
        description="Train a teacher-guided VAE with alignment (prevention), without it "
        "(collapse), and from the collapsed model with it (rescue); certify each on "
        "held-out rows. Finished runs are kept in the folder: the same command, "
        "interrupted, goes on from there.",
        epilog="Exit status: 0 the pattern held, 1 it did not, 2 unusable options or data, "
        "130 interrupted. This is the command 'run', which need not be named; 'certify --help' "
        "is of the other one, which certifies codes in files; '--completion bash', zsh or fish "
        "prints what a shell completes them by.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data",
        default="digits",
        metavar="SPEC",
        help="digits, a .npy or .npz file with a matrix, or another name that "
        "skvae.datasets.load knows",
    )
    parser.add_argument(
        "--max-bytes",
        type=_positive,
        default=MAX_BYTES,
        help="most bytes that the rows of one subset, read from files, may take in memory",
    )
    parser.add_argument(
        "--baselines",
        type=_baselines,
        nargs="?",
        const=",".join(protocol.BASELINES),
        metavar="NAME,NAME",
        help="train the standard methods beside them, all of them or those that are named",
    )
    parser.add_argument(
        "--teachers",
        default="per-seed",
        help="per-seed, search (one for each seed), fixed:N (N for all seeds), searched:N (N "
        "searches on rows of their own, for all seeds), or several of these: fixed:3+search",
    )
    parser.add_argument("--seeds", type=_positive, default=3, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=_positive, default=100, help="epochs of each arm")
    parser.add_argument(
        "--alignment-weight",
        type=number("above 0", lambda value: value > 0),
        default=10.0,
        help="weight of the alignment in the arms that have one",
    )
    parser.add_argument(
        "--architecture",
        choices=["dense", "conv"],
        default="dense",
        help="of encoder and decoder; conv wants images",
    )
    parser.add_argument(
        "--set",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of TeacherGuidedVAE for all arms, such as latent_dim=16 or "
        "hidden_layer_sizes=[256,256]; may be repeated",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--out", type=Path, default=Path("skvae-results"), help="folder for results and figures"
    )
    parser.add_argument("--jobs", type=_positive, default=1, help="processes to train in")
    parser.add_argument(
        "--verbose",
        type=int,
        choices=[0, 1, 2],
        default=1,
        help="what is told while it trains: nothing, a line that is rewritten with the time "
        "left, or a line a run",
    )
    return parser


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        # A word needs no quotes.
        return name, value


def _baselines(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in protocol.BASELINES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no baseline {unknown[0]!r}; there are {', '.join(protocol.BASELINES)}"
        )
    return names


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def _check_folder(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--out {folder}: {existing} is not a folder that can be written to.")
    for name in (RESULTS, LINES, CSV, MARKDOWN, MARGINS, COMPARISON):
        if (folder / name).is_dir():
            raise ValueError(f"--out {folder}: {name} in it is a folder; name another place.")
    if (folder / RUNS).exists() and not (folder / RUNS).is_dir():
        raise ValueError(f"--out {folder}: {RUNS} in it is no folder; name another place.")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    data = datasets.load(options.data, max_bytes=options.max_bytes)
    X, y = data.data, data.target
    if data.test_data is not None:
        X = (data.data, data.test_data)
        y = None if y is None or data.test_target is None else (y, data.test_target)
    setting = dict(options.set)
    if options.architecture == "conv":
        if data.image_shape is None:
            raise ValueError(f"--architecture conv wants images, and {options.data} has none.")
        setting = {"architecture": "conv", "image_shape": data.image_shape, **setting}
    arms = list(protocol.ARMS)
    if options.baselines:
        arms += [*protocol.TEACHER_GUIDED, *options.baselines]
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedResultWarning)
        warnings.showwarning = _show_warning
        return protocol.run(
            X,
            y,
            arms=arms,
            seeds=range(options.seeds),
            teachers=options.teachers,
            epochs=options.epochs,
            alignment_weight=options.alignment_weight,
            device=options.device,
            setting=setting,
            folder=options.out / RUNS,
            n_jobs=options.jobs,
            verbose=options.verbose,
        )


def _show_warning(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    write_line(f"skvae: warning: {message}", sys.stderr)


def _table(runs: Sequence[dict[str, Any]]) -> str:
    order = list(protocol.ARMS)
    ordered = sorted(runs, key=lambda run: (order.index(run["arm"]), run["seed"]))
    rows = [list(COLUMNS)] + [[cell(run) for cell in COLUMNS.values()] for run in ordered]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _margins(runs: Sequence[dict[str, Any]]) -> MarginHistoryDisplay:
    # The witness of a baseline is constant.
    arms = [*protocol.ARMS, *protocol.TEACHER_GUIDED]
    display = MarginHistoryDisplay.from_protocol(runs, arms=arms)
    display.ax_.set_title(
        "one line a seed; rescue starts from collapse", loc="left", fontsize="medium"
    )
    return display
