"""What all pictures share: matplotlib on use, one set of colours, axes and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "FAINT",
    "REFERENCE",
    "SHORT",
    "axes_of",
    "dressed",
    "frameless",
    "labels_of",
    "legend_beside",
    "line_look",
    "marker_look",
    "mosaic",
    "named",
    "panels_of",
    "pyplot",
    "write_values",
]

# Colours that people with any kind of colour blindness tell apart, less the yellow that is lost
# on white: Okabe and Ito, Color Universal Design, 2008. The order keeps the first few apart in
# print without colour too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
# Of what is compared with: boundaries, diagonals, data.
REFERENCE, FAINT = "#4d4d4d", "#b0b0b0"
# Lines of a legend, one below the other, and of one that is drawn inside the axes.
LEGEND_LINES, SHORT = 20, 5


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or say how to install it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'skvae[plot]' (or matplotlib)."
        ) from error
    return pyplot


def axes_of(ax: Any, width: float, height: float, beside: Sequence[str] = ()) -> Any:
    """Return the axes that were given, or those of a new figure of this size in inches.

    It is wider by what a legend of the labels that stand `beside` takes.
    """
    if ax is not None:
        return ax
    if beside:
        n_columns = -(-(len(beside) + 3) // LEGEND_LINES)
        width += n_columns * (0.6 + 0.075 * max(20, *map(len, beside)))
    _, ax = pyplot().subplots(figsize=(width, height), layout="constrained")
    return ax


def panels_of(ax: Any, n_panels: int, width: float, height: float) -> list[Any]:
    """Return panels, two beside each other, in a new figure or in the place of an axes.

    Width and height are those of one panel, in inches.
    """
    n_columns = min(2, n_panels)
    n_rows = -(-n_panels // n_columns)
    if ax is None:
        size = (n_columns * width, n_rows * height)
        figure = pyplot().figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    else:
        figure = ax.figure
        grid = ax.get_subplotspec().subgridspec(n_rows, n_columns)
        # It keeps the place, and shows nothing of its own.
        ax.set_axis_off()
    places = [(row, column) for row in range(n_rows) for column in range(n_columns)]
    return [figure.add_subplot(grid[place]) for place in places[:n_panels]]


def dressed(ax: Any, x: str, y: str, title: str = "", grid: str = "") -> Any:
    """Label axes and give them the look that all pictures have.

    Sizes are relative, so that ``rcParams["font.size"]`` scales them all; ``grid`` names the
    axis that numbers are read off: "x", "y", "both" or none.
    """
    ax.set(xlabel=x, ylabel=y)
    if title:
        ax.set_title(title, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(axis=grid, color="#e4e4e4", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def legend_beside(ax: Any, *, always_beside: bool = False) -> Any:
    """Draw a legend: in the axes where it is short, beside them in columns where it is not."""
    handles, _ = ax.get_legend_handles_labels()
    if not handles:
        return None
    if len(handles) <= SHORT and not always_beside:
        return ax.legend(frameon=False, fontsize="small")
    return ax.legend(
        frameon=False,
        fontsize="small",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        ncols=-(-len(handles) // LEGEND_LINES),
    )


def marker_look(number: int) -> dict[str, Any]:
    """Colour and marker of the label with this number: 49 that differ."""
    shape = number + number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[shape % len(MARKERS)],
    }


def write_values(ax: Any, values: Sequence[float]) -> None:
    """Write values at the ends of horizontal bars, those below zero right of zero."""
    for place, value in enumerate(values):
        look = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
        ax.annotate(f"{value:.3g}", (max(value, 0.0), place), (4, 0), **look)


def line_look(number: int) -> dict[str, Any]:
    """Colour and dashes of the label with this number: 42 that differ."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


def labels_of(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the labels of these items, each once, in the order they come in."""
    return list(dict.fromkeys(item["label"] for item in items))


def named(given: Any, name: str) -> dict[str, Any]:
    """Return what was given by label: a mapping as it is, one thing under this name."""
    if isinstance(given, Mapping):
        return {str(label): value for label, value in given.items()}
    return {name: given}


def mosaic(lines: Sequence[NDArray], n_columns: int) -> NDArray[np.float64]:
    """Return lines of images as one picture, a pixel of white between them."""
    n_channels, height, width = lines[0].shape[1:]
    shape = len(lines) * (height + 1) - 1, n_columns * (width + 1) - 1, n_channels
    grid = np.ones(shape)
    for row, images in enumerate(lines):
        for column, image in enumerate(images):
            top, left = row * (height + 1), column * (width + 1)
            grid[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    return grid[:, :, 0] if n_channels == 1 else grid


def frameless(ax: Any) -> None:
    """Take the frame and the ticks off axes that show a picture."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
