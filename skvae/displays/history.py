"""What a training did, epoch by epoch: margins and bounds, and the terms of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skvae.displays.drawing import (
    COLOURS,
    REFERENCE,
    SHORT,
    axes_of,
    dressed,
    labels_of,
    legend_beside,
    line_look,
    named,
    panels_of,
)

__all__ = ["LossHistoryDisplay", "MarginHistoryDisplay"]

# Of the history: what is no term of the loss, or has a panel of its own.
NO_TERMS = {"epoch", "seconds", "margin", "lower_bound", "lr", "beta", "mutual_information"}
# Of the criterion, which minimises all of them.
IN_WORDS = {
    "loss": "loss",
    "reconstruction": "reconstruction, -log p(x|z)",
    "rate": "rate",
    "alignment": "alignment cost",
}


class MarginHistoryDisplay:
    """Margin against epochs, with the boundary drawn at zero.

    The margins are those of `history_`: running averages over the batches of each
    epoch, at the read that the witness was trained on. Above the boundary the witness
    cannot be constant on those rows; below it nothing is proved. Dashed, where there are
    held-out rows, is the lower bound on the margin of the population, which is what a
    certificate goes by, with the weights of that epoch.

    Parameters
    ----------
    curves : sequence of dict
        Each with ``label``, ``epochs`` and ``margin`` (in nats, one an epoch), and, where
        there is one, ``lower_bound`` (in nats; None or NaN in epochs without). Curves
        with one label share a look and one line of the legend.
    teacher_information : float, sequence of float or None, default=None
        ``I_T`` in nats, what no margin exceeds; drawn where it is given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The margins, one a curve.
    bounds_ : list of matplotlib Line2D
        The lower bounds, of the curves that have one.

    Examples
    --------
    >>> from skvae.displays import MarginHistoryDisplay
    >>> curve = {"label": "prevention", "epochs": [1, 2], "margin": [0.0, 0.4]}
    >>> display = MarginHistoryDisplay([curve]).plot()
    >>> display.ax_.get_ylabel()
    'margin (nats)'
    """

    def __init__(
        self,
        curves: Sequence[Mapping[str, Any]],
        teacher_information: float | Sequence[float] | None = None,
    ) -> None:
        self.curves = curves
        self.teacher_information = teacher_information

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> MarginHistoryDisplay:
        """Plot the margins of the training of fitted estimators.

        Parameters
        ----------
        estimator : fitted TeacherGuidedVAE, or mapping of str to such
            Labels and estimators.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines of the margins, as matplotlib takes them.

        Returns
        -------
        display : MarginHistoryDisplay
            The drawn plot.
        """
        models = named(estimator, "margin")
        curves = [_curve(label, model.history_) for label, model in models.items()]
        information = [model.teacher_information_ for model in models.values()]
        return cls(curves, information).plot(ax, **kwargs)

    @classmethod
    def from_history(
        cls,
        history: Any,
        *,
        teacher_information: float | Sequence[float] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MarginHistoryDisplay:
        """Plot the margins of a history, as `history_` and the protocol's records have it.

        Parameters
        ----------
        history : list of dict, or mapping of str to such
            Labels and histories: one record an epoch, with ``epoch`` and ``margin``.
        teacher_information : float, sequence of float or None, default=None
            ``I_T`` in nats.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines of the margins, as matplotlib takes them.

        Returns
        -------
        display : MarginHistoryDisplay
            The drawn plot.
        """
        curves = [_curve(label, each) for label, each in named(history, "margin").items()]
        return cls(curves, teacher_information).plot(ax, **kwargs)

    @classmethod
    def from_protocol(
        cls,
        runs: Sequence[Mapping[str, Any]],
        *,
        arms: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MarginHistoryDisplay:
        """Plot the runs of `skvae.protocol.run`, with the mean of their teacher information.

        Parameters
        ----------
        runs : sequence of dict
            Its records.
        arms : sequence of str or None, default=None
            Those to draw; None draws all. The witness of an arm without alignment stays the
            constant it began as.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines of the margins, as matplotlib takes them.

        Returns
        -------
        display : MarginHistoryDisplay
            The drawn plot, one curve a run. The arm "rescue" begins where the collapsed run
            that it starts from ended.
        """
        curves = []
        for run in runs:
            if arms is None or run["arm"] in arms:
                curve = _curve(run["arm"], run["history"])
                start = len(run["history"]) if run["arm"] == "rescue" else 0
                curves.append({**curve, "epochs": [start + each for each in curve["epochs"]]})
        information = sum(run["report"]["teacher_information"] for run in runs) / len(runs)
        return cls(curves, information).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> MarginHistoryDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines of the margins, as matplotlib takes them.

        Returns
        -------
        self : MarginHistoryDisplay
            With `ax_`, `figure_`, `lines_` and `bounds_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        labels = labels_of(self.curves)
        # Boundary and information have entries too.
        n_entries = len(labels) + any(map(_known_bounds, self.curves)) + 2
        ax = axes_of(ax, 7, 4, labels if n_entries > SHORT else ())
        numbers = {label: number for number, label in enumerate(labels)}
        self.lines_: list[Any] = []
        self.bounds_: list[Any] = []
        drawn = set()
        for curve in self.curves:
            label = curve["label"]
            look = {**line_look(numbers[label]), "linewidth": 1.6, **kwargs}
            name = None if label in drawn else label
            self.lines_ += ax.plot(curve["epochs"], curve["margin"], label=name, **look)
            drawn.add(label)
            known = _known_bounds(curve)
            if known:
                style = {"color": look["color"], "linewidth": 0.9, "linestyle": (0, (4, 2))}
                name = None if self.bounds_ else "lower bound, held out"
                self.bounds_ += ax.plot(*zip(*known, strict=True), label=name, **style)
        # Behind the curves: a collapsed model runs along it.
        ax.axhline(0.0, color=REFERENCE, linestyle="--", label="boundary", zorder=0)
        for number, height in enumerate(_heights(self.teacher_information)):
            # An underscore keeps it out of the legend.
            name = "_teacher information" if number else "teacher information"
            ax.axhline(
                height, color=REFERENCE, linestyle=":", linewidth=1, label=name, zorder=0
            )
        dressed(ax, "epoch", "margin (nats)", grid="y")
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class LossHistoryDisplay:
    """Terms of the loss against epochs, a panel each, in nats a row.

    Solid are the training rows, dashed those that were held out. The terms are on scales of
    their own, and as they are: the loss weighs them.

    Parameters
    ----------
    history : list of dict
        One record an epoch, as in `history_`: ``epoch`` and the terms, those of held-out rows
        under ``valid_`` and the same name.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of str to list of matplotlib Line2D
        By the name of a term: the line of the training rows and, where there are such, of the
        held-out rows.

    Examples
    --------
    >>> from skvae.displays import LossHistoryDisplay
    >>> history = [{"epoch": 1, "loss": 3.0, "rate": 1.0}, {"epoch": 2, "loss": 2, "rate": 1.5}]
    >>> display = LossHistoryDisplay(history).plot()
    >>> [ax.get_title(loc="left") for ax in display.axes_]
    ['loss', 'rate']
    """

    def __init__(self, history: Sequence[Mapping[str, float]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> LossHistoryDisplay:
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : fitted TeacherGuidedVAE
            With a `history_`.
        ax : matplotlib Axes or None, default=None
            Whose place the panels take; None makes a new figure.
        **kwargs : dict
            Properties of the lines, as matplotlib takes them.

        Returns
        -------
        display : LossHistoryDisplay
            The drawn plot.
        """
        return cls(estimator.history_).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LossHistoryDisplay:
        """Draw the terms.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Whose place the panels take; None makes a new figure.
        **kwargs : dict
            Properties of the lines, as matplotlib takes them.

        Returns
        -------
        self : LossHistoryDisplay
            With `axes_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        terms = _terms_of(self.history)
        self.axes_ = panels_of(ax, len(terms), 4.2, 2.6)
        self.lines_: dict[str, list[Any]] = {}
        for panel, term in zip(self.axes_, terms, strict=True):
            self.lines_[term] = []
            looks = {term: "-", f"valid_{term}": (0, (4, 2))}
            for (name, dashes), colour in zip(looks.items(), COLOURS, strict=False):
                known = [(each["epoch"], each[name]) for each in self.history if name in each]
                if known:
                    look = {"color": colour, "linestyle": dashes, **kwargs}
                    label = "held-out rows" if name.startswith("valid_") else "training rows"
                    self.lines_[term] += panel.plot(
                        *zip(*known, strict=True), label=label, **look
                    )
            is_weight = term == "beta"
            title = "weight of the rate" if is_weight else IN_WORDS.get(term, term)
            unit = "" if is_weight else "nats a row"
            dressed(panel, "epoch", unit, title.replace("_", " "), grid="y")
        legend_beside(self.axes_[0])
        self.figure_ = self.axes_[0].figure
        return self


def _curve(label: str, history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    bounds = [
        each.get("valid_lower_bound", each.get("certified_lower_bound")) for each in history
    ]
    return {
        "label": label,
        "epochs": [record["epoch"] for record in history],
        "margin": [record["margin"] for record in history],
        "lower_bound": bounds,
    }


def _terms_of(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the names of the terms, the usual ones first, and of a weight that changes."""
    names = dict.fromkeys(name for record in history for name in record)
    terms = [
        name
        for name in names
        if name not in NO_TERMS and not name.startswith(("valid_", "certified_"))
    ]
    # It is minus the sum of two that are there.
    terms = [term for term in terms if term != "elbo" or "reconstruction" not in terms]
    first = [term for term in IN_WORDS if term in terms]
    weights = {record.get("beta") for record in history}
    return [*first, *(t for t in terms if t not in first), *["beta"] * (len(weights) > 1)]


def _known_bounds(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return epoch and lower bound of the epochs that have one."""
    bounds = curve.get("lower_bound") or [None] * len(curve["epochs"])
    pairs = zip(curve["epochs"], bounds, strict=True)
    return [(epoch, b) for epoch, b in pairs if b is not None and not math.isnan(b)]


def _heights(information: float | Sequence[float] | None) -> list[float]:
    if information is None:
        return []
    each = [information] if isinstance(information, (int, float)) else information
    # Lines that cannot be told apart are one.
    return sorted({round(float(value), 6) for value in each})
