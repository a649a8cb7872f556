"""How often one closed curve winds round another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.topology.diagram import crossings
from analysis.topology.polygon import Floats, as_closed_curve, on_lattice

AGREEING = 0.8  # share of the draws that must say the same


@dataclass(frozen=True, repr=False)
class Linking:
    """How often one loop winds round another.

    Attributes:
        loops: their numbers.
        number: the linking number of most draws; its sign depends on the way in which each loop is run through.
        is_decided: whether at least 80 % of the draws agree.
        numbers: of each draw, by counting signed crossings.
        gauss: of each draw, by Gauss' integral.
    """

    loops: tuple[int, int]
    number: int
    is_decided: bool
    numbers: tuple[int, ...]
    gauss: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self.__dict__.items()}

    def __repr__(self) -> str:
        pair = f"loops {self.loops[0]} and {self.loops[1]}"
        if not self.is_decided:
            return f"{pair}: undecided; linking numbers of the draws: {', '.join(map(str, self.numbers))}"
        linked = f"linked, linking number +-{abs(self.number)}" if self.number else "linking number 0"
        same = sum(abs(number) == abs(self.number) for number in self.numbers)
        return f"{pair}: {linked} in {same} of {len(self.numbers)} draws (Gauss' integral {self.gauss[0]:.3f} in the first)"


def linking(pairs: Sequence[tuple[ArrayLike, ArrayLike]], loops: tuple[int, int] = (0, 1), seed: int = 0) -> Linking:
    """The linking number of two loops, by vote over pairs of closed polygons fitted to several draws.

    Only its absolute value can be compared between draws: each fits its polygons in a direction of its own.

    Raises:
        ValueError: no pairs, or curves that are none.
    """
    if not len(pairs):
        raise ValueError("linking needs at least one pair of closed curves, got none")
    numbers = [counted_linking(one, other, seed + n) for n, (one, other) in enumerate(pairs)]
    gauss = tuple(gauss_linking(one, other) for one, other in pairs)
    size, count = Counter(map(abs, numbers)).most_common(1)[0]
    number = next(n for n in numbers if abs(n) == size)
    return Linking(loops, number, count >= AGREEING * len(numbers), tuple(numbers), gauss)


def gauss_linking(one: ArrayLike, other: ArrayLike) -> float:
    r"""Gauss' double integral over two closed polygons (m, 3) and (n, 3); an integer up to rounding where they do not meet.

    .. math:: \frac{1}{4\pi} \oint\!\oint \frac{(x - y) \cdot (dx \times dy)}{|x - y|^3}

    For two edges the integral is the signed area of the spherical quadrilateral that x - y sweeps out (Klenin and Langowski,
    Biopolymers 54, 2000), here as two solid angles (Van Oosterom and Strackee 1983).

    Raises:
        ValueError: not closed curves in space.
    """
    first, second = as_closed_curve(one, "one"), as_closed_curve(other, "other")
    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]
    swept = _solid_angle(a - c, a - d, b - d) + _solid_angle(a - c, b - d, b - c)
    return float(swept.sum() / (4 * np.pi))


def counted_linking(one: ArrayLike, other: ArrayLike, seed: int = 0) -> int:
    """Half the signed crossings between two closed polygons in a random projection, in integers.

    Raises:
        ValueError: not closed curves in space, or curves that meet.
    """
    curves = on_lattice(as_closed_curve(one, "one"), as_closed_curve(other, "other"))
    seen = crossings(curves, np.random.default_rng(seed))
    return sum(crossing.sign for crossing in seen if crossing.over.curve != crossing.under.curve) // 2


def _solid_angle(u: Floats, v: Floats, w: Floats) -> Floats:
    """Signed, of the cones over the triangles u, v, w (..., 3)."""
    sizes = [np.linalg.norm(x, axis=-1) for x in (u, v, w)]
    over = (u * np.cross(v, w)).sum(-1)
    under = sizes[0] * sizes[1] * sizes[2] + (
        (u * v).sum(-1) * sizes[2] + (v * w).sum(-1) * sizes[0] + (w * u).sum(-1) * sizes[1]
    )
    return 2 * np.arctan2(over, under)
