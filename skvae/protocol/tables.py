"""Results of the protocol as tables: one row a run in CSV, one row an arm in Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["csv_table", "markdown_table", "measures_of"]

FROM_REPORT = (
    *("teacher_information", "alignment_cost_mean", "alignment_cost_sample"),
    *("margin_mean", "margin_sample", "lower_bound_mean", "lower_bound_sample"),
    *("rate", "mutual_information", "active_units", "margin_reconstruction"),
    *("n_samples", "rows", "verdict", "certified"),
)
FROM_PROBE = ("lower_bound_mean", "lower_bound_sample", "verdict", "certified")
FROM_RUN = (
    *("arm", "seed", "teacher", "teacher_kind", "elbo"),
    *("reconstruction_error", "relative_reconstruction_error", "accuracy"),
)
# Heading, column of `measures_of`, and digits after the point.
SUMMARY = (
    ("ELBO", "elbo", 2),
    ("MSE", "reconstruction_error", 4),
    ("relative MSE", "relative_reconstruction_error", 3),
    ("rate", "rate", 3),
    ("mutual information", "mutual_information", 3),
    ("active units", "active_units", 1),
    ("I_T", "teacher_information", 3),
    ("margin (mean)", "margin_mean", 3),
    ("margin (sample)", "margin_sample", 3),
    ("bound (mean)", "lower_bound_mean", 3),
    ("bound (sample)", "lower_bound_sample", 3),
    ("probe bound (sample)", "probe_lower_bound_sample", 3),
    ("accuracy", "accuracy", 3),
)


def measures_of(run: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured of a run, flat.

    Parameters
    ----------
    run : dict
        A record of `skvae.protocol.run`.

    Returns
    -------
    measures : dict
        By column of the CSV file; those of the probe begin with ``probe_`` and are None
        where there is none. No time is among them: a run done again has the same measures.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import protocol
    >>> found = protocol.run(load_iris().data, arms=["collapse"], seeds=[0], epochs=1)
    >>> measures = protocol.measures_of(found["runs"][0])
    >>> measures["arm"], measures["n_samples"]
    ('collapse', 30)
    """
    report = run["report"]
    probe = report["probe"] or {}
    return {
        **{name: run[name] for name in FROM_RUN},
        **{name: report[name] for name in FROM_REPORT},
        **{f"probe_{name}": probe.get(name) for name in FROM_PROBE},
    }


def csv_table(runs: Sequence[dict[str, Any]]) -> str:
    """Write one row a run, with a header.

    Parameters
    ----------
    runs : sequence of dict
        Records of `skvae.protocol.run`, at least one.

    Returns
    -------
    text : str
        Numbers in full; an empty field where a quantity is not known.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import protocol
    >>> found = protocol.run(load_iris().data, arms=["collapse"], seeds=[0], epochs=1)
    >>> protocol.csv_table(found["runs"]).splitlines()[1].split(",")[:4]
    ['collapse', '0', '0', 'per-seed']
    """
    rows = [measures_of(run) for run in runs]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(runs: Sequence[dict[str, Any]]) -> str:
    """Write one row an arm: means over its seeds and teachers, with the least and the greatest.

    Parameters
    ----------
    runs : sequence of dict
        Records of `skvae.protocol.run`, at least one.

    Returns
    -------
    text : str
        A Markdown table. ``certified raw`` and ``by probe`` count runs at the sample read.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import protocol
    >>> found = protocol.run(load_iris().data, arms=["collapse"], seeds=[0], epochs=1)
    >>> protocol.markdown_table(found["runs"]).splitlines()[0][:24]
    '| arm | ELBO | MSE | rel'
    """
    headings = ["arm", *(heading for heading, _, _ in SUMMARY), "certified raw", "by probe"]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for arm in dict.fromkeys(run["arm"] for run in runs):
        rows = [measures_of(run) for run in runs if run["arm"] == arm]
        cells = [_span([row[name] for row in rows], digits) for _, name, digits in SUMMARY]
        raw = _count(rows, lambda row: row["certified"])
        by_probe = _count(rows, lambda row: row["probe_certified"])
        lines.append([arm, *cells, raw, by_probe])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _span(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, least, greatest = (
        f"{value:.{digits}f}" for value in (np.mean(known), min(known), max(known))
    )
    return mean if least == greatest else f"{mean} ({least} to {greatest})"


def _count(rows: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], Any]) -> str:
    known = [holds(row) for row in rows if holds(row) is not None]
    return f"{sum(known)} of {len(known)}" if known else ""
