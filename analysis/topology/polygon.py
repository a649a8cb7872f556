"""Closed polygons in space on an integer lattice, where every question about how they lie has an exact answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

HALF_WIDTH = 2**16  # of the lattice: a 3 x 3 determinant of differences stays below 2^54, inside int64


def as_closed_curve(points: ArrayLike, name: str = "curve") -> Floats:
    """Corners (m, 3) of a closed polygon, in order; the last is joined to the first.

    Raises:
        ValueError: another shape, fewer than 3 corners, NaN or inf.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or len(array) < 3:
        raise ValueError(
            f"{name} must have shape (corners, 3) with at least 3 corners, got {array.shape}; knots live in 3 dimensions"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or inf; pass finite corners in order")
    return array


def on_lattice(*curves: Floats) -> list[Integers]:
    """The curves moved, scaled alike and rounded to integers of at most 2^16; corners that coincide with the last are dropped."""
    together = np.concatenate(curves)
    low, high = together.min(0), together.max(0)
    half = (high - low).max() / 2
    if not half > 0:
        raise ValueError("all corners of the curve coincide; pass a curve with some extent")
    rounded = [np.rint((curve - (low + high) / 2) / half * HALF_WIDTH).astype(np.int64) for curve in curves]
    return [corners[(corners != np.roll(corners, 1, axis=0)).any(1)] for corners in rounded]


def volume(a: Integers, b: Integers, c: Integers, d: Integers) -> Integers:
    """Six times the signed volume of the tetrahedra a, b, c, d (..., 3), exactly: det(b - a, c - a, d - a)."""
    u, v, w = b - a, c - a, d - a
    return (
        u[..., 0] * (v[..., 1] * w[..., 2] - v[..., 2] * w[..., 1])
        - u[..., 1] * (v[..., 0] * w[..., 2] - v[..., 2] * w[..., 0])
        + u[..., 2] * (v[..., 0] * w[..., 1] - v[..., 1] * w[..., 0])
    )


def simplify(corners: Integers) -> Integers:
    """Take corners away as long as the triangle each spans with its neighbours is pierced by no other edge.

    Every step is an ambient isotopy (Koniaris and Muthukumar, Knottedness in ring polymers, PRL 66, 1991), decided exactly;
    where an edge merely touches the triangle the corner stays. A triangle is left of most unknots.
    """
    corners = corners.copy()
    size = np.inf
    while len(corners) < size and len(corners) > 3:
        size = len(corners)
        for i in reversed(range(size)):
            if len(corners) > 3 and _is_free(corners, i):
                corners = np.delete(corners, i, axis=0)
    return corners


def _is_free(corners: Integers, i: int) -> bool:
    """Whether no other edge meets the triangle at corner i."""
    rolled = np.roll(corners, 1 - i, axis=0)  # the triangle is the first three corners
    a, b, c = rolled[:3]
    heads, tails = rolled[2:], np.concatenate([rolled[3:], rolled[:1]])  # all other edges
    below, above = np.sign(volume(a, b, c, heads)), np.sign(volume(a, b, c, tails))
    if not below.any() and not above.any() and not np.cross(b - a, c - a).any():
        return True  # on a straight line
    if len(rolled) == 4:
        return bool(above[0])
    if (
        not above[0] or not below[-1]
    ):  # the two neighbouring edges touch the triangle at its corners and must leave its plane
        return False
    heads, tails, below, above = heads[1:-1], tails[1:-1], below[1:-1], above[1:-1]
    crosses = below * above <= 0
    sides = [np.sign(volume(heads, tails, p, q)) for p, q in ((a, b), (b, c), (c, a))]
    misses = (np.max(sides, axis=0) > 0) & (np.min(sides, axis=0) < 0)
    return bool((~crosses | misses).all())


def total_curvature(curve: Floats) -> float:
    """Sum of the turning angles of a closed polygon (m, 3), radians; a knotted one has more than 4 pi (Fary, Milnor)."""
    edges = np.roll(curve, -1, axis=0) - curve
    edges = edges[(edges != 0).any(1)]
    after = np.roll(edges, -1, axis=0)
    return float(np.arctan2(np.linalg.norm(np.cross(edges, after), axis=1), (edges * after).sum(1)).sum())
