"""Teacher against witness: what is confused with what, and whether shares are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.displays.drawing import COLOURS, REFERENCE, axes_of, dressed

__all__ = ["TeacherWitnessDisplay", "WitnessCalibrationDisplay"]

# Components up to which each share is written into its field.
MOST_WRITTEN = 12


class TeacherWitnessDisplay:
    """What the witness answers, component by component of the teacher.

    A line is a component of the teacher, and its fields are the mean answer of the witness to
    rows of that component, each weighed by the teacher's probability of it. All on the diagonal
    is a witness that answers as a teacher without doubts does. Lines that are alike are a
    witness that cannot tell components apart; all of them alike is one that is constant.

    Parameters
    ----------
    shares : array-like of shape (n_components, n_components)
        A distribution over the components of the witness for each of the teacher.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    image_ : matplotlib AxesImage
        The shares.
    texts_ : list of matplotlib Text
        The shares in numbers; empty for more than 12 components.

    Examples
    --------
    >>> from skvae.displays import TeacherWitnessDisplay
    >>> display = TeacherWitnessDisplay([[0.9, 0.1], [0.3, 0.7]]).plot()
    >>> [text.get_text() for text in display.texts_]
    ['.90', '.10', '.30', '.70']
    """

    def __init__(self, shares: ArrayLike) -> None:
        self.shares = shares

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        latent: str = "mean",
        X_teacher: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> TeacherWitnessDisplay:
        """Plot teacher and witness of a fitted estimator on rows, best held-out ones.

        Parameters
        ----------
        estimator : fitted estimator with teacher_proba and witness_log_proba
            As `TeacherGuidedVAE` is.
        X : array-like of shape (n_samples, n_features)
            Rows.
        latent : {"mean", "sample"}, default="mean"
            What the witness reads: posterior means, or a draw of each row's code.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        display : TeacherWitnessDisplay
            The drawn plot.
        """
        T, q = _both(estimator, X, X_teacher, latent)
        of_component = T.sum(axis=0)[:, np.newaxis]
        return cls(T.T @ q / np.where(of_component > 0, of_component, 1.0)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> TeacherWitnessDisplay:
        """Draw the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        self : TeacherWitnessDisplay
            With `ax_`, `figure_`, `image_` and `texts_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        shares = np.asarray(self.shares, dtype=np.float64)
        n_components = len(shares)
        size = 2.4 + 0.36 * min(n_components, MOST_WRITTEN)
        ax = axes_of(ax, size + 1.0, size)
        style = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.0, **kwargs}
        self.image_ = ax.imshow(shares, **style)
        self.texts_ = []
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_major_locator().set_params(integer=True)
        if n_components <= MOST_WRITTEN:
            ax.set_xticks(range(n_components))
            ax.set_yticks(range(n_components))
            for (k, j), share in np.ndenumerate(shares):
                text = "1" if share > 0.995 else f"{share:.2f}".removeprefix("0")
                colour = "white" if share > 0.6 else "black"
                look = {"ha": "center", "va": "center", "fontsize": "small"}
                self.texts_.append(ax.text(j, k, text, color=colour, **look))
        dressed(ax, "component in the witness's answer", "component of the teacher")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.figure.colorbar(self.image_, ax=ax, label="mean probability")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class WitnessCalibrationDisplay:
    """Whether the probabilities of the witness are what the teacher says on average.

    All answers of the witness, for each row and component, are put into groups of like
    probability; a point is the mean of a group and the mean of the
    teacher's probabilities for the same rows and components. On the diagonal the witness is
    calibrated; below it, it is surer than the teacher bears out.

    Parameters
    ----------
    answers, borne_out : array-like of shape (n_groups,)
        Mean probabilities of the witness, and of the teacher.
    counts : array-like of int of shape (n_groups,)
        How many answers are in a group.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    line_ : matplotlib Line2D
        The groups.
    expected_error_ : float
        Mean distance of the two, each group by its number of answers.

    Examples
    --------
    >>> from skvae.displays import WitnessCalibrationDisplay
    >>> display = WitnessCalibrationDisplay([0.1, 0.8], [0.1, 0.6], [30, 10]).plot()
    >>> round(display.expected_error_, 3)
    0.05
    """

    def __init__(self, answers: ArrayLike, borne_out: ArrayLike, counts: ArrayLike) -> None:
        self.answers = answers
        self.borne_out = borne_out
        self.counts = counts

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        latent: str = "mean",
        n_groups: int = 10,
        X_teacher: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> WitnessCalibrationDisplay:
        """Plot the calibration of a fitted estimator's witness on rows, best held-out ones.

        Parameters
        ----------
        estimator : fitted estimator with teacher_proba and witness_log_proba
            As `TeacherGuidedVAE` is.
        X : array-like of shape (n_samples, n_features)
            Rows.
        latent : {"mean", "sample"}, default="mean"
            What the witness reads: posterior means, or a draw of each row's code.
        n_groups : int, default=10
            Groups of answers, of the same width in probability; empty ones are left out.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the line, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : WitnessCalibrationDisplay
            The drawn plot.
        """
        T, q = _both(estimator, X, X_teacher, latent)
        group_of = np.minimum((q * n_groups).astype(int), n_groups - 1).ravel()
        groups = [np.flatnonzero(group_of == each) for each in np.unique(group_of)]
        answers = [q.flat[each].mean() for each in groups]
        borne_out = [T.flat[each].mean() for each in groups]
        return cls(answers, borne_out, list(map(len, groups))).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> WitnessCalibrationDisplay:
        """Draw the groups and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the line, as matplotlib's ``plot`` takes them.

        Returns
        -------
        self : WitnessCalibrationDisplay
            With `ax_`, `figure_`, `line_` and `expected_error_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        answers, borne_out = np.asarray(self.answers), np.asarray(self.borne_out)
        distance = np.abs(answers - borne_out)
        self.expected_error_ = float(np.average(distance, weights=np.asarray(self.counts)))
        ax = axes_of(ax, 4.4, 4.2)
        ax.plot(
            [0, 1], [0, 1], color=REFERENCE, linestyle="--", linewidth=1, label="calibrated"
        )
        style = {"color": COLOURS[0], "marker": "o", "label": "witness", **kwargs}
        (self.line_,) = ax.plot(answers, borne_out, **style)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        dressed(
            ax,
            "probability that the witness gives",
            "probability that the teacher gives",
            f"{self.expected_error_:.3f} apart on average",
            grid="both",
        )
        ax.legend(frameon=False, fontsize="small", loc="upper left")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _both(
    estimator: Any, X: Any, X_teacher: Any, latent: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distributions of teacher and witness, a row each."""
    log_q = estimator.witness_log_proba(X, latent=latent)
    T = estimator.teacher_proba(X if X_teacher is None else X_teacher)
    return np.asarray(T, dtype=np.float64), np.exp(np.asarray(log_q, dtype=np.float64))
