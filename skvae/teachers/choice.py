"""Which of the measured candidates of a search wins, and what went wrong with the others.

Candidates are rows of the table that `skvae.TeacherSearch` shows.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning

from skvae.exceptions import ConstantTeacherError
from skvae.teachers.measures import CONSTANT, net_worth

__all__ = ["give_scores", "scorer", "warn_of_failures", "winner"]


def scorer(scoring: Any) -> Callable[[dict[str, Any]], float]:
    """Return what scores a row: the default, a column of the table or a person's own."""
    if scoring is None:
        return net_worth
    return operator.itemgetter(scoring) if isinstance(scoring, str) else scoring


def give_scores(rows: list[dict[str, Any]], scoring: Callable[[dict[str, Any]], float]) -> None:
    """Give each row of one search its score and its rank; NaN and -inf cannot win."""
    for row in rows:
        if math.isnan(row["teacher_information"]) or row["problem"] == CONSTANT:
            row["score"] = math.nan
            continue
        row["score"] = float(scoring(dict(row)))
        if not row["score"] > -math.inf and not row["problem"]:
            row["problem"] = f"Its score is {row['score']}."
    scores = np.array([row["score"] for row in rows])
    scores[np.isnan(scores)] = -np.inf
    for row, score in zip(rows, scores, strict=True):
        row["rank"] = 1 + int(np.sum(scores > score))


def winner(rows: list[dict[str, Any]]) -> int:
    """Index of the best row of one search; the first of equals."""
    for index, row in enumerate(rows):
        if row["rank"] == 1 and row["score"] > -math.inf:
            return index
    if all(row["problem"] == CONSTANT for row in rows):
        raise ConstantTeacherError(
            f"Every candidate is constant: none of the {len(rows)} tells the held-out rows "
            "apart, so none could certify anything. Give candidates with two or more "
            "components, or rows that differ, and more of them where they are few."
        )
    raise ValueError(f"No candidate can win the search.\n{_list_problems(rows)}")


def warn_of_failures(rows: list[dict[str, Any]]) -> None:
    """Warn of the candidates that could not be fitted, on behalf of the caller of `fit`."""
    failed = [row for row in rows if math.isnan(row["teacher_information"])]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(rows)} candidates could not be fitted, and cannot win.\n"
            f"{_list_problems(failed)}",
            FitFailedWarning,
            stacklevel=4,
        )


def _list_problems(rows: list[dict[str, Any]]) -> str:
    """Each problem once, with the first candidate that has it."""
    having: dict[str, list[str]] = {}
    for row in rows:
        name = f"candidate {row['candidate']}, {row['teacher']}"
        having.setdefault(row["problem"], []).append(name)
    return "\n".join(
        f"- {names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)}: {problem}"
        for problem, names in having.items()
    )
