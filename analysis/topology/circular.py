"""Circular coordinates: an angle for every point, one turn around a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHUNK = 2000


@dataclass(frozen=True, repr=False)
class CircularCoordinate:
    """An angle on a cloud, known at landmarks and carried on from them.

    Attributes:
        landmarks: (m, k).
        turns: (m,) angle of each landmark, in turns.
        steps: (m, m) turns from landmark i to landmark j along their edge, antisymmetric; 0 where there is none.
        linked: (m, m) which pairs have an edge (all with themselves).
        scale: length of the longest edge.
    """

    landmarks: Floats
    turns: Floats
    steps: Floats
    linked: NDArray[np.bool_]
    scale: float

    def __call__(self, points: Floats) -> Floats:
        r"""Angles (n,) in [0, 2 pi) at points (n, k).

        From the nearest landmark i on, :math:`\theta(x) = \tau_i + \sum_j \phi_j(x)\,\theta_{ij}` with a partition of
        unity over the landmarks hardly farther than the nearest (Perea, Sparse circular coordinates, 2020).
        """
        out = np.empty(len(points))
        for start in range(0, len(points), CHUNK):
            apart = cdist(points[start : start + CHUNK], self.landmarks)
            nearest = apart.argmin(1)
            reach = apart.min(1, keepdims=True) + self.scale / 2
            weights = np.maximum(reach - apart, 0) ** 2 * self.linked[nearest]
            weights /= weights.sum(1, keepdims=True)
            out[start : start + CHUNK] = self.turns[nearest] + (weights * self.steps[nearest]).sum(1)
        return 2 * np.pi * (out % 1.0)

    def speed(self) -> Floats:
        """(m,) root mean square turns along the edges at each landmark: near 0 where the loop does not pass."""
        return np.sqrt((self.steps**2).sum(1) / np.maximum(self.linked.sum(1) - 1, 1))

    @property
    def steepest(self) -> float:
        """Turns along the steepest edge; from half a turn on the angle is not to be trusted."""
        return float(np.abs(self.steps).max())


def circular_coordinates(
    landmarks: Floats, cocycles: Sequence[NDArray[np.intp]], prime: int, scale: float
) -> tuple[list[CircularCoordinate], Floats]:
    r"""One coordinate for each independent cocycle, and their inner products (b, b).

    Each cocycle is lifted to the integers, and the real one of least energy :math:`\sum_{ij} w_{ij} \theta_{ij}^2` in its
    class is found by least squares (de Silva, Morozov and Vejdemo-Johansson, Persistent cohomology and circular coordinates,
    2011). :math:`w_{ij} = 1 / (d_i d_j)`, d the numbers of neighbours, so that it does not matter where landmarks happen to
    lie close together (as in Coifman and Lafon, Diffusion maps, 2006, with alpha = 1).
    A class is only known up to integer combinations with the others: the shortest basis is taken, by pairwise (Lagrange)
    reduction of the inner products (Scoccola et al., Toroidal coordinates, 2022).

    Args:
        landmarks: (m, k).
        cocycles: of ripser, each (c, 3): two landmarks and a value modulo the prime.
        prime: of the coefficients.
        scale: edges up to this length are in the complex; the classes must be alive there.

    Raises:
        ArithmeticError: a cocycle modulo the prime that is none over the integers.
    """
    apart = cdist(landmarks, landmarks)
    linked = apart <= scale
    i, j = np.nonzero(np.triu(linked, 1))
    if not len(cocycles):
        return [], np.zeros((0, 0))
    lifted = np.stack([_lifted(c, prime, linked) for c in cocycles])
    degrees = linked.sum(1)
    weights = linked / np.outer(degrees, degrees)
    weights *= linked.sum() / weights.sum()
    laplacian = np.diag(weights.sum(1)) - weights
    # (b, m): potential whose steps fit best; on every connected part it is free up to a constant
    offsets = np.linalg.lstsq(laplacian, (weights * lifted).sum(1).T, rcond=1e-10)[0].T
    steps = lifted + (offsets[:, :, None] - offsets[:, None, :]) * linked
    basis = shortest_basis(_gram(weights, steps))
    steps = np.einsum("ab,bij->aij", basis, steps)
    found = [
        CircularCoordinate(landmarks, turns, step, linked, scale)
        for turns, step in zip(-basis @ offsets % 1.0, steps, strict=True)
    ]
    return found, _gram(weights, steps)


def _gram(weights: Floats, steps: Floats) -> Floats:
    return np.einsum("ij,aij,bij->ab", weights, steps, steps, optimize=True) / 2


def _lifted(cocycle: NDArray[np.intp], prime: int, linked: NDArray[np.bool_]) -> Integers:
    """An antisymmetric integer matrix, checked to be a cocycle on every triangle."""
    out = np.zeros(linked.shape, dtype=np.int64)
    values = np.where(cocycle[:, 2] > prime // 2, cocycle[:, 2] - prime, cocycle[:, 2])
    a, b = cocycle[:, 0], cocycle[:, 1]
    out[a, b], out[b, a] = values, -values
    out *= linked
    for i in range(len(out)):
        near = np.flatnonzero(linked[i])
        around = out[i, near][:, None] + out[np.ix_(near, near)] - out[i, near][None, :]
        if (around * linked[np.ix_(near, near)]).any():
            raise ArithmeticError("the cocycle does not lift to the integers")
    return out


def shortest_basis(gram: Floats) -> Integers:
    """Integer matrix (b, b) of determinant 1 or -1 that makes a basis with these inner products short, pair by pair."""
    basis, gram = np.eye(len(gram), dtype=np.int64), gram.copy()
    changed = True
    while changed:
        changed = False
        for a in range(len(gram)):
            for b in range(len(gram)):
                times = int(np.rint(gram[a, b] / gram[b, b])) if a != b else 0
                if times and gram[a, a] > gram[a, a] - 2 * times * gram[a, b] + times**2 * gram[b, b] + 1e-9:
                    basis[a] -= times * basis[b]
                    gram[a] -= times * gram[b]
                    gram[:, a] -= times * gram[:, b]
                    changed = True
    return basis
