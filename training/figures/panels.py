"""What all figures of a run share: colours, axes, strips below them, notes in the corner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe and Ito's colour-blind-safe palette; yellow, faint on white, comes late
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GREY = "#9A9A9A"
DASHES = ("-", "--", ":", "-.")
LEGEND_LABELS = 12
MARKERS = ("o", "^", "s")


def colour_of(j: int) -> str:
    """The colour of the j-th thing; they repeat."""
    return COLOURS[j % len(COLOURS)]


def dash_of(j: int) -> str:
    """A dash that tells things of one colour apart."""
    return DASHES[(j + j // len(COLOURS)) % len(DASHES)]


def axes(ax: Axes | None, width: float, height: float, projection: str | None = None) -> Axes:
    """``ax``, or the one of a new figure that no window manages."""
    if ax is not None:
        return ax
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot(projection=projection)


def strip_below(ax: Axes, height: float = 0.3, share: bool = True) -> Axes:
    """A panel that takes the lower part of ``ax``'s place, ``height`` of the upper one's.

    It shares ``ax``'s x axis where ``share`` holds.

    Raises:
        ValueError: ``ax`` has no place in a grid to share.
    """
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError("this figure has two panels and needs axes made by subplots() or add_subplot(), or ax=None")
    halves = place.subgridspec(2, 1, height_ratios=(1, height))
    ax.set_subplotspec(halves[0])
    strip = ax.figure.add_subplot(halves[1], sharex=ax if share else None)
    if share:
        ax.tick_params(labelbottom=False)
    return strip


def log_lambda(ax: Axes) -> None:
    """A logarithmic axis with ticks at 1 and 3."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def legend_beside(ax: Axes) -> None:
    """A legend right of the axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8)


def note_of(rows: int, seed: int | None) -> str:
    return f"n = {rows}" + ("" if seed is None else f", seed {seed}")


def corner(ax: Axes, text: str) -> None:
    """``text`` in the lower right corner of the figure's part that ``ax`` owns, under its x label."""
    style: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 7, "color": "#555555"}
    ax.annotate(text, (1, 0), (0, -34), "axes fraction", textcoords="offset points", **style)


def save_panel(ax: Axes, file: Path) -> None:
    """Write the figure that ``ax`` is on as PNG."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(file, dpi=130)
