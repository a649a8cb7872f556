"""From a start to the nearest optimum: plan and Procrustes rotation in turn, first with every row's mass, then without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud, assign, squared_distances
from analysis.alignment.rigid import Floats, Rigid, polar

STEPS = 30
ANNEALING = 12
WIDEST = 0.3  # first width of a soft match, in units of the cloud's spread


def transported(a: Cloud, b: Cloud, start: Floats, anchor: Floats | None = None) -> tuple[Floats, float]:
    r"""Alternate T = optimal transport of :math:`|XW - Y|^2` and W = polar((X - x_T)' T (Y - y_T)) until T stays.

    Args:
        a, b: clouds of as many rows.
        start: (k_a, k_b).
        anchor: (k_a, k_b) added to the cross-covariance of a row: what known pairs say.

    Returns:
        W (k_a, k_b), and the cost per row of its plan.
    """
    x, y = a.s - a.s.mean(0), b.s - b.s.mean(0)
    target = np.hstack([y, b.shared])
    matrix, before, cost = start, None, np.inf
    for _ in range(STEPS):
        partners, cost = assign(np.hstack([x @ matrix, a.shared]), target)
        if before is not None and (partners == before).all():
            break
        before = partners
        cross = x.T @ y[partners] / len(x)
        matrix = polar(cross if anchor is None else cross + anchor)
    return matrix, cost


def polished(
    a: Cloud, b: Cloud, start: Floats, anchor: Floats | None = None, widest: float = WIDEST, same: bool = False
) -> Rigid:
    r"""Alternate soft matches :math:`T \propto \exp(-|x W + t - y|^2 / 2 h^2)` and the rigid map that fits them, h falling.

    Every row of either cloud has one unit of mass and may send it wherever it likes (entropic transport with one marginal, the
    mean of both directions; Granger and Pennec's EM-ICP 2002). Chance differences in mass along a structure do not pull at
    it, so it is more exact than balanced transport; it needs a start near an optimum. h ends at the median distance
    of nearest neighbours.

    Args:
        a, b: clouds of any sizes.
        start: (k_a, k_b); means are put on one another to begin with.
        anchor: as in :func:`transported`.
        widest: first h, in units of the spread.
        same: the clouds are the same rows, and a row may not match itself.
    """
    shared = squared_distances(a.shared, b.shared).astype(np.float32) if a.shared.shape[1] else np.float32(0)
    spread = float(np.sqrt(b.s.var(0).sum()))
    finest = min(widest * spread, _spacing(b))
    widths = [*np.geomspace(widest * spread, finest, ANNEALING), *[finest] * 3]
    map = Rigid(start, b.s.mean(0) - a.s.mean(0) @ start)
    for h in widths:
        squared = squared_distances(map(a.s), b.s).astype(np.float32) + shared
        if same:
            np.fill_diagonal(squared, np.inf)
        plan = _soft(squared, h, 1) + _soft(squared, h, 0)
        plan /= plan.sum()
        x, y = plan.sum(1) @ a.s, plan.sum(0) @ b.s
        cross = (a.s - x).T @ plan @ (b.s - y)
        matrix = polar(cross if anchor is None else cross + anchor)
        map = Rigid(matrix, y - x @ matrix)
    return map


def _soft(squared: NDArray[np.float32], h: float, axis: int) -> NDArray[np.float32]:
    weights = np.exp((squared.min(axis, keepdims=True) - squared) * np.float32(0.5 / h**2))
    return weights / weights.sum(axis, keepdims=True)


def _spacing(cloud: Cloud) -> float:
    """Median distance of a row to its nearest other."""
    rows = cloud.moved()
    apart = cdist(rows, rows)
    np.fill_diagonal(apart, np.inf)
    return max(float(np.median(apart.min(1))), 1e-9)
