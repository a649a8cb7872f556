"""From starts to every near-optimal map between two clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.clouds import Cloud, Rows
from analysis.alignment.judge import Cost, Judge
from analysis.alignment.refine import polished, transported
from analysis.alignment.rigid import Floats, Rigid, are_apart, distinct
from analysis.alignment.starts import starts

COARSE_ROWS = 100
POLISH_ROWS = 300
FINAL_ROWS = 600
MOST_POLISHED = 32
MOST_FINAL = 16
SMALL = 0.05  # first width of a polish that is to stay at its optimum, in units of the spread
ENOUGH = 6  # uniform starts that must lead to a map before it may be called unique
KEPT = 6.0  # badness above the best at which a map is not worth a last polish


@dataclass(frozen=True)
class Optimum:
    """A near-optimal map and what it costs."""

    map: Rigid
    cost: Cost


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        optima: every distinct near-optimal map, the best first; never empty.
        reached: how many of the uniform starts led to the best.
        uniform: how many there were; 0 in one dimension, where both maps are tried.
    """

    optima: list[Optimum]
    reached: int
    uniform: int

    @property
    def is_thorough(self) -> bool:
        """Whether another map as good would have been found.

        A symmetry takes uniform starts to uniform starts, so that maps which it relates are reached equally often. Were there
        two, all of :data:`ENOUGH` starts would lead to one of them with probability 2 / 2^ENOUGH, one in 32.
        """
        return self.reached >= ENOUGH or not self.uniform


def optima(
    judge: Judge,
    pieces: tuple[NDArray[np.intp], NDArray[np.intp]],
    tolerance: float,
    anchor: Floats | None = None,
    seed: int = 0,
) -> Found:
    """Every distinct near-optimal map from the judge's a to its b.

    The judge is told of the best, see :meth:`~analysis.alignment.judge.Judge.forgive`.

    Args:
        judge: holds the two clouds.
        pieces: (n_a,) and (n_b,) numbers of the rows' pieces.
        tolerance: degrees within which two maps count as one.
        anchor: cross-covariance (k_a, k_b) of known pairs, or None.
        seed: draws starts and rows.
    """
    a, b = judge.clouds
    generator = np.random.default_rng([seed, 3])
    some = sample(a, POLISH_ROWS, generator), sample(b, POLISH_ROWS, generator)
    more = sample(a, FINAL_ROWS, generator), sample(b, FINAL_ROWS, generator)
    found = []
    guided, uniform = starts(a, b, *pieces, seed)
    ends = descended(a, b, [*guided, *uniform], generator, anchor)
    for matrix in cheapest(ends, tolerance):
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
    best = kept[0]
    judge.forgive(best.cost)
    reached = sum(not are_apart(end, best.map.matrix, 2 * tolerance) for end, _ in ends[len(ends) - len(uniform) :])
    return Found([o for o in kept if o is best or judge.allows(o.cost)], reached, len(uniform))


def descended(
    a: Cloud, b: Cloud, begin: list[Floats], generator: np.random.Generator, anchor: Floats | None = None
) -> list[tuple[Floats, float]]:
    """Transport and Procrustes from every start, each on rows of its own: where it ends, and at what cost."""
    size = min(COARSE_ROWS, len(a), len(b))
    return [transported(sample(a, size, generator), sample(b, size, generator), start, anchor) for start in begin]


def cheapest(ends: list[tuple[Floats, float]], tolerance: float) -> list[Floats]:
    """The cheapest distinct ends."""
    kept = distinct([matrix for matrix, _ in ends], [cost for _, cost in ends], tolerance)
    return [ends[i][0] for i in kept[:MOST_POLISHED]]


def sample(cloud: Cloud, size: int, generator: np.random.Generator) -> Cloud:
    """At most ``size`` rows, drawn."""
    rows: Rows = generator.permutation(len(cloud))[:size]
    return cloud.take(rows)
