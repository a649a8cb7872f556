"""Cut rows into the pieces that a valley of the density sets apart, and say how deep the valleys are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from analysis.pieces.clusters import basins_of, log_density, merge, noise_prominence, saddles_of
from analysis.pieces.shrunk import fit_shrunk, k_means, shrunk_covariance
from analysis.pieces.valleys import nearest_rows, neighbour_metric, valley_depth

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
LINKS = 12  # neighbours in the graph: fewer than in the density, so that no edge leaps a valley that the density shows
FEWEST_ROWS = 30  # fewer rows than this can never show a valley
MOST_HILLS = 40
CELL_ROWS = 100  # rows of a cell, at least; where there are many rows, a fortieth of them


@dataclass(frozen=True)
class Partition:
    """Pieces of n rows.

    Attributes:
        labels: (n,) piece of each row.
        depths: (p, p) nats of the shallowest valley between two pieces, on any way that leads over others too.
        neighbours: k of the nearest-neighbour density; 0 where there were too few rows for one.
        cells: how many basins of that density were compared.
    """

    labels: Ints
    depths: Floats
    neighbours: int
    cells: int

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.depths)


def partition(points: Floats, depth: float, sides: NDArray[np.bool_], seed: int) -> Partition:
    r"""Cut rows (n, d) where the density has valleys of at least ``depth`` nats.

    1. A metric in which noise directions do not count (:func:`~analysis.pieces.valleys.neighbour_metric`).
    2. Hills: basins of the density of the :math:`\sqrt n / 2` nearest neighbours on the graph of the 12 nearest ones,
       joined where a peak stands out by less than half of what noise does, or has too few rows to show a valley.
    3. Cells: hills cut up by k-means, so that none is long or bent. Each becomes a Gaussian, and every row goes to the
       likeliest one, twice: cells that touch have ragged borders.
    4. Two cells are as far apart as the deeper of two valleys: the one along their best linear discriminant
       (:func:`~analysis.pieces.valleys.valley_depth`, which sees through noise dimensions but only straight), and the one
       between their hills less what noise digs (which goes round corners but fills with noise).
    5. Single linkage of the cells; a piece is what hangs together below ``depth``.

    Args:
        depth: nats.
        sides: (n,) two halves, each of which judges the other's discriminants.
        seed: draws the rows that the metric looks at, and starts k-means.
    """
    rows = len(points)
    if rows < 2 * FEWEST_ROWS or not np.ptp(points, axis=0).any():
        return Partition(np.zeros(rows, dtype=np.intp), np.zeros((1, 1)), 0, 1)
    k = min(max(16, math.isqrt(rows) // 2), rows - 1)
    mapped = points @ neighbour_metric(points, LINKS, seed)
    hills, valleys = _hills(mapped, k)
    cells, hill = _cells(mapped, hills, max(CELL_ROWS, rows // 40), seed)
    for _ in range(2):
        cells, hill = _reassigned(mapped, cells, hill)
    apart = valleys[np.ix_(hill, hill)]
    members = [cells == c for c in range(len(hill))]
    for i, j in zip(*np.triu_indices(len(hill), 1), strict=True):
        a, b = members[i], members[j]
        straight = valley_depth(mapped[a], mapped[b], sides[a], sides[b])
        apart[i, j] = apart[j, i] = max(straight, apart[i, j])
    if len(hill) == 1:
        return Partition(cells, np.zeros((1, 1)), k, 1)
    piece = fcluster(linkage(squareform(apart), "single"), np.nextafter(depth, 0), "distance") - 1
    return Partition(piece[cells], _between(apart, piece), k, len(hill))


def _hills(points: Floats, k: int) -> tuple[Ints, Floats]:
    """Hill (n,) of each row, and (h, h) nats from the lower of two peaks down to the pass, beyond noise."""
    distances, nearest = nearest_rows(points, None, k)
    height, _ = log_density(distances)
    peaks, basins = basins_of(height, nearest[:, : LINKS + 1])
    pairs, levels = saddles_of(height, nearest[:, : LINKS + 1], basins)
    pairs, levels = _with_leaps(pairs, levels, *saddles_of(height, nearest, basins), len(peaks))
    noise = noise_prominence(len(points), k)
    _, prominence = merge(height[peaks], pairs, levels, np.inf)
    enough = max(noise / 2, np.sort(prominence)[::-1][min(MOST_HILLS, len(peaks)) - 1])
    roots, _ = merge(height[peaks], pairs, levels, enough, np.bincount(basins), FEWEST_ROWS)
    kept, hill = np.unique(roots, return_inverse=True)
    tops, passes = height[peaks[kept]], _passes(hill[pairs], levels, len(kept), height.min())
    valleys = np.maximum(np.minimum.outer(tops, tops) - passes - noise, 0.0)
    np.fill_diagonal(valleys, 0.0)
    return hill[basins], valleys


def _cells(points: Floats, hills: Ints, size: int, seed: int) -> tuple[Ints, Ints]:
    """Cell (n,) of each row, about ``size`` rows each, and the hill (c,) of each cell."""
    cells, hill = np.zeros(len(points), dtype=np.intp), np.zeros(0, dtype=np.intp)
    for h in range(hills.max() + 1):
        rows = np.flatnonzero(hills == h)
        parts = k_means(points[rows], max(1, round(len(rows) / size)), seed)
        cells[rows] = len(hill) + parts
        hill = np.append(hill, np.full(parts.max() + 1, h))
    return cells, hill


def _reassigned(points: Floats, cells: Ints, hill: Ints) -> tuple[Ints, Ints]:
    """Every row to the cell whose Gaussian, at the cell's mass, is the likeliest; cells left with no row are dropped."""
    members = [points[cells == c] for c in range(len(hill))]
    shares = np.array([len(m) for m in members]) / len(points)
    pooled = np.einsum("c,cij->ij", shares, np.array([shrunk_covariance(m) for m in members]))
    gaussians = [fit_shrunk(m, 1, pooled, 0) for m in members]
    scores = [g.log_prob(points) + math.log(share) for g, share in zip(gaussians, shares, strict=True)]
    kept, cells = np.unique(np.argmax(scores, axis=0), return_inverse=True)
    return cells, hill[kept]


