"""Where a function on R^k is looked at: a grid up to three dimensions, segments between sample points above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from analysis.density.em import CHUNK, Mixture
from analysis.density.persistence import Bars, cubical_bars, flag_bars

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
Labels = NDArray[np.intp]

FRACTIONS = np.arange(1, 8) / 8  # where a segment is looked at between its ends
MARGIN = 0.08  # of the box's side, left free on each side
GROWTHS = 6


@dataclass(frozen=True, repr=False)
class Grid:
    """A grid of one step on all axes, 1 to 3 of them.

    Attributes:
        axes: positions of the grid points along each axis.
    """

    axes: tuple[Array, ...]

    @classmethod
    def over(cls, low: Array, high: Array, points: int) -> Grid:
        """About `points` grid points in the box from low (k,) to high (k,)."""
        sides = np.maximum(high - low, 1e-9 * np.maximum(1, np.abs(low).max()))
        sides = np.maximum(sides, sides.max() / 50)
        step = (sides.prod() / points) ** (1 / len(low))
        counts = np.maximum(np.round(sides / step).astype(int) + 1, 5)
        middle = (low + high) / 2
        return cls(tuple(np.linspace(m - s / 2, m + s / 2, c) for m, s, c in zip(middle, sides, counts, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def points(self) -> Array:
        """All grid points (n, k), the last axis running fastest."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, len(self.axes))

    def read(self, function: Mixture | Function) -> Array:
        """The function's values on the grid."""
        values = function.log_prob(self.points) if isinstance(function, Mixture) else _called(function, self.points)
        return values.reshape(self.shape)

    def bars(self, values: Array, cut: float, construction: str) -> Bars:
        """Bars of the superlevel sets above the cut."""
        return cubical_bars(values, cut, construction)

    def labels(self, values: Array, level: float) -> Labels:
        """For each grid point the number from 1 on of its component at or above the level, 0 below; flat."""
        return ndimage.label(values >= level)[0].ravel().astype(np.intp)

    def nearest(self, rows: Array) -> Labels:
        """Flat index (n,) of the grid point nearest to each row."""
        steps = [axis[1] - axis[0] for axis in self.axes]
        cells = [
            np.clip(np.round((column - axis[0]) / step), 0, len(axis) - 1).astype(np.intp)
            for column, axis, step in zip(rows.T, self.axes, steps, strict=True)
        ]
        return np.ravel_multi_index(tuple(cells), self.shape)

    def __repr__(self) -> str:
        return f"a grid of {' x '.join(map(str, self.shape))}"


@dataclass(frozen=True, repr=False)
class Segments:
    """The segments between sample points, each seen at 7 places and its ends.

    Attributes:
        points: (m, k).
    """

    points: Array

    def read(self, function: Mixture | Function) -> Array:
        """The function's values (7, m, m) along the segments; at [:, a, a] those of the points."""
        if isinstance(function, Mixture):
            return function.between(self.points, FRACTIONS)
        count = len(self.points)
        out = np.empty((len(FRACTIONS), count, count))
        step = max(1, CHUNK // (count * self.points.shape[1]))
        for index, t in enumerate(FRACTIONS):
            for start in range(0, count, step):
                along = (1 - t) * self.points[start : start + step, None] + t * self.points[None]
                out[index, start : start + step] = _called(function, along.reshape(-1, self.points.shape[1])).reshape(
                    -1, count
                )
        return out

    def lowest(self, values: Array) -> tuple[Array, Array]:
        """Heights of the points (m,) and the lowest value along each segment (m, m)."""
        heights = values[0].diagonal()
        lowest = np.minimum(values.min(0), np.minimum(heights[:, None], heights[None]))
        return heights, np.minimum(lowest, lowest.T)

    def bars(self, values: Array, cut: float, construction: str = "vertices") -> Bars:
        """Bars of pieces and loops above the cut; there is one construction only."""
        return flag_bars(*self.lowest(values), cut)

    def labels(self, values: Array, level: float) -> Labels:
        """For each point the number from 1 on of its component at or above the level, 0 below."""
        heights, lowest = self.lowest(values)
        label = connected_components(csr_array(lowest >= level), directed=False)[1] + 1
        return np.where(heights >= level, label, 0)

    def nearest(self, rows: Array) -> Labels:
        """Index (n,) of the sample point nearest to each row."""
        from scipy.spatial import cKDTree

        return cKDTree(self.points).query(rows)[1]

    def __repr__(self) -> str:
        return f"the segments between {len(self.points)} rows"


def grid_around(rows: Array, function: Function, cut: float, points: int) -> tuple[Grid, float]:
    """A grid round the rows, grown until the function is below the cut on its border, and its largest value there."""
    low, high = rows.min(0), rows.max(0)
    margin = MARGIN * (high - low).max() + 1e-9
    for _ in range(GROWTHS):
        grid = Grid.over(low - margin, high + margin, points)
        border = _border(grid)
        highest = float(_called(function, grid.points[border]).max())
        if highest < cut:
            break
        margin *= 1.5
    return grid, highest


def _border(grid: Grid) -> NDArray[np.bool_]:
    inside = np.zeros(grid.shape, dtype=bool)
    inside[(slice(1, -1),) * len(grid.shape)] = True
    return ~inside.ravel()


def _called(function: Function, points: Array) -> Array:
    """The user's function at points (n, k), checked."""
    values = np.asarray(function(points), dtype=np.float64)
    if values.shape != (len(points),) or np.isnan(values).any() or (values == np.inf).any():
        raise ValueError(
            f"a log-density must return finite numbers (or -inf) of shape ({len(points)},) for points of shape {points.shape}, "
            f"got shape {values.shape} with {int(np.isnan(values).sum())} NaN and {int((values == np.inf).sum())} +inf"
        )
    return values
