"""The group that near-best assignments of pieces make, as maps of a's space: "up to D7"."""

from __future__ import annotations

import numpy as np

from analysis.alignment.assignment import Orders
from analysis.alignment.rigid import Floats
from analysis.alignment.symmetry import Symmetry

MOST = 24  # elements; more say no more than "many"


def group_of(centres: Floats, orders: list[Orders], tolerance: float) -> Symmetry:
    """A group (r, r) in a's frame of what assignments differ by.

    Of the groups of at most 24 elements that two of them generate it is the largest more than half of which is among them. Where
    there is none, or assignments are partial, the identity alone is given; all assignments stay as alternatives.

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
    seen = {tuple(map(int, best[order])) for order in orders}
    group = _largest(seen)
    if len(group) == 1:
        return alone
    u, sizes, axes = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())
    frame = u[:, :rank] @ axes[:rank]  # rows are the corners of a regular simplex, which every exchange takes to itself
    rest = np.eye(size) - frame.T @ frame
    return Symmetry(tuple(frame.T @ frame[list(g)] + rest for g in group), alone.directions, tolerance)


def _largest(seen: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The largest group of two generators, more than half of it seen; the identity alone where there is none."""
    members = sorted(seen)
    groups = [_generated([g, h]) for i, g in enumerate(members) for h in members[i:]]
    known = [g for g in groups if len(g) <= MOST and 2 * len(seen.intersection(g)) > len(g)]
    return max(known, key=len, default=[tuple(range(len(members[0])))])


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
