"""Models beside each other: arm by arm, and in the plane of rate and bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skvae.displays.drawing import (
    COLOURS,
    FAINT,
    REFERENCE,
    axes_of,
    dressed,
    labels_of,
    legend_beside,
    marker_look,
    named,
)

__all__ = ["ArmComparisonDisplay", "RateBoundDisplay"]

# Above this a rate is drawn to a logarithmic scale, below it to a linear one.
LEAST_RATE = 0.01
# Rates below say no more than that they are.
LEAST_SHOWN = 0.001


class ArmComparisonDisplay:
    """Lower bound on the margin, a line for each arm, with the rate beside it.

    A filled marker is the bound of the model's own witness, an open one that of a probe
    fitted to its codes, both at the sample read, one of each for each run of the arm. Above
    zero the code is, at the bound's confidence, certified not to be constant in x, and no more;
    an open marker above zero over a filled one below it is a code that keeps what the teacher
    says, and a witness that does not use it. On the right is what the code costs: the rate, a
    mean over the runs of the arm.

    Parameters
    ----------
    points : sequence of dict
        Each with ``label``, ``rate``, ``lower_bound`` and ``probe_lower_bound`` (None where
        there is none), in nats. Points with one label share a line.
    teacher_information : float, sequence of float or None, default=None
        ``I_T`` in nats of each teacher, what no margin under it exceeds; drawn where given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The markers: those of the own witness, then those of the probe.
    rate_ax_ : matplotlib Axes
        The axis on the right, whose labels are the rates.

    See Also
    --------
    RateBoundDisplay : The same points with the rate as an axis.

    Examples
    --------
    >>> from skvae.displays import ArmComparisonDisplay
    >>> point = {"label": "vae", "rate": 9.0, "lower_bound": -0.1, "probe_lower_bound": 0.8}
    >>> display = ArmComparisonDisplay([point]).plot()
    >>> display.ax_.get_xlabel()
    'lower bound on the margin (nats)'
    """

    def __init__(
        self,
        points: Sequence[Mapping[str, Any]],
        teacher_information: float | Sequence[float] | None = None,
    ) -> None:
        self.points = points
        self.teacher_information = teacher_information

    @classmethod
    def from_protocol(
        cls, runs: Sequence[Mapping[str, Any]], *, ax: Any = None, **kwargs: Any
    ) -> ArmComparisonDisplay:
        """Plot the runs of `skvae.protocol.run`.

        Parameters
        ----------
        runs : sequence of dict
            Its records.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the markers, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : ArmComparisonDisplay
            The drawn plot, with the information of each teacher, a mean over the seeds.
        """
        return cls(_points_of(runs), _information_of(runs)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ArmComparisonDisplay:
        """Draw the arms, the first on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, which is as high as there are arms.
        **kwargs : dict
            Properties of the markers, as matplotlib's ``plot`` takes them.

        Returns
        -------
        self : ArmComparisonDisplay
            With `ax_`, `figure_`, `lines_` and `rate_ax_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        labels = labels_of(self.points)
        ax = axes_of(ax, 7.5, 1.5 + 0.27 * len(labels))
        line_of = {label: number for number, label in enumerate(labels)}
        own = [(each["lower_bound"], line_of[each["label"]]) for each in self.points]
        probed = [
            (each["probe_lower_bound"], line_of[each["label"]])
            for each in self.points
            if each["probe_lower_bound"] is not None
        ]
        style = {"linestyle": "none", "markersize": 6.5, "alpha": 0.85, **kwargs}
        # A little apart, so that neither hides the other where the two agree.
        (filled,) = ax.plot(
            *_columns(own, -0.14), "o", color=COLOURS[0], label="own witness", **style
        )
        (open_,) = ax.plot(
            *_columns(probed, 0.14),
            "s",
            color=COLOURS[1],
            fillstyle="none",
            label="probe",
            **style,
        )
        ax.axvline(0.0, color=REFERENCE, linestyle="--", label="boundary", zorder=0)
        _draw_information(ax.axvline, self.teacher_information)
        dressed(ax, "lower bound on the margin (nats)", "", grid="y")
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        rates = [
            np.mean([each["rate"] for each in self.points if each["label"] == label])
            for label in labels
        ]
        beside = ax.twinx()
        beside.set_ylim(ax.get_ylim())
        beside.set_yticks(range(len(labels)), [_in_short(rate) for rate in rates])
        beside.tick_params(axis="y", length=0)
        beside.spines[["top", "right"]].set_visible(False)
        beside.set_ylabel("rate (nats)", rotation=270, va="bottom")
        ax.legend(
            frameon=False,
            fontsize="small",
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=4,
        )
        self.ax_, self.rate_ax_ = ax, beside
        self.figure_ = ax.figure
        self.lines_ = [filled, open_]
        return self


class RateBoundDisplay:
    """Models in the plane of rate and lower bound: who pays nats, and who can show for it.

    Both are at the sample read. No bound that holds is above the rate: in the population the
    margin of a draw of the code is at most the information it carries, and that at most the
    rate. The shaded part of the plane is beyond that.

    Parameters
    ----------
    points : sequence of dict
        Each with ``label``, ``rate`` and ``lower_bound``, in nats, and, where there is one,
        ``probe_lower_bound``. Points with one label share a look and one entry of the legend.
    teacher_information : float, sequence of float or None, default=None
        ``I_T`` in nats of each teacher, what no margin under it exceeds; drawn where given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The markers, those of the own witness (filled) and of the probe (open) in turn for
        each label.

    Examples
    --------
    >>> from skvae.displays import RateBoundDisplay
    >>> display = RateBoundDisplay([{"label": "vae", "rate": 9.0, "lower_bound": 0.8}]).plot()
    >>> display.ax_.get_xlabel()
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
    def from_report(cls, report: Any, *, ax: Any = None, **kwargs: Any) -> RateBoundDisplay:
        """Plot reports.

        Parameters
        ----------
        report : CertificateReport, or mapping of str to such
            Labels and reports, of models with a posterior.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the markers, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : RateBoundDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If a report knows no rate, or nothing of a draw of the code.
        """
        points, information = [], []
        for label, each in named(report, "model").items():
            if each.rate is None or each.lower_bound_sample is None:
                raise ValueError(
                    f"A point of this plane needs a rate and a bound at the sample, and the "
                    f"report {label!r} is of codes without a posterior."
                )
            probe = each.probe
            points.append(
                {
                    "label": label,
                    "rate": each.rate,
                    "lower_bound": each.lower_bound_sample,
                    "probe_lower_bound": None if probe is None else probe.lower_bound_sample,
                }
            )
            information.append(each.teacher_information)
        return cls(points, information).plot(ax, **kwargs)

    @classmethod
    def from_protocol(
        cls, runs: Sequence[Mapping[str, Any]], *, ax: Any = None, **kwargs: Any
    ) -> RateBoundDisplay:
        """Plot the runs of `skvae.protocol.run`.

        Parameters
        ----------
        runs : sequence of dict
            Its records.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the markers, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : RateBoundDisplay
            The drawn plot, with the information of each teacher, a mean over the seeds.
        """
        return cls(_points_of(runs), _information_of(runs)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> RateBoundDisplay:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the markers, as matplotlib's ``plot`` takes them.

        Returns
        -------
        self : RateBoundDisplay
            With `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        labels = labels_of(self.points)
        ax = axes_of(ax, 5.5, 4.5, labels)
        self.lines_ = []
        for number, label in enumerate(labels):
            points = [each for each in self.points if each["label"] == label]
            style = {**marker_look(number), "linestyle": "none", "alpha": 0.85, **kwargs}
            own = [(each["lower_bound"], each["rate"]) for each in points]
            probed = [
                (each["probe_lower_bound"], each["rate"])
                for each in points
                if each.get("probe_lower_bound") is not None
            ]
            self.lines_ += ax.plot(*reversed(_columns(own)), label=label, **style)
            self.lines_ += ax.plot(*reversed(_columns(probed)), fillstyle="none", **style)
        ax.axhline(0.0, color=REFERENCE, linestyle="--", label="boundary", zorder=0)
        _draw_information(ax.axhline, self.teacher_information)
        low, high = ax.get_ylim()
        furthest = 2 * max(LEAST_RATE, *(each["rate"] for each in self.points))
        rates = np.concatenate([[0.0], np.geomspace(LEAST_RATE / 10, furthest, 200)])
        ax.fill_between(
            rates,
            np.minimum(rates, high),
            high,
            color=FAINT,
            alpha=0.3,
            linewidth=0,
            zorder=0,
            label="above the rate",
        )
        # A collapsed rate is next to nothing, that of an autoencoder hundreds of nats.
        ax.set_xscale("symlog", linthresh=LEAST_RATE)
        ax.set(xlim=(0.0, furthest), ylim=(low, high))
        dressed(
            ax,
            "rate (nats)",
            "lower bound on the margin (nats)",
            "own witness (filled), probe (open)" if self._has_probes else "",
        )
        legend_beside(ax, always_beside=True)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @property
    def _has_probes(self) -> bool:
        return any(each.get("probe_lower_bound") is not None for each in self.points)


