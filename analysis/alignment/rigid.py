"""Rigid maps between structure blocks: orthogonal matrices, how far apart they are, which of them count as distinct."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Rigid:
    """s -> scale * s @ matrix + shift.

    Attributes:
        matrix: (k_a, k_b) with orthonormal rows or columns; of fewer directions, where the rows span fewer.
        shift: (k_b,).
        scale: units of b in one unit of a; 1 between whitened blocks.
    """

    matrix: Floats
    shift: Floats
    scale: float = 1.0

    def __call__(self, s: Floats) -> Floats:
        """Map rows (n, k_a) to (n, k_b)."""
        return self.scale * s @ self.matrix + self.shift

    def inverse(self, s: Floats) -> Floats:
        """Map rows (n, k_b) back to (n, k_a); where k_a < k_b, what sticks out of the image is dropped."""
        return (s - self.shift) @ self.matrix.T / self.scale

    def __repr__(self) -> str:
        return f"Rigid({self.matrix.shape[0]} -> {self.matrix.shape[1]} dims, shift {np.linalg.norm(self.shift):.2g})"


def polar(matrix: Floats) -> Floats:
    """The matrix (j, k) with orthonormal rows or columns nearest to ``matrix`` (j, k): U V' of its singular values."""
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    return u @ v


def random_map(rows: int, columns: int, generator: np.random.Generator) -> Floats:
    """A matrix (rows, columns) with orthonormal rows or columns, uniform; of either handedness where it is square."""
    size = max(rows, columns)
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return (q * np.sign(np.diag(r)))[:rows, :columns]


def angle(a: Floats, b: Floats) -> float:
    """Degrees by which two maps turn a row apart, at most: 180 for a reflection and the identity."""
    return math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(a - b, 2)) / 2)))


def are_apart(a: Floats, b: Floats, tolerance: float) -> bool:
    """Whether two maps turn some row more than ``tolerance`` degrees apart: :func:`angle`, mostly without its SVD."""
    frobenius, limit = float(np.linalg.norm(a - b)), 2 * math.sin(math.radians(tolerance) / 2)
    if frobenius <= limit:  # the spectral norm lies between this and this / sqrt(rank)
        return False
    return frobenius > math.sqrt(min(a.shape)) * limit or angle(a, b) > tolerance


def distinct(maps: Sequence[Floats], costs: Sequence[float], tolerance: float) -> list[int]:
    """Numbers of the maps that are more than ``tolerance`` degrees from every cheaper one kept, cheapest first."""
    kept: list[int] = []
    for i in np.argsort(np.asarray(costs), kind="stable"):
        if all(are_apart(maps[i], maps[j], tolerance) for j in kept):
            kept.append(int(i))
    return kept


def skew_basis(k: int) -> Floats:
    """An orthonormal basis (k (k - 1) / 2, k, k) of the skew-symmetric matrices: directions in which a block can turn."""
    first, second = np.triu_indices(k, 1)
    basis = np.zeros((len(first), k, k))
    each = np.arange(len(first))
    basis[each, first, second], basis[each, second, first] = math.sqrt(0.5), -math.sqrt(0.5)
    return basis


def turn(direction: Floats, radians: float) -> Floats:
    """exp(radians * direction): the rotation (k, k) along a skew-symmetric direction."""
    from scipy.linalg import expm

    return expm(radians * direction)


def turned(rotation: Floats) -> Floats:
    """log of a rotation (k, k) by less than half a turn: the skew-symmetric direction whose :func:`turn` by 1 it is."""
    from scipy.linalg import logm

    log = np.real(logm(rotation))
    return np.asarray((log - log.T) / 2)