def _with_leaps(pairs: Ints, levels: Floats, wide_pairs: Ints, wide_levels: Floats, count: int) -> tuple[Ints, Floats]:
    """Passes of the fine graph, and those of the coarse one between parts that the fine one does not connect."""
    part, _ = merge(np.zeros(count), pairs, levels, np.inf)
    leaps = part[wide_pairs[:, 0]] != part[wide_pairs[:, 1]]
    both, all_levels = np.concatenate([pairs, wide_pairs[leaps]]), np.concatenate([levels, wide_levels[leaps]])
    order = np.argsort(-all_levels, kind="stable")
    return both[order], all_levels[order]


def _passes(pairs: Ints, levels: Floats, count: int, bottom: float) -> Floats:
    """The level (c, c) of the highest way between two cells; ``bottom`` where the graph has none. Levels fall."""
    passes = np.full((count, count), bottom)
    part = np.arange(count)
    for (a, b), level in zip(pairs, levels, strict=True):
        if part[a] != part[b]:
            in_a, in_b = part == part[a], part == part[b]
            passes[np.ix_(in_a, in_b)] = passes[np.ix_(in_b, in_a)] = level
            part[in_b] = part[a]
    return passes


def _between(apart: Floats, piece: Ints) -> Floats:
    """Smallest entry (p, p) of ``apart`` (c, c) between the cells of two pieces."""
    count = piece.max() + 1
    smallest = np.full((count, count), np.inf)
    np.minimum.at(smallest, (piece[:, None], piece[None, :]), apart)
    np.fill_diagonal(smallest, 0.0)
    return smallest
