"""Whether a cloud is read in pieces by its ridge, or as a whole by its support: what is one thing must not be cut first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.density.bag import fit_density
from analysis.topology.naming import kind_of, words_for
from analysis.topology.reading import Reading, read_piece
from analysis.topology.support import Support, support
from analysis.topology.survey import MASSES, Survey

Floats = NDArray[np.float64]
T = TypeVar("T")

GLANCE_ROWS = 2500
STRADDLING = 0.4  # share of the support's draws with a loop from which on a part without one is undecided
MOST_PARTS = 12  # are asked for their support
RIDGE_DIMS = 3  # up to these the ridge is always read, piece by piece


def by_support(rows: Floats, found: Support, other_route: str) -> Survey:
    """The support's draws as a survey of one part, the whole; ``other_route`` is what the ridge says of it."""
    labels = np.zeros(len(rows), dtype=np.intp)
    said = tuple(kind_of(reading)[0] for reading in found.readings)
    return Survey((found.readings,), ((),), (found.mass,), (said,), labels, rows, found.seed, other_route)


def at_a_glance(rows: Floats, seed: int, glance: int = 0) -> Reading:
    """One reading of all rows (n, k) as one piece, by the ridge of a density of 2500 of them."""
    rng = np.random.default_rng([seed, 37, glance])
    some = rows[rng.permutation(len(rows))[:GLANCE_ROWS]]
    density = fit_density(some, seed, members=1, most_rows=GLANCE_ROWS)
    return read_piece(some, density.mixture, rng)


def closes(reading: Reading) -> bool:
    """Whether a ridge has a name with loops or voids in it."""
    return kind_of(reading)[0] != "unknown" and any(reading.betti[2])


def instead_of(surveyed: Survey, found: Support) -> Survey:
    """What the support of all rows, and of the rows of each part, says, next to the ridges of the densest.

    Where it surely is a named shape with loops or voids and no ridge is, that is the name, and what the ridge says is kept.
    Where some of its draws show a loop and the ridge does not, the part is undecided.
    """
    several = len(surveyed.parts) > 1
    if several and _is_named(found) and not any(map(closes, filter(None, _chosen(surveyed)))):
        counts = Counter(surveyed.kind(part)[0] for part in range(len(surveyed.parts)))
        words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
        return by_support(surveyed.rows, found, f"the ridge of the densest {MASSES[0]:.0%} of each piece: {words}")
    open_parts = [part for part, reading in enumerate(_chosen(surveyed)) if reading is not None and not closes(reading)]
    for part in open_parts[:MOST_PARTS]:
        own = support(surveyed.rows[surveyed.labels == part], surveyed.seed) if several else found
        surveyed = _part(surveyed, part, own)
    return surveyed


def _chosen(surveyed: Survey) -> list[Reading | None]:
    return [surveyed.chosen(part) for part in range(len(surveyed.parts))]


def _is_named(found: Support) -> bool:
    return found.is_sure and found.is_one_shape and found.kind != "unknown"


def _part(surveyed: Survey, part: int, own: Support) -> Survey:
    """A part whose ridge has no loop, together with its support."""
    word, share, _ = surveyed.kind(part)
    if _is_named(own):
        return replace(
            surveyed,
            readings=_put(surveyed.readings, part, own.readings),
            masses=_put(surveyed.masses, part, own.mass),
            said=_put(surveyed.said, part, tuple(kind_of(reading)[0] for reading in own.readings)),
            densest=surveyed.densest | {part: f"its densest {surveyed.masses[part]:.0%} {words_for(word)}"},
        )
    loops = [reading.betti[2][0] > 0 for reading in own.readings]
    seen, closed = sum(loops) / max(len(loops), 1), surveyed.said[part].count("circle")
    if not (seen >= STRADDLING or (seen and closed)):
        return surveyed
    doubt = (
        f"undecided between {word} and circle: by the ridge of its densest rows {word} in {share:.0%} of the draws, "
        f"by its support with a loop in {seen:.0%}"
    )
    return replace(surveyed, undecided=surveyed.undecided | {part: doubt})


def _put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


def wide(rows: Floats, found: Support, seed: int) -> Survey | None:
    """Above three dimensions: the whole by its support, unless two glances at its ridge see one shape with loops or voids."""
    if rows.shape[1] <= RIDGE_DIMS or not found.is_one_shape:
        return None
    glance = at_a_glance(rows, seed)
    if closes(glance) and kind_of(at_a_glance(rows, seed, 1)) == kind_of(glance):
        return None
    return by_support(rows, found, f"the ridge of {glance.rows} rows: {': '.join(filter(None, kind_of(glance)))}")
