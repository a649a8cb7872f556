"""Whether rows run on from class to class along a way through the centres, or lie in pieces on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EVEN = 0.8  # of the rows that an evenly filled way has in the middle third between two centres
FEWEST_ROWS = 100  # between all centres together
ERRORS = 2.0


@dataclass(frozen=True)
class Filling:
    """How many rows lie half-way between neighbouring centres.

    Attributes:
        share: rows in the middle third, of three times those in all thirds: 1 on an evenly filled way, 0 between pieces.
            Two Gaussians begin to run together, without a valley, at 1.
        error: its standard error.
        rows: that lie between centres.
        verdict: "continuous", "pieces" or "undecided".
    """

    share: float
    error: float
    rows: int
    verdict: str

    def __repr__(self) -> str:
        said = {
            "continuous": "the classes run into one another along the way",
            "pieces": "the classes are pieces with gaps between",
            "undecided": "whether the classes run into one another is undecided",
        }[self.verdict]
        return f"{said} ({self.share:.2f} ± {self.error:.2f} of an even filling half-way, {self.rows} rows)"


def filling(rows: Floats, index: NDArray[np.intp], way: NDArray[np.intp], closed: bool) -> Filling | None:
    """Of rows (n, D) with classes (n,) along a way (p,); None where fewer than 100 rows lie between centres.

    Rows are measured along the line between two centres; the centres are those of the other half of the rows.
    """
    half = np.zeros(len(rows), dtype=bool)
    half[np.argsort(index, kind="stable")[::2]] = True
    pairs = np.stack([way, np.roll(way, -1)], axis=1)[: len(way) if closed else -1]
    places = [_places(rows, index, half, pair) for pair in pairs] + [
        _places(rows, index, ~half, pair) for pair in pairs
    ]
    along = np.concatenate(places)
    along = along[(along >= 0) & (along <= 1)]
    if len(along) < FEWEST_ROWS:
        return None
    middle = float((np.abs(along - 0.5) < 1 / 6).mean())
    share, error = 3 * middle, 3 * float(np.sqrt(max(middle * (1 - middle), 1 / len(along)) / len(along)))
    if abs(share - EVEN) < ERRORS * error:
        return Filling(share, error, len(along), "undecided")
    return Filling(share, error, len(along), "continuous" if share > EVEN else "pieces")


def _places(rows: Floats, index: NDArray[np.intp], half: NDArray[np.bool_], pair: NDArray[np.intp]) -> Floats:
    """Where the other half of the rows of two classes lies between their centres: 0 at one, 1 at the other."""
    members = [index == number for number in pair]
    if any(not (member & half).any() for member in members):
        return np.empty(0)
    start, end = (rows[member & half].mean(0) for member in members)
    others = rows[(members[0] | members[1]) & ~half]
    return np.asarray((others - start) @ (end - start) / max(float(((end - start) ** 2).sum()), np.finfo(float).tiny))
