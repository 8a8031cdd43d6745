"""Ways that something takes: a code out of collapse, and evidence as rows come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvae.displays.drawing import (
    COLOURS,
    REFERENCE,
    SHORT,
    axes_of,
    dressed,
    legend_beside,
    line_look,
    named,
)
from skvae.information.simplex import margin_energy_path

__all__ = ["MarginEnergyDisplay", "StreamDisplay"]

# Of the path, from the collapsed code to the one that is read without error.
N_POINTS = 201


class MarginEnergyDisplay:
    """Margin that the codes of a simplex witness are worth, against what they cost.

    The path is that of the analytic codes, shrunk to less and less: from the constant code at
    its foot, which costs nothing and is worth nothing, to those that are read without error at
    its end. Where a training is given, its epochs are drawn beside the path by rate and margin:
    on the way out of collapse, the escape.

    Parameters
    ----------
    energies, margins : array-like of shape (n_points,)
        The path, as of `skvae.information.simplex.margin_energy_path`, in nats.
    trajectory : sequence of (rate, margin), or None, default=None
        Of the epochs of a training, in nats.
    design : (rate, margin) or None, default=None
        What was designed, `design_` of the estimator.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    line_ : matplotlib Line2D
        The path.
    trajectory_ : matplotlib Line2D or None
        The epochs.

    References
    ----------
    arXiv 2605.18224.

    Examples
    --------
    >>> from skvae.displays import MarginEnergyDisplay
    >>> display = MarginEnergyDisplay.from_teacher([[0.9, 0.1], [0.1, 0.9]])
    >>> round(float(display.line_.get_ydata()[-1]), 4)
    0.3681
    """

    def __init__(
        self,
        energies: ArrayLike,
        margins: ArrayLike,
        trajectory: Sequence[tuple[float, float]] | None = None,
        design: tuple[float, float] | None = None,
    ) -> None:
        self.energies = energies
        self.margins = margins
        self.trajectory = trajectory
        self.design = design

    @classmethod
    def from_teacher(
        cls,
        T: ArrayLike,
        *,
        scale: float = 2.0,
        average_teacher: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MarginEnergyDisplay:
        """Plot the path of a teacher.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_components)
            Teacher distributions, one row each on the simplex, without zeros.
        scale : float, default=2.0
            Scale of the witness, positive: `witness_scale` of the estimator.
        average_teacher : array-like of shape (n_components,) or None, default=None
            What the witness answers to the code 0; None is the average of T.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the path, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : MarginEnergyDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the teacher has zeros, whose codes lie at infinity.
        """
        return cls(*_path(T, scale, average_teacher)).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, X_teacher: Any = None, ax: Any = None, **kwargs: Any
    ) -> MarginEnergyDisplay:
        """Plot the path of an estimator's teacher on rows, and its training beside it.

        Parameters
        ----------
        estimator : fitted TeacherGuidedVAE
            Of any witness; the path is that of a simplex witness of its `witness_scale`.
        X : array-like of shape (n_samples, n_features)
            Rows, best those of `fit`, which the history is of.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the path, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : MarginEnergyDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the teacher has zeros, whose codes lie at infinity.
        """
        T = estimator.teacher_proba(X if X_teacher is None else X_teacher)
        path = _path(T, estimator.witness_scale, estimator.average_teacher_)
        trajectory = [(each["rate"], each["margin"]) for each in estimator.history_]
        found = getattr(estimator, "design_", None)
        design = None if found is None else (found.rate, found.margin)
        return cls(*path, trajectory, design).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> MarginEnergyDisplay:
        """Draw the path, and the epochs.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the path, as matplotlib's ``plot`` takes them.

        Returns
        -------
        self : MarginEnergyDisplay
            With `ax_`, `figure_`, `line_` and `trajectory_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        ax = axes_of(ax, 6.4, 4)
        style = {"color": COLOURS[0], "linewidth": 2, "label": "path of the designed codes"}
        (self.line_,) = ax.plot(self.energies, self.margins, **{**style, **kwargs})
        top = float(np.asarray(self.margins)[-1])
        ax.axhline(
            top,
            color=REFERENCE,
            linestyle=":",
            linewidth=1,
            label="teacher information",
            zorder=0,
        )
        ax.axhline(0.0, color=REFERENCE, linestyle="--", label="boundary", zorder=0)
        self.trajectory_ = None
        if self.trajectory is not None:
            rates, margins = zip(*self.trajectory, strict=True)
            look = {"color": COLOURS[1], "marker": ".", "linewidth": 1, "label": "training"}
            (self.trajectory_,) = ax.plot(rates, margins, **look)
            ends = {"s": 55, "zorder": 3, "color": COLOURS[1]}
            ax.scatter(rates[0], margins[0], marker="o", label="first epoch", **ends)
            ax.scatter(rates[-1], margins[-1], marker="s", label="last epoch", **ends)
        if self.design is not None:
            look = {"s": 130, "marker": "*", "color": COLOURS[2], "zorder": 4}
            ax.scatter(*self.design, label="designed, noise included", **look)
        dressed(ax, "energy of the code, or rate (nats)", "margin (nats)", grid="both")
        ax.set_xlim(left=0.0)
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class StreamDisplay:
    """Evidence against "no better than a constant" as rows come in.

    The log e-value may be watched after every batch. Where it reaches the line of a
    confidence, one may stop and conclude, with that confidence, that a witness in use is not
    constant, and so the code is not; that it falls later takes nothing back.

    Parameters
    ----------
    courses : dict of str to (n_rows, log_e_values)
        By label: numbers of rows, and the natural-log e-value of so many.
    confidence : float, default=0.95
        In (0, 1).

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The courses.
    reached_ : dict of str to int or None
        Rows after which a course reached the line, as far as it was looked at.

    Examples
    --------
    >>> from skvae.displays import StreamDisplay
    >>> display = StreamDisplay({"stream": ([0, 50, 100], [0.0, 2.0, 4.5])}).plot()
    >>> display.reached_
    {'stream': 100}
    """

    def __init__(
        self,
        courses: Mapping[str, tuple[Sequence[float], Sequence[float]]],
        confidence: float = 0.95,
    ) -> None:
        self.courses = courses
        self.confidence = confidence

    @classmethod
    def from_monitor(
        cls,
        monitor: Any,
        *,
        confidence: float = 0.95,
        n_points: int = 100,
        ax: Any = None,
        **kwargs: Any,
    ) -> StreamDisplay:
        """Plot what a monitor has seen.

        Parameters
        ----------
        monitor : SequentialMargin, or mapping of str to such
            Labels and monitors.
        confidence : float, default=0.95
            In (0, 1).
        n_points : int, default=100
            Most points of a course.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines, as matplotlib takes them.

        Returns
        -------
        display : StreamDisplay
            The drawn plot.
        """
        courses = {
            label: each.course(n_points) for label, each in named(monitor, "evidence").items()
        }
        return cls(courses, confidence).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> StreamDisplay:
        """Draw the courses.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the lines, as matplotlib takes them.

        Returns
        -------
        self : StreamDisplay
            With `ax_`, `figure_`, `lines_` and `reached_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        labels = list(self.courses)
        ax = axes_of(ax, 7, 4, labels if len(labels) + 1 > SHORT else ())
        height = float(-np.log1p(-self.confidence))
        self.lines_, self.reached_ = [], {}
        for number, (label, (n_rows, values)) in enumerate(self.courses.items()):
            look = {**line_look(number), "linewidth": 1.6, "label": label, **kwargs}
            self.lines_ += ax.plot(n_rows, values, **look)
            beyond = np.flatnonzero(np.asarray(values) >= height)
            self.reached_[label] = int(n_rows[beyond[0]]) if len(beyond) else None
            if len(beyond):
                mark = {"color": look["color"], "marker": "o", "linestyle": "none"}
                ax.plot(n_rows[beyond[0]], values[beyond[0]], **mark)
        name = f"evidence for {self.confidence:.4g} confidence"
        ax.axhline(height, color=REFERENCE, linestyle=":", linewidth=1.2, label=name, zorder=0)
        ax.axhline(0.0, color=REFERENCE, linestyle="--", linewidth=1, zorder=0)
        dressed(ax, "rows of the stream", "log e-value (nats)", grid="y")
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _path(T: Any, scale: float, average_teacher: Any) -> tuple[Any, Any]:
    T = np.asarray(T, dtype=np.float64)
    average = T.mean(axis=0) if average_teacher is None else average_teacher
    margins, energies = margin_energy_path(T, np.linspace(0, 1, N_POINTS), scale, average)
    return energies, margins
