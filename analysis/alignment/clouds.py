"""Rows of one model with what else is known of them, and the transport between two such clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from analysis.alignment.rigid import Floats, Rigid

Rows = NDArray[np.intp]

FEWEST = 40  # rows of a side
MANY = 8  # dimensions from which on a matrix product gives distances faster than one by one


@dataclass(frozen=True)
class Cloud:
    """Rows of one model.

    Attributes:
        s: (n, k) structure block.
        shared: (n, q) values that mean the same in both models and that no map changes; q = 0 where there are none.
    """

    s: Floats
    shared: Floats

    def __len__(self) -> int:
        return len(self.s)

    def take(self, rows: Rows | slice) -> Cloud:
        """Some of the rows."""
        return Cloud(self.s[rows], self.shared[rows])

    def moved(self, map: Rigid | None = None) -> Floats:
        """(n, k + q): the block moved, the shared values as they are."""
        return np.hstack([self.s if map is None else map(self.s), self.shared])

    def centred(self, map: Rigid | None = None) -> Floats:
        """The same without the block's mean."""
        s = self.s - self.s.mean(0)
        return np.hstack([s if map is None else map.scale * s @ map.matrix, self.shared])


def squared_distances(a: Floats, b: Floats) -> Floats:
    """(n, m) squared distances between rows (n, d) and (m, d); by a matrix product where that is the faster way."""
    if a.shape[1] < MANY:
        return cdist(a, b, "sqeuclidean")
    middle = b.mean(0)
    a, b = a - middle, b - middle
    squared = a @ (-2 * b.T)
    squared += (a * a).sum(1)[:, None]
    squared += (b * b).sum(1)
    return np.maximum(squared, 0, out=squared)


def assign(a: Floats, b: Floats) -> tuple[Rows, float]:
    """Optimal transport between as many rows on either side: the partner in b (n,) of every row of a, and the mean cost."""
    squared = squared_distances(a, b)
    rows, partners = linear_sum_assignment(squared)
    return partners, float(squared[rows, partners].mean())
