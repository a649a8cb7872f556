"""Few points that stand for many: every row lies near one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def maxmin(points: Floats, count: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], float]:
    """Indices of `count` points, each the farthest from all before it (from a random one on), and their covering radius."""
    count = min(count, len(points))
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = rng.integers(len(points))
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    for i in range(1, count):
        chosen[i] = nearest.argmax()
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[i]], axis=1))
    return chosen, float(nearest.max())
