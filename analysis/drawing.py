"""What all plots of the analysis share: colours, an Axes where none is given, the note in the corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colour-blind-safe palette; yellow, faint on white, comes last
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GREY = "#9A9A9A"


def axes(ax: Axes | None, width: float = 6.4, height: float = 4.4, projection: str | None = None) -> Axes:
    """``ax``, or the Axes of a new figure of that size in inches, bound to no window."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot(projection=projection)


def corner(ax: Axes, text: str) -> None:
    """A small grey note below the axes: row count and seed."""
    ax.annotate(
        text, (1, 0), (0, -34), xycoords="axes fraction", textcoords="offset points", ha="right", fontsize=7, color=GREY
    )


def nothing(text: str, ax: Axes | None = None) -> Axes:
    """An empty Axes that says why there is nothing to draw."""
    ax = axes(ax, 6.4, 2)
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    return ax
