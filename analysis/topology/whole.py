"""Whether a cloud is read in pieces by its ridge, or as a whole by its support: what is one thing must not be cut first."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from analysis.density.bag import fit_density
from analysis.topology.naming import kind_of
from analysis.topology.reading import Reading, read_piece
from analysis.topology.support import MASS, Support
from analysis.topology.survey import MASSES, Survey

Floats = NDArray[np.float64]

GLANCE_ROWS = 2500
RIDGE_DIMS = 3  # up to these the ridge is always read, piece by piece


def by_support(rows: Floats, found: Support, other_route: str) -> Survey:
    """The support's draws as a survey of one part, the whole; ``other_route`` is what the ridge says of it."""
    labels = np.zeros(len(rows), dtype=np.intp)
    said = tuple(kind_of(reading)[0] for reading in found.readings)
    return Survey((found.readings,), ((),), (MASS,), (said,), labels, rows, found.seed, other_route)


def at_a_glance(rows: Floats, seed: int, glance: int = 0) -> Reading:
    """One reading of all rows (n, k) as one piece, by the ridge of a density of 2500 of them."""
    rng = np.random.default_rng([seed, 37, glance])
    some = rows[rng.permutation(len(rows))[:GLANCE_ROWS]]
    density = fit_density(some, seed, members=1, most_rows=GLANCE_ROWS)
    return read_piece(some, density.mixture, rng)


def closes(reading: Reading) -> bool:
    """Whether a ridge has a name with loops or voids in it."""
    return kind_of(reading)[0] != "unknown" and any(reading.betti[2])


def instead_of(surveyed: Survey, found: Support) -> Survey | None:
    """The whole by its support, where that surely is a named shape with loops or voids, and no piece's ridge is; else None."""
    readings = [surveyed.chosen(part) for part in range(len(surveyed.readings))]
    named = found.is_sure and found.is_one_shape and found.kind != "unknown"
    if not named or any(reading is not None and closes(reading) for reading in readings):
        return None
    counts = Counter(surveyed.kind(part)[0] for part in range(len(readings)))
    words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return by_support(surveyed.rows, found, f"the ridge of the densest {MASSES[0]:.0%} of each piece: {words}")


def wide(rows: Floats, found: Support, seed: int) -> Survey | None:
    """Above three dimensions: the whole by its support, unless two glances at its ridge see one shape with loops or voids."""
    if rows.shape[1] <= RIDGE_DIMS or not found.is_one_shape:
        return None
    glance = at_a_glance(rows, seed)
    if closes(glance) and kind_of(at_a_glance(rows, seed, 1)) == kind_of(glance):
        return None
    return by_support(rows, found, f"the ridge of {glance.rows} rows: {': '.join(filter(None, kind_of(glance)))}")
