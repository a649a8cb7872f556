"""Pictures of an alignment: both blocks in matched colours, before and after, and the alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.rigid import Floats
from analysis.drawing import GREY, TEN, axes, corner, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.alignment.aligner import Aligner

MOST_POINTS = 1000
SECTORS = TEN[:8]
DARK = "#404040"
MOST_ALTERNATIVES = 6


def key(aligner: Aligner) -> tuple[tuple[str, str], ...]:
    """Colours and what each stands for: one a match and grey for what has no partner, or the sectors of a's only piece."""
    if not _many(aligner):
        return tuple((shade, f"sector {i + 1}") for i, shade in enumerate(SECTORS))
    shades = palette(len(aligner.matches_))
    pairs = [f"piece {match.a} of a, {match.b} of b" for match in aligner.matches_]
    lonely = ((GREY, "no partner"),) if any(aligner.unmatched_.values()) else ()
    return (*zip(shades, pairs, strict=False), *lonely)


def colours(aligner: Aligner) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The number in :func:`key` of every row of a and of b: that of the match its piece is in.

    Where a has but one piece, its rows are coloured around its first two dimensions, in eight sectors; b's rows like the row
    of a nearest to them after the map.
    """
    if _many(aligner):
        lonely = len(aligner.matches_)
        of_a = {match.a: i for i, match in enumerate(aligner.matches_)}
        of_b = {match.b: i for i, match in enumerate(aligner.matches_)}
        return (
            np.array([of_a.get(piece, lonely) for piece in aligner.a_.pieces], dtype=np.intp),
            np.array([of_b.get(piece, lonely) for piece in aligner.b_.pieces], dtype=np.intp),
        )
    from scipy.spatial import cKDTree

    s = aligner.a_.s - aligner.a_.s.mean(0)
    if s.shape[1] == 1:
        sector = np.digitize(s[:, 0], np.quantile(s[:, 0], np.arange(1, 8) / 8))
    else:
        sector = ((np.arctan2(s[:, 1], s[:, 0]) + np.pi) / (2 * np.pi) * 8).astype(np.intp) % 8
    _, nearest = cKDTree(aligner.map_(aligner.a_.s)).query(aligner.b_.s)
    return sector, sector[nearest]


def _many(aligner: Aligner) -> bool:
    return len(aligner.matches_) > 1 or any(aligner.unmatched_.values())


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
    shades, rng = np.array([shade for shade, _ in key(aligner)]), np.random.default_rng(aligner.seed)
    for rows, numbers, marker in zip((moved, aligner.b_.s), colours(aligner), "ox", strict=True):
        some = rng.permutation(len(rows))[:MOST_POINTS]
        places = _plane(rows[some], rng)
        line, alpha = (0.0, 0.5) if marker == "o" else (0.8, 1.0)
        ax.scatter(
            places[:, 0], places[:, 1], s=10, c=shades[numbers[some]], marker=marker, linewidths=line, alpha=alpha
        )
    ax.set(title=title)
    ax.set_xlabel("s1 (whitened units)", loc="left")
    ax.set_ylabel("s2 (whitened units)" if aligner.b_.s.shape[1] > 1 else "")
    ax.set_aspect("equal", adjustable="datalim")
    if noted:
        marks = [
            ax.scatter([], [], s=18, c=DARK, marker=marker, linewidths=line) for marker, line in (("o", 0), ("x", 1))
        ]
        ax.legend(marks, ["a", "b"], loc="upper right", fontsize=7)
        corner(ax, f"at most {MOST_POINTS} rows each, seed {aligner.seed}")
    return ax


def _plane(rows: Floats, rng: np.random.Generator) -> Floats:
    """The first two coordinates; a little height where there is but one."""
    return rows[:, :2] if rows.shape[1] > 1 else np.c_[rows, 0.1 * rng.standard_normal(len(rows))]
