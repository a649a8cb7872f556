"""What a map does to the edges between neighbouring rows: stretch, rows that jump, torn patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
STRANGERS = 1 / 3  # an edge longer than this share of the median distance of random pairs joins strangers
TORN_STRETCH = 3.0  # and it has grown at least so much against that distance
NEAR = 0.25  # neighbours must be nearer than this share of it for an edge to tell anything
LOST_EDGES = 0.8  # a row that loses this share of its edges has jumped, alone
MOST_LOST = 0.05  # share of rows that may jump
FEWEST_ROWS = 5
HEADER = "  median    90 %    99 %  99.9 %  continuity  trustworthiness   jump  torn"


class Patch(NamedTuple):
    """A place where the cloud is torn: its rows, disjoint pairs of neighbours that became strangers, their median stretch."""

    rows: list[int]
    pairs: int
    stretch: float


@dataclass(frozen=True, repr=False)
class Edges:
    """What a map does to the edges between each row and its nearest neighbours.

    Attributes:
        stretch: (n, k) length after over length before.
        quantiles: of ``stretch``, at .5, .9, .99 and .999.
        row_stretch: (n,) median of ``stretch`` over a row's edges, which one noisy neighbour does not move.
        worst_rows: the five rows with the largest ``row_stretch``, as indices of the caller's rows.
        continuity: 1 where neighbours before are neighbours after (Venna and Kaski 2001).
        trustworthiness: 1 where neighbours after were neighbours before.
        lost: share of rows that lose four in five of their edges to strangers: noisy rows that jump, in any map.
        patches: tears, largest first.
        nearness: median edge before, as a share of the median distance of random pairs.
        decided: nearness <= 1/4; else neighbours are strangers already, and edges cannot tell a tear.
    """

    stretch: Floats
    quantiles: dict[str, float]
    row_stretch: Floats
    worst_rows: list[int]
    continuity: float
    trustworthiness: float
    lost: float
    patches: list[Patch]
    nearness: float
    decided: bool

    @property
    def torn(self) -> bool:
        """A patch is torn, or more than 5 percent of the rows jump."""
        return bool(self.patches) or self.lost > MOST_LOST

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the stretch of single edges."""
        plain = ("quantiles", "worst_rows", "continuity", "trustworthiness", "lost", "nearness", "decided")
        return {**{name: getattr(self, name) for name in plain}, "patches": [p._asdict() for p in self.patches]}

    def row(self) -> str:
        """The line of a table under ``HEADER``."""
        stretch = "".join(f"{v:8.3g}" for v in self.quantiles.values())
        doubt = "" if self.decided else "  ?"
        jumped = f"{self.lost:5.1%}  {len(self.patches):4d}"
        return f"{stretch}  {self.continuity:10.3f}  {self.trustworthiness:15.3f}  {jumped}{doubt}"

    def __repr__(self) -> str:
        stretch = ", ".join(f"{q} {v:.3g}" for q, v in self.quantiles.items())
        return (
            f"stretch {stretch}; continuity {self.continuity:.3f}, trustworthiness {self.trustworthiness:.3f}, "
            f"{self.lost:.1%} of the rows jump, {len(self.patches)} torn patches"
            + ("" if self.decided else "; neighbours are strangers already, edges cannot tell")
        )


