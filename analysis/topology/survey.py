"""Readings of all pieces over several draws of the rows: what loops, knots, links and descriptions rest on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.density import Density
from analysis.em import Mixture
from analysis.topology.naming import kind_of
from analysis.topology.reading import FEWEST_ROWS, Reading, read_piece

Floats = NDArray[np.float64]

DRAWS = 5
MOST_ROWS = 8000  # of a draw but the first


@dataclass(frozen=True, repr=False)
class Survey:
    """Readings by piece and draw.

    Attributes:
        readings: for each piece its readings, one a draw; the first is of all rows with the density as it is given, each other
            of a random two thirds of the rows with the density refitted to them. Empty for pieces of too few rows.
        labels: (n,) piece of each row.
        density: of all rows.
        rows: (n, k).
        seed: everything is drawn from it.
    """

    readings: tuple[tuple[Reading, ...], ...]
    labels: NDArray[np.intp]
    density: Mixture
    rows: Floats
    seed: int

    @property
    def dims(self) -> int:
        """k."""
        return self.rows.shape[1]

    def kinds(self, piece: int) -> list[tuple[str, str]]:
        """What each draw calls a piece, and what it leaves undecided."""
        return [kind_of(reading) for reading in self.readings[piece]]

    def chosen(self, piece: int) -> Reading | None:
        """The first draw that calls the piece what most do; None where there are too few rows."""
        word = self.kind(piece)[0]
        return next(
            (r for r, (other, _) in zip(self.readings[piece], self.kinds(piece), strict=True) if other == word), None
        )

    def kind(self, piece: int) -> tuple[str, float, str]:
        """What most draws call a piece, their share, and what is undecided."""
        said = self.kinds(piece)
        if not said:
            count = int((self.labels == piece).sum())
            return "unknown", 0.0, f"too few rows: {count}, it takes {FEWEST_ROWS}"
        word, count = Counter(word for word, _ in said).most_common(1)[0]
        return word, count / len(said), next(doubt for other, doubt in said if other == word)


def survey(rows: Floats, labels: NDArray[np.intp], density: Density, seed: int = 0, draws: int = DRAWS) -> Survey:
    """Read every piece of rows (n, k) in several draws.

    Args:
        rows: (n, k).
        labels: (n,) piece of each, from 0 on.
        density: fitted to the rows.
        seed: everything is drawn from it.
        draws: readings of each piece, the first of all rows.
    """
    streams = np.random.SeedSequence([seed, 11]).spawn(draws)
    readings: list[list[Reading]] = [[] for _ in range(labels.max() + 1)]
    for draw, stream in enumerate(streams):
        rng = np.random.default_rng(stream)
        used, mixture = np.arange(len(rows)), density.mixture
        if draw:
            used = rng.permutation(len(rows))[: max(min(2 * len(rows) // 3, MOST_ROWS), min(len(rows), FEWEST_ROWS))]
            mixture = density.refit(rows[used], int(rng.integers(2**31)))
        for piece, found in enumerate(readings):
            mine = used[labels[used] == piece]
            if (labels == piece).sum() >= FEWEST_ROWS and len(mine) >= FEWEST_ROWS // 4:
                found.append(read_piece(rows[mine], mixture, rng))
    return Survey(tuple(map(tuple, readings)), labels, density.mixture, rows, seed)
