"""A cloud as a few dozen weighted centroids, on which thousands of starts can be followed to their end in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud
from analysis.alignment.rigid import Floats, polar

COUNT = 40
STEPS = 12
GAIN = 1e-4  # share of the cost below which a step no longer counts


@dataclass(frozen=True)
class Grains:
    """Weighted centroids.

    Attributes:
        points: (m, r), the weighted mean at 0.
        shared: (m, q) means of the values that no map changes.
        weights: (m,) summing to 1.
    """

    points: Floats
    shared: Floats
    weights: Floats

    @classmethod
    def of(cls, cloud: Cloud, seed: int = 0) -> Grains:
        """By k-means of the rows, shared values included."""
        from sklearn.cluster import KMeans

        rows = cloud.moved()
        count = min(COUNT, len(rows) // 4, len(np.unique(rows, axis=0)))
        labels = KMeans(count, n_init=2, random_state=seed).fit_predict(rows)
        names, at, counts = np.unique(labels, return_inverse=True, return_counts=True)
        means = np.eye(len(names))[at].T @ rows / counts[:, None]
        return cls(means[:, : cloud.s.shape[1]], means[:, cloud.s.shape[1] :], counts / len(rows)).centred()

    def centred(self) -> Grains:
        """The weighted mean at 0."""
        return Grains(self.points - self.weights @ self.points, self.shared, self.weights)

    def in_one_unit(self) -> Grains:
        """Scaled to a summed variance of 1."""
        size = float(np.sqrt(self.weights @ (self.points**2).sum(1)))
        return Grains(self.points / max(size, 1e-300), self.shared, self.weights)


def carried(
    a: Grains, b: Grains, start: Floats, anchor: Floats | None = None, steps: int = STEPS
) -> tuple[Floats, float]:
    """Optimal transport and Procrustes in turn: the matrix (r_a, r_b) where they end, and the cost there.

    Args:
        start: (r_a, r_b).
        anchor: cross-covariance of known pairs, added to that of the plan.
        steps: at most so many.
    """
    import ot

    apart = cdist(a.shared, b.shared, "sqeuclidean") if a.shared.shape[1] else 0.0
    matrix, best, kept = start, np.inf, start
    for _ in range(steps):
        squared = cdist(a.points @ matrix, b.points, "sqeuclidean") + apart
        plan = ot.emd(a.weights, b.weights, squared)
        cost = float((plan * squared).sum())
        if cost < best:
            kept = matrix
        if not cost < best * (1 - GAIN):
            break
        best = cost
        cross = a.points.T @ plan @ b.points
        matrix = polar(cross if anchor is None else cross + anchor)
    return kept, min(best, cost)


def by_shared(a: Grains, b: Grains) -> Floats | None:
    """The rotation that known values alone suggest, or None where there are none."""
    import ot

    if not a.shared.shape[1]:
        return None
    plan = ot.emd(a.weights, b.weights, cdist(a.shared, b.shared, "sqeuclidean"))
    return polar(a.points.T @ plan @ b.points)
