"""matplotlib, imported where a picture is drawn."""

from __future__ import annotations

from typing import Any

__all__ = ["pyplot"]


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or say how to install it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'skvae[plot]' (or matplotlib)."
        ) from error
    return pyplot
