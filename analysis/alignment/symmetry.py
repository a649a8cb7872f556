"""The symmetry group of a block at a resolution: continuous directions, elements modulo those, and its name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.alignment.rigid import Floats, angle, are_apart, skew_basis, turn

MOST_ELEMENTS = 128
MOST_NAMED = (
    24  # more maps, neither cyclic nor dihedral, are as likely as not a free turn that too few rows do not show
)
SAMPLES = 500  # of a continuous part, where an element is looked for in it
SLIDES = 8
MOST_FOURTH = 12  # dimensions up to which fourth moments are looked at


@dataclass(frozen=True, repr=False)
class Symmetry:
    """A closed subgroup of O(k).

    Attributes:
        elements: one map (k, k) of every component, the identity first.
        directions: (r, k, k) skew-symmetric, an orthogonal basis of the directions in which the block may turn freely.
        tolerance: degrees within which two maps count as one.
    """

    elements: tuple[Floats, ...]
    directions: Floats
    tolerance: float

    @property
    def is_trivial(self) -> bool:
        """Whether only the identity is in it."""
        return len(self.elements) == 1 and not len(self.directions)

    @property
    def order(self) -> int | None:
        """Number of elements; None if it is not finite."""
        return None if len(self.directions) else len(self.elements)

    @property
    def continuous(self) -> int:
        """Number of continuous directions."""
        return len(self.directions)

    @cached_property
    def name(self) -> str:
        """The group in words: trivial, Z2, D3, O(2), T2, SO(3), ..."""
        return _finite_name(self.elements, self.tolerance) if not len(self.directions) else _continuous_name(self)

    @property
    def is_resolved(self) -> bool:
        """Whether it has a name: not so many maps that a continuous family is as likely as a finite group."""
        return self.name != "unresolved"

    @property
    def generators(self) -> list[Floats]:
        """Maps (k, k) that generate it: the elements, and a turn by one degree along every direction."""
        small = [turn(x, math.radians(1)) for x in self.directions]
        return [*self.elements[1:], *small]

    def distance(self, g: Floats) -> float:
        """Degrees from a map (k, k) to the nearest element: the error of a map whose truth is known up to this group."""
        modulo = Modulo(self.directions, self.tolerance)
        return min(modulo.distance(g, h) for h in self.elements)

    def sample(self, count: int, seed: int = 0) -> list[Floats]:
        """Draw elements: a component evenly, and within it a point of its continuous part."""
        generator = np.random.default_rng(seed)
        which = generator.integers(len(self.elements), size=count)
        return [
            part @ self.elements[i] for i, part in zip(which, _free(self.directions, count, generator), strict=True)
        ]

    def orbit(self, matrix: Floats, count: int = 400, seed: int = 0) -> list[Floats]:
        """The maps g @ matrix, g in the group: all if it is finite, else that many drawn."""
        members = list(self.elements) if not len(self.directions) else self.sample(count, seed)
        return [g @ matrix for g in members]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "order": self.order,
            "continuous": self.continuous,
            "components": len(self.elements),
            "tolerance_degrees": self.tolerance,
            "elements": [g.tolist() for g in self.elements],
            "directions": self.directions.tolist(),
        }

    def __repr__(self) -> str:
        parts = f", {len(self.elements)} components" if len(self.directions) else ""
        return f"Symmetry({self.name}{parts}, at {self.tolerance:g} degrees)"


class Modulo:
    """Tells elements apart up to a tolerance and up to free turns.

    Args:
        directions: (r, k, k) in which the block may turn freely.
        tolerance: degrees.
    """

    def __init__(self, directions: Floats, tolerance: float):
        self.directions, self.tolerance = directions, tolerance
        self.free = np.array(_free(directions, SAMPLES if len(directions) else 1, np.random.default_rng(0)))

    def is_new(self, g: Floats, known: list[Floats]) -> bool:
        """Whether g is none of the known."""
        return all(self.distance(g, h) > self.tolerance for h in known)

    def components(self, found: list[Floats]) -> list[Floats]:
        """One element of every component, the identity first."""
        kept = [np.eye(self.free.shape[1])]
        for g in found:
            if len(kept) < MOST_ELEMENTS and self.is_new(g, kept):
                kept.append(g)
        return kept

    def distance(self, g: Floats, h: Floats) -> float:
        """Degrees from g to the nearest free turn of h."""
        gaps = self.free @ h - g
        near = np.argsort((gaps**2).sum((1, 2)))[:4]
        return min(angle(self._slid(g, self.free[i] @ h), g) for i in near)

    def _slid(self, g: Floats, start: Floats) -> Floats:
        """``start`` moved along the free directions until it is as near to g as they allow."""
        for _ in range(SLIDES if len(self.directions) else 0):
            gap = g @ start.T
            steps = np.einsum("rij,ij->r", self.directions, gap - gap.T) / 2
            steps /= (self.directions**2).sum((1, 2))
            start = turn(np.einsum("r,rij->ij", steps, self.directions), 1.0) @ start
        return start


def _free(directions: Floats, count: int, generator: np.random.Generator) -> list[Floats]:
    """Elements (count) of the free part: evenly spaced for one direction, drawn for more."""
    if not len(directions):
        return [np.eye(directions.shape[1])] * count
    if len(directions) == 1:
        return [turn(directions[0], t) for t in np.linspace(0, 2 * math.pi, count, endpoint=False)]
    weights = generator.standard_normal((count, len(directions))) * 2 * math.pi
    return [turn(np.einsum("r,rij->ij", w, directions), 1.0) for w in weights]


def _order(g: Floats, elements: Floats, tolerance: float) -> int:
    """Steps of g after which the identity, elements[0], comes back, each put on the nearest element; 0 if one leaves them."""
    here = elements[0]
    for n in range(1, len(elements) + 1):
        to = here @ g
        nearest = int(((elements - to) ** 2).sum((1, 2)).argmin())
        here = elements[nearest]
        if are_apart(here, to, tolerance):
            return 0
        if not nearest:
            return n
    return 0


def _finite_name(elements: tuple[Floats, ...], tolerance: float) -> str:
    count = len(elements)
    if count <= 3:
        return {1: "trivial", 2: "Z2", 3: "Z3"}[count]
    if not all(are_apart(g, elements[0], 2 * tolerance) for g in elements[1:]):
        return "unresolved"  # turns so close to one another are steps of a free turn as likely as not
    orders = [_order(g, np.array(elements), tolerance) for g in elements]
    if count in orders:
        return f"Z{count}"
    if count == 4 or (count % 2 == 0 and count // 2 in orders and orders.count(2) >= count // 2):
        return f"D{count // 2}"
    if set(orders) <= {1, 2} and count & (count - 1) == 0:
        return f"Z2^{count.bit_length() - 1}"
    return f"finite of order {count}" if count <= MOST_NAMED else "unresolved"


def _continuous_name(group: Symmetry) -> str:
    directions, k = group.directions, group.directions.shape[1]
    flips = any(np.linalg.det(g) < 0 for g in group.elements)
    if len(directions) == k * (k - 1) // 2:
        return f"O({k})" if flips else f"SO({k})"
    commuting = all(np.linalg.norm(x @ y - y @ x) < 0.5 for i, x in enumerate(directions) for y in directions[:i])
    if len(directions) == 1:
        x = directions[0]
        reverses = any(np.sum((g @ x @ g.T) * x) < 0 for g in group.elements)
        rest = len(group.elements) // (2 if reverses else 1)
        return ("O(2)" if reverses else "SO(2)") + (f" x Z{rest}" if rest > 1 else "")
    if commuting:
        return f"T{len(directions)}"
    return f"SO(3) in {k} dims" if len(directions) == 3 else f"continuous, {len(directions)} directions"


def loose(s: Floats, shared: Floats) -> Floats:
    r"""A quadratic form (r, r) on the skew-symmetric matrices: how much turning along A changes the moments of the rows.

    .. math:: A \mapsto \sum_d |A \cdot M_d|^2 / E[|s|^2]^d, \quad M_d = E[s^{\otimes d}]

    with d = 2, 3, 4, and mixed moments with the shared values, which no turn changes. It is zero where the density does not
    change along the rotation. The form :math:`E[(s A \cdot \nabla \log p_s)^2]` is zero there too, but needs a score;
    moments are read off the rows themselves, however few.

    Args:
        s: (n, k), its mean taken out.
        shared: (n, q), q = 0 where there is none.
    """
    k, n = s.shape[1], len(s)
    size = max(float((s**2).sum(1).mean()), 1e-12)
    moments = [(s.T @ s / n, 2), (np.einsum("ni,nj,nk->ijk", s, s, s) / n, 3)]
    if k <= MOST_FOURTH:
        moments.append((np.einsum("nij,nkl->ijkl", *[s[:, :, None] * s[:, None]] * 2, optimize=True) / n, 4))
    if shared.shape[1]:
        passive = (shared - shared.mean(0)) / max(float(shared.var(0).sum()), 1e-12) ** 0.5
        moments += [(s.T @ passive / n, 1), (np.einsum("ni,nj,nq->ijq", s, s, passive) / n, 2)]
    basis = skew_basis(k)
    form = np.zeros((len(basis), len(basis)))
    for moment, axes in moments:
        changes = np.array([_turned(x, moment, axes).ravel() for x in basis])
        form += changes @ changes.T / size**axes
    return form


def _turned(x: Floats, moment: Floats, axes: int) -> Floats:
    """First-order change of a moment when its first ``axes`` indices turn along x."""
    return sum(np.moveaxis(np.tensordot(x, moment, (0, axis)), 0, axis) for axis in range(axes))  # type: ignore[return-value]


def directions_of(form: Floats, k: int) -> Floats:
    """Directions (r, k, k) of a form, loosest first, each scaled so that its fastest plane turns one radian a unit."""
    vectors = np.linalg.eigh(form)[1]
    directions = np.einsum("rq,rij->qij", vectors, skew_basis(k))
    return directions / np.linalg.norm(directions, 2, axis=(1, 2))[:, None, None]
