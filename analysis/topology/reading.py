"""The shape of one piece as one draw of its rows shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from analysis.density.em import Mixture
from analysis.topology.branches import loose_ends, off_the_loops, on_the_loop, shared_way
from analysis.topology.circular import CircularCoordinate, circular_coordinates
from analysis.topology.curve import closed_curve
from analysis.topology.homology import PRIME, ROWS_A_LANDMARK, Diagram, diagram
from analysis.topology.ridge import Thickness, is_frequented, thickness, to_ridge
from analysis.topology.torus import cup_product_remainder
from flows.geometry.landmarks import maxmin

Floats = NDArray[np.float64]

MASS = 0.9
MOST_ROWS = 3000
FEW_ROWS = 1500  # are enough to count loops
FEWEST_ROWS = 100
LANDMARKS = {1: 200, 2: 400}  # by the dimension of the ridge; 400 in three-dimensional space too
VOIDS_UP_TO = 5.0  # covering radii: voids are looked for up to this scale
GAP = 5.0  # covering radii: a wider one between landmarks is a gap in the rows
MOST_NEIGHBOURS = 80  # mean number of neighbours at that scale
SIGNIFICANT = 0.01
WAY_THROUGH = 1 / 3  # the strongest bar: later, strands that pass one another close loops that are none of the curve's


@dataclass(frozen=True, repr=False)
class Reading:
    """What one draw says of one piece.

    Attributes:
        rows: used.
        density: the one this draw was read with; None on the support.
        thickness: in how many directions it runs on.
        landmarks: (m, k) on the ridge.
        cover: every used row's ridge point lies within this of a landmark.
        loops, voids: the diagrams, over Z/47 and Z/2.
        betti: significant loops and voids over Z/2 and over Z/3, {prime: (loops, voids)}; voids are 0 where not looked for.
        saw_voids: whether voids were looked for.
        coordinates: one for each loop over Z/47.
        gram: inner products of the coordinates.
        ends: loose ends of a curve; None where it is no curve.
        cup: remainder of the cup product of two loops; None where there are not two, or no void.
        curves: closed polygons through the loops (c, 3) of three-dimensional rows; None on a surface, or where a loop has a gap.
        shared: of two loops, the share of their way that they have in common.
        bridge: share of the landmarks on no loop.
        route: "ridge", or "support" where the landmarks are rows as they are.
    """

    rows: int
    density: Mixture | None
    thickness: Thickness
    landmarks: Floats
    cover: float
    loops: Diagram
    voids: Diagram
    betti: dict[int, tuple[int, int]]
    saw_voids: bool
    coordinates: tuple[CircularCoordinate, ...]
    gram: Floats
    ends: int | None = None
    cup: float | None = None
    shared: float | None = None
    bridge: float = 0.0
    curves: tuple[Floats | None, ...] = ()
    route: str = "ridge"

    def projected(self, points: Floats) -> Floats:
        """Points (n, k) moved to this reading's ridge; as they are where there is none."""
        if self.density is None or not self.thickness.has_ridge:
            return points
        return to_ridge(points, self.density, self.thickness.dimension, self.thickness.unit)


