"""Readings of all parts of a block over several draws of the rows: what loops, knots, links and descriptions rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.density.bag import Density
from analysis.density.em import Mixture
from analysis.progress import tracked
from analysis.topology.naming import kind_of
from analysis.topology.reading import FEWEST_ROWS, Reading, read_piece

Floats = NDArray[np.float64]

DRAWS = 5
MOST_ROWS = 8000  # of a draw but the first
MASSES = (0.9, 0.75, 0.6)
AGREEING = 0.8  # share of the draws that must give one name, or lower masses are looked at


@dataclass(frozen=True, repr=False)
class Survey:
    """Readings by part and draw; a part is a piece of the tree, or several that are one shape.

    Attributes:
        readings: for each part its readings, one a draw; the first is of all rows with the density as it is given, each other
            of a random two thirds of the rows with the density refitted to them. Empty for parts of too few rows.
        parts: for each part the numbers of its pieces in the tree; none where all rows are read as a whole.
        masses: for each part the share of its rows, the densest, that the readings are of.
        said: for each part what every reading calls it, those at higher masses too.
        labels: (n,) part of each row.
        rows: (n, k).
        seed: everything is drawn from it.
        other_route: what another route says of the same rows; empty where none was asked.
        densest: of parts that are named by the support of all their rows, {part: what the ridge of the densest is called}.
        undecided: of parts of which the ridge and the support's draws say different things, {part: what}.
    """

    readings: tuple[tuple[Reading, ...], ...]
    parts: tuple[tuple[int, ...], ...]
    masses: tuple[float, ...]
    said: tuple[tuple[str, ...], ...]
    labels: NDArray[np.intp]
    rows: Floats
    seed: int
    other_route: str = ""
    densest: dict[int, str] = field(default_factory=dict)
    undecided: dict[int, str] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """k."""
        return self.rows.shape[1]

    def name(self, part: int) -> str:
        """Its pieces in words."""
        return in_words(self.parts[part])

    def kinds(self, part: int) -> list[tuple[str, str]]:
        """What each draw calls a part, and what it leaves undecided."""
        return [kind_of(reading) for reading in self.readings[part]]

    def chosen(self, part: int) -> Reading | None:
        """The first draw that calls the part what most do; None where there are too few rows."""
        word = Counter(word for word, _ in self.kinds(part)).most_common(1)[0][0] if self.readings[part] else ""
        return next(
            (r for r, (other, _) in zip(self.readings[part], self.kinds(part), strict=True) if other == word), None
        )

    def kind(self, part: int) -> tuple[str, float, str]:
        """What most draws call a part, the share of them, over all masses looked at, and what is undecided."""
        said = self.kinds(part)
        if not said:
            count = int((self.labels == part).sum())
            return "unknown", 0.0, f"too few rows: {count}, it takes {FEWEST_ROWS}"
        word = Counter(word for word, _ in said).most_common(1)[0][0]
        share = self.said[part].count(word) / len(self.said[part])
        if part in self.undecided:
            return "unknown", min(share, 0.5), self.undecided[part]
        return word, share, next(doubt for other, doubt in said if other == word)


def in_words(pieces: Sequence[int]) -> str:
    """Such as "piece 2", "pieces 0 and 1"; of none, "the whole"."""
    if not pieces:
        return "the whole"
    *most, last = map(str, pieces)
    return f"pieces {', '.join(most)} and {last}" if most else f"piece {last}"


def survey(
    rows: Floats,
    labels: NDArray[np.intp],
    density: Density | None,
    seed: int = 0,
    parts: Sequence[tuple[int, ...]] | None = None,
    draws: int = DRAWS,
) -> Survey:
    """Read every part of rows (n, k) in several draws.

    A part is read by its densest 90 %; where fewer than 80 % of the draws then agree on a name, by its densest 75 or 60 %,
    if they agree there: strands that all but touch are joined by their thinnest rows.

    Args:
        rows: (n, k).
        labels: (n,) piece of each, from 0 on.
        density: fitted to the rows; None where they are too few for one, and for any part.
        seed: everything is drawn from it.
        parts: pieces that are one shape, see :func:`~analysis.topology.unions.united`; by default each is one.
        draws: readings of each part, the first of all rows.
    """
    parts = tuple((piece,) for piece in range(labels.max() + 1)) if parts is None else tuple(parts)
    part_of = np.empty(labels.max() + 1, dtype=np.intp)
    for number, pieces in enumerate(parts):
        part_of[list(pieces)] = number
    labels = part_of[labels]
    drawn = [] if density is None else _drawn(rows, density, seed, draws)
    found = [
        _read(rows, labels == number, drawn, seed) for number in tracked(range(len(parts)), "shapes: readings", "part")
    ]
    masses, readings, said = zip(*found, strict=True)
    return Survey(readings, parts, masses, said, labels, rows, seed)


def _drawn(rows: Floats, density: Density, seed: int, draws: int) -> list[tuple[NDArray[np.intp], Mixture]]:
    """The rows of each draw and their density."""
    out = [(np.arange(len(rows)), density.mixture)]
    for stream in np.random.SeedSequence([seed, 11]).spawn(draws)[1:]:
        rng = np.random.default_rng(stream)
        used = rng.permutation(len(rows))[: max(min(2 * len(rows) // 3, MOST_ROWS), min(len(rows), FEWEST_ROWS))]
        out.append((used, density.refit(rows[used], int(rng.integers(2**31)))))
    return out


def _read(
    rows: Floats, is_mine: NDArray[np.bool_], drawn: list[tuple[NDArray[np.intp], Mixture]], seed: int
) -> tuple[float, tuple[Reading, ...], tuple[str, ...]]:
    """The mass at which a part is read, the highest at which the draws agree, its readings there, and all names by the way."""
    used = [(rows[some[is_mine[some]]], mixture) for some, mixture in drawn]
    used = [(mine, mixture) for mine, mixture in used if len(mine) >= FEWEST_ROWS // 4]
    if is_mine.sum() < FEWEST_ROWS:
        return MASSES[0], (), ()
    tried: dict[float, tuple[Reading, ...]] = {}
    said: dict[float, list[str]] = {}
    for mass in MASSES:
        rng = np.random.default_rng([seed, 23, round(100 * mass)])
        tried[mass] = tuple(read_piece(mine, mixture, rng, mass) for mine, mixture in used)
        said[mass] = [kind_of(reading)[0] for reading in tried[mass]]
        if _agreement(said[mass]) >= AGREEING:
            break
    best = max(tried, key=lambda mass: _agreement(said[mass]))  # the highest of those
    return best, tried[best], tuple(word for words in said.values() for word in words)


def _agreement(words: list[str]) -> float:
    """Share of the name that most give; 0 where that is none."""
    word, count = Counter(words).most_common(1)[0]
    return 0.0 if word == "unknown" else count / len(words)
