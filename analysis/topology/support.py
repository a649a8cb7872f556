"""The shape of the support of all rows: Betti numbers over Z/2 and Z/3 of landmarks spread over them, without a ridge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from analysis.density.cores import densest
from analysis.progress import tracked
from analysis.topology.branches import off_the_loops, shared_way
from analysis.topology.homology import Diagram, diagram
from analysis.topology.naming import kind_of
from analysis.topology.reading import GAP, SIGNIFICANT, WAY_THROUGH, Reading, angles_of, largest_scale
from analysis.topology.ridge import Thickness
from flows.geometry.landmarks import maxmin

Floats = NDArray[np.float64]
Betti = tuple[int, int, int]

DRAWS = 5
MASS = 0.98  # of the rows, the densest: the others are strays
NEIGHBOURS = 15
MOST_ROWS = 15_000
ROWS_A_DRAW = 8000
FEWEST_ROWS = 100
LANDMARKS, THICK_LANDMARKS, FEWEST_LANDMARKS = 500, 250, 60
ROWS_A_LANDMARK = 10
VOIDS_FROM = 2.75  # covering radii: where so many neighbours are nearer than that, no void is seen
JOINED = 2.0  # covering radii: landmarks along what rows cover are linked there
SMALL_PART = 0.05  # of the rows: what is smaller counts as strays
SURE = 0.8  # share of the draws


@dataclass(frozen=True, repr=False)
class Support:
    """Betti numbers of the support of a cloud, by vote over draws of the rows and of their landmarks.

    Attributes:
        betti: (pieces, loops, voids) that most draws show, over Z/2 and over Z/3, {prime: numbers}.
        agreeing: share of the draws that show these.
        votes: what the draws show over Z/2, and how many do.
        kind: a word of ``naming.SENTENCES``, or "unknown".
        doubt: what is left undecided, or the Betti numbers where they have no name.
        p_values: of each loop and each void that counts, the median over the draws, {degree: values}.
        readings: the draws, landmarks and diagrams; empty where there are too few rows.
        saw_voids: whether voids were looked for.
        mass: share of the rows, the densest, that are read: .98, or 1 where only all of them close a loop.
        rows, seed: of all.
    """

    betti: dict[int, Betti]
    agreeing: float
    votes: dict[Betti, int]
    kind: str
    doubt: str
    p_values: dict[int, tuple[float, ...]]
    readings: tuple[Reading, ...]
    saw_voids: bool
    mass: float
    rows: int
    seed: int

    @property
    def is_sure(self) -> bool:
        """Whether at least four draws in five agree."""
        return bool(self.readings) and self.agreeing >= SURE

    @property
    def is_one_shape(self) -> bool:
        """Whether four draws in five see it connected, with loops or voids: it is not to be cut before it is read."""
        whole = sum(count for numbers, count in self.votes.items() if numbers[0] == 1 and any(numbers[1:]))
        return whole >= SURE * max(len(self.readings), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "betti": {str(prime): list(numbers) for prime, numbers in self.betti.items()},
            "agreeing": self.agreeing,
            "votes": {str(numbers): count for numbers, count in self.votes.items()},
            "kind": self.kind,
            "doubt": self.doubt,
            "p_values": {str(degree): list(values) for degree, values in self.p_values.items()},
            "landmarks": len(self.readings[0].landmarks) if self.readings else 0,
            "saw_voids": self.saw_voids,
            "mass": self.mass,
            "rows": self.rows,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        if not self.readings:
            return f"support: {self.doubt}"
        even, odd = self.betti[2], self.betti[3]
        over = "Z/2 and Z/3" if even == odd else f"Z/2, {odd} over Z/3"
        word = "" if self.kind == "unknown" else f", {self.kind}"
        p = max((value for values in self.p_values.values() for value in values), default=None)
        least = "" if p is None else f", p at most {p:.1g}"
        blind = "" if self.saw_voids else ", voids not looked for"
        votes = f"{self.agreeing:.0%} of {len(self.readings)} draws"
        return f"support of all rows: Betti {even} over {over}{word} ({votes}{least}{blind})"


def support(rows: Floats, seed: int = 0, draws: int = DRAWS) -> Support:
    """Read the support of rows (n, k): landmarks spread over a random nine tenths of them, Rips complexes over Z/2 and Z/3.

    The sparsest 2 % are left out; where the others show one connected thing without a loop, and all rows surely one loop, the
    loop counts: it has a thin place. Where a row is nearer to a landmark than r, landmarks that are 2 r apart are linked along
    the support: loops born by then count, if the ratio of their scales is beyond what blobs show.
    """
    if len(rows) < FEWEST_ROWS or not np.ptp(rows, axis=0).any():
        return _nothing(len(rows), seed)
    rng = np.random.default_rng([seed, 29])
    some = rows[rng.permutation(len(rows))[:MOST_ROWS]]
    found = _at(some, MASS, draws, len(rows), seed)
    if any(found.betti[2][1:]) or not _at(some, 1.0, 1, len(rows), seed).betti[2][1]:  # one draw is a first look
        return found
    whole = _at(some, 1.0, draws, len(rows), seed)
    return whole if whole.is_sure and whole.is_one_shape and whole.kind == "circle" else found


def _at(some: Floats, mass: float, draws: int, rows: int, seed: int) -> Support:
    """Of the densest rows, as many as hold this share."""
    core = some[densest(some, mass, NEIGHBOURS)]
    drawn = [_read(core, np.random.default_rng([seed, 31, draw])) for draw in tracked(range(draws), "support", "draw")]
    return _voted(drawn, mass, rows, seed)


def _nothing(count: int, seed: int) -> Support:
    doubt = f"too few different rows: {count}, it takes {FEWEST_ROWS}"
    return Support({}, 0.0, {}, "unknown", doubt, {}, (), False, MASS, count, seed)


def _read(core: Floats, rng: np.random.Generator) -> tuple[int, Reading]:
    """Pieces, and loops and voids, of one draw."""
    used = core[rng.permutation(len(core))[: min(ROWS_A_DRAW, max(9 * len(core) // 10, FEWEST_ROWS))]]
    most = max(min(len(used) // 4, FEWEST_LANDMARKS), len(used) // ROWS_A_LANDMARK)
    chosen, cover = maxmin(used, min(LANDMARKS, most), rng)
    landmarks = used[chosen]
    k = landmarks.shape[1]
    largest = largest_scale(landmarks, cover)
    looks = k > 2 and largest >= VOIDS_FROM * cover
    if not looks and len(landmarks) > THICK_LANDMARKS:  # the first of a spread are a spread
        landmarks = landmarks[:THICK_LANDMARKS]
        cover = float(cdist(used, landmarks).min(1).max())
    loops = {prime: _counted(diagram(landmarks, 1, prime, spread=True), cover) for prime in (2, 3)} if k > 1 else {}
    voids = {prime: diagram(landmarks, 2, prime, largest, spread=True) for prime in (2, 3)} if looks else {}
    betti = {
        prime: tuple(found[prime].count(SIGNIFICANT) if found else 0 for found in (loops, voids)) for prime in (2, 3)
    }
    found = loops.get(3, Diagram((), ())), voids.get(2, Diagram((), ()))
    coordinates, gram, cup = angles_of(landmarks, *found, prime=3)
    reading = Reading(
        rows=len(used),
        density=None,
        thickness=Thickness(k, k, 1.0, float(used.std())),
        landmarks=landmarks,
        cover=cover,
        loops=found[0],
        voids=found[1],
        betti=betti,  # type: ignore[arg-type]
        saw_voids=looks,
        coordinates=tuple(coordinates),
        gram=gram,
        cup=cup,
        shared=shared_way(gram) if len(coordinates) == 2 else None,
        bridge=off_the_loops(coordinates) if coordinates else 0.0,
        curves=(None,) * len(coordinates),  # landmarks of the support lie on no ridge
        route="support",
    )
    return _pieces(used, landmarks, cover), reading


def _pieces(used: Floats, landmarks: Floats, cover: float) -> int:
    """Connected parts of the landmarks that have enough of the rows."""
    labels = connected_components(cdist(landmarks, landmarks) <= JOINED * cover)[1]
    mass = np.bincount(labels[cdist(used, landmarks).argmin(1)]) / len(used)
    return max(1, int((mass >= SMALL_PART).sum()))


def _counted(found: Diagram, cover: float) -> Diagram:
    """Loops that are closed where landmarks along the support are linked, or a third of the way through the strongest."""
    strong = next((bar for bar in found.bars if bar.birth <= GAP * cover), None)
    if strong is None:
        return Diagram((), ())
    scale = max(JOINED * cover, strong.birth * strong.ratio**WAY_THROUGH)
    kept = [n for n, bar in enumerate(found.bars) if bar.birth <= scale < bar.death]
    return Diagram(tuple(found.bars[n] for n in kept), tuple(found.cocycles[n] for n in kept))


def _voted(drawn: list[tuple[int, Reading]], mass: float, rows: int, seed: int) -> Support:
    """What most draws show; where they are level, what the first of those shows."""
    each = [{prime: (pieces, *reading.betti[prime]) for prime in (2, 3)} for pieces, reading in drawn]
    votes = Counter(tuple(numbers.values()) for numbers in each)
    most, count = votes.most_common(1)[0]
    betti: dict[int, Betti] = dict(zip((2, 3), most, strict=True))
    readings = tuple(reading for _, reading in drawn)
    said = Counter(kind_of(r) for r, numbers in zip(readings, each, strict=True) if numbers == betti)
    kind, doubt = said.most_common(1)[0][0]
    if betti[2][0] > 1:
        kind, doubt = "unknown", f"{betti[2][0]} parts"
    p_values = {degree: _p_values(readings, degree, betti[2][degree]) for degree in (1, 2)}
    return Support(
        betti=betti,
        agreeing=count / len(drawn),
        votes=dict(Counter(numbers[2] for numbers in each)),
        kind=kind,
        doubt=doubt,
        p_values=p_values,
        readings=readings,
        saw_voids=any(reading.saw_voids for reading in readings),
        mass=mass,
        rows=rows,
        seed=seed,
    )


def _p_values(readings: tuple[Reading, ...], degree: int, count: int) -> tuple[float, ...]:
    each = [(reading.loops if degree == 1 else reading.voids).bars for reading in readings]
    return tuple(float(np.median([b[i].p_value if i < len(b) else 1.0 for b in each])) for i in range(count))
