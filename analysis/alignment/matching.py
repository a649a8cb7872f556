"""Which pieces and loops of a go with which of b, read off a transport plan; and what finds no partner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud
from analysis.alignment.rigid import Rigid

PLAN_ROWS = 1000
LEAST = 0.5  # share of the mass of both pieces that has to go from one to the other
LEAST_AROUND = (
    0.6  # the same of loops; a loop that folds back on itself reaches .58, the largest value of a Bessel function
)


@dataclass(frozen=True)
class Match:
    """A piece or loop of a and its partner in b.

    Attributes:
        a, b: numbers of the pieces, or of the loops.
        score: of the mass that either has, the share that goes from one to the other, of loops also at a steady angle: 1 is a
            perfect partner.
        mass_a, mass_b: shares of the rows.
        winding, phase: of loops, what takes one's angle to the other's: winding * angle + phase, winding 1 or -1; else None.
    """

    a: int
    b: int
    score: float
    mass_a: float
    mass_b: float
    winding: int | None = None
    phase: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Members:
    """Parts of a structure and the rows that are in them.

    Attributes:
        names: their numbers.
        weights: (n, parts): 0 for a row that is not in a part; else 1, or exp(i angle) where a part is a loop.
    """

    names: tuple[int, ...]
    weights: NDArray[np.generic]

    @classmethod
    def of_pieces(cls, pieces: NDArray[np.intp]) -> Members:
        """From the number (n,) of every row's piece."""
        names = np.unique(pieces)
        return cls(tuple(map(int, names)), (pieces[:, None] == names).astype(np.float64))


def transport_plan(a: Cloud, b: Cloud, map: Rigid) -> csr_array:
    """Optimal plan (n_a, n_b) between all rows of the clouds, each side of mass 1; at most n_a + n_b - 1 entries."""
    import ot

    squared = cdist(a.moved(map), b.moved(), "sqeuclidean")
    return csr_array(ot.emd([], [], squared, numItermax=1_000_000))


def matched(plan: csr_array, a: Members, b: Members) -> tuple[list[Match], list[int], list[int]]:
    """One-to-one matches, best first, and the parts of a and of b without a partner.

    Args:
        plan: (n_a, n_b).
        a, b: pieces of either side, or loops.
    """
    around = np.iscomplexobj(a.weights)
    inside = [np.abs(members.weights) for members in (a, b)]
    shared = inside[0].T @ (plan @ inside[1])
    mass_a, mass_b = inside[0].T @ plan.sum(1), inside[1].T @ plan.sum(0)
    # the mean of exp(i (angle_b - angle_a)), or with + where one angle runs the other way
    ways = np.stack([side.T @ (plan @ b.weights) for side in (a.weights.conj(), a.weights)])
    steady = np.abs(ways)
    scores = steady.max(0) / np.maximum(mass_a[:, None] + mass_b - shared, 1e-12)
    found = []
    for i, j in zip(*linear_sum_assignment(-scores), strict=True):
        if scores[i, j] < (LEAST_AROUND if around else LEAST):
            continue
        way = int(steady[:, i, j].argmax())
        turning = ((1, -1)[way], float(np.angle(ways[way, i, j]))) if around else (None, None)
        masses = float(mass_a[i]), float(mass_b[j])
        found.append(Match(a.names[i], b.names[j], float(scores[i, j]), *masses, *turning))
    found.sort(key=lambda match: -match.score)
    lonely_a = sorted(set(a.names) - {match.a for match in found})
    return found, lonely_a, sorted(set(b.names) - {match.b for match in found})
