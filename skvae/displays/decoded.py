"""What the decoder makes, beside the data: images, and the columns of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae.displays.drawing import COLOURS, FAINT, axes_of, dressed, frameless, mosaic
from skvae.rows.frames import columns_of, is_frame, series_of

__all__ = ["ImageGridDisplay", "QuantileDisplay", "numbers_of"]

KINDS = ("reconstruction", "sample")
# Of the distributions of columns: whisker, box, middle, box, whisker.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class ImageGridDisplay:
    """Images in a grid, a line of them for each thing that is compared.

    Parameters
    ----------
    images : dict of str to array-like of shape (n_images, channels, height, width)
        By the name of their lines: one channel, or three for red, green and blue.
    n_columns : int, default=10
        Images in a line; more go into further lines.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    image_ : matplotlib AxesImage
        The whole grid, a pixel a pixel of the images.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.displays import ImageGridDisplay
    >>> display = ImageGridDisplay({"noise": np.random.default_rng(0).random((3, 1, 4, 4))})
    >>> [label.get_text() for label in display.plot().ax_.get_yticklabels()]
    ['noise']
    """

    def __init__(self, images: dict[str, ArrayLike], n_columns: int = 10) -> None:
        self.images = images
        self.n_columns = n_columns

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        kind: str = "reconstruction",
        n_images: int = 10,
        image_shape: Sequence[int] | None = None,
        random_state: int | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> ImageGridDisplay:
        """Plot images with their reconstructions, or above samples of the model.

        Parameters
        ----------
        estimator : fitted estimator
            With ``inverse_transform(transform(X))`` or, for samples, ``sample``, as
            `TeacherGuidedVAE` is.
        X : array-like of shape (n_samples, n_features)
            Images, of which some are drawn at random.
        kind : {"reconstruction", "sample"}, default="reconstruction"
            What stands below the data: the decoder's means at the codes of the same rows, or
            new rows.
        n_images : int, default=10
            Images that are shown of the data, and as many again of the model.
        image_shape : (channels, height, width) or None, default=None
            None is that of the estimator.
        random_state : int or None, default=0
            Of the rows that are shown, and of samples.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        display : ImageGridDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the kind is none of the two, or the shape of the images is not known.
        """
        _check_kind(kind)
        shape = _image_shape(estimator, image_shape)
        X = np.asarray(X)
        X = X.reshape(len(X), -1)
        chosen = np.random.default_rng(random_state).permutation(len(X))[:n_images]
        made = _made(estimator, X[np.sort(chosen)], kind, random_state)
        images = {"data": X[np.sort(chosen)], f"{kind}s": np.asarray(made)}
        low, high = np.nanmin(X), np.nanmax(X)
        scaled = {
            name: np.clip((rows - low) / ((high - low) or 1.0), 0, 1).reshape(-1, *shape)
            for name, rows in images.items()
        }
        return cls(scaled, min(10, len(chosen))).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ImageGridDisplay:
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the picture, as matplotlib's ``imshow`` takes them.

        Returns
        -------
        self : ImageGridDisplay
            With `ax_`, `figure_` and `image_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        blocks = {name: np.asarray(images) for name, images in self.images.items()}
        lines = [
            (name if not start else "", images[start : start + self.n_columns])
            for name, images in blocks.items()
            for start in range(0, len(images), self.n_columns)
        ]
        height = next(iter(blocks.values())).shape[2]
        grid = mosaic([images for _, images in lines], self.n_columns)
        n_tall, n_wide = grid.shape[:2]
        ax = axes_of(ax, 7.5, 0.3 + 6.5 * n_tall / n_wide)
        self.image_ = ax.imshow(grid, **{"cmap": "gray", "interpolation": "nearest", **kwargs})
        middles = [(height + 1) * number + (height - 1) / 2 for number in range(len(lines))]
        named = [
            (middle, name) for middle, (name, _) in zip(middles, lines, strict=True) if name
        ]
        ax.set_yticks([middle for middle, _ in named], [name for _, name in named])
        frameless(ax)
        ax.set_xticks([])
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class QuantileDisplay:
    """Distributions of the columns of a table: data against what the model makes.

    For each column the middle half as a box, 90% as a line, and the median, in standard
    deviations of the data from its mean: so columns in any units stand beside each other.

    Parameters
    ----------
    data, model : array-like of shape (5, n_columns)
        Quantiles at 5, 25, 50, 75 and 95% of the data and of the model's rows.
    names : sequence of str
        Of the columns.
    model_name : str, default="model"
        What the model's rows are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    boxes_ : list of matplotlib BarContainer
        The middle halves of the data, and of the model.

    Examples
    --------
    >>> from skvae.displays import QuantileDisplay
    >>> quantiles = [[-1.6], [-0.7], [0.0], [0.7], [1.6]]
    >>> display = QuantileDisplay(quantiles, quantiles, ["age"], "samples").plot()
    >>> [each.get_label() for each in display.boxes_]
    ['data', 'samples']
    """

    def __init__(
        self, data: ArrayLike, model: ArrayLike, names: Sequence[str], model_name: str = "model"
    ) -> None:
        self.data = data
        self.model = model
        self.names = names
        self.model_name = model_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        kind: str = "sample",
        random_state: int | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> QuantileDisplay:
        """Plot the columns of X beside those of samples, or of reconstructions.

        Parameters
        ----------
        estimator : fitted estimator
            As for `ImageGridDisplay`.
        X : array-like of shape (n_samples, n_features)
            Rows; of a data frame the columns of numbers.
        kind : {"sample", "reconstruction"}, default="sample"
            New rows of the model, as many as there are in X, or the decoder's means at the
            codes of X, which vary less than rows do: they are without the decoder's noise.
        random_state : int or None, default=0
            Of samples.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Properties of the boxes, as matplotlib's ``barh`` takes them.

        Returns
        -------
        display : QuantileDisplay
            The drawn plot.

        Raises
        ------
        ValueError
            If the kind is none of the two.
        """
        _check_kind(kind)
        made = numbers_of(_made(estimator, X, kind, random_state), like=X)
        columns = numbers_of(X)
        names = [name for name in columns if name in made]
        data, model = [], []
        for name in names:
            centre, scale = np.nanmean(columns[name]), np.nanstd(columns[name]) or 1.0
            data.append((np.nanquantile(columns[name], LEVELS) - centre) / scale)
            model.append((np.nanquantile(made[name], LEVELS) - centre) / scale)
        display = cls(np.transpose(data), np.transpose(model), names, f"{kind}s")
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> QuantileDisplay:
        """Draw the columns, the first on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, which is as high as there are columns.
        **kwargs : dict
            Properties of the boxes, as matplotlib's ``barh`` takes them.

        Returns
        -------
        self : QuantileDisplay
            With `ax_`, `figure_` and `boxes_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed; says how to install it.
        """
        ax = axes_of(ax, 6.5, 1.3 + 0.34 * len(self.names))
        self.boxes_ = []
        places = np.arange(len(self.names))
        looks = (
            (self.data, "data", FAINT, -0.18),
            (self.model, self.model_name, COLOURS[0], 0.18),
        )
        for quantiles, name, colour, shift in looks:
            low, first, middle, third, high = np.asarray(quantiles, dtype=np.float64)
            y = places + shift
            ax.hlines(y, low, high, color=colour, linewidth=1.2)
            style = {"height": 0.28, "color": colour, **kwargs}
            self.boxes_.append(ax.barh(y, third - first, left=first, label=name, **style))
            ax.vlines(middle, y - 0.14, y + 0.14, color="black", linewidth=1.4)
        x = "standard deviations of the data from its mean"
        dressed(ax, x, "", "5 to 95%, middle half, median", grid="x")
        ax.set_yticks(places, [str(name) for name in self.names])
        ax.set_ylim(len(self.names) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.legend(
            frameon=False,
            fontsize="small",
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=2,
        )
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")


def _image_shape(estimator: Any, image_shape: Sequence[int] | None) -> tuple[int, ...]:
    shape = image_shape or getattr(estimator, "image_shape_", None)
    if shape is None:
        raise ValueError(
            "These rows are not known to be images: pass image_shape=(channels, height, "
            "width), or draw a table by QuantileDisplay."
        )
    return tuple(shape)


def _made(estimator: Any, X: Any, kind: str, random_state: int | None) -> Any:
    """Return reconstructions of these rows, or as many samples."""
    if kind == "sample":
        return estimator.sample(len(X), random_state=random_state)
    return estimator.inverse_transform(estimator.transform(X))


def numbers_of(rows: Any, like: Any = None) -> dict[str, NDArray[np.float64]]:
    """Return the columns of numbers of a table by their names, missing entries as NaN.

    An array has the names of the frame that it is like.
    """
    if is_frame(rows):
        return {
            str(name): _floats(series)
            for name, series in series_of(rows).items()
            if series.dtype.is_numeric()
        }
    rows = np.asarray(rows, dtype=np.float64)
    names = columns_of(like) if is_frame(like) else map("column {}".format, range(len(rows.T)))
    return dict(zip(map(str, names), rows.T, strict=True))


def _floats(series: Any) -> NDArray[np.float64]:
    return np.array(
        [np.nan if each is None else each for each in series.to_list()], dtype=float
    )