def neighbour_edges(
    before: ArrayLike, after: ArrayLike, neighbours: int = 10, index: Rows | None = None, seed: int = 0
) -> Edges:
    """What the map from ``before`` (n, a) to ``after`` (n, b), row by row, does to the neighbour graph of ``before``.

    Args:
        neighbours: k, at most (n - 1) / 2.
        index: (n,) what the caller calls these rows.
        seed: draws the random pairs.

    Raises:
        ValueError: fewer than 5 distinct rows before, or another number of rows after.
    """
    p, q = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if len(p) != len(q):
        raise ValueError(f"before and after must have one row each, got {len(p)} and {len(q)} rows")
    first = np.sort(np.unique(p, axis=0, return_index=True)[1])
    if len(first) < FEWEST_ROWS:
        raise ValueError(f"neighbour edges need at least {FEWEST_ROWS} distinct rows, got {len(first)}")
    index = (np.arange(len(p)) if index is None else index)[first]
    p, q = p[first], q[first]
    k = min(neighbours, (len(p) - 1) // 2)
    length, nearest = cKDTree(p).query(p, k + 1)
    length, nearest = _without_self(length, nearest)
    grown = np.linalg.norm(q[:, None] - q[nearest], axis=2)
    stretch = grown / length
    left, right = np.random.default_rng(seed).integers(len(p), size=(2, 20_000))
    pairs_p, pairs_q = (float(np.median(np.linalg.norm(a[left] - a[right], axis=1))) for a in (p, q))
    torn = (grown > STRANGERS * pairs_q) & (grown * pairs_p > TORN_STRETCH * length * pairs_q)
    lost, patches = _patches(nearest, torn, stretch, max(2, k // 3), index)
    row_stretch = np.median(stretch, axis=1)
    nearness = float(np.median(length)) / pairs_p if pairs_p > 0 else math.inf
    trustworthiness, continuity = _rank_agreement(p, q, k)
    return Edges(
        stretch, stretch_quantiles(stretch), row_stretch,
        worst_rows=index[np.argsort(-row_stretch, kind="stable")[:5]].tolist(),
        continuity=continuity, trustworthiness=trustworthiness,
        lost=lost, patches=patches, nearness=nearness, decided=nearness <= NEAR,
    )  # fmt: skip


def _without_self(length: Floats, nearest: NDArray[np.intp]) -> tuple[Floats, Rows]:
    """Drop every row from its own neighbours, wherever rounding has put it."""
    is_self = nearest == np.arange(len(nearest))[:, None]
    is_self[~is_self.any(1), -1] = True
    shape = (len(nearest), nearest.shape[1] - 1)
    return length[~is_self].reshape(shape), nearest[~is_self].reshape(shape)


def _rank_agreement(p: Floats, q: Floats, k: int) -> tuple[float, float]:
    """Trustworthiness and continuity of the map p -> q; nan where there are too few rows for ``k`` of them."""
    from sklearn.manifold import trustworthiness

    k = min(k, (len(p) - 1) // 2)
    if k < 1 or 2 * k >= len(p):
        return math.nan, math.nan
    return float(trustworthiness(p, q, n_neighbors=k)), float(trustworthiness(q, p, n_neighbors=k))


def _patches(
    nearest: Rows, torn: NDArray[np.bool_], stretch: Floats, fewest: int, index: Rows
) -> tuple[float, list[Patch]]:
    """Share of rows that lose 4 in 5 of their edges, and the torn patches among the others, largest first."""
    n, k = nearest.shape
    start, end = np.repeat(np.arange(n), k), nearest.ravel()
    degree = np.bincount(start, minlength=n) + np.bincount(end, minlength=n)
    gone = np.bincount(start[torn.ravel()], minlength=n) + np.bincount(end[torn.ravel()], minlength=n)
    jumped = gone >= LOST_EDGES * degree
    left = torn.ravel() & ~jumped[start] & ~jumped[end]
    in_patch = np.zeros(n, dtype=bool)
    in_patch[start[left]] = in_patch[end[left]] = True
    inside = in_patch[start] & in_patch[end]
    graph = coo_array((np.ones(int(inside.sum())), (start[inside], end[inside])), shape=(n, n))
    which = connected_components(graph, directed=False)[1]
    patches = []
    for label in np.unique(which[in_patch]):
        here = left & (which[start] == label)
        pairs = _disjoint(start[here], end[here])
        if pairs >= fewest:
            rows = index[in_patch & (which == label)].tolist()
            patches.append(Patch(rows, pairs, float(np.median(stretch.ravel()[here]))))
    return float(jumped.mean()), sorted(patches, key=lambda patch: -patch.pairs)


def _disjoint(start: Rows, end: Rows) -> int:
    """A number of edges of which no two share a row: greedy, edges between rows with few edges first."""
    degree = np.bincount(np.concatenate([start, end]))
    taken: set[int] = set()
    pairs = 0
    for e in np.argsort(degree[start] + degree[end], kind="stable"):
        ends = {int(start[e]), int(end[e])}
        if not ends & taken:
            taken |= ends
            pairs += 1
    return pairs


def stretch_quantiles(values: Floats) -> dict[str, float]:
    return {str(q): float(np.quantile(values, q)) for q in QUANTILES} if values.size else {}