def _points_of(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "label": run["arm"],
            "rate": run["report"]["rate"],
            "lower_bound": run["report"]["lower_bound_sample"],
            "probe_lower_bound": (run["report"]["probe"] or {}).get("lower_bound_sample"),
        }
        for run in runs
    ]


def _information_of(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Information of each teacher, a mean over the seeds."""
    of_teacher: dict[int, list[float]] = {}
    for run in runs:
        of_teacher.setdefault(run["teacher"], []).append(run["report"]["teacher_information"])
    return [sum(found) / len(found) for found in of_teacher.values()]


def _draw_information(draw: Any, information: float | Sequence[float] | None) -> None:
    if information is None:
        return
    each = [information] if isinstance(information, (int, float)) else information
    for number, value in enumerate(each):
        # An underscore keeps it out of the legend.
        label = "_teacher information" if number else "teacher information"
        draw(value, color=REFERENCE, linestyle=":", linewidth=1, label=label, zorder=0)


def _in_short(rate: float) -> str:
    return f"{rate:.3g}" if rate == 0 or rate >= LEAST_SHOWN else f"< {LEAST_SHOWN:g}"


def _columns(
    pairs: Sequence[tuple[float, float]], shift: float = 0.0
) -> tuple[list[float], list[float]]:
    return [first for first, _ in pairs], [second + shift for _, second in pairs]
