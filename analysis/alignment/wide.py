"""Two wide clouds in their own metrics: pieces give starts, a few dozen centroids follow them, rows decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from analysis.alignment.agreement import Agreement
from analysis.alignment.assignment import Assignments, Orders, assignments
from analysis.alignment.clouds import Cloud, Rows, squared_distances
from analysis.alignment.frame import Frame
from analysis.alignment.grains import Grains, by_shared, carried
from analysis.alignment.judge import Judge
from analysis.alignment.nodes import MOST_NODES, Nodes, clearest, cut, pairs
from analysis.alignment.permuted import group_of
from analysis.alignment.refine import polished
from analysis.alignment.retrieval import UNCLEAR, Retrieval, enough
from analysis.alignment.rigid import Floats, Rigid, polar
from analysis.alignment.search import SMALL, Found, Optimum
from analysis.alignment.solution import Solution

if TYPE_CHECKING:
    from analysis.alignment.geometry import Geometry

MOST_ORDERS = 15  # assignments of every number of pieces
NUMBERS = range(4, 17)  # pieces that give starts, with those of the two sides
SCREEN = 3  # steps of an exchange that is tried
IMPROVED = 4  # ends around which pieces are exchanged
POLISHED = 16  # ends that rows are asked about
KEPT = 14  # of them, in all directions and on all rows
ROWS, POLISH_ROWS, ALL_ROWS = 300, 600, 1000
HALF = 500  # rows of the judge's samples
HOPELESS = 1.5  # strain on few rows beyond which a map is not looked at on all of them
ALL = slice(None)
NEAR = 10.0  # degrees between ends of descents that count as one
WIDEST, NARROW = 0.15, 0.1  # first widths of the two polishes, in units of the spread

End = tuple[Floats, float]  # a matrix, and what it costs the grains


@dataclass(frozen=True)
class Wide:
    """What a search between wide clouds found.

    Attributes:
        solution: in the coordinates of the frames.
        nodes: pieces of a and of b.
        assigned: of these pieces by distances alone, the best assignment first.
        order: (pieces of a,) the partner in b after the best map, -1 for none.
    """

    solution: Solution
    nodes: tuple[Nodes, Nodes]
    assigned: Assignments
    order: Orders


class Search:
    """One search.

    Args:
        clouds: rows in their frames (n, r), with shared values.
        frames: of a and b.
        anchor: cross-covariance (r_a, r_b) of known pairs, or None.
        seed: draws everything.
        looked: numbers of the rows of either that are looked at, by default all.
    """

    def __init__(
        self,
        clouds: Sequence[Cloud],
        frames: Sequence[Frame],
        anchor: Floats | None,
        seed: int,
        looked: Sequence[Rows | slice] = (ALL, ALL),
    ) -> None:
        self.clouds, self.anchor, self.seed = clouds, anchor, seed
        self.generator = np.random.default_rng([seed, 12])
        size = max(frame.coarse for frame in frames)
        self.coarse = [Cloud(c.s[:, :size], c.shared) for c in clouds]
        a, b = (c.take(rows) for c, rows in zip(self.coarse, looked, strict=True))
        self.grains = Grains.of(a, seed), Grains.of(b, seed)
        self.ways = clearest(self.coarse[0].s, seed), clearest(self.coarse[1].s, seed)
        self.frames = frames
        self.nodes = cut(*self.ways)
        of_a = self.nodes[0].labels[looked[0]]
        self.masses = np.bincount(of_a, minlength=self.nodes[0].count) / len(of_a)
        self.order = [
            self.generator.permutation(np.arange(len(c))[rows]) for c, rows in zip(clouds, looked, strict=True)
        ]

    def found(self, tolerance: float) -> Wide:
        """Starts, ends, exchanges, rows: every near-optimal map."""
        assigned = self.assigned(self.nodes)
        ends = self._improved(self._ends(assigned))
        some, every = self._rows(self.coarse, ROWS), self._rows(self.clouds, ALL_ROWS)
        maps = [polished(*some, end, self._small_anchor(end.shape), widest=WIDEST) for end in ends[:POLISHED]]
        judge = Judge(*every, self.seed, HALF, np.inf)
        cheap = Judge(*some, self.seed, hopeless=np.inf)
        first = sorted((Optimum(m, cheap.between(m)) for m in maps), key=lambda o: o.cost.transport)
        cheap.forgive(first[0].cost)
        optima = [o for o in self._apart(first, tolerance)[:KEPT] if o is first[0] or cheap.strain(o.cost) <= HOPELESS]
        shape = self.clouds[0].s.shape[1], self.clouds[1].s.shape[1]
        most = self._rows(self.clouds, POLISH_ROWS)
        maps = [polished(*most, _padded(o.map.matrix, shape), self.anchor, widest=NARROW) for o in optima]
        whole = [_transport(*every, m) for m in maps]  # samples differ in the mass of a piece; all rows do so less
        ranked = [maps[i] for i in np.argsort(whole, kind="stable")]
        ranked[0] = polished(*every, ranked[0].matrix, self.anchor, widest=SMALL)
        ranked = [*self._retrieved(ranked[0].matrix), *ranked]
        optima = self._apart([Optimum(m, judge.between(m)) for m in ranked], tolerance)
        judge.forgive(optima[0].cost)
        optima = [o for i, o in enumerate(optima) if not i or judge.allows(o.cost)]
        orders = [self._order(o.map) for o in optima]
        reached = Found(optima, self._reached(assigned, orders[0], tolerance), assigned.starts)
        group = group_of(self.nodes[0].centres(self.clouds[0].s), orders, tolerance)
        return Wide(Solution(judge, reached, Agreement(optima, group, ()), ([], [])), self.nodes, assigned, orders[0])

    def _retrieved(self, rival: Floats) -> list[Rigid]:
        """Where there are no pieces to speak of: the map of rows that retrieve one another, if it fits better than the rival.

        What is known of the rows (pairs, labels, a shared function) tells more than this, which does not look at it.
        """
        known = self.anchor is not None or self.clouds[0].shared.shape[1] > 0
        clear = any(cuts.clearness >= UNCLEAR for cuts in self.nodes)
        if known or clear or not enough(*(cloud.s for cloud in self.clouds)):
            return []
        rows = Retrieval(self.clouds[0].s, self.clouds[1].s, self.seed)
        matrix = rows.found()
        better = rows.nearness(matrix) > rows.nearness(rival)
        return [Rigid(matrix, np.zeros(matrix.shape[1]), 1.0)] if better else []

    def assigned(self, nodes: tuple[Nodes, Nodes], starts: int | None = None) -> Assignments:
        """By the distances between centres, the metric evened out a little."""
        gaps = []
        for cloud, frame, cuts in zip(self.coarse, self.frames, nodes, strict=True):
            centres = frame.tempered(cuts.centres(cloud.s))
            gaps.append(cdist(centres, centres))
        return assignments(gaps[0], gaps[1], self.generator, starts)

    def geometry(self, labels: tuple[NDArray[Any], NDArray[Any]] | None) -> Geometry:
        """What distances alone can tell."""
        from analysis.alignment.geometry import geometry

        one, other = self.coarse
        return geometry((one.s, other.s), (self.frames[0], self.frames[1]), self.nodes, labels, self.seed)

    def _ends(self, assigned: Assignments) -> list[End]:
        """Where the grains' descents from every number of pieces end, the cheapest first."""
        begin = self._starts(self.nodes, assigned.orders)
        for nodes in pairs(*self.ways):
            if nodes[0].count in NUMBERS:
                begin += self._starts(nodes, self.assigned(nodes, starts=100).orders)
        told = by_shared(*self.grains)
        begin += [] if told is None else [told]
        anchor = self._small_anchor((self.coarse[0].s.shape[1], self.coarse[1].s.shape[1]))
        begin += [] if anchor is None else [polar(anchor)]
        ends = [carried(*self.grains, start, anchor) for start in begin]
        return sorted(ends, key=lambda end: end[1])

    def _starts(self, nodes: tuple[Nodes, Nodes], orders: Orders) -> list[Floats]:
        a, b = (cuts.centres(cloud.s) for cuts, cloud in zip(nodes, self.coarse, strict=True))
        return [_procrustes(a, b, order) for order in orders[:MOST_ORDERS]]

    def _improved(self, ends: list[End]) -> list[Floats]:
        """The ends and what exchanges of two pieces make of the best of them, the cheapest first."""
        anchor = self._small_anchor(ends[0][0].shape)
        few = self.nodes[0].count <= MOST_NODES  # where there are more, one exchange hardly turns the map
        a, b = (cuts.centres(cloud.s) for cuts, cloud in zip(self.nodes, self.coarse, strict=True))
        better: list[End] = []
        for matrix, cost in ends[:IMPROVED] if few else []:
            while True:
                order = _partners(a @ matrix, b)
                tries = [carried(*self.grains, _procrustes(a, b, o), anchor, SCREEN) for o in _exchanged(order)]
                best = carried(*self.grains, min(tries, key=lambda end: end[1])[0], anchor)
                if best[1] >= cost * (1 - 1e-4):
                    break
                matrix, cost = best
            better.append((matrix, cost))
        ranked = sorted([*better, *ends], key=lambda end: end[1])
        kept: list[Floats] = []
        for matrix, _ in ranked:
            if all(_angle(a @ matrix, a @ other, self.masses) > NEAR for other in kept):
                kept.append(matrix)
            if len(kept) == POLISHED:
                break
        return kept

    def _apart(self, optima: list[Optimum], tolerance: float) -> list[Optimum]:
        """Those that carry the pieces of a more than ``tolerance`` degrees from every one before; noise within them is free."""
        kept: list[tuple[Optimum, Floats]] = []
        for optimum in optima:
            rows = self.clouds[0].s[:, : len(optimum.map.matrix)]
            moved = self.nodes[0].centres(rows) @ optimum.map.matrix
            if all(_angle(moved, other, self.masses) > tolerance for _, other in kept):
                kept.append((optimum, moved))
        return [optimum for optimum, _ in kept]

    def _reached(self, assigned: Assignments, order: Orders, tolerance: float) -> int:
        """How many starts led to an assignment that turns the pieces as this one does; of many pieces a few may go astray."""
        a, b = (cuts.centres(cloud.s) for cuts, cloud in zip(self.nodes, self.coarse, strict=True))
        best, turned = a @ _procrustes(a, b, order), (a @ _procrustes(a, b, other) for other in assigned.orders)
        same = [_angle(best, moved, self.masses) <= tolerance for moved in turned]
        return int(assigned.reached[same].sum())

    def _order(self, map: Rigid) -> Orders:
        centres = [cuts.centres(cloud.s) for cuts, cloud in zip(self.nodes, self.clouds, strict=True)]
        return _partners(map(centres[0]), centres[1])

    def _rows(self, clouds: Sequence[Cloud], most: int) -> tuple[Cloud, Cloud]:
        one, other = (c.take(np.sort(order[:most])) for c, order in zip(clouds, self.order, strict=True))
        return one, other

    def _small_anchor(self, shape: tuple[int, ...]) -> Floats | None:
        return None if self.anchor is None else self.anchor[: shape[0], : shape[1]]


