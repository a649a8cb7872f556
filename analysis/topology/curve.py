"""A closed polygon through the middle of a loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CORNERS = 72
ROWS_A_CORNER = 8
PARTS, FEWEST_PARTS = 24, 6


def closed_curve(points: Floats, angles: Floats, corners: int = CORNERS) -> Floats | None:
    """Corners (m, k) in order of the angle: local means of the points on the ridge; None where the loop has a gap.

    Every corner is the mean of the points (n, k) whose angles (n,) lie within one step of its own, weighted by nearness, so
    that each point counts in two corners. As many corners as the points allow, at most ``corners``: each gets about eight.
    """
    count = min(corners, len(points) // ROWS_A_CORNER)
    if count < 6:
        return None
    ranks = np.argsort(np.argsort(angles, kind="stable"), kind="stable") / len(angles)  # equal mass a corner
    place = ranks * count
    out = np.zeros((count, points.shape[1]))
    weight = np.zeros(count)
    for side in (0, 1):
        corner = (np.floor(place).astype(int) + side) % count
        share = 1 - np.abs(place - np.floor(place) - side)
        np.add.at(out, corner, share[:, None] * points)
        np.add.at(weight, corner, share)
    return out / weight[:, None]


def emptiest_quarter(points: Floats, angles: Floats) -> float:
    """The least share of points (n, k) on a quarter of the length of a closed curve; NaN where it has too few corners.

    Its corners are the means of the points in 24 equal parts of the turn, which thin places have as well as full ones.
    """
    part = (angles * PARTS / (2 * np.pi)).astype(int) % PARTS
    full = np.unique(part)
    if len(full) < FEWEST_PARTS:
        return float("nan")
    corners = np.stack([points[part == each].mean(0) for each in full])
    places = np.array([angles[part == each].mean() for each in full])
    steps = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    length = np.append(0.0, steps.cumsum()) / steps.sum()
    along = np.sort(np.interp((angles - places[0]) % (2 * np.pi), np.append(places - places[0], 2 * np.pi), length))
    inside = np.searchsorted(np.append(along, along + 1), along + 0.25) - np.arange(1, len(along) + 1)
    return float(inside.min()) / len(along)  # windows begin just after a point
