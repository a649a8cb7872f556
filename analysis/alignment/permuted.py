"""The group that near-best assignments of pieces make, as maps of a's space: "up to D7"."""

from __future__ import annotations

import numpy as np

from analysis.alignment.assignment import Orders
from analysis.alignment.rigid import Floats
from analysis.alignment.symmetry import Symmetry

MOST = 24  # elements; more say no more than "many"


def group_of(centres: Floats, orders: list[Orders], tolerance: float) -> Symmetry:
    """The group (r, r) in a's frame that the assignments generate: what they differ by, and all products of it.

    Where assignments are partial, generate more than 24 elements, or are no more than half of what they generate, the identity
    alone is given, and the assignments stay as alternatives.

    Args:
        centres: (pieces, r) of a.
        orders: (pieces,) each, the partner in b of every piece of a; the best first.
        tolerance: degrees, for names.
    """
    size = centres.shape[1]
    alone = Symmetry((np.eye(size),), np.zeros((0, size, size)), tolerance)
    count = len(orders[0])
    if any(sorted(order) != list(range(count)) for order in orders):
        return alone
    best = np.argsort(orders[0])
    group = _generated([tuple(best[order]) for order in orders])
    if not 1 < len(group) <= MOST or 2 * len({tuple(order) for order in orders}) <= len(group):
        return alone
    u, sizes, axes = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())
    frame = u[:, :rank] @ axes[:rank]  # rows are the corners of a regular simplex, which every exchange takes to itself
    rest = np.eye(size) - frame.T @ frame
    return Symmetry(tuple(frame.T @ frame[list(g)] + rest for g in group), alone.directions, tolerance)


def _generated(members: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """All products, the identity first; at most one more than :data:`MOST`."""
    identity = tuple(range(len(members[0])))
    group = [identity]
    for g in group:  # grows while it is walked
        for h in members:
            product = tuple(g[i] for i in h)
            if product not in group:
                group.append(product)
            if len(group) > MOST:
                return group
    return group