def _procrustes(a: Floats, b: Floats, order: Orders) -> Floats:
    """The rotation that brings centres of a to their partners."""
    on = order >= 0
    x, y = a[on], b[order[on]]
    return polar((x - x.mean(0)).T @ (y - y.mean(0)))


def _partners(mapped: Floats, centres: Floats) -> Orders:
    order = np.full(len(mapped), -1)
    rows, columns = linear_sum_assignment(cdist(mapped, centres, "sqeuclidean"))
    order[rows] = columns
    return order


def _exchanged(order: Orders) -> list[Orders]:
    """The order with every two of its entries exchanged."""
    out = []
    for i, j in zip(*np.triu_indices(len(order), 1), strict=True):
        other = order.copy()
        other[[i, j]] = other[[j, i]]
        out.append(other)
    return out


def _transport(a: Cloud, b: Cloud, map: Rigid) -> float:
    """Cost of the optimal plan between all rows."""
    import ot

    return float(ot.emd2([], [], squared_distances(a.moved(map), b.moved()), numItermax=1_000_000))


def _angle(one: Floats, other: Floats, weights: Floats) -> float:
    """Degrees between two sets of mapped points (n, r), each as one vector: points count by how far out they lie."""
    one, other = one - weights @ one, other - weights @ other
    sizes = [float(np.sqrt(weights @ (x**2).sum(1))) for x in (one, other)]
    cosine = float(weights @ (one * other).sum(1)) / max(sizes[0] * sizes[1], 1e-300)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _padded(matrix: Floats, shape: tuple[int, int]) -> Floats:
    out = np.zeros(shape)
    out[: len(matrix), : matrix.shape[1]] = matrix
    return out
