"""The code itself: what its dimensions cost, and where it puts rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.displays.drawing import (
    COLOURS,
    FAINT,
    axes_of,
    dressed,
    legend_beside,
    marker_look,
)

__all__ = ["LatentCodeDisplay", "LatentRateDisplay"]

# As in a report: a dimension whose posterior mean varies by more is active (Burda, Grosse and
# Salakhutdinov, arXiv 1509.00519).
ACTIVE_VARIANCE = 0.01
# More labels than markers that differ.
MOST_LABELS = 49


class LatentRateDisplay:
    """Rate of each dimension of the code, in nats, with the active dimensions marked.

    A dimension is active where its posterior mean varies over the rows by more than 0.01, as in
    a report. One that is not costs next to nothing, and carries next to nothing.

    Parameters
    ----------
    rates : array-like of shape (latent_dim,)
        Mean divergence of the posterior from the prior, in nats.
    active : array-like of bool of shape (latent_dim,), or None, default=None
        Which dimensions are active; None where that is not known.
    n_active : int or None, default=None
        How many are, for the title; None counts them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    bars_ : list of matplotlib Rectangle
        The bars, one a dimension.

    Examples
    --------
    >>> from skvae.displays import LatentRateDisplay
    >>> display = LatentRateDisplay([1.2, 0.0, 0.7], active=[True, False, True]).plot()
    >>> display.ax_.get_title(loc="left")
    '2 of 3 dimensions active, 1.9 nats in all'
    """

    def __init__(
        self, rates: ArrayLike, active: ArrayLike | None = None, n_active: int | None = None
    ) -> None:
        self.rates = rates
        self.active = active
        self.n_active = n_active

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Any = None, **kwargs: Any
    ) -> LatentRateDisplay:
        """Plot what the dimensions of a fitted estimator cost on these rows.

        Parameters
        ----------
        estimator : fitted estimator with posterior_kl(X) and transform(X)
            As `TeacherGuidedVAE` is.
        X : array-like of shape (n_samples, n_features)
            Rows.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the bars, as matplotlib's ``bar`` takes them.

        Returns
        -------
        display : LatentRateDisplay
            The drawn plot.
        """
        rates = np.asarray(estimator.posterior_kl(X), dtype=np.float64).mean(axis=0)
        spread = np.asarray(estimator.transform(X), dtype=np.float64).var(axis=0)
        return cls(rates, spread > ACTIVE_VARIANCE).plot(ax, **kwargs)

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None, **kwargs: Any) -> LatentRateDisplay:
        """Plot what a report says of the dimensions.

        A report has how many are active, and not which: they are not marked then.

        Parameters
        ----------
        report : CertificateReport
            Of a model with a posterior.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the bars, as matplotlib's ``bar`` takes them.

        Returns
        -------
        display : LatentRateDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the report knows no rates.
        """
        if report.kl_per_dimension is None:
            raise ValueError(
                "The report knows no rates: it is of codes without a posterior. Certify a "
                "model with `posterior`."
            )
        return cls(report.kl_per_dimension, None, report.active_units).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LatentRateDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the bars, as matplotlib's ``bar`` takes them.

        Returns
        -------
        self : LatentRateDisplay
            With `ax_`, `figure_` and `bars_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        ax = axes_of(ax, 6, 3.4)
        rates = np.asarray(self.rates, dtype=np.float64)
        n_active = self.n_active
        is_active = None if self.active is None else np.asarray(self.active, dtype=bool)
        looks: dict[str, Any] = {"color": COLOURS[0]}
        if is_active is not None:
            n_active = int(is_active.sum())
            looks = {
                "color": np.where(is_active, COLOURS[0], "white").tolist(),
                "edgecolor": np.where(is_active, COLOURS[0], FAINT).tolist(),
                "hatch": ["" if each else "////" for each in is_active],
            }
        self.bars_ = list(ax.bar(range(1, len(rates) + 1), rates, **{**looks, **kwargs}))
        counted = "" if n_active is None else f"{n_active} of {len(rates)} dimensions active, "
        title = f"{counted}{rates.sum():.3g} nats in all"
        dressed(ax, "dimension of the code", "rate (nats)", title, grid="y")
        ax.set_ylim(0.0, max(1.05 * rates.max(), 0.01))
        ax.xaxis.get_major_locator().set_params(integer=True)
        if is_active is not None and 0 < is_active.sum() < len(rates):
            # The first bar of each kind names it.
            kinds = [self.bars_[int(np.argmax(is_active == kind))] for kind in (True, False)]
            ax.legend(kinds, ["active", "not active"], frameon=False, fontsize="small")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class LatentCodeDisplay:
    """Codes of rows in two dimensions, coloured by what they are of.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        The codes, projected.
    labels : array-like of shape (n_samples,) or None, default=None
        Colours: classes, or numbers where there are more than 49 of them.
    axis_names : tuple of str, default=("first axis", "second axis")
        Of the projection.
    label_name : str, default="label"
        What the labels are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    scatters_ : list of matplotlib PathCollection
        The points, one collection a label.

    Examples
    --------
    >>> from skvae.displays import LatentCodeDisplay
    >>> display = LatentCodeDisplay([[0.0, 1.0], [2.0, 0.5]], labels=["a", "b"]).plot()
    >>> [each.get_label() for each in display.scatters_]
    ['a', 'b']
    """

    def __init__(
        self,
        points: ArrayLike,
        labels: ArrayLike | None = None,
        axis_names: Sequence[str] = ("first axis", "second axis"),
        label_name: str = "label",
    ) -> None:
        self.points = points
        self.labels = labels
        self.axis_names = axis_names
        self.label_name = label_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        projection: str = "pca",
        random_state: int | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> LatentCodeDisplay:
        """Plot the codes that a fitted estimator gives to rows.

        Parameters
        ----------
        estimator : fitted estimator with transform(X)
            As `TeacherGuidedVAE` is, or any other.
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or None, default=None
            Labels to colour by. None takes the likeliest component of the estimator's teacher,
            where it has one.
        projection : {"pca", "umap"}, default="pca"
            Principal axes of the code, or UMAP, which wants the package umap-learn, and whose
            distances mean little. A code of two dimensions is drawn as it is under "pca".
        random_state : int or None, default=0
            Of UMAP.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the points, as matplotlib's ``scatter`` takes them.

        Returns
        -------
        display : LatentCodeDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the projection is none of the two.
        ImportError
            If matplotlib, or for "umap" umap-learn, is not installed.
        """
        if projection not in ("pca", "umap"):
            raise ValueError(f"projection must be 'pca' or 'umap', got {projection!r}.")
        codes = np.asarray(estimator.transform(X), dtype=np.float64)
        points, names = _projected(codes, projection, random_state)
        labels, name = y, "label"
        if y is None and hasattr(estimator, "teacher_proba"):
            labels, name = estimator.teacher_proba(X).argmax(axis=1), "component of the teacher"
        return cls(points, labels, names, name).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LatentCodeDisplay:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the points, as matplotlib's ``scatter`` takes them.

        Returns
        -------
        self : LatentCodeDisplay
            With `ax_`, `figure_` and `scatters_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        ax = axes_of(ax, 5, 4.6, [self.label_name])
        points = np.asarray(self.points, dtype=np.float64)
        style = {"s": 14, "alpha": 0.75, "linewidths": 0, **kwargs}
        dressed(ax, self.axis_names[0], self.axis_names[1])
        self.scatters_ = []
        labels = None if self.labels is None else np.asarray(self.labels)
        found = np.empty(0) if labels is None else np.unique(labels)
        if labels is None:
            self.scatters_.append(ax.scatter(*points.T, **{"color": COLOURS[0], **style}))
        elif len(found) > MOST_LABELS:
            colours = {"c": labels.astype(np.float64), "cmap": "cividis"}
            self.scatters_.append(ax.scatter(*points.T, **colours, **style))
            ax.figure.colorbar(self.scatters_[0], ax=ax, label=self.label_name)
        else:
            for number, label in enumerate(found):
                look = {**marker_look(number), "label": str(label), **style}
                self.scatters_.append(ax.scatter(*points[labels == label].T, **look))
            legend = legend_beside(ax, always_beside=True)
            legend.set_title(self.label_name, prop={"size": "small"})
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _projected(
    codes: NDArray[np.float64], projection: str, random_state: int | None
) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Return two coordinates of each code, and what they are called."""
    if projection == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise ImportError(
                "projection='umap' needs umap-learn: pip install umap-learn."
            ) from error
        points = UMAP(n_components=2, random_state=random_state).fit_transform(codes)
        return np.asarray(points), ("UMAP 1", "UMAP 2")
    if codes.shape[1] == 1:
        # Along a line; the height says nothing.
        height = np.random.default_rng(0).uniform(-1, 1, len(codes))
        return np.column_stack([codes, height]), ("dimension 1", "(spread by chance)")
    if codes.shape[1] == 2:
        return codes, ("dimension 1", "dimension 2")
    left, sizes, _ = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)
    # Codes that are all one have no variance to share.
    shares = sizes[:2] ** 2 / (np.square(sizes).sum() or 1.0)
    names = [
        f"principal axis {number} of the code ({100 * share:.0f}% of its variance)"
        for number, share in enumerate(shares, start=1)
    ]
    return left[:, :2] * sizes[:2], (names[0], names[1])
