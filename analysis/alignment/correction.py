"""An optional step after the rigid map, kept only if it wins on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud, assign
from analysis.alignment.rigid import Floats, Rigid

HALF = 400  # most rows in a half


class Bend(Protocol):
    """A map of b's structure space to itself, with its inverse."""

    def __call__(self, s: Floats) -> Floats: ...

    def inverse(self, s: Floats) -> Floats: ...


Fit = Callable[[Floats, Floats], Bend]  # rows (n, k) and where they should go (n, k)


@dataclass(frozen=True)
class Affine:
    """s -> s @ matrix + shift, nearly the identity."""

    matrix: Floats
    shift: Floats

    def __call__(self, s: Floats) -> Floats:
        return s @ self.matrix + self.shift

    def inverse(self, s: Floats) -> Floats:
        return (s - self.shift) @ np.linalg.inv(self.matrix)


@dataclass(frozen=True, repr=False)
class Correction:
    """What the non-rigid step did.

    Attributes:
        bend: the map that is applied after the rigid one; None where it lost.
        before, after: energy distance to b on held-out rows, without and with it.
        error: standard error of the difference.
    """

    bend: Bend | None
    before: float
    after: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"kept": self.bend is not None, "before": self.before, "after": self.after, "error": self.error}

    def __repr__(self) -> str:
        verdict = "kept" if self.bend is not None else "not kept"
        return f"Correction({verdict}: held-out distance {self.before:.3g} -> {self.after:.3g} +- {self.error:.2g})"


def affine(x: Floats, y: Floats) -> Affine:
    """Least squares, shrunk to the identity by as much as k rows weigh."""
    centre_x, centre_y = x.mean(0), y.mean(0)
    x, y = x - centre_x, y - centre_y
    ridge = np.trace(x.T @ x) / len(x) * np.eye(x.shape[1])
    matrix = np.linalg.solve(x.T @ x + ridge, x.T @ y + ridge)
    return Affine(matrix, centre_y - centre_x @ matrix)


def correct(a: Cloud, b: Cloud, map: Rigid, fit: Fit, seed: int) -> Correction:
    """Fit a bend on one half of the rows of either side, and keep it if the other half is nearer by two errors.

    Args:
        a, b: the clouds.
        map: the rigid map.
        fit: from mapped rows (n, k) and their partners in b (n, k) to a :class:`Bend`.
        seed: draws halves.

    Raises:
        ValueError: the bend gives rows of another shape, NaN or inf.
    """
    generator = np.random.default_rng([seed, 7])
    (one, other), (left, right) = _halved(a, b, generator)
    partners, _ = assign(one.moved(map), left.moved())
    bend = fit(map(one.s), left.s[partners])
    plain, target = other.moved(map), right.moved()
    bent = np.hstack([_checked(bend(map(other.s)), *right.s.shape), other.shared])
    before, after = _energy(plain, target), _energy(bent, target)
    gain = before - after
    error = float(gain.std() / np.sqrt(len(gain)))
    return Correction(bend if gain.mean() > 2 * error else None, float(before.mean()), float(after.mean()), error)


def _energy(x: Floats, y: Floats) -> Floats:
    """Terms (n,) whose mean is the energy distance of two samples of n rows; unlike transport, it does not favour shrinking."""
    own = [cdist(rows, rows).sum(1) / (len(rows) - 1) for rows in (x, y)]
    across = cdist(x, y)
    return across.mean(1) + across.mean(0) - own[0] - own[1]


def _halved(a: Cloud, b: Cloud, generator: np.random.Generator) -> tuple[tuple[Cloud, Cloud], tuple[Cloud, Cloud]]:
    """As many rows in every half of either side."""
    size = min(len(a) // 2, len(b) // 2, HALF)
    orders = [generator.permutation(len(cloud)) for cloud in (a, b)]
    halves = [(c.take(o[:size]), c.take(o[size : 2 * size])) for c, o in zip((a, b), orders, strict=True)]
    return halves[0], halves[1]


def _checked(rows: object, count: int, k: int) -> Floats:
    array = np.asarray(rows, dtype=np.float64)
    if array.shape != (count, k) or not np.isfinite(array).all():
        raise ValueError(
            f"the bend must give finite rows of shape ({count}, {k}), got {array.shape}; return b with b(s), b.inverse(s)"
        )
    return array
