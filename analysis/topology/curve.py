"""A closed polygon through the middle of a loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CORNERS = 72
ROWS_A_CORNER = 8


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
