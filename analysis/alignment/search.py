"""From starts to every near-optimal map between two clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.clouds import Cloud, Rows
from analysis.alignment.judge import Cost, Judge
from analysis.alignment.refine import polished, transported
from analysis.alignment.rigid import Floats, Rigid, distinct
from analysis.alignment.starts import starts

COARSE_ROWS = 100
POLISH_ROWS = 300
FINAL_ROWS = 600
MOST_POLISHED = 32
MOST_FINAL = 16
SMALL = 0.05  # first width of a polish that is to stay at its optimum, in units of the spread
KEPT = 6.0  # badness above the best at which a map is not worth a last polish


@dataclass(frozen=True)
class Optimum:
    """A near-optimal map and what it costs."""

    map: Rigid
    cost: Cost


def optima(
    judge: Judge,
    pieces: tuple[NDArray[np.intp], NDArray[np.intp]],
    tolerance: float,
    anchor: Floats | None = None,
    extra_starts: tuple[Floats, ...] = (),
    seed: int = 0,
) -> list[Optimum]:
    """Every distinct near-optimal map from the judge's a to its b, the best first; never empty.

    The judge is told of the best, see :meth:`~analysis.alignment.judge.Judge.forgive`.

    Args:
        judge: holds the two clouds.
        pieces: (n_a,) and (n_b,) numbers of the rows' pieces.
        tolerance: degrees within which two maps count as one.
        anchor: cross-covariance (k_a, k_b) of known pairs, or None.
        extra_starts: maps to begin with besides the usual ones.
        seed: draws starts and rows.
    """
    a, b = judge.clouds
    generator = np.random.default_rng([seed, 3])
    some = sample(a, POLISH_ROWS, generator), sample(b, POLISH_ROWS, generator)
    more = sample(a, FINAL_ROWS, generator), sample(b, FINAL_ROWS, generator)
    found = []
    begin = [*extra_starts, *starts(a, b, *pieces, seed)]
    for matrix in coarse(a, b, begin, tolerance, generator, anchor):
        map = polished(*some, matrix, anchor)
        found.append(Optimum(map, judge.between(map)))
    ranks = [judge.badness(o.cost) for o in found]
    first = [found[i] for i in distinct([o.map.matrix for o in found], ranks, tolerance)]
    cut = min(ranks) + KEPT
    kept: list[Optimum] = []
    for o in first:
        if judge.badness(o.cost) <= cut and len(kept) < MOST_FINAL:
            map = polished(*more, o.map.matrix, anchor, widest=SMALL)
            kept.append(Optimum(map, judge.between(map)))
    kept.sort(key=lambda o: judge.badness(o.cost))
    judge.forgive(kept[0].cost)
    return [o for i, o in enumerate(kept) if i == 0 or judge.allows(o.cost)]


def coarse(
    a: Cloud,
    b: Cloud,
    begin: list[Floats],
    tolerance: float,
    generator: np.random.Generator,
    anchor: Floats | None = None,
) -> list[Floats]:
    """Transport and Procrustes from every start, each on rows of its own; the cheapest distinct ends."""
    size = min(COARSE_ROWS, len(a), len(b))
    ends = [transported(sample(a, size, generator), sample(b, size, generator), start, anchor) for start in begin]
    kept = distinct([matrix for matrix, _ in ends], [cost for _, cost in ends], tolerance)
    return [ends[i][0] for i in kept[:MOST_POLISHED]]


def sample(cloud: Cloud, size: int, generator: np.random.Generator) -> Cloud:
    """At most ``size`` rows, drawn."""
    rows: Rows = generator.permutation(len(cloud))[:size]
    return cloud.take(rows)
