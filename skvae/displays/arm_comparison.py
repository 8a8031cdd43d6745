"""Lower bound on the margin against rate, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skvae.displays.pyplot import pyplot

__all__ = ["ArmComparisonDisplay"]


class ArmComparisonDisplay:
    """Lower bound on the margin against rate: who pays nats, and who can show for it.

    A filled marker is the bound of the model's own witness, an open one that of a probe
    fitted to its codes, both at the sample read. Above zero the code is, at the bound's
    confidence, certified not to be constant in x, and no more; an open marker above zero over
    a filled one below it is a code that keeps what the teacher says, and a witness that does
    not use it.

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
    ) -> None:
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
            _, ax = pyplot().subplots(figsize=(8, height), layout="constrained")
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