def read_piece(rows: Floats, density: Mixture, rng: np.random.Generator, mass: float = MASS) -> Reading:
    """Read the shape of one piece: its ridge, loops and voids, angles, branches.

    Of the densest rows (n, k), as many as hold this share of the piece, at most 3000 are drawn and moved to the ridge (where
    there is one), and 200 or 400 landmarks are spread over them.
    """
    points, thick, on_ridge = _ridge(rows, density, rng, mass, MOST_ROWS)
    k = rows.shape[1]
    count = LANDMARKS[2] if thick.dimension == 2 or k == 3 else LANDMARKS[1]
    count = LANDMARKS[1] if thick.dimension == 1 else count
    chosen, cover = maxmin(on_ridge, min(count, len(on_ridge) // ROWS_A_LANDMARK), rng)
    landmarks = on_ridge[chosen]
    loops = loops_among(landmarks, cover, thick)
    looks = k > 2 and (thick.dimension == 2 or (thick.is_solid and k == 3))
    betti, voids = {}, Diagram((), ())
    for prime in (3, 2) if looks else ():
        voids = diagram(landmarks, 2, prime, largest_scale(landmarks, cover))
        same = _at_one_scale(diagram(landmarks, 1, prime), cover)
        betti[prime] = (same.count(SIGNIFICANT), voids.count(SIGNIFICANT))
    if not looks:
        betti = {prime: (loops.count(SIGNIFICANT), 0) for prime in (2, 3)}
    coordinates, gram, cup = angles_of(landmarks, loops, voids)
    is_surface = thick.dimension == 2
    curves = tuple(None if is_surface else _curve(on_ridge, c, len(coordinates)) for c in coordinates) if k == 3 else ()
    closed_at = max((bar.birth for bar in loops.bars[: len(coordinates)]), default=0.0)
    is_curve = thick.dimension == 1 and k > 1
    return Reading(
        rows=len(points),
        density=density,
        thickness=thick,
        landmarks=landmarks,
        cover=cover,
        loops=loops,
        voids=voids,
        betti=betti,
        saw_voids=looks,
        coordinates=tuple(coordinates),
        gram=gram,
        ends=loose_ends(landmarks, cover, len(coordinates), closed_at) if is_curve else None,
        cup=cup,
        shared=shared_way(gram) if len(coordinates) == 2 else None,
        bridge=off_the_loops(coordinates) if coordinates else 0.0,
        curves=curves,
    )


def loops_of(rows: Floats, density: Mixture, rng: np.random.Generator) -> int:
    """How many loops a quick look at 1500 of the rows (n, k) and 200 landmarks shows."""
    _, thick, on_ridge = _ridge(rows, density, rng, MASS, FEW_ROWS)
    chosen, cover = maxmin(on_ridge, min(LANDMARKS[1], len(on_ridge) // ROWS_A_LANDMARK), rng)
    return loops_among(on_ridge[chosen], cover, thick).count(SIGNIFICANT)


def loops_among(landmarks: Floats, cover: float, thick: Thickness) -> Diagram:
    """Bars of degree 1 of landmarks (m, k), all there at one scale; none on a line, or where the ridge is a few points."""
    if thick.dims < 2 or thick.dimension == 0:
        return Diagram((), ())
    return _at_one_scale(diagram(landmarks, 1), cover)


def _ridge(
    rows: Floats, density: Mixture, rng: np.random.Generator, mass: float, most: int
) -> tuple[Floats, Thickness, Floats]:
    """The rows that are read, in how many directions they run on, and where they lie on the ridge."""
    logs = density.log_prob(rows)
    dense = np.flatnonzero(logs >= np.quantile(logs, 1 - mass))
    points = rows[rng.permutation(dense)[:most]]
    thick = thickness(points, density)
    if not thick.has_ridge:
        return points, thick, points
    on_ridge = to_ridge(points, density, thick.dimension, thick.unit)
    return points, thick, on_ridge[is_frequented(on_ridge, thick.dimension)]


def _at_one_scale(found: Diagram, cover: float) -> Diagram:
    """Bars that are there a third of the way (in log scale) through the strongest one: Betti numbers belong to one scale.

    Those born beyond any gap between landmarks are left out: they close over a gap in the rows.
    """
    born = [n for n, bar in enumerate(found.bars) if bar.birth <= GAP * cover]
    found = Diagram(tuple(found.bars[n] for n in born), tuple(found.cocycles[n] for n in born))
    if not born:
        return found
    scale = found.bars[0].birth * found.bars[0].ratio ** WAY_THROUGH
    kept = [n for n, bar in enumerate(found.bars) if bar.birth <= scale < bar.death]
    return Diagram(tuple(found.bars[n] for n in kept), tuple(found.cocycles[n] for n in kept))


def largest_scale(landmarks: Floats, cover: float) -> float:
    """The scale up to which voids are looked for."""
    share = min(1.0, MOST_NEIGHBOURS / len(landmarks))
    return float(min(VOIDS_UP_TO * cover, np.quantile(pdist(landmarks), share)))


def angles_of(
    landmarks: Floats, loops: Diagram, voids: Diagram, prime: int = PRIME
) -> tuple[list[CircularCoordinate], Floats, float | None]:
    """Angles at the middle of the scales at which all loops are there, and the cup product where voids are there too."""
    count = loops.count(SIGNIFICANT)
    nothing: tuple[list[CircularCoordinate], Floats, None] = ([], np.zeros((0, 0)), None)
    if not count:
        return nothing
    low, high = max(b.birth for b in loops.bars[:count]), min(b.death for b in loops.bars[:count])
    try:
        found, gram = circular_coordinates(landmarks, loops.cocycles[:count], prime, np.sqrt(low * high))
        if count != 2 or voids.count(SIGNIFICANT) != 1:
            return found, gram, None
        low, high = max(low, voids.bars[0].birth), min(high, voids.bars[0].death)
        if low >= high:
            return found, gram, None
        both, _ = circular_coordinates(landmarks, loops.cocycles[:count], prime, np.sqrt(low * high))
        return found, gram, cup_product_remainder(*both)
    except ArithmeticError:  # no angle: the class has torsion
        return nothing


def _curve(points: Floats, coordinate: CircularCoordinate, loops: int) -> Floats | None:
    if loops > 1:
        points = points[on_the_loop(coordinate, points)]
    return closed_curve(points, coordinate(points))
