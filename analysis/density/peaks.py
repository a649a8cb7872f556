"""Union-find by the elder rule: where two sets meet, the one with the higher peak stays."""

import numpy as np
from numpy.typing import NDArray


class Peaks:
    """Sets of points, each known by its highest point.

    scipy's DisjointSet keeps the larger set's root; here the root must be the peak.

    Args:
        heights: (n,) at first every point is a set of its own.
    """

    def __init__(self, heights: NDArray[np.float64]):
        self.heights = heights
        self._parent = np.arange(len(heights))

    def of(self, i: int) -> int:
        """The peak of the set that holds point i."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return int(i)

    def meeting(self, a: int, b: int) -> tuple[int, int]:
        """The peaks of the sets of a and b, the lower one first; one and the same if a and b are together already."""
        low, high = sorted((self.of(a), self.of(b)), key=lambda i: self.heights[i])
        return low, high

    def join(self, low: int, high: int) -> None:
        """The set of the peak `low` joins that of the peak `high`."""
        self._parent[low] = high
