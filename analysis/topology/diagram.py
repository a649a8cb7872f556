"""Diagrams of closed polygons: where the strands cross in a projection, and which lies above, all in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from analysis.topology.polygon import Integers, volume

HALF_WIDTH = 2**7  # of the projection's entries: an area in the projection stays below 2^53
TRIES = 100


@dataclass(frozen=True, order=True)
class Place:
    """A place on a polygon: which curve, which edge, and how far along it."""

    curve: int
    edge: int
    along: Fraction


@dataclass(frozen=True)
class Crossing:
    """Two strands over one another.

    Attributes:
        over, under: places of the upper and the lower strand.
        sign: 1 where the upper strand turned anticlockwise, by less than half a turn, lies along the lower one, else -1.
    """

    over: Place
    under: Place
    sign: int


class NotGeneric(Exception):
    """In this projection a strand passes through a corner or along another: take another one."""


def crossings(curves: Sequence[Integers], rng: np.random.Generator) -> list[Crossing]:
    """All crossings of closed polygons (m, 3) on the lattice, seen from a random direction.

    Raises:
        ValueError: the curves meet in space, or no direction was generic.
    """
    for _ in range(TRIES):
        view = rng.integers(-HALF_WIDTH, HALF_WIDTH + 1, size=(3, 2))
        if np.cross(view[:, 0], view[:, 1]).any():
            try:
                return _seen(curves, view)
            except NotGeneric:
                continue
    raise ValueError(f"no generic projection in {TRIES}: the polygon is degenerate; move its corners a little")


def _seen(curves: Sequence[Integers], view: Integers) -> list[Crossing]:
    starts = np.concatenate(curves)
    ends = np.concatenate([np.roll(corners, -1, axis=0) for corners in curves])
    owner = np.repeat(np.arange(len(curves)), [len(corners) for corners in curves])
    number = np.concatenate([np.arange(len(corners)) for corners in curves])
    p, q = starts @ view, ends @ view
    i, j = np.triu_indices(len(starts), 1)
    joined = (starts[i] == ends[j]).all(1) | (ends[i] == starts[j]).all(1)
    neighbours = joined & (owner[i] == owner[j]) & np.isin(number[j] - number[i], [1, *(len(c) - 1 for c in curves)])
    _check_neighbours(p, q, i[neighbours], j[neighbours])
    i, j = i[~neighbours], j[~neighbours]
    first = np.stack([_area(p[i], q[i], p[j]), _area(p[i], q[i], q[j])])  # of which side of edge i the ends of j lie
    second = np.stack([_area(p[j], q[j], p[i]), _area(p[j], q[j], q[i])])
    sides = np.sign(first).prod(0), np.sign(second).prod(0)
    meet = (sides[0] <= 0) & (sides[1] <= 0)
    straight = ~first.any(0) & ~second.any(0)
    if (straight & _overlap(p, q, i, j)).any() or (meet & ~straight & ((sides[0] == 0) | (sides[1] == 0))).any():
        raise NotGeneric
    out = []
    for n in np.flatnonzero(meet & ~straight):
        a, b = int(i[n]), int(j[n])
        turn = int(np.sign(_area(p[a], q[a], p[a] + q[b] - p[b])))
        height = int(np.sign(volume(starts[a], ends[a], starts[a] + ends[b] - starts[b], starts[b]))) * turn
        if not height:
            raise ValueError("the curve meets itself or the other; a knot needs strands that keep apart")
        places = [
            Place(int(owner[edge]), int(number[edge]), Fraction(int(side[0]), int(side[0] - side[1])))
            for edge, side in ((a, second[:, n]), (b, first[:, n]))
        ]
        # height > 0: edge b is the upper one
        over, under = (places[1], places[0]) if height > 0 else (places[0], places[1])
        out.append(Crossing(over, under, -turn if height > 0 else turn))
    return out


def _area(a: Integers, b: Integers, c: Integers) -> Integers:
    """Twice the signed area of the triangles a, b, c (..., 2)."""
    u, v = b - a, c - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _overlap(p: Integers, q: Integers, i: Integers, j: Integers) -> NDArray[np.bool_]:
    """Whether the boxes round two edges overlap."""
    low, high = np.minimum(p, q), np.maximum(p, q)
    return np.all((low[i] <= high[j]) & (low[j] <= high[i]), axis=1)


def _check_neighbours(p: Integers, q: Integers, i: Integers, j: Integers) -> None:
    """Two edges with a common corner must not lie on one another in the projection."""
    folded = (_area(p[i], q[i], p[j]) == 0) & (_area(p[i], q[i], q[j]) == 0)
    back = ((q[i] - p[i]) * (q[j] - p[j])).sum(1) < 0
    flat = ((p == q).all(1)).any()
    if flat or (folded & back).any():
        raise NotGeneric
