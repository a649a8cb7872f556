"""What all plots of the analysis share: colours, an Axes where none is given, the note in the corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colour-blind-safe palette; yellow, faint on white, comes last
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# Tol's muted palette, safe too, for nine and ten
TEN = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#808080")
GREY = "#9A9A9A"


def palette(count: int) -> tuple[str, ...]:
    """``count`` distinct colours; above ten they run through one colour map, neighbours hard to tell."""
    if count <= len(COLOURS):
        return COLOURS[: max(count, 1)]
    if count <= len(TEN):
        return TEN[:count]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return tuple(to_hex(colormaps["turbo"](i / (count - 1))) for i in range(count))


def axes(ax: Axes | None, width: float = 6.4, height: float = 4.4, projection: str | None = None) -> Axes:
    """``ax``, or the Axes of a new figure of that size in inches, bound to no window."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot(projection=projection)


def corner(ax: Axes, text: str) -> None:
    """A small grey note below the axes: row count and seed."""
    at = {"ha": "right", "va": "top", "fontsize": 7, "color": GREY}
    ax.annotate(text, (1, 0), (0, -36), xycoords="axes fraction", textcoords="offset points", **at)  # type: ignore[arg-type]


def nothing(text: str, ax: Axes | None = None) -> Axes:
    """An empty Axes that says why there is nothing to draw."""
    ax = axes(ax, 6.4, 2)
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, wrap=True)
    return ax
