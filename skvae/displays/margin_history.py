"""Margin against epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skvae.displays.pyplot import pyplot

__all__ = ["MarginHistoryDisplay"]


class MarginHistoryDisplay:
    """Margin against epochs, with the boundary drawn at zero.

    The margins are those of `history_`: running averages over the batches of each
    epoch, at the read that the witness was trained on. Above the boundary the witness
    cannot be constant on those rows; below it nothing is proved.

    Parameters
    ----------
    curves : sequence of dict
        Each with ``label``, ``epochs`` and ``margin`` (in nats, one an epoch). Curves
        with one label share a colour and one line of the legend.
    teacher_information : float or None, default=None
        ``I_T`` in nats, what no margin exceeds; drawn where it is given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The curves.

    Examples
    --------
    >>> from skvae.displays import MarginHistoryDisplay
    >>> curve = {"label": "prevention", "epochs": [1, 2], "margin": [0.0, 0.4]}
    >>> display = MarginHistoryDisplay([curve]).plot()
    >>> display.ax_.get_ylabel()
    'margin (nats)'
    """

    def __init__(
        self, curves: Sequence[Mapping[str, Any]], teacher_information: float | None = None
    ) -> None:
        self.curves = curves
        self.teacher_information = teacher_information

    @classmethod
    def from_estimators(
        cls, estimators: Mapping[str, Any], ax: Any = None
    ) -> MarginHistoryDisplay:
        """Plot the training margins of fitted estimators.

        Parameters
        ----------
        estimators : mapping of str to fitted TeacherGuidedVAE
            Labels and estimators.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : MarginHistoryDisplay
            The drawn plot.
        """
        curves = [
            {
                "label": label,
                "epochs": [record["epoch"] for record in estimator.history_],
                "margin": [record["margin"] for record in estimator.history_],
            }
            for label, estimator in estimators.items()
        ]
        return cls(curves).plot(ax)

    def plot(self, ax: Any = None) -> MarginHistoryDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self : MarginHistoryDisplay
            With `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        if ax is None:
            _, ax = pyplot().subplots(figsize=(7, 4), layout="constrained")
        colors: dict[str, str] = {}
        self.lines_ = []
        for curve in self.curves:
            label = curve["label"]
            known = label in colors
            colors.setdefault(label, f"C{len(colors)}")
            self.lines_ += ax.plot(
                curve["epochs"],
                curve["margin"],
                color=colors[label],
                label=None if known else label,
            )
        # Behind the curves: a collapsed model runs along it.
        ax.axhline(0.0, color="black", linestyle="--", label="boundary", zorder=0)
        if self.teacher_information is not None:
            ax.axhline(
                self.teacher_information,
                color="gray",
                linestyle=":",
                linewidth=1,
                label="teacher information",
            )
        ax.set(xlabel="epoch", ylabel="margin (nats)")
        ax.legend(frameon=False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
