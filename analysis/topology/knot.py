"""Whether a closed polygon in space is knotted: a proof either way, or no verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.topology.alexander import NAMES, Polynomial, alexander, determinant, spelt
from analysis.topology.diagram import Crossing, crossings
from analysis.topology.polygon import as_closed_curve, on_lattice, simplify, total_curvature

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

PROJECTIONS = 12
FEWEST_STICKS = 6  # every knotted polygon has at least six edges
MOST_CROSSINGS = 10  # every knot of at most ten crossings but the unknot has another polynomial than 1
AGREEING = 0.8  # share of the polygons that must say the same


@dataclass(frozen=True)
class PolygonKnot:
    """What is proved of one closed polygon.

    Attributes:
        verdict: "knotted", "unknotted" or "undecided".
        polynomial: Alexander polynomial, highest power first.
        crossings: of the simplest diagram that was met.
        corners: after the polygon was simplified.
        curvature: total, in radians, before.
        reason: the proof, or why there is none.
    """

    verdict: str
    polynomial: Polynomial
    crossings: int
    corners: int
    curvature: float
    reason: str


@dataclass(frozen=True, repr=False)
class Knot:
    """The verdict on a loop, by vote over the polygons fitted to several draws of the rows.

    Attributes:
        verdict: "knotted", "unknotted" or "undecided".
        polynomial: Alexander polynomial of most polygons, highest power first.
        determinant: its absolute value at -1.
        name: knots of up to seven crossings (and some more) with that polynomial; others may share it.
        reason: the proof for the first polygon that has the verdict.
        polygons: one for each draw.
        curve: (m, 3) the first draw's corners.
        loop: number of the loop; None for a curve of the user's.
        seed: draws the projections.
    """

    verdict: str
    polynomial: Polynomial
    determinant: int
    name: str
    reason: str
    polygons: tuple[PolygonKnot, ...]
    curve: Floats = field(repr=False)
    loop: int | None
    seed: int

    @property
    def agreeing(self) -> float:
        """Share of the polygons with this verdict and polynomial."""
        return float(np.mean([(p.verdict, p.polynomial) == (self.verdict, self.polynomial) for p in self.polygons]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "loop": self.loop,
            "verdict": self.verdict,
            "polynomial": list(self.polynomial),
            "determinant": self.determinant,
            "name": self.name,
            "reason": self.reason,
            "agreeing": self.agreeing,
            "polygons": [dict(p.__dict__, polynomial=list(p.polynomial)) for p in self.polygons],
            "curve": self.curve.tolist(),
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        which = "curve" if self.loop is None else f"loop {self.loop}"
        of = f"{self.agreeing:.0%} of {len(self.polygons)} fitted polygon{'s' * (len(self.polygons) > 1)} agree"
        if self.verdict == "knotted":
            shape = f" as the {self.name}" if self.name else ""
            text = f"{which}: knotted{shape}, Alexander polynomial {spelt(self.polynomial)}, determinant {self.determinant}"
        else:
            text = f"{which}: {self.verdict}"
        return f"{text}; {self.reason}; {of}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The fitted curve from two sides, gaps where it passes below itself."""
        from analysis.topology.plots import plot_knot

        return plot_knot(self, ax)


def polygon_knot(curve: ArrayLike, seed: int = 0) -> PolygonKnot:
    """Decide a closed polygon (m, 3), last corner joined to the first.

    Knotted is proved by an Alexander polynomial other than 1. Unknotted is proved by a total curvature of at most 4 pi
    (Fary, Milnor), by simplifying to fewer than 6 corners, or by a diagram of at most 10 crossings with polynomial 1. The
    corners are rounded to a lattice of 2^17 points a side first; everything after is exact, in integers.

    Args:
        curve: corners in order.
        seed: draws the directions of 12 projections; the one with the fewest crossings is used.

    Raises:
        ValueError: not a closed curve in space, or one that meets itself.
    """
    points = as_closed_curve(curve)
    curvature = total_curvature(points)
    (corners,) = on_lattice(points)
    corners = simplify(corners)
    rng = np.random.default_rng(seed)
    diagrams: list[list[Crossing]] = [crossings([corners], rng) for _ in range(PROJECTIONS)]
    simplest = min(diagrams, key=len)
    polynomial = alexander(simplest)
    verdict, reason = _decided(polynomial, curvature, len(corners), len(simplest))
    return PolygonKnot(verdict, polynomial, len(simplest), len(corners), curvature, reason)


def _decided(polynomial: Polynomial, curvature: float, corners: int, crossed: int) -> tuple[str, str]:
    if polynomial != (1,):
        return "knotted", "no unknot has that polynomial"
    if curvature <= 4 * np.pi * (1 - 1e-9):
        return "unknotted", f"total curvature {curvature / np.pi:.1f} pi, a knot has more than 4 pi"
    if corners < FEWEST_STICKS:
        return "unknotted", f"it simplifies to {corners} corners, a knot has at least {FEWEST_STICKS}"
    if crossed <= MOST_CROSSINGS:
        return "unknotted", f"a diagram of {crossed} crossings with polynomial 1, every knot that small has another"
    return "undecided", f"polynomial 1, but {crossed} crossings are too many for that to prove an unknot"


def knot(curves: Sequence[ArrayLike], loop: int | None = None, seed: int = 0) -> Knot:
    """The verdict of most of several closed polygons fitted to one loop; "undecided" where fewer than 80 % agree.

    Args:
        curves: closed polygons (m, 3), one for each draw of the rows.
        loop: its number, for the record.
        seed: draws the projections.

    Raises:
        ValueError: no curves, or a curve that is none.
    """
    if not len(curves):
        raise ValueError("knot needs at least one closed curve, got none; pass a list of (corners, 3) arrays")
    polygons = tuple(polygon_knot(curve, seed + n) for n, curve in enumerate(curves))
    votes = Counter((p.verdict, p.polynomial) for p in polygons)
    (verdict, polynomial), count = votes.most_common(1)[0]
    reason = next(p.reason for p in polygons if (p.verdict, p.polynomial) == (verdict, polynomial))
    if count < AGREEING * len(polygons):
        said = ", ".join(f"{number} {v} ({spelt(p)})" for (v, p), number in votes.most_common())
        verdict, reason = "undecided", f"the fitted polygons disagree: {said}"
    return Knot(
        verdict,
        polynomial,
        determinant(polynomial),
        NAMES.get(polynomial, ""),
        reason,
        polygons,
        as_closed_curve(curves[0]),
        loop,
        seed,
    )
