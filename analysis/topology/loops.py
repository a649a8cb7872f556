"""The loops and voids of a structure block, with an angle around each loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import as_points
from analysis.topology.branches import on_the_loop
from analysis.topology.curve import emptiest_quarter
from analysis.topology.homology import Bar
from analysis.topology.knot import Knot, knot
from analysis.topology.linking import Linking, linking
from analysis.topology.reading import Reading
from analysis.topology.survey import Survey, in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

MOST_REFERENCE = 5000


@dataclass(frozen=True, repr=False)
class Loop:
    """A loop that counts.

    Attributes:
        number: in :class:`Loops`.
        part: its number in the survey.
        pieces: of the tree, that it runs through.
        place: among the part's loops.
        bar: its scales and p-value in the draw that its angle comes from.
        p_value: median over the draws of what the part's loop of that rank has; 1 in draws without.
        seen: share of the draws that have it.
        emptiest: share of its rows that the emptiest quarter of its length holds; about a quarter where it is
            evenly filled, NaN where there are too few rows.
        rows: numbers of the rows on it: of its pieces, where it is one loop or a surface all of them, else where the angle moves.
    """

    number: int
    part: int
    pieces: tuple[int, ...]
    place: int
    bar: Bar
    p_value: float
    seen: float
    emptiest: float
    rows: NDArray[np.intp]
    _reading: Reading = field(repr=False)
    _reference: Floats = field(repr=False)

    def angle(self, points: ArrayLike, by_mass: bool = True) -> Floats:
        """Angle (n,) in [0, 2 pi) at structure rows (n, k): ``flow.encode(x)`` of new activations x.

        Args:
            points: moved to the ridge first, so that the noise across the loop does not count.
            by_mass: the angle runs evenly over the rows, which no stretching of the coordinates changes; else evenly over
                the loop's length in these coordinates. Phase and direction are free either way.

        Raises:
            ValueError: points of another width, NaN or inf.
        """
        rows = as_points(points, width=self._reading.landmarks.shape[1])
        raw = self._reading.coordinates[self.place](self._reading.projected(rows))
        if not by_mass:
            return raw
        return 2 * np.pi * np.interp(raw, self._reference, np.arange(len(self._reference)) / len(self._reference))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an end beyond the largest scale as None."""
        return {
            "number": self.number,
            "pieces": list(self.pieces),
            "birth": self.bar.birth,
            "death": self.bar.death if np.isfinite(self.bar.death) else None,
            "p_value": self.p_value,
            "seen": self.seen,
            "emptiest_quarter": self.emptiest if np.isfinite(self.emptiest) else None,
            "rows": len(self.rows),
        }

    def __repr__(self) -> str:
        return (
            f"loop {self.number} in {in_words(self.pieces)}: {len(self.rows)} rows, from scale {self.bar.birth:.2f} to "
            f"{self.bar.death:.2f}, p {_small(self.p_value)}, in {self.seen:.0%} of the draws"
        )


