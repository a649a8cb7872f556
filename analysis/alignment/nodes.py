"""Pieces of a wide cloud as nodes: the density's own where it has them, k-means at several numbers with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.rigid import Floats
from analysis.pieces.partition import partition
from analysis.pieces.tree import DEPTH

Ints = NDArray[np.intp]

MOST_ROWS = 1000  # by which pieces are judged
LEADING = 0.95  # share of the variance in the directions in which pieces are sought
MOST_NODES = 20  # more are tried where so many are the clearest
ROWS_A_NODE = 4
STARTS = 5
FEWEST = 5  # pieces, fewer of which say too little of where they belong
WORSE = 0.05  # clearness that a common number of pieces may cost


@dataclass(frozen=True)
class Nodes:
    """Rows cut into pieces.

    Attributes:
        labels: (n,) piece of every row, 0 the heaviest.
        clearness: mean silhouette (Rousseeuw 1987): 1 where pieces are points far apart, 0 where they run into one another.
    """

    labels: Ints
    clearness: float

    @property
    def count(self) -> int:
        """Number of pieces."""
        return int(self.labels.max()) + 1

    def centres(self, rows: Floats) -> Floats:
        """(pieces, d) means."""
        return np.array([rows[self.labels == i].mean(0) for i in range(self.count)])


def cut(a: list[Nodes], b: list[Nodes]) -> tuple[Nodes, Nodes]:
    """The pieces by which two sides are compared: equally many of both, unless their own numbers are clearer by far."""
    own = [max((n for n in side if n.count >= FEWEST), key=lambda n: n.clearness, default=side[0]) for side in (a, b)]
    common = [pair for pair in pairs(a, b) if pair[0].count >= FEWEST]
    best = max(common, key=lambda pair: pair[0].clearness + pair[1].clearness, default=None)
    if best is None or any(o.clearness - n.clearness > WORSE for o, n in zip(own, best, strict=True)):
        return own[0], own[1]
    return best


def pairs(a: list[Nodes], b: list[Nodes]) -> list[tuple[Nodes, Nodes]]:
    """The clearest cuts of either side into every number that both have."""
    sides = [{n.count: n for n in reversed(side)} for side in (a, b)]
    return [(sides[0][count], sides[1][count]) for count in sorted(set(sides[0]) & set(sides[1]))]


def principal(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean (d,), orthonormal columns (d, r) that span the centred rows, largest variance first, and the variances (r,)."""
    middle = rows.mean(0)
    _, sizes, axes = np.linalg.svd(rows - middle, full_matrices=False)
    rank = max(int((sizes > 1e-9 * max(sizes[0], 1e-300)).sum()), 1)
    return middle, axes[:rank].T, sizes[:rank] ** 2 / len(rows)


def leading(variances: Floats, share: float = LEADING) -> int:
    """How many directions hold that share of the variance."""
    return int(np.searchsorted(np.cumsum(variances) / variances.sum(), share) + 1)


def clearest(rows: Floats, seed: int = 0) -> list[Nodes]:
    """Ways to cut rows (n, d) into pieces, the clearest first.

    The valleys of the density (:func:`~analysis.pieces.partition.partition`) give one, k-means one for every number from 2 to
    20, in the metric of the rows as they are. Where 20 is the clearest, as for a code of 59 residues, larger numbers follow as
    long as they are clearer. Beyond 1000 rows a random 1000 are cut, and the others join the nearest centre.
    """
    generator = np.random.default_rng([seed, 11])
    some = np.sort(generator.permutation(len(rows))[:MOST_ROWS])
    few = rows[some]
    apart = cdist(few, few)

    def nodes(labels: Ints) -> list[Nodes]:
        clear = silhouette(apart, labels)
        if clear is None:
            return []
        middles = np.array([few[labels == i].mean(0) for i in range(labels.max() + 1)])
        every = labels if len(few) == len(rows) else cdist(rows, middles).argmin(1)
        return [Nodes(_by_mass(every), clear)]

    found = nodes(partition(few, DEPTH, generator.random(len(few)) < 0.5, seed).labels)
    most = min(len(few) // ROWS_A_NODE, len(np.unique(few, axis=0)))
    for k in range(2, min(MOST_NODES, most) + 1):
        found += nodes(_k_means(few, k, seed))
    found.sort(key=_unclear)
    if found and found[0].count == MOST_NODES:
        found += _more(lambda k: nodes(_k_means(few, k, seed)), found[0], most)
    return sorted(found, key=_unclear)


def _more(cuts: Callable[[int], list[Nodes]], first: Nodes, most: int) -> list[Nodes]:
    """Beyond the number of the first: a fifth more at a time as long as they are clearer, then a few around the clearest."""
    found, steps = [first], [first.count]
    while (number := steps[-1] * 6 // 5) <= most:
        found += cuts(number)
        steps.append(number)
        if found[-1].count != number or found[-1].clearness < found[-2].clearness:
            break
    low, high = (steps[-3:] * 2)[0], steps[-1]
    for number in range(low + (high - low) // 8, high, max((high - low) // 8, 1)):
        found += [] if number in steps else cuts(number)
    return found[1:]


def _unclear(nodes: Nodes) -> float:
    return -nodes.clearness


def silhouette(apart: Floats, labels: Ints) -> float | None:
    """Mean of (b - a) / max(a, b): a is the mean distance to one's own piece, b to the nearest other.

    None for one piece, and where a row is a piece of its own.
    """
    sizes = np.bincount(labels)
    if len(sizes) < 2 or sizes.min() < 2:
        return None
    sums = apart @ np.eye(len(sizes))[labels]
    at = np.arange(len(labels))
    own = sums[at, labels] / (sizes[labels] - 1)
    others = sums / sizes
    others[at, labels] = np.inf
    nearest = others.min(1)
    return float(((nearest - own) / np.maximum(np.maximum(nearest, own), 1e-300)).mean())


def _k_means(rows: Floats, count: int, seed: int) -> Ints:
    from sklearn.cluster import KMeans

    labels = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    return np.asarray(np.unique(labels, return_inverse=True)[1], dtype=np.intp)


def _by_mass(labels: Ints) -> Ints:
    """Numbered without gaps, the heaviest piece first."""
    names, at, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=np.intp)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    return rank[at]
