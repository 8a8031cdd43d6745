"""Plots, as Display objects of scikit-learn's kind; matplotlib is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ArmComparisonDisplay", "MarginHistoryDisplay"]


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
    ):
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
            _, ax = _pyplot().subplots(figsize=(7, 4), layout="constrained")
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


class ArmComparisonDisplay:
    """Lower bound on the margin against rate: who pays nats, and who can show for it.

    A filled marker is the bound of the model's own witness, an open one that of a probe
    fitted to its codes, both at the sample read. Above zero the code is certified not to be
    constant in x, and no more; an open marker above zero over a filled one below it is a
    code that keeps what the teacher says, and a witness that does not use it.

    Parameters
    ----------
    points : sequence of dict
        Each with ``label``, ``rate``, ``lower_bound`` and ``probe_lower_bound`` (None where
        there is none), in nats. Points with one label share a colour and one entry
        of the legend.
    teacher_information : float, sequence of float or None, default=None
        ``I_T`` in nats of each teacher, what no margin under it exceeds; drawn where given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The markers, those of the own witness and of the probe in turn for each label.

    Examples
    --------
    >>> from skvae.displays import ArmComparisonDisplay
    >>> point = {"label": "vae", "rate": 9.0, "lower_bound": -0.1, "probe_lower_bound": 0.8}
    >>> ArmComparisonDisplay([point]).plot().ax_.get_xlabel()
    'rate (nats)'
    """

    def __init__(
        self,
        points: Sequence[Mapping[str, Any]],
        teacher_information: float | Sequence[float] | None = None,
    ):
        self.points = points
        self.teacher_information = teacher_information

    @classmethod
    def from_runs(
        cls, runs: Sequence[Mapping[str, Any]], ax: Any = None
    ) -> ArmComparisonDisplay:
        """Plot the runs of `skvae.protocol.run`.

        Parameters
        ----------
        runs : sequence of dict
            Its records.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : ArmComparisonDisplay
            The drawn plot, with the information of each teacher, a mean over the seeds.
        """
        points = [
            {
                "label": run["arm"],
                "rate": run["report"]["rate"],
                "lower_bound": run["report"]["lower_bound_sample"],
                "probe_lower_bound": (run["report"]["probe"] or {}).get("lower_bound_sample"),
            }
            for run in runs
        ]
        of_teacher: dict[int, list[float]] = {}
        for run in runs:
            of_teacher.setdefault(run["teacher"], []).append(
                run["report"]["teacher_information"]
            )
        information = [sum(found) / len(found) for found in of_teacher.values()]
        return cls(points, information).plot(ax)

    def plot(self, ax: Any = None) -> ArmComparisonDisplay:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self : ArmComparisonDisplay
            With `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        labels = list(dict.fromkeys(point["label"] for point in self.points))
        if ax is None:
            # The legend has a line for each arm, and two more.
            height = max(4.5, 0.27 * (len(labels) + 2))
            _, ax = _pyplot().subplots(figsize=(8, height), layout="constrained")
        self.lines_ = []
        for number, label in enumerate(labels):
            points = [point for point in self.points if point["label"] == label]
            # Ten colours in the cycle: beyond, another shape tells them apart.
            style = {
                "color": f"C{number % 10}",
                "marker": "os^D"[number // 10 % 4],
                "linestyle": "none",
            }
            own = [(point["rate"], point["lower_bound"]) for point in points]
            probed = [
                (point["rate"], point["probe_lower_bound"])
                for point in points
                if point["probe_lower_bound"] is not None
            ]
            self.lines_ += ax.plot(*_columns(own), label=label, **style)
            self.lines_ += ax.plot(*_columns(probed), fillstyle="none", **style)
        ax.axhline(0.0, color="black", linestyle="--", label="boundary", zorder=0)
        information = self.teacher_information
        if information is not None:
            each = [information] if isinstance(information, (int, float)) else information
            for number, height in enumerate(each):
                # An underscore keeps it out of the legend.
                label = "_teacher information" if number else "teacher information"
                ax.axhline(height, color="gray", linestyle=":", linewidth=1, label=label)
        # A collapsed rate is next to nothing, that of an autoencoder hundreds of nats.
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set_xlim(0.0, 2 * max(0.01, *(point["rate"] for point in self.points)))
        ax.set(
            xlabel="rate (nats)",
            ylabel="lower bound on the margin (nats)",
            title="Own witness (filled) and probe (open), sample read",
        )
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [rate for rate, _ in pairs], [bound for _, bound in pairs]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'skvae[plot]' (or matplotlib)."
        ) from error
    return pyplot
