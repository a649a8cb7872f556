"""Figures of loops, persistence diagrams, knots and described pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.density.level_plots import SEEN_FROM
from analysis.drawing import COLOURS, GREY, axes, corner, nothing
from analysis.topology.homology import ratio_at
from analysis.topology.reading import SIGNIFICANT
from analysis.topology.survey import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.topology.describe import Description
    from analysis.topology.knot import Knot
    from analysis.topology.loops import Loops

Floats = NDArray[np.float64]

MOST_POINTS = 4000
RING = (COLOURS[0], COLOURS[2], COLOURS[4], COLOURS[3], COLOURS[0])  # an angle has no ends, and white is the page's


def plot_angle(found: Loops, loop: int = 0, ax: Axes | None = None) -> Axes:
    """Rows on a loop coloured by its angle, over all others in grey."""
    if not found.loops:
        return nothing("no loops", ax)
    from matplotlib.colors import LinearSegmentedColormap

    ax = axes(ax, 5.6, 4.6)
    chosen, rows = found[loop], found.survey.rows
    flat, names = _flat(rows)
    some = _some(len(rows), found.survey.seed)
    ax.scatter(flat[some, 0], flat[some, 1], s=1, color=GREY, linewidths=0)
    on = chosen.rows[_some(len(chosen.rows), found.survey.seed)]
    ring = LinearSegmentedColormap.from_list("ring", RING)
    points = ax.scatter(
        flat[on, 0], flat[on, 1], c=chosen.angle(rows[on]), s=5, cmap=ring, vmin=0, vmax=2 * np.pi, linewidths=0
    )
    bar = ax.figure.colorbar(points, ax=ax, label=f"angle around loop {loop} (radians, by mass)")
    bar.set_ticks([0, np.pi, 2 * np.pi], labels=["0", "π", "2π"])
    return _finish(ax, names, f"n = {len(rows)}, seed {found.survey.seed}")


def plot_diagram(found: Loops, ax: Axes | None = None) -> Axes:
    """Births and deaths of loops and voids in every draw, on log scales; a bar counts above its degree's line."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax = axes(ax, 5.2, 4.4)
    ends: list[float] = []
    lines = []
    for degree, name in ((1, "loops"), (2, "voids")):
        bars = [
            bar
            for readings in found.survey.readings
            for reading in readings
            for bar in (reading.loops if degree == 1 else reading.voids).bars
        ]
        if not bars:
            continue
        birth = np.array([bar.birth for bar in bars])
        death = np.array([bar.birth * bar.ratio for bar in bars])
        unfilled = np.array([not np.isfinite(bar.death) for bar in bars])
        for marker, kept in (("o", ~unfilled), ("^", unfilled)):
            ax.scatter(birth[kept], death[kept], s=14, marker=marker, color=COLOURS[degree], alpha=0.6, linewidths=0)
        ax.scatter([], [], color=COLOURS[degree], label=name)
        ends += [birth.min(), death.max()]
        lines.append((ratio_at(SIGNIFICANT, degree), COLOURS[degree]))
    if not ends:
        return nothing("no bars: no piece has a loop or a void at any scale", ax)
    low, high = min(ends) / 1.3, max(ends) * 1.3
    for ratio, colour in lines:
        ax.plot([low, high], [ratio * low, ratio * high], color=colour, linewidth=1, linestyle="--")
    ax.fill_between([low, high], [low, high], [low * 0.5] * 2, color=GREY, alpha=0.25, linewidth=0)
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("scale at which it closes (structure units)")
    ax.set_ylabel("scale at which it is filled in (structure units)")
    ax.legend(fontsize=7, loc="lower right", title=f"counts above its line, p = {SIGNIFICANT:g}", title_fontsize=7)
    corner(ax, f"n = {len(found.survey.rows)}, {found._draws} draws, seed {found.survey.seed}; triangles: at least")
    return ax


def plot_knot(found: Knot, ax: Axes | None = None) -> Axes:
    """The fitted curve from two sides; the strand that passes below is interrupted."""
    ax = axes(ax, 7.2, 3.8)
    centred = found.curve - found.curve.mean(0)
    turned = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    width = 1.2 * np.ptp(turned[:, 0])
    for place, order in enumerate(([0, 1, 2], [0, 2, 1])):
        seen = turned[:, order]
        _strands(ax, seen + np.array([place * width, 0, 0]))
    ax.set_aspect("equal")
    ax.set_xlabel("from two sides at right angles (structure units)")
    ax.set_yticks([])
    ax.set_title(repr(found).split(";")[0], fontsize=8)
    corner(ax, f"{len(found.polygons)} polygons of {len(found.curve)} corners, seed {found.seed}")
    return ax


def plot_description(found: Description, ax: Axes | None = None) -> Axes:
    """Rows coloured by piece, the names in the legend, and the closed curves through loops where k = 3."""
    ax = axes(ax, 5.6, 4.6)
    survey = found.found.survey
    flat, names = _flat(survey.rows)
    some = _some(len(flat), survey.seed)
    for named in found.pieces:
        mine = some[survey.labels[some] == named.part]
        colour = COLOURS[named.part % len(COLOURS)]
        ax.scatter(flat[mine, 0], flat[mine, 1], s=3, color=colour, linewidths=0, alpha=0.5)
        if named.part < 8:
            label = f"{in_words(named.pieces)}: {named.kind} ({named.confidence:.2f})"
            ax.scatter([], [], color=colour, label=label)
    for loop in found.found.loops if survey.dims == 3 else ():
        curve = next((curve for curve in found.found.curves(loop.number) if curve is not None), None)
        if curve is not None:
            ax.plot(*(np.vstack([curve, curve[:1]]) @ SEEN_FROM.T).T, color="black", linewidth=1)
    ax.legend(fontsize=7, title="name (confidence)", title_fontsize=7)
    return _finish(ax, names, f"n = {len(flat)}, seed {survey.seed}")


def _strands(ax: Axes, curve: Floats) -> None:
    """A closed curve (m, 3) seen along its last axis, far edges first, each edge on a white border."""
    after = np.roll(curve, -1, axis=0)
    for i in np.argsort(curve[:, 2] + after[:, 2]):
        ends = np.stack([curve[i], after[i]])
        ax.plot(ends[:, 0], ends[:, 1], color="white", linewidth=6, solid_capstyle="butt")
        ax.plot(ends[:, 0], ends[:, 1], color=COLOURS[0], linewidth=2, solid_capstyle="round")


def _flat(rows: Floats) -> tuple[Floats, tuple[str, str]]:
    """Rows (n, 2) on the page and what the axes are."""
    k = rows.shape[1]
    if k == 1:
        jitter = np.random.default_rng(0).random(len(rows))
        return np.column_stack([rows[:, 0], jitter]), ("s 1 (structure units)", "spread at random")
    if k == 2:
        return rows, ("s 1 (structure units)", "s 2 (structure units)")
    if k == 3:
        return rows @ SEEN_FROM.T, ("s seen at an angle (structure units)",) * 2
    axes_ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:2]
    return (rows - rows.mean(0)) @ axes_.T, ("first principal axis of s", "second principal axis of s")


def _some(count: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng([seed, 17]).permutation(count)[:MOST_POINTS])


def _finish(ax: Axes, names: tuple[str, str], note: str) -> Axes:
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.set_aspect("equal", adjustable="datalim")
    corner(ax, note)
    return ax