@dataclass(frozen=True, repr=False)
class Loops:
    """All loops that count, the longest-lived of each part first, and the voids.

    Attributes:
        loops: with their angles.
        voids: (part, bar, share of the draws that have as many) for each void.
        survey: the readings they come from.
        notes: what was not looked for.
    """

    loops: tuple[Loop, ...]
    voids: tuple[tuple[int, Bar, float], ...]
    survey: Survey
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.loops)

    def __iter__(self) -> Iterator[Loop]:
        return iter(self.loops)

    def __getitem__(self, number: int) -> Loop:
        """The loop of that number.

        Raises:
            ValueError: no such loop.
        """
        if not 0 <= number < len(self.loops):
            there = f"there are {len(self.loops)}, numbered from 0" if self.loops else "none was found"
            raise ValueError(f"no loop {number}; {there}")
        return self.loops[number]

    def angles(self, points: ArrayLike) -> Floats:
        """Angles (n, loops) at structure rows (n, k)."""
        rows = as_points(points, width=self.survey.dims)
        return np.stack([loop.angle(rows) for loop in self.loops], axis=1) if self.loops else np.empty((len(rows), 0))

    def curves(self, number: int) -> list[Floats | None]:
        """Closed polygons (m, 3) through a loop, one a draw; None in draws that do not show it.

        Where a part has several loops their order changes from draw to draw, so that one draw alone is given.

        Raises:
            ValueError: no such loop, or rows that are not three-dimensional.
        """
        loop = self[number]
        if self.survey.dims != 3:
            raise ValueError(
                f"a closed curve can be knotted or linked in 3 dimensions only, these rows have {self.survey.dims}: in the "
                "plane there is no room for it, in 4 and more all come undone"
            )
        alone = len(loop._reading.coordinates) == 1
        return [
            reading.curves[loop.place] if reading is loop._reading or (alone and len(reading.curves) == 1) else None
            for reading in self.survey.readings[loop.part]
        ]

    def knot(self, number: int = 0) -> Knot:
        """Whether a loop is knotted, by vote over the draws.

        Raises:
            ValueError: no such loop, rows that are not three-dimensional, or a loop that is no closed curve in any draw.
        """
        curves = [curve for curve in self.curves(number) if curve is not None]
        if not curves:
            raise ValueError(
                f"loop {number} is no closed curve: it runs over a surface, or it has too few rows ({len(self[number].rows)}); "
                "knots are of curves"
            )
        return knot(curves, number, self.survey.seed)

    def linking(self, one: int = 0, other: int = 1) -> Linking:
        """How often two loops wind round one another, by vote over the draws.

        Raises:
            ValueError: no such loops, one loop twice, rows that are not three-dimensional, or no draw that shows both.
        """
        if one == other:
            raise ValueError(f"linking needs two loops, got loop {one} twice")
        both = zip(self.curves(one), self.curves(other), strict=True)
        pairs = [(a, b) for a, b in both if a is not None and b is not None]
        if not pairs:
            raise ValueError(
                f"no draw shows both loop {one} and loop {other} as closed curves: one runs over a surface, or has too few rows"
            )
        return linking(pairs, (one, other), self.survey.seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        voids = [
            {
                "pieces": list(self.survey.parts[part]),
                "birth": bar.birth,
                "ratio": bar.ratio,
                "p_value": bar.p_value,
                "seen": seen,
            }
            for part, bar, seen in self.voids
        ]
        return {
            "loops": [loop.to_dict() for loop in self.loops],
            "voids": voids,
            "draws": self._draws,
            "rows": len(self.survey.rows),
            "seed": self.survey.seed,
            "notes": list(self.notes),
        }

    @property
    def _draws(self) -> int:
        return max(map(len, self.survey.readings), default=0)

    def __repr__(self) -> str:
        many = f"{len(self.loops)} loop{'s' * (len(self.loops) != 1)}, {len(self.voids)} void{'s' * (len(self.voids) != 1)}"
        shapes = f"{len(self.survey.parts)} shape{'s' * (len(self.survey.parts) > 1)}"
        lines = [f"{many} in {shapes}; p against blobs, {self._draws} draws"]
        lines += [f"  {loop!r}" for loop in self.loops]
        lines += [
            f"  void in {self.survey.name(part)}: from scale {bar.birth:.2f}, p {_small(bar.p_value)}, in {seen:.0%} of the draws"
            for part, bar, seen in self.voids
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def plot(self, ax: Axes | None = None, loop: int = 0) -> Axes:
        """Rows coloured by the angle around a loop."""
        from analysis.topology.plots import plot_angle

        return plot_angle(self, loop, ax)

    def plot_diagram(self, ax: Axes | None = None) -> Axes:
        """Persistence diagram of all pieces and draws; what lies above the line counts."""
        from analysis.topology.plots import plot_diagram

        return plot_diagram(self, ax)


def loops(found: Survey) -> Loops:
    """Collect the loops and voids of a survey: of each part those of the first draw that calls it what most draws do."""
    listed: list[Loop] = []
    voids: list[tuple[int, Bar, float]] = []
    for part, readings in enumerate(found.readings):
        reading = found.chosen(part)
        if reading is None:
            continue
        for place in range(len(reading.coordinates)):
            ranked = [r.loops.bars[place].p_value if place < len(r.loops.bars) else 1.0 for r in readings]
            seen = float(np.mean([len(r.coordinates) > place for r in readings]))
            listed.append(
                Loop(
                    len(listed),
                    part,
                    found.parts[part],
                    place,
                    reading.loops.bars[place],
                    float(np.median(ranked)),
                    seen,
                    *_members(found, part, reading, place),
                )
            )
        for rank in range(reading.betti[2][1]):
            seen = float(np.mean([r.betti[2][1] > rank for r in readings]))
            voids.append((part, reading.voids.bars[rank], seen))
    return Loops(tuple(listed), tuple(voids), found, _notes(found))


def _members(found: Survey, part: int, reading: Reading, place: int) -> tuple[float, NDArray[np.intp], Reading, Floats]:
    """Share of the emptiest quarter, rows on the loop, the reading, and the sorted angles of at most 5000 of these rows."""
    coordinate = reading.coordinates[place]
    mine = np.flatnonzero(found.labels == part)
    everywhere = found.kind(part)[0] in ("circle", "torus", "Klein bottle")
    rows = mine if everywhere else mine[on_the_loop(coordinate, found.rows[mine])]
    some = rows[np.random.default_rng([found.seed, 13]).permutation(len(rows))[:MOST_REFERENCE]]
    points = reading.projected(found.rows[some])
    angles = coordinate(points)
    return emptiest_quarter(points, angles), rows, reading, np.concatenate([np.sort(angles), [2 * np.pi]])


def _notes(found: Survey) -> tuple[str, ...]:
    out = []
    small = [part for part, readings in enumerate(found.readings) if not readings]
    if small:
        out.append(f"too few rows to be read: {_listed(found, small)}")
    if found.dims > 2:
        wide = [(p, r[0]) for p, r in enumerate(found.readings) if r and r[0].thickness.dimension > 1]
        blind = [part for part, reading in wide if not reading.saw_voids]
        if blind:
            out.append(f"no voids were looked for in what runs on in more than 2 dimensions: {_listed(found, blind)}")
    return tuple(out)


def _listed(found: Survey, parts: list[int]) -> str:
    return in_words(tuple(piece for part in parts for piece in found.parts[part]))


def _small(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 0.001 else "< .001"
