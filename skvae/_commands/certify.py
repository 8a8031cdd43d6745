"""``skvae certify``: codes of any program in any language, from files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from skvae._commands.parsing import INTERRUPTED, OneLineParser, number, told
from skvae._commands.tables import SUFFIXES, read_numbers, read_targets
from skvae._common.whole_files import is_stream
from skvae.certificate import CertificateReport, ConstantCollapseCertificate
from skvae.certificate.given import certify_given

__all__ = ["main", "parser"]

CERTIFIED, UNCERTIFIED = 0, 1
LEGEND = "'certified' means that the code is not constant in x, and no more."
EPILOG = f"""\
examples:
  skvae certify --codes codes.npy --targets labels.csv
  skvae certify --codes means.npy --posterior log_variances.npy --targets teacher.npy \\
      --held-out --html report.html
  skvae certify --codes codes.csv --targets labels.csv --print line >> certificates.log

Row i of each file is of one and the same row of data. Files are {", ".join(SUFFIXES)}
(Parquet where pyarrow is installed), of text with a line of names or without. A witness is
fitted to codes and targets in turn, and scored on rows that it has not seen.

exit status: 0 certified, 1 not certified, 2 unusable options or data, 130 interrupted.
{LEGEND}
"""


def main(arguments: Sequence[str]) -> int:
    """Certify the codes that a command line names, and print and write the report."""
    options = parser().parse_args(arguments)
    try:
        for path in (options.html, options.json):
            _check_place(path)
        report = _certified(options)
        if options.html is not None:
            report.to_html(options.html)
        if options.json is not None:
            report.to_json(options.json)
    except (ValueError, OSError, MemoryError) as error:
        return told(error)
    except KeyboardInterrupt:
        print("skvae: interrupted", file=sys.stderr)
        return INTERRUPTED
    _print(report, options.print)
    return CERTIFIED if report.certified else UNCERTIFIED


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    parser = OneLineParser(
        prog="skvae certify",
        description="Certify that codes in a file are not constant in what they are codes of, "
        "and no more than that: a lower bound, with the confidence stated, on the nats that "
        "they carry about labels or about a teacher's distributions.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--codes", type=Path, required=True, metavar="FILE", help="codes, one a row")
    add(
        "--targets",
        type=Path,
        required=True,
        metavar="FILE",
        help="what to find in them: a column of classes (whole numbers or text), or a "
        "teacher's distributions, rows that sum to one",
    )
    add(
        "--posterior",
        type=Path,
        metavar="FILE",
        help="natural-log variances of the codes, which are then means: draws are judged",
    )
    add(
        "--rows",
        type=Path,
        metavar="FILE",
        help="the rows that the codes are of, as numbers: of rows that come several times one "
        "is certified; nothing else is done with them",
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--held-out",
        action="store_true",
        help="say that neither the encoder nor the teacher was fitted to these rows",
    )
    origin.add_argument(
        "--trained-on",
        action="store_true",
        help="say that the encoder was: the bound then speaks of no others",
    )
    add(
        "--confidence",
        type=number("between 0 and 1", lambda value: 0 < value < 1),
        default=0.95,
        help="of the bound (default: 0.95)",
    )
    add(
        "--tau",
        type=number("of at least 0", lambda value: value >= 0),
        default=0.0,
        help="nats that the bound has to exceed (default: 0)",
    )
    add("--seed", type=_seed, default=0, help="of draws and of the order of rows (default: 0)")
    add("--html", type=Path, metavar="FILE", help="write the report as a page")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add(
        "--print",
        choices=["table", "line", "json", "nothing"],
        default="table",
        help="what to print (default: table)",
    )
    return parser


def _certified(options: argparse.Namespace) -> CertificateReport:
    codes = read_numbers(options.codes, "codes")
    targets = read_targets(options.targets, len(codes))
    # A name above codes that is itself a number shows beside targets that are one row less.
    if len(targets) == len(codes) - 1:
        codes = read_numbers(options.codes, "codes", len(targets))
    log_variances = rows = None
    if options.posterior is not None:
        log_variances = read_numbers(options.posterior, "log variances", len(codes))
    if options.rows is not None:
        rows = read_numbers(options.rows, "rows", len(codes))
    certificate = ConstantCollapseCertificate(
        tau=options.tau, confidence=options.confidence, random_state=options.seed
    )
    return certify_given(
        codes,
        targets,
        log_variances=log_variances,
        rows=rows,
        held_out=True if options.held_out else False if options.trained_on else None,
        certificate=certificate,
    )


def _print(report: CertificateReport, form: str) -> None:
    if form == "table":
        print(report)
        print(LEGEND)
    elif form == "line":
        print(report.line())
    elif form == "json":
        print(report.to_json(), end="")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _check_place(path: Path | None) -> None:
    """Refuse, before any work, what cannot be written to."""
    if path is None or is_stream(path):
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it.")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise ValueError(f"{path}: there is no folder {path.parent} that can be written to.")
