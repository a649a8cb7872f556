"""Which node of one model goes with which of another, by how far apart they are: a quadratic assignment by exchanges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from analysis.alignment.rigid import Floats

Orders = NDArray[np.intp]

STARTS = 200
WORK = 600_000  # entries of all starts' matrices together
SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)  # of the smaller set of nodes, where the numbers differ
NEARER = 1e-9  # an exchange must gain so much
SWEEPS = 10  # linear assignments to the gradient before single exchanges


@dataclass(frozen=True)
class Assignments:
    """Assignments that no exchange of two nodes makes better, the best first.

    Attributes:
        orders: (q, n_a) node of b for every node of a, -1 for one that has none.
        agreement: (q,) correlation of the distances within a with those within b, over the matched nodes.
        reached: (q,) how many starts led to each.
        starts: how many there were.
    """

    orders: Orders
    agreement: Floats
    reached: NDArray[np.intp]
    starts: int


def assignments(
    gaps_a: Floats, gaps_b: Floats, generator: np.random.Generator, starts: int | None = None
) -> Assignments:
    r"""Match two sets of nodes by their distances alone; numbers and scale may differ.

    Minimises :math:`\sum_{ij} (A_{ij} - B_{p_i p_j})^2` over one-to-one p by the best exchange of two until none helps, from
    many starts at once. Half of the starts are random. The other half go by how alike the nodes' sorted distances are, with
    noise, and by a few linear assignments to the gradient, without which hundreds of nodes take minutes. Distances of
    equally many nodes are standardised. Of different numbers, the smaller set is tried at five scales, and nodes of the
    larger may stay alone.

    Args:
        gaps_a, gaps_b: (n_a, n_a) and (n_b, n_b) distances between nodes.
        generator: draws the starts.
        starts: how many; by default 200, fewer beyond 50 nodes.
    """
    if len(gaps_a) > len(gaps_b):
        found = assignments(gaps_b, gaps_a, generator, starts)
        return Assignments(_inverted(found.orders, len(gaps_a)), found.agreement, found.reached, found.starts)
    count, size = len(gaps_a), len(gaps_b)
    starts = starts or int(np.clip(WORK // size**2, 12, STARTS))
    if count == size:
        problems = [(_standardised(gaps_a), _standardised(gaps_b))]
    else:
        padded = np.zeros((size, size))
        padded[:count, :count] = gaps_a / max(_upper(gaps_a).mean(), 1e-300)
        whole = gaps_b / max(_upper(gaps_b).mean(), 1e-300)
        problems = [(padded * scale, whole) for scale in SCALES]
    each = -(-starts // len(problems))
    ends = [descended(one, other, count, each, generator)[:, :count] for one, other in problems]
    orders, first, reached = np.unique(np.vstack(ends), axis=0, return_index=True, return_counts=True)
    agreement = np.array([_agreement(gaps_a, gaps_b[np.ix_(p, p)]) for p in orders])
    best = np.lexsort((first, -agreement))
    return Assignments(orders[best], agreement[best], reached[best], each * len(problems))


def descended(a: Floats, b: Floats, count: int, starts: int, generator: np.random.Generator) -> Orders:
    """Orders (starts, n) from which no exchange helps.

    Args:
        a, b: (n, n), zero on the diagonal; a is zero beyond its first ``count`` rows and columns.
        count: nodes of a that are there.
    """
    orders = _begun(a, b, count, starts, generator)
    there = np.zeros((len(a), len(a)))
    there[:count, :count] = 1 - np.eye(count)
    active = np.arange(starts)
    while len(active):
        p = orders[active]
        moved = b[p[:, :, None], p[:, None, :]]
        gain = _gains(2 * a, moved)
        if count < len(a):
            gain -= _gains(there, moved**2)
        flat = gain.reshape(len(active), -1)
        best = flat.argmax(1)
        on = flat[np.arange(len(active)), best] > NEARER
        active = active[on]
        i, j = np.divmod(best[on], len(a))
        orders[active, i], orders[active, j] = orders[active, j], orders[active, i]
    return orders


def _gains(a: Floats, c: Floats) -> Floats:
    """What sum(a * c) gains, half of it, by exchanging nodes i and j of every c (starts, n, n); both symmetric, zero diagonal."""
    product = a @ c
    own = np.einsum("sii->si", product)
    return product + np.swapaxes(product, 1, 2) - own[:, :, None] - own[:, None, :] + 2 * a * c


def _begun(a: Floats, b: Floats, count: int, starts: int, generator: np.random.Generator) -> Orders:
    """Orders (starts, n) to begin with."""
    size = len(a)
    orders = np.array([generator.permutation(size) for _ in range(starts)])
    levels = np.linspace(0, 1, min(size, 33))
    one, other = (np.quantile(m, levels, axis=1).T for m in (a[:count, :count], b))
    apart = ((one[:, None] - other[None]) ** 2).sum(2)
    for i in range(0, starts, 2):
        noise = generator.exponential(apart.mean(), apart.shape) * generator.random() if i else 0.0
        chosen = linear_sum_assignment(apart + noise)[1]
        order = np.r_[chosen, generator.permutation(np.setdiff1d(np.arange(size), chosen))]
        orders[i] = _swept(a, b, order) if count == size else order
    return orders


def _swept(a: Floats, b: Floats, order: Orders) -> Orders:
    """The order after linear assignments to the gradient of sum(a * b[p, p]), as long as they gain."""
    reached = float((a * b[np.ix_(order, order)]).sum())
    for _ in range(SWEEPS):
        ahead = linear_sum_assignment(-(a @ b[order]))[1]
        gained = float((a * b[np.ix_(ahead, ahead)]).sum())
        if gained <= reached:
            break
        order, reached = ahead, gained
    return order


def _standardised(gaps: Floats) -> Floats:
    values = _upper(gaps)
    out = (gaps - values.mean()) / max(values.std(), 1e-12 * max(abs(values.mean()), 1e-300))
    np.fill_diagonal(out, 0)
    return np.asarray(out)


def _agreement(one: Floats, other: Floats) -> float:
    x, y = _upper(one), _upper(other)
    if len(x) < 2 or x.std() <= 1e-9 * x.mean() or y.std() <= 1e-9 * y.mean():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _upper(gaps: Floats) -> Floats:
    return gaps[np.triu_indices(len(gaps), 1)]


def _inverted(orders: Orders, count: int) -> Orders:
    out = np.full((len(orders), count), -1)
    np.put_along_axis(out, orders, np.arange(orders.shape[1])[None], axis=1)
    return out
