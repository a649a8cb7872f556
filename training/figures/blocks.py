"""Figures of the two blocks of z: the structure coloured by labels, and the noise against N(0, 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from training.figures.panels import COLOURS, GREY, LEGEND_LABELS, MARKERS, axes, colour_of, corner, note_of


def plot_structure(
    s: NDArray[np.floating],
    labels: Sequence[Any] | NDArray | None = None,
    ax: Axes | None = None,
    *,
    seed: int | None = None,
) -> Axes:
    """The structure block s (n, k), coloured by ``labels`` (n,): histogram, scatter, 3-D, or pairs of the first four.

    Raises:
        ValueError: labels of another length, or k = 3 with an ``ax`` that is not three-dimensional.
    """
    if labels is not None and len(labels) != len(s):
        raise ValueError(f"labels must have one entry per row of s, got {len(labels)} for {len(s)} rows")
    k = s.shape[1]
    size = (7.4, 7.0) if k > 2 else (6.4, 4.8)
    ax = axes(ax, *size, projection="3d" if k == 3 else None)
    groups, scale = _label_groups(labels, len(s))
    if k == 0:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "k = 0: no structure block, noise only", ha="center", va="center", transform=ax.transAxes)
    elif k == 1:
        bins = np.linspace(s.min(), s.max(), 61).tolist()
        for _, rows, colour, _ in groups:
            ax.hist(s[rows, 0], bins=bins, color=colour if isinstance(colour, str) else COLOURS[0], alpha=0.6)
        ax.set(xlabel="s1 (whitened units)", ylabel="rows per bin")
    elif k == 2:
        _scatter(ax, s, groups)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2 (whitened units)")
        ax.set_aspect("equal", adjustable="datalim")
    elif k == 3:
        if not hasattr(ax, "set_zlabel"):
            raise ValueError("k = 3 needs 3-D axes, got flat ones; pass ax=None or one with projection='3d'")
        _scatter(ax, s, groups)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2", zlabel="s3")
    else:
        _pair_grid(ax, s[:, :4], groups)
    if k > 0:
        shown = "" if k < 4 else ": the first 4 by price"
        ax.set_title(f"Structure block, k = {k}{shown}")
    if labels is not None and k > 0:
        _label_key(ax, groups, scale)
    corner(ax, note_of(len(s), seed))
    return ax


def plot_noise(n: NDArray[np.floating], ax: Axes | None = None, *, seed: int | None = None) -> Axes:
    """Quantiles of each column of the noise block n (rows, M - k) against N(0, 1); the farthest is named."""
    ax = axes(ax, 5.6, 5.4)
    rows, dims = n.shape
    if dims == 0:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no noise block: every dimension is structure", ha="center", transform=ax.transAxes)
        return ax
    from scipy.stats import kstest, norm

    share = np.linspace(0, 1, 202)[1:-1]
    expected, quantiles = norm.ppf(share), np.quantile(n, share, axis=0)
    distances = [float(kstest(n[:, i], "norm").statistic) for i in range(dims)]
    worst = int(np.argmax(distances))
    # Kolmogorov's 95 % level for the largest of all dimensions
    level = np.sqrt(np.log(2 * dims / 0.05) / (2 * rows))
    for i in range(dims):
        if i != worst:
            ax.plot(expected, quantiles[:, i], color=GREY, lw=1)
    ax.plot(expected, quantiles[:, worst], color=COLOURS[1], lw=2, label=f"n{worst + 1}, the farthest")
    ends = [float(expected[0]), float(expected[-1])]
    ax.plot(ends, ends, color="black", ls="--", lw=1, label="N(0, 1)")
    ax.set(xlabel="quantile of N(0, 1)", ylabel="quantile of the noise dimension (whitened units)")
    block = f"Noise block, {dims} dimension{'s' if dims > 1 else ''}"
    ax.set_title(
        f"{block}: worst KS distance {distances[worst]:.3f} (n{worst + 1})\n"
        f"95 % of N(0, I) samples stay below {level:.3f}",
        fontsize=11,
    )
    ax.legend(fontsize=9, loc="upper left")
    ax.set_aspect("equal", adjustable="datalim")
    corner(ax, note_of(rows, seed))
    return ax


# rows that share a colour and a marker: name, rows, colour (or one a row), marker
_Group = tuple[str, NDArray[np.bool_], Any, str]


def _label_groups(labels: Sequence[Any] | NDArray | None, rows: int) -> tuple[list[_Group], ScalarMappable | None]:
    """One group per distinct label, or one for all with a colour scale where there are too many to name."""
    everything = np.ones(rows, dtype=bool)
    if labels is None:
        return [("", everything, COLOURS[0], "o")], None
    values = np.asarray(labels)
    names, which = np.unique(values, return_inverse=True)
    if len(names) > LEGEND_LABELS:
        numbers = values if np.issubdtype(values.dtype, np.number) else which
        scale = ScalarMappable(Normalize(float(numbers.min()), float(numbers.max())), "viridis")
        return [("", everything, scale.to_rgba(numbers), "o")], scale
    return [(str(x), which == j, colour_of(j), MARKERS[j // len(COLOURS)]) for j, x in enumerate(names)], None


def _scatter(ax: Axes, s: NDArray[np.floating], groups: list[_Group]) -> None:
    """Points of s (n, 2 or 3), smaller the more there are."""
    size = float(np.clip(20_000 / max(len(s), 1), 2, 14))
    for _, rows, colour, marker in groups:
        ax.scatter(*s[rows].T, s=size, c=colour, marker=marker, alpha=0.6, linewidths=0)  # type: ignore[misc]


def _pair_grid(ax: Axes, s: NDArray[np.floating], groups: list[_Group]) -> None:
    """The lower triangle of all pairs of columns of s, inside ``ax``."""
    ax.set_axis_off()
    cells = s.shape[1] - 1
    side = 1 / cells
    for row in range(1, cells + 1):
        for column in range(row):
            panel = ax.inset_axes((column * side + 0.02, 1 - row * side + 0.02, side - 0.04, side - 0.04))
            _scatter(panel, s[:, [column, row]], groups)
            panel.tick_params(labelsize=7)
            if column:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel(f"s{row + 1} (whitened)")
            if row < cells:
                panel.set_xticklabels([])
            else:
                panel.set_xlabel(f"s{column + 1} (whitened)")


def _label_key(ax: Axes, groups: list[_Group], scale: ScalarMappable | None) -> None:
    """Name the labels next to ``ax``, or show their colour scale."""
    from matplotlib.lines import Line2D

    if scale is not None:
        ax.figure.colorbar(scale, ax=ax, label="label", shrink=0.8)
        return
    keys = [Line2D([], [], ls="", marker=marker, color=colour, label=name) for name, _, colour, marker in groups]
    ax.legend(handles=keys, title="label", loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False)
