"""The components of a level set, found from seeds on it, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.functions.solving import Level, Region
from analysis.functions.surfaces import decided
from analysis.functions.tracing import Curve, distance_to_curve, trace

if TYPE_CHECKING:
    from analysis.topology.knot import PolygonKnot

Floats = NDArray[np.float64]
MOST_CURVES = 50
_SAME_CURVE = 0.2  # of a step: seeds nearer to a curve lie on it
_SAME_POINT = 1e-3  # sds of the data
_KINDS = {(1, 0, 1): "sphere", (1, 2, 1): "torus", (1, 0, 0): "sheet", (1, 1, 0): "annulus"}


@dataclass(frozen=True, eq=False, repr=False)
class Component:
    """One component of a fibre.

    Attributes:
        kind: "point"; "circle", "line" (both ends leave the data), "arc" (both are real ends), "half-line" (one of each),
            "unfinished curve"; in R^3 a circle that is proved to be knotted is "knot: trefoil" or the like; "sphere",
            "torus", "sheet", "annulus" (the last two leave the data), other "surface", "undecided surface" where no two
            nets agree; "untyped" above dimension 2.
        points: (m, D) along a curve in order, in original units.
        length: arc length of a curve, in original units; else None.
        ends: how a curve's ends came about: "closed", "leaves the data", "real end", "unfinished".
        betti: Betti numbers of a surface; else None.
        knot: of a closed curve in R^3, whether it is knotted, and the proof; None for all else, and where strands touch.
    """

    kind: str
    points: Floats
    length: float | None = None
    ends: tuple[str, ...] = ()
    betti: tuple[int, ...] | None = None
    knot: PolygonKnot | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the points."""
        return {
            "kind": self.kind, "points": len(self.points), "length": self.length, "ends": list(self.ends),
            "betti": None if self.betti is None else list(self.betti),
            "knot": None if self.knot is None else dict(vars(self.knot), polynomial=list(self.knot.polynomial)),
        }  # fmt: skip

    def __repr__(self) -> str:
        more = "" if self.length is None else f" of length {self.length:.3g}"
        more += f", Betti numbers {self.betti}" if self.betti else ""
        more += f", {self.knot.verdict}: {self.knot.reason}" if self.knot else ""
        return f"{self.kind}{more} ({len(self.points)} points{'; ' + ', '.join(self.ends) if self.ends else ''})"


def components_of(
    level: Level, region: Region, seeds: Floats, dimension: int, step: float, spacing: float
) -> tuple[list[Component], int]:
    """The components that the seeds (m, D) lie on, the largest first, and how many seeds lie on none of them."""

    def rows(u: Floats) -> Floats:
        return u * level.spread + level.centre

    if dimension == 0:
        return [Component("point", rows(u[None])) for u in _distinct(seeds)], 0
    if dimension == 1:
        curves, left = _curves(level, region, seeds, step)
        return [_of_curve(c, rows(c.points), level.spread) for c in sorted(curves, key=lambda c: -c.length())], left
    if dimension == 2:
        found, is_decided = decided(level, region, seeds, spacing)
        if not is_decided:
            return [Component("undecided surface", rows(s.points)) for s in found], 0
        return [Component(_KINDS.get(s.betti, "surface"), rows(s.points), betti=s.betti) for s in found], 0
    return [Component("untyped", rows(seeds))], 0


def _distinct(seeds: Floats) -> Floats:
    kept: list[Floats] = []
    for u in seeds:
        if not kept or np.linalg.norm(np.array(kept) - u, axis=1).min() > _SAME_POINT:
            kept.append(u)
    return np.array(kept)


def _curves(level: Level, region: Region, seeds: Floats, step: float) -> tuple[list[Curve], int]:
    """Curves until every seed lies on one, or there are too many; and how many seeds lie on none."""
    curves: list[Curve] = []
    while len(seeds) and len(curves) < MOST_CURVES:
        curve = trace(level, region, seeds[0], step)
        far = distance_to_curve(seeds, curve.points, curve.is_closed) > _SAME_CURVE * step
        far[0] = False
        seeds = seeds[far]
        curves.append(curve)
    return curves, len(seeds)


def _of_curve(curve: Curve, points: Floats, spread: float) -> Component:
    found = _knot(points) if curve.is_closed and points.shape[1] == 3 else None
    return Component(_curve_kind(curve, found), points, curve.length() * spread, curve.ends, knot=found)


def _curve_kind(curve: Curve, knot: PolygonKnot | None) -> str:
    if knot is not None and knot.verdict == "knotted":
        from analysis.topology.alexander import NAMES, spelt

        return f"knot: {NAMES.get(knot.polynomial, spelt(knot.polynomial)).split(' (')[0]}"
    if curve.is_closed:
        return "circle"
    if "unfinished" in curve.ends:
        return "unfinished curve"
    return {0: "line", 1: "half-line", 2: "arc"}[curve.ends.count("real end")]


def _knot(points: Floats) -> PolygonKnot | None:
    from analysis.topology.knot import polygon_knot

    try:
        return polygon_knot(points)
    except ValueError:  # fewer than three corners, or strands that touch at the lattice's resolution
        return None
