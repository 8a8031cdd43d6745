"""What each dimension of the code does to a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvae.displays.decoded import numbers_of
from skvae.displays.drawing import axes_of, frameless, mosaic

__all__ = ["TraversalDisplay"]

# Tick labels that one axis has room for.
MOST_TICKS = 40


class TraversalDisplay:
    """What each dimension of the code does: the decoder's means as one is moved at a time.

    All others stay at zero, the centre of the prior. Of images a line is one dimension, from
    its lowest value to its highest; of tables the colours are by how many standard deviations
    of the data a column rises from one to the other.

    Parameters
    ----------
    decoded : array-like
        Of images of shape (n_dimensions, n_values, channels, height, width), in [0, 1]; of
        tables the rises, of shape (n_dimensions, n_columns).
    dimensions : sequence of int
        Which dimensions, counted from 1.
    values : sequence of float
        Where they are moved.
    names : sequence of str or None, default=None
        Of the columns of a table.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    image_ : matplotlib AxesImage
        The grid of images, or the rises.

    Examples
    --------
    >>> from skvae.displays import TraversalDisplay
    >>> display = TraversalDisplay([[0.5, -1.0]], [1], [-2.0, 2.0], ["age", "height"]).plot()
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['age', 'height']
    """

    def __init__(
        self,
        decoded: ArrayLike,
        dimensions: Sequence[int],
        values: Sequence[float],
        names: Sequence[str] | None = None,
    ) -> None:
        self.decoded = decoded
        self.dimensions = dimensions
        self.values = values
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_dimensions: int = 8,
        values: Sequence[float] = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> TraversalDisplay:
        """Plot the dimensions of a fitted estimator with the highest rates on these rows.

        Parameters
        ----------
        estimator : fitted estimator with posterior_kl(X) and inverse_transform(codes)
            As `TeacherGuidedVAE` is.
        X : array-like of shape (n_samples, n_features)
            Rows: of the rates, and of the scale of what is drawn.
        n_dimensions : int, default=8
            Most dimensions that are shown.
        values : sequence of float, default=(-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
            Where a dimension is moved, in standard deviations of the prior, rising.
        image_shape : (channels, height, width) or None, default=None
            None is that of the estimator; rows without one are a table.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        display : TraversalDisplay
            The drawn plot.
        """
        rates = np.asarray(estimator.posterior_kl(X)).mean(axis=0)
        order = np.argsort(-rates, kind="stable")[:n_dimensions]
        codes = np.zeros((len(order), len(values), len(rates)))
        for line, dimension in enumerate(order):
            codes[line, :, dimension] = values
        made = estimator.inverse_transform(codes.reshape(-1, len(rates)))
        dimensions = [int(each) + 1 for each in order]
        shape = image_shape or getattr(estimator, "image_shape_", None)
        if shape is not None:
            low, high = np.min(X), np.max(X)
            scaled = np.clip((np.asarray(made) - low) / ((high - low) or 1.0), 0, 1)
            images = scaled.reshape(len(order), len(values), *shape)
            return cls(images, dimensions, values).plot(ax, **kwargs)
        columns, moved = numbers_of(X), numbers_of(made, like=X)
        names = [name for name in columns if name in moved]
        rises = []
        for name in names:
            course = moved[name].reshape(len(order), len(values))
            rises.append((course[:, -1] - course[:, 0]) / (np.nanstd(columns[name]) or 1.0))
        return cls(np.transpose(rises), dimensions, values, names).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> TraversalDisplay:
        """Draw the dimensions, the one with the highest rate on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        self : TraversalDisplay
            With `ax_`, `figure_` and `image_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        decoded = np.asarray(self.decoded, dtype=np.float64)
        names = [f"dimension {each}" for each in self.dimensions]
        if decoded.ndim == 5:
            height, width = decoded.shape[-2:]
            grid = mosaic(list(decoded), decoded.shape[1])
            ax = axes_of(ax, 7.0, 0.7 + 6.0 * grid.shape[0] / grid.shape[1])
            style = {"cmap": "gray", "interpolation": "nearest", **kwargs}
            self.image_ = ax.imshow(grid, **style)
            y = [(height + 1) * number + (height - 1) / 2 for number in range(len(names))]
            x = [(width + 1) * number + (width - 1) / 2 for number in range(len(self.values))]
            ax.set_xticks(x, [f"{value:g}" for value in self.values])
            ax.set_xlabel("value of the dimension (standard deviations of the prior)")
        else:
            columns = [str(name) for name in self.names or range(decoded.shape[1])]
            width = 2.6 + 0.28 * min(len(columns), MOST_TICKS)
            ax = axes_of(ax, max(5.0, width), 1.9 + 0.3 * len(names))
            reach = np.abs(decoded).max() or 1.0
            style = {
                "cmap": "PuOr_r",
                "vmin": -reach,
                "vmax": reach,
                "aspect": "auto",
                **kwargs,
            }
            self.image_ = ax.imshow(decoded, **style)
            y = list(range(len(names)))
            step = -(-len(columns) // MOST_TICKS)
            shown = range(0, len(columns), step)
            ax.set_xticks(shown, [columns[each] for each in shown], rotation=90)
            label = f"rise from {self.values[0]:g} to {self.values[-1]:g}\n(sd of the data)"
            ax.figure.colorbar(self.image_, ax=ax, label=label)
        ax.set_yticks(y, names)
        frameless(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
