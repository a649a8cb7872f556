"""The structure block before and after it was untangled, the same rows in the same colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.figures.panels import corner
from training.untangling.spectral import Spectrum

_MOST_ROWS = 4000


def plot_untangled(before: NDArray, after: NDArray, found: Spectrum) -> Axes:
    """s (n, k) and s' (n, k') side by side, coloured by the spectral coordinates: their angle, or the one there is."""
    rows = slice(None, None, -(-len(before) // _MOST_ROWS))
    before, after = before[rows], after[rows]
    near = cKDTree(found.points).query(before)[1]
    coordinates = found.coordinates[near]
    round_trip = found.dims > 1 and found.pieces == 1
    colours = np.arctan2(coordinates[:, 1], coordinates[:, 0]) if round_trip else coordinates[:, 0]
    figure = Figure(figsize=(11, 5), layout="constrained")
    ax: Any = None
    for place, (block, name) in enumerate(((before, "before"), (after, "after")), start=1):
        width = block.shape[1]
        ax = figure.add_subplot(1, 2, place, projection="3d" if width >= 3 else None)
        columns = [*block.T[:3]] if width > 1 else [block[:, 0], np.random.default_rng(0).uniform(-1, 1, len(block))]
        ax.scatter(*columns, c=colours, cmap="twilight" if round_trip else "viridis", s=4, lw=0)
        ax.set(xlabel="s1", ylabel="s2" if width > 1 else "(spread at random)", title=f"{name}: k = {width}")
        if width >= 3:
            ax.set_zlabel("s3")
        else:
            ax.set_aspect("equal", adjustable="datalim")
    corner(
        ax,
        f"{len(before)} rows; colour: {'angle of the' if round_trip else 'first'} spectral coordinate{'s' * round_trip}",
    )
    return ax
