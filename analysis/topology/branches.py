"""How a curve-like cloud branches: its loose ends, and how much of their way two loops share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist

from analysis.density.peaks import Peaks
from analysis.topology.circular import CircularCoordinate, shortest_basis

Floats = NDArray[np.float64]

PROMINENT = 0.2  # of the longest way from the middle; a loose end stands out by that much, or it is not seen
SLOW = 0.3  # of the median speed: where no loop passes


def loose_ends(landmarks: Floats, cover: float, loops: int, closed_at: float = 0.0) -> int:
    """Number of loose ends of a connected curve with so many independent loops, such as 2 for an arc and 0 for a circle.

    Maxima of the way from the middle, as many as loose ends and loops together: going out from a point that is no end,
    every loop has one place where its two ways meet.

    Args:
        landmarks: (m, k).
        cover: their covering radius.
        loops: independent loops.
        closed_at: scale from which on all of these are closed.
    """
    apart = cdist(landmarks, landmarks)
    reach = max(2.5 * cover, 1.01 * closed_at, 1.01 * float(minimum_spanning_tree(apart).data.max(initial=0.0)))
    ways = dijkstra(csr_array(np.where(apart <= reach, apart, 0.0)), directed=False)
    outward = ways[ways.max(1).argmin()]
    return max(0, _maxima(outward, apart <= reach, max(PROMINENT * outward.max(), reach)) - loops)


def shared_way(gram: Floats) -> float:
    """Of two loops with these inner products of their angles: the way they share, as a share of the shorter one's.

    On a graph the inner products of harmonic angles are the inverse of those of the loops, which are lengths: of each loop
    on the diagonal, of the way that both take next to it. 0 for a figure eight; a half for a theta with three equal arms.
    """
    lengths: Floats = np.linalg.inv(gram).astype(np.float64)
    basis = shortest_basis(lengths)
    lengths = basis @ lengths @ basis.T
    return float(abs(lengths[0, 1]) / min(lengths[0, 0], lengths[1, 1]))


def off_the_loops(coordinates: list[CircularCoordinate]) -> float:
    """Share of the landmarks that lie on none of the loops: on a bridge or a tail."""
    speed = np.sqrt(sum(coordinate.speed() ** 2 for coordinate in coordinates))
    return float((speed < SLOW * np.median(speed)).mean())


def on_the_loop(coordinate: CircularCoordinate, points: Floats) -> NDArray[np.bool_]:
    """Which points (n, k) lie where the angle moves."""
    speed = coordinate.speed()
    nearest = cdist(points, coordinate.landmarks).argmin(1)
    return speed[nearest] > SLOW * np.quantile(speed, 0.9)


def _maxima(heights: Floats, linked: NDArray[np.bool_], prominence: float) -> int:
    """Maxima of a function on a connected graph that stand out by more than this."""
    peaks, seen = Peaks(heights), np.zeros(len(heights), dtype=bool)
    count = 1  # the highest never dies
    for i in np.argsort(-heights, kind="stable"):
        seen[i] = True
        for j in np.flatnonzero(linked[i] & seen):
            low, high = peaks.meeting(int(i), int(j))
            if low != high:
                count += bool(heights[low] - heights[i] > prominence)
                peaks.join(low, high)
    return count
