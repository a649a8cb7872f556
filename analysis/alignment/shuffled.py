"""Do two wide clouds belong together? The best map's cost against that between clouds whose pieces lie elsewhere."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.assignment import assignments
from analysis.alignment.frame import Frame
from analysis.alignment.geometry import elsewhere
from analysis.alignment.grains import Grains, carried
from analysis.alignment.rigid import Floats, polar
from analysis.alignment.wide import Search

STARTS, TRIED = 60, 8
FOREIGN = (
    2.0  # times the usual cost of a cloud against itself with its pieces moved: more says that pieces have no partner
)

Side = tuple[Floats, Grains]  # centres of pieces (p, r), and grains


def p_value(search: Search, draws: int, seed: int) -> float:
    """Share of clouds with the same pieces elsewhere that fit as well, the real one counted: (1 + hits) / (1 + draws).

    A null cloud is one of the two with its pieces' centres turned at random among themselves. That keeps the spectrum of
    their distances (the eigenvalues of their Gram matrix) and every piece's own shape, but not which is near which. It
    meets the other cloud, and the same quick search finds its best map. Where the real cost is more than twice what a
    cloud costs against itself with its pieces moved, the pieces themselves have no partners (seven days and twelve months
    both lie on rings), and the answer is 1.
    """
    generator = np.random.default_rng([seed, 13])
    sides = [(n.centres(c.s), g) for n, c, g in zip(search.nodes, search.coarse, search.grains, strict=True)]
    real = _best(sides[0], sides[1], search, (0, 1), generator)
    hits, own = 0, ([], [])  # type: tuple[int, tuple[list[float], list[float]]]
    for i in range(draws):
        which = i % 2
        moved = _moved(sides[which], generator)
        pair = (moved, sides[1]) if which == 0 else (sides[0], moved)
        hits += _best(*pair, search, (0, 1), generator) <= real
        if i < draws // 2:
            own[which].append(_best(moved, sides[which], search, (which, which), generator))
    usual = float(np.mean([np.median(costs) for costs in own]))
    return 1.0 if real > FOREIGN * usual else (1 + hits) / (1 + draws)


def _moved(side: Side, generator: np.random.Generator) -> Side:
    """The same cloud with its pieces' centres turned among themselves; grains go with the piece that they are in."""
    centres, grains = side
    placed = elsewhere(centres, generator)
    owner = cdist(grains.points, centres).argmin(1)
    moved = Grains(grains.points + (placed - centres)[owner], grains.shared, grains.weights)
    return placed - moved.weights @ moved.points, moved.centred()


def _best(a: Side, b: Side, search: Search, which: tuple[int, int], generator: np.random.Generator) -> float:
    """Least cost of the grains from the best assignments of the pieces."""
    frames: list[Frame] = [search.frames[i] for i in which]
    gaps = [cdist(x, x) for x in (frame.tempered(centres) for frame, (centres, _) in zip(frames, (a, b), strict=True))]
    grains = a[1].in_one_unit(), b[1].in_one_unit()
    costs = []
    for order in assignments(gaps[0], gaps[1], generator, STARTS).orders[:TRIED]:
        on = order >= 0
        x, y = a[0][on], b[0][order[on]]
        costs.append(carried(*grains, polar((x - x.mean(0)).T @ (y - y.mean(0))))[1])
    return min(costs)
