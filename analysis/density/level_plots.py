"""Figures of level sets by mass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.drawing import COLOURS, GREY, axes, corner, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.density.level_sets import Levels

COLOUR_MAP = "cividis"
SEEN_FROM = np.array([[0.94, -0.34, 0.0], [0.12, 0.32, 0.94]])  # a view of three axes on the page


def plot_levels(found: Levels, ax: Axes | None = None) -> Axes:
    """k = 1: the curve with its levels; 2: contours by mass over the rows; 3: the rows by mass; above: the bars."""
    if not found.enough:
        return nothing("; ".join(found.notes), ax)
    ax = axes(ax)
    draw = {1: _curve, 2: _contours, 3: _cloud}.get(found.dims, _barcode)
    draw(found, ax)
    corner(ax, f"{found.rows} rows, seed {found.seed}")
    return ax


def _curve(found: Levels, ax: Axes) -> None:
    (positions,), values = found.drawn["axes"], found.drawn["values"]
    ax.plot(positions, values, color=COLOURS[0])
    for mass, level in zip(found.masses, found.thresholds, strict=True):
        ax.axhline(level, color=GREY, linewidth=0.8)
        ax.annotate(
            f"{mass:g}", (1, level), xycoords=("axes fraction", "data"), fontsize=7, color=GREY, va="bottom", ha="right"
        )
    top = float(values.max())
    ax.set_ylim(min(found.thresholds) - 1, top + 0.3)
    ax.set_xlabel("s (structure units)")
    ax.set_ylabel(_unit(found))


def _contours(found: Levels, ax: Axes) -> None:
    first, second = found.drawn["axes"]
    filled = ax.contourf(
        first,
        second,
        found.drawn["values"].T,
        levels=_strictly_rising([*found.thresholds[::-1], float(found.drawn["values"].max())]),
        cmap=COLOUR_MAP,
        alpha=0.75,
    )
    rows = found.drawn["rows"]
    ax.scatter(rows[:, 0], rows[:, 1], s=1.5, color="black", alpha=0.35, linewidths=0)
    bar = _figure(ax).colorbar(filled, ax=ax, label=_unit(found))
    ticks = {
        round(level, 9): f"{level:.1f} (mass {mass:g})"
        for mass, level in zip(found.masses, found.thresholds, strict=True)
    }
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    ax.set_xlabel("s 1 (structure units)")
    ax.set_ylabel("s 2 (structure units)")
    ax.set_aspect("equal")


def _cloud(found: Levels, ax: Axes) -> None:
    rows, mass = found.drawn["rows"], found.drawn["mass"]
    order = np.argsort(-mass)  # the densest on top
    flat = rows[order] @ SEEN_FROM.T
    points = ax.scatter(
        flat[:, 0], flat[:, 1], c=mass[order], s=4, cmap=f"{COLOUR_MAP}_r", vmin=0, vmax=1, linewidths=0
    )
    _figure(ax).colorbar(points, ax=ax, label="mass of the smallest level set that holds the row")
    for name, tip in zip(("s 1", "s 2", "s 3"), SEEN_FROM.T, strict=True):
        start = flat.min(0)
        ax.annotate(
            name, start + 0.8 * tip, start, arrowprops={"arrowstyle": "<-", "color": GREY}, color=GREY, fontsize=7
        )
    ax.set_xlabel("s seen at an angle (structure units)")
    ax.set_ylabel("s seen at an angle (structure units)")
    ax.set_aspect("equal")


def _barcode(found: Levels, ax: Axes) -> None:
    """Bars over mass, those that count in full colour."""
    for height, feature in enumerate(reversed(found.features)):
        ax.plot(
            [feature.born_mass, 1.0 if feature.dies_mass is None else feature.dies_mass],
            [height, height],
            color=COLOURS[feature.degree],
            alpha=1.0 if feature.significant else 0.25,
            linewidth=2,
        )
    for degree, name in enumerate(("pieces", "loops")):
        ax.plot([], [], color=COLOURS[degree], linewidth=2, label=name)
    for mass in found.masses:
        ax.axvline(mass, color=GREY, linewidth=0.6)
    ax.legend(title=f"pale: under {2 * (found.band or 0):.2f} nats", fontsize=7, title_fontsize=7)
    ax.set_xlim(0, 1.02)
    ax.set_yticks([])
    ax.set_xlabel("mass of the level set at which it is there")


def _unit(found: Levels) -> str:
    return "log-density (nats)" if found.kind == "density" else "log-ratio to the reference (nats)"


def _strictly_rising(values: list[float]) -> list[float]:
    return sorted(set(np.round(values, 9).tolist()))


def _figure(ax: Axes) -> Any:
    return ax.get_figure(root=True) if ax.get_figure() is not None else ax.figure
