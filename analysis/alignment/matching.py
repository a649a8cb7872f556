"""Which piece of a goes with which piece of b, read off a transport plan; and what finds no partner."""

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
LEAST = 0.5  # share of the mass of both that has to go from one to the other


@dataclass(frozen=True)
class Match:
    """A piece of a and its partner in b.

    Attributes:
        a, b: numbers of the pieces.
        score: of the mass that either has, the share that goes from one to the other: 1 is a perfect partner.
        mass_a, mass_b: shares of the rows.
    """

    a: int
    b: int
    score: float
    mass_a: float
    mass_b: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def transport_plan(a: Cloud, b: Cloud, map: Rigid) -> csr_array:
    """Optimal plan (n_a, n_b) between all rows of the clouds, each side of mass 1; at most n_a + n_b - 1 entries."""
    import ot

    squared = cdist(a.moved(map), b.moved(), "sqeuclidean")
    return csr_array(ot.emd([], [], squared, numItermax=1_000_000))


def matched(
    plan: csr_array, pieces_a: NDArray[np.intp], pieces_b: NDArray[np.intp]
) -> tuple[list[Match], list[int], list[int]]:
    """One-to-one matches of pieces, best first, and the pieces of a and of b without a partner.

    Args:
        plan: (n_a, n_b).
        pieces_a, pieces_b: (n_a,), (n_b,) numbers of the rows' pieces.
    """
    names_a, at_a = np.unique(pieces_a, return_inverse=True)
    names_b, at_b = np.unique(pieces_b, return_inverse=True)
    flow = np.zeros((len(names_a), len(names_b)))
    entries = plan.tocoo()
    np.add.at(flow, (at_a[entries.row], at_b[entries.col]), entries.data)
    mass_a, mass_b = flow.sum(1), flow.sum(0)
    scores = flow / (mass_a[:, None] + mass_b - flow)
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(-scores), strict=True) if scores[i, j] >= LEAST]
    found = [
        Match(int(names_a[i]), int(names_b[j]), float(scores[i, j]), float(mass_a[i]), float(mass_b[j]))
        for i, j in pairs
    ]
    found.sort(key=lambda match: -match.score)
    lonely_a = [int(name) for name in names_a if name not in {match.a for match in found}]
    lonely_b = [int(name) for name in names_b if name not in {match.b for match in found}]
    return found, lonely_a, lonely_b
