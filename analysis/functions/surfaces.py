"""Surfaces of a level set: covered by an even net of points, and told by the holes of that net."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform

from analysis.functions.solving import Level, Region

Floats = NDArray[np.float64]

_APART = 0.8  # of the spacing: no two points of a net are nearer
_DIRECTIONS = 7
_JOIN = 1.6  # points nearer than so many spacings belong together
_BORN, _DIES = (
    2.0,
    2.6,
)  # a hole counts that is there before and still there at so many spacings, the end of the filtration
MOST = 700  # points of a net
_FINER = 0.8  # of the spacing: the next net's
_ROUNDS = 6


class Surface(NamedTuple):
    """A net (m, D) on one component of a surface, its Betti numbers, whether it leaves the data somewhere."""

    points: Floats
    betti: tuple[int, int, int]
    has_edge: bool

    @property
    def is_sound(self) -> bool:
        """What closes up has a void, and what has a void closes up."""
        return self.has_edge == (self.betti[2] == 0)


def cover(level: Level, region: Region, seeds: Floats, spacing: float) -> tuple[Floats, NDArray[np.bool_]]:
    """An even net of the surface through the seeds as far as the data go, cut short beyond MOST points; which lie at its edge."""
    net: list[Floats] = []
    at_edge: list[bool] = []
    for seed in seeds:
        if _is_new(net, seed, spacing):
            net.append(seed)
            at_edge.append(False)
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    done = 0
    while done < len(net) and len(net) <= MOST:
        batch = np.array(net[done:])
        first, done = done, len(net)
        axes = level.decomposed(level.linear(batch)[1])[1][:, -2:]
        tries = batch[:, None] + spacing * np.einsum("ka,bad->bkd", circle, axes)
        found, converged = level.newton(tries.reshape(-1, batch.shape[1]), spacing)
        near = np.linalg.norm(found - np.repeat(batch, _DIRECTIONS, 0), axis=1) < 2 * spacing
        inside = region.holds(found)
        for i in np.flatnonzero(converged & near & ~inside):
            at_edge[first + i // _DIRECTIONS] = True
        for point in found[converged & near & inside]:
            if _is_new(net, point, spacing):
                net.append(point)
                at_edge.append(False)
    return np.array(net), np.array(at_edge, dtype=bool)


def _is_new(net: list[Floats], point: Floats, spacing: float) -> bool:
    return not net or float(np.linalg.norm(np.array(net) - point, axis=1).min()) > _APART * spacing


def surfaces(net: Floats, at_edge: NDArray[np.bool_], spacing: float) -> list[Surface]:
    """The components of a net, the largest first."""
    graph = cKDTree(net).sparse_distance_matrix(cKDTree(net), _JOIN * spacing)
    labels = connected_components(graph, directed=False)[1]
    found = []
    for label in np.argsort(-np.bincount(labels), kind="stable"):
        own = labels == label
        found.append(Surface(net[own], _betti(net[own], spacing), bool(at_edge[own].any())))
    return found


def decided(level: Level, region: Region, seeds: Floats, spacing: float) -> tuple[list[Surface], bool]:
    """The surface's components, on the first sound net that the one before agrees with; undecided if there is none."""
    found: list[Surface] = []
    for _ in range(_ROUNDS):
        net, at_edge = cover(level, region, seeds, spacing)
        if len(net) > MOST:
            return found or surfaces(net[:MOST], at_edge[:MOST], spacing), False
        finer = surfaces(net, at_edge, spacing)
        if (
            found
            and all(s.is_sound for s in finer)
            and sorted(s.betti for s in found) == sorted(s.betti for s in finer)
        ):
            return finer, True
        found, spacing = finer, _FINER * spacing
    return found, False


def _betti(points: Floats, spacing: float) -> tuple[int, int, int]:
    """Betti numbers of a connected net: holes of its Rips complexes that last."""
    from ripser import ripser

    diagrams = ripser(squareform(pdist(points)), maxdim=2, thresh=_DIES * spacing, distance_matrix=True)["dgms"]
    lasting = [int(((d[:, 0] <= _BORN * spacing) & np.isinf(d[:, 1])).sum()) for d in diagrams]
    return 1, lasting[1], lasting[2]
