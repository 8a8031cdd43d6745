"""Reports as pictures: margin and bound against what there is to know, and a page of four."""

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
    named,
    panels_of,
    write_values,
)
from skvae.displays.latent import LatentRateDisplay

__all__ = ["CertificateDisplay", "ReportDisplay"]

# Nats: below, a decoder does as well without a code (as in `decoder_gain` of a report).
BLIND = 0.1
# Of the teacher information: how far below zero the picture goes.
BELOW = 0.6
# Points that a title needs where a legend stands below it.
ABOVE_LEGEND = 22


class CertificateDisplay:
    """Margin and lower bound of reports, each on a bar from 0 to the teacher information.

    The grey bar is what there is to know, the filled part of it the margin on the rows, and the
    mark the lower bound. Where the mark is right of tau at the read that decides, which is
    written in bold, the code is certified not to be constant in x, and no more.

    Parameters
    ----------
    bars : sequence of dict
        Each with ``label``, ``margin``, ``lower_bound``, ``teacher_information`` (in nats)
        and ``decides`` (whether a verdict goes by it).
    tau : float, default=0.0
        What bounds are compared with, in nats.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    bars_ : matplotlib BarContainer
        The margins.
    bounds_ : matplotlib Line2D
        The lower bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import CollapseMonitor
    >>> from skvae.displays import CertificateDisplay
    >>> labels = np.arange(60) % 3
    >>> report = CollapseMonitor().update(labels, np.eye(3)[labels]).report()
    >>> display = CertificateDisplay.from_report(report)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['by probe, at the mean']
    """

    def __init__(self, bars: Sequence[Mapping[str, Any]], tau: float = 0.0) -> None:
        self.bars = bars
        self.tau = tau

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None, **kwargs: Any) -> CertificateDisplay:
        """Plot a report, or several.

        Parameters
        ----------
        report : CertificateReport, or mapping of str to such
            Labels and reports, of one tau. A probe beside the model's own witness has bars too.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the bars, as matplotlib's ``barh`` takes them.

        Returns
        -------
        display : CertificateDisplay
            The drawn plot.
        """
        reports = named(report, "")
        bars = [
            bar
            for label, each in reports.items()
            for bar in (*_bars_of(each, label), *_bars_of(each.probe, label, decides=False))
        ]
        tau = next(iter(reports.values())).tau
        return cls(bars, tau).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> CertificateDisplay:
        """Draw the bars, the first on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, which is as high as there are bars.
        **kwargs : dict
            Properties of the bars, as matplotlib's ``barh`` takes them.

        Returns
        -------
        self : CertificateDisplay
            With `ax_`, `figure_`, `bars_` and `bounds_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        n_bars = len(self.bars)
        ax = axes_of(ax, 7, 1.4 + 0.36 * n_bars)
        places = np.arange(n_bars)
        margins, bounds, information = (
            np.array([bar[name] for bar in self.bars], dtype=np.float64)
            for name in ("margin", "lower_bound", "teacher_information")
        )
        whole = {"height": 0.56, "color": FAINT, "alpha": 0.35}
        ax.barh(places, information, label="teacher information", **whole)
        style = {"height": 0.56, "color": COLOURS[0], "label": "margin", **kwargs}
        self.bars_ = ax.barh(places, margins, **style)
        # A mark on the bar, dark on light and light on dark.
        mark = {"linestyle": "none", "marker": "|", "markersize": 15, "markeredgewidth": 3}
        (self.bounds_,) = ax.plot(bounds, places, color=COLOURS[1], label="lower bound", **mark)
        # A witness that is sure and wrong may have a margin of minus hundreds, and would leave
        # no room for all else: what is lower is cut off, and written.
        least = min(0.0, *margins, *bounds)
        room = 0.03 * information.max() if least < 0 else 0.0
        left = max(least - room, -BELOW * information.max())
        ax.set_xlim(left, 1.03 * max(information.max(), self.tau))
        for place in np.flatnonzero(np.minimum(margins, bounds) < left):
            text = f"margin {margins[place]:.3g}, bound {bounds[place]:.3g}"
            look = {"fontsize": "small", "va": "center"}
            box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5}
            ax.text(left, place, f"◂ {text}", bbox=box, **look)
        ax.axvline(0.0, color=REFERENCE, linewidth=1)
        if self.tau > 0:
            ax.axvline(self.tau, color=REFERENCE, linestyle="--", linewidth=1, label="tau")
        dressed(ax, "nats", "")
        ax.set_yticks(places, [bar["label"] for bar in self.bars])
        for label, bar in zip(ax.get_yticklabels(), self.bars, strict=True):
            label.set_fontweight("bold" if bar["decides"] else "normal")
        ax.set_ylim(n_bars - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.legend(
            frameon=False,
            fontsize="small",
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=4,
            columnspacing=1.2,
            handletextpad=0.5,
        )
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class ReportDisplay:
    """A report on one page: the four pictures that matter.

    Margin and bound (`CertificateDisplay`); what a draw of the code can carry and does, from
    the rate down to the bound; the rate of each dimension (`LatentRateDisplay`); and what the
    decoder makes of the code. Of codes without a posterior, or without a decoder, what is not
    known is left out.

    Parameters
    ----------
    report : CertificateReport
        What is drawn.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels, one to four.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import CollapseMonitor
    >>> labels = np.arange(60) % 3
    >>> report = CollapseMonitor().update(labels, np.eye(3)[labels]).report()
    >>> display = report.plot()
    >>> [ax.get_title(loc="left") for ax in display.axes_]
    ['certified (not constant in x), by 48 rows']
    """

    def __init__(self, report: Any) -> None:
        self.report = report

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None) -> ReportDisplay:
        """Plot a report.

        Parameters
        ----------
        report : CertificateReport
            What is drawn.
        ax : matplotlib Axes or None, default=None
            Whose place the panels take; None makes a new figure.

        Returns
        -------
        display : ReportDisplay
            The drawn plot.
        """
        return cls(report).plot(ax)

    def plot(self, ax: Any = None) -> ReportDisplay:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Whose place the panels take; None makes a new figure.

        Returns
        -------
        self : ReportDisplay
            With `axes_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        report = self.report
        drawn = [_draw_certificate]
        if report.rate is not None and report.margin_sample is not None:
            drawn.append(_draw_information)
        if report.kl_per_dimension is not None:
            drawn.append(_draw_rates)
        if report.decoder_gain is not None and report.margin_reconstruction is not None:
            drawn.append(_draw_decoder)
        self.axes_ = panels_of(ax, len(drawn), 5.4, 3.0)
        for draw, panel in zip(drawn, self.axes_, strict=True):
            draw(panel, report)
        self.figure_ = self.axes_[0].figure
        return self


def _bars_of(report: Any, label: str, decides: bool = True) -> list[dict[str, Any]]:
    """Return the bars of a report, at the mean and then at the sample."""
    if report is None:
        return []
    bars = []
    for latent in ("mean", "sample"):
        margin = getattr(report, f"margin_{latent}")
        bound = getattr(report, f"lower_bound_{latent}")
        if margin is None or bound is None:
            continue
        words = [label, "by probe" if report.witness == "probe" else "", f"at the {latent}"]
        bars.append(
            {
                "label": ", ".join(word for word in words if word),
                "margin": margin,
                "lower_bound": bound,
                "teacher_information": report.teacher_information,
                "decides": decides and latent == report.latent,
            }
        )
    return bars


def _draw_certificate(ax: Any, report: Any) -> None:
    CertificateDisplay.from_report(report, ax=ax)
    word = "certified (not constant in x)" if report.certified else report.verdict
    title = f"{word}, by {report.n_samples:,} rows"
    ax.set_title(title, loc="left", fontsize="medium", pad=ABOVE_LEGEND)


def _draw_information(ax: Any, report: Any) -> None:
    """Draw what a draw of the code carries, from what it costs down to what is proved."""
    known = [
        ("rate", report.rate),
        ("most that it can carry", report.information_bound),
        ("mutual information", report.mutual_information),
        ("teacher information", report.teacher_information),
        ("margin at the sample", report.margin_sample),
        ("lower bound at the sample", report.lower_bound_sample),
    ]
    known = [(name, value) for name, value in known if value is not None]
    places = range(len(known))
    colours = [FAINT if name == "teacher information" else COLOURS[0] for name, _ in known]
    colours[-1] = COLOURS[1]
    values = [value for _, value in known]
    ax.barh(places, values, height=0.62, color=colours)
    write_values(ax, values)
    ax.margins(x=0.15)
    ax.axvline(0.0, color=REFERENCE, linewidth=1)
    dressed(ax, "nats", "", "a draw of the code")
    ax.set_yticks(places, [name for name, _ in known])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)


def _draw_rates(ax: Any, report: Any) -> None:
    LatentRateDisplay.from_report(report, ax=ax)


def _draw_decoder(ax: Any, report: Any) -> None:
    known = {
        "gain from a row's\nown code": report.decoder_gain,
        "reconstruction\nmargin": report.margin_reconstruction,
    }
    ax.barh(range(2), list(known.values()), height=0.5, color=COLOURS[2])
    write_values(ax, list(known.values()))
    # Hundreds of nats stand beside tenths of one.
    ax.set_xscale("symlog", linthresh=BLIND)
    reach = max(1.0, *map(abs, known.values()))
    ax.set_xlim(min(0.0, *known.values()) * 4, 8 * reach)
    ax.axvline(0.0, color=REFERENCE, linewidth=1)
    ax.axvline(BLIND, color=REFERENCE, linestyle=":", linewidth=1, label="a tenth of a nat")
    dressed(ax, "nats", "")
    title = "what the decoder makes of the code"
    ax.set_title(title, loc="left", fontsize="medium", pad=ABOVE_LEGEND)
    ax.set_yticks(range(2), list(known))
    ax.set_ylim(1.6, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0))
