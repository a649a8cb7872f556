"""Pictures of an alignment: both blocks in matched colours, before and after, and the alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.rigid import Floats
from analysis.drawing import COLOURS, GREY, axes, corner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.alignment.aligner import Aligner

MOST_POINTS = 1000
MOST_ALTERNATIVES = 6


def colours(aligner: Aligner) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A colour number per row of a and of b: that of the match its piece is in, -1 without a partner.

    Where a has but one piece, its rows are coloured around its first two dimensions, in eight sectors; b's rows like the row
    of a nearest to them after the map.
    """
    if len(aligner.matches_) > 1 or any(aligner.unmatched_.values()):
        of_a = {match.a: i for i, match in enumerate(aligner.matches_)}
        of_b = {match.b: i for i, match in enumerate(aligner.matches_)}
        return (
            np.array([of_a.get(piece, -1) for piece in aligner.a_.pieces], dtype=np.intp),
            np.array([of_b.get(piece, -1) for piece in aligner.b_.pieces], dtype=np.intp),
        )
    from scipy.spatial import cKDTree

    s = aligner.a_.s - aligner.a_.s.mean(0)
    if s.shape[1] == 1:
        sector = np.digitize(s[:, 0], np.quantile(s[:, 0], [0.25, 0.5, 0.75]))
    else:
        sector = ((np.arctan2(s[:, 1], s[:, 0]) + np.pi) / (2 * np.pi) * 8).astype(np.intp) % 8
    _, nearest = cKDTree(aligner.map_(aligner.a_.s)).query(aligner.b_.s)
    return sector, sector[nearest]


def before(aligner: Aligner, ax: Axes | None = None) -> Axes:
    """Both blocks as they are."""
    return _draw(aligner, aligner.a_.s, "before: each in its own coordinates", ax)


def overlay(aligner: Aligner, alternative: int = 0, ax: Axes | None = None, noted: bool = True) -> Axes:
    """Block a, mapped, over block b; with a legend and a note below, unless it is one of many panels."""
    title = "after the best map" if alternative == 0 else f"alternative {alternative}"
    return _draw(aligner, aligner.alternatives_[alternative](aligner.a_.s), title, ax, noted)


def all_alternatives(aligner: Aligner) -> Axes:
    """Every alternative in a panel of its own, at most six."""
    from matplotlib.figure import Figure

    count = min(len(aligner.alternatives_), MOST_ALTERNATIVES)
    figure = Figure(figsize=(3.2 * min(count, 3), 3.2 * -(-count // 3)), layout="constrained")
    panels = np.ravel(figure.subplots(-(-count // 3), min(count, 3), squeeze=False))
    for panel in panels[count:]:
        panel.set_axis_off()
    for i in range(count):
        overlay(aligner, i, panels[i], noted=False)
    return panels[0]


def _draw(aligner: Aligner, moved: Floats, title: str, ax: Axes | None, noted: bool = True) -> Axes:
    ax = axes(ax, 5.6, 5)
    colour_a, colour_b = colours(aligner)
    rng = np.random.default_rng(aligner.seed)
    for rows, numbers, marker, name in ((moved, colour_a, "o", "a"), (aligner.b_.s, colour_b, "x", "b")):
        some = rng.permutation(len(rows))[:MOST_POINTS]
        places = _plane(rows[some], rng)
        shades: list[Any] = [COLOURS[c % len(COLOURS)] if c >= 0 else GREY for c in numbers[some]]
        line, alpha = (0.0, 0.5) if marker == "o" else (0.8, 1.0)
        ax.scatter(places[:, 0], places[:, 1], s=10, c=shades, marker=marker, label=name, linewidths=line, alpha=alpha)
    ax.set(title=title)
    ax.set_xlabel("s1 (whitened units)", loc="left")
    ax.set_ylabel("s2 (whitened units)" if aligner.b_.s.shape[1] > 1 else "")
    ax.set_aspect("equal", adjustable="datalim")
    if noted:
        ax.legend(loc="upper right", fontsize=7)
        corner(ax, f"dots a, crosses b; grey: no partner; at most {MOST_POINTS} rows each, seed {aligner.seed}")
    return ax


def _plane(rows: Floats, rng: np.random.Generator) -> Floats:
    """The first two coordinates; a little height where there is but one."""
    return rows[:, :2] if rows.shape[1] > 1 else np.c_[rows, 0.1 * rng.standard_normal(len(rows))]
