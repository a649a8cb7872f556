"""Which symmetries both models and the map between them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.alignment.judge import Judge
from analysis.alignment.rigid import Floats, polar
from analysis.alignment.search import Optimum
from analysis.alignment.symmetry import MOST_ELEMENTS, Modulo, Symmetry, directions_of, loose
from analysis.alignment.views import FREE, Strains, View, holds

MOST_DIRECTIONS = 10
NEW = 0.5  # of a direction, at least, lies outside those that are known

Which = Sequence[int]


@dataclass(frozen=True)
class Agreement:
    """Symmetries of the pair of models.

    Attributes:
        optima: near-optimal maps, with those that only a symmetry led to.
        shared: the group that the map and both models agree on, in a's frame.
        own: each model's own group, the shared one in it; of the smaller block alone where sizes differ.
    """

    optima: list[Optimum]
    shared: Symmetry
    own: tuple[Symmetry, ...]


@dataclass(frozen=True)
class Tried:
    """A turn or an element, and how it fares in every view.

    Attributes:
        matrix: (k_a, k_a).
        strains: of every view: one of an element, one a step of a turn.
        across: the optimum from a to b at an element, or None.
    """

    matrix: Floats
    strains: Sequence[Strains]
    across: Optimum | None = None

    def holds(self, which: Which, most: float = 1.0) -> bool:
        """Whether it holds in some views, or in all, which says it of each."""
        return holds([self.strains[i] for i in which], most) or holds(self.strains, most)


def agreement(judge: Judge, optima: list[Optimum], tolerance: float, seed: int = 0) -> Agreement:
    """Collect every symmetry that the optima or a model propose, and try it everywhere.

    Args:
        judge: told of the best map; of blocks of different sizes its a is the smaller.
        optima: from :func:`~analysis.alignment.search.optima`.
        tolerance: degrees within which two maps count as one.
        seed: draws starts and rows.
    """
    generator = np.random.default_rng([seed, 5])
    best = optima[0].map.matrix
    sides = (0, 1) if best.shape[0] == best.shape[1] else (0,)
    across, *own = views = [View(judge, side, best, tolerance, generator) for side in (None, *sides)]
    everywhere = range(len(views))
    free = _free_turns(judge, views, best)
    proposed = [across.element(o) for o in optima] + [g for view in own for g in view.own_elements(generator)]
    modulo = Modulo(_stack([t.matrix for t in free if t.holds(everywhere, FREE)], len(best)), tolerance)
    tried = [_tried(g, views) for g in modulo.components(proposed)]
    tried += _products(tried, views, modulo)
    groups = [_group(free, tried, which, tolerance, len(best)) for which in (everywhere, *([i + 1] for i in sides))]
    new = [t.across for t in tried if t.across and (judge.allows(t.across.cost) or t.holds(everywhere))]
    return Agreement(_merged(optima, new, across, modulo), groups[0], tuple(groups[1:]))


def _tried(g: Floats, views: list[View]) -> Tried:
    found = [view.near(g) for view in views]
    return Tried(g, [[view.strain(o)] for view, o in zip(views, found, strict=True)], found[0])


def _free_turns(judge: Judge, views: list[View], best: Floats) -> list[Tried]:
    """Directions that some view turns freely along, orthogonal to one another; loosest first, until one fails everywhere."""
    if len(best) < 2:
        return []
    a, b = judge.clouds
    rows, shared = a.s - a.s.mean(0), a.shared
    if len(views) == 3:
        rows, shared = np.vstack([rows, (b.s - b.s.mean(0)) @ best.T]), np.vstack([shared, b.shared])
    found: list[Tried] = []
    for direction in directions_of(loose(rows, shared), len(best))[:MOST_DIRECTIONS]:
        begin = _apart(direction, found)
        if begin is None:
            continue
        walks = [view.walk(begin) for view in views]
        strains = [walk[1] for walk in walks]
        taken = [walk[0] for walk in walks if holds([walk[1]], FREE)]
        if not taken and not holds(strains, FREE):
            break
        refined = _apart(np.mean(taken or [walk[0] for walk in walks], axis=0), found)
        if refined is not None:
            found.append(Tried(refined, strains))
    return found


def _apart(direction: Floats, known: list[Tried]) -> Floats | None:
    """A direction less its part along known ones, its fastest plane turning one radian a unit; None if little is left."""
    left = direction - sum(np.sum(direction * t.matrix) / np.sum(t.matrix**2) * t.matrix for t in known)
    if np.linalg.norm(left) < NEW * np.linalg.norm(direction):
        return None
    return np.asarray(left / np.linalg.norm(left, 2))


def _products(tried: list[Tried], views: list[View], modulo: Modulo) -> list[Tried]:
    """Products of elements that hold everywhere, as long as they are new."""
    everywhere = range(len(views))
    known = [t.matrix for t in tried]
    group = [t.matrix for t in tried if t.holds(everywhere)]
    out: list[Tried] = []
    for g in group:  # grows while it is walked
        for h in list(group):
            product = polar(g @ h)
            if len(known) < MOST_ELEMENTS and modulo.is_new(product, known):
                known.append(product)
                out.append(_tried(product, views))
                if out[-1].holds(everywhere):
                    group.append(product)
    return out


def _group(free: list[Tried], tried: list[Tried], which: Which, tolerance: float, k: int) -> Symmetry:
    """The group of what holds in some views."""
    directions = _stack([t.matrix for t in free if t.holds(which, FREE)], k)
    elements = Modulo(directions, tolerance).components([t.matrix for t in tried if t.holds(which)])
    return Symmetry(tuple(elements), directions, tolerance)


def _merged(optima: list[Optimum], new: list[Optimum], across: View, modulo: Modulo) -> list[Optimum]:
    """Optima that differ by more than a free turn, the best first."""
    ranked = [optima[0], *sorted([*optima[1:], *new], key=lambda o: across.judge.badness(o.cost))]
    kept: list[Optimum] = []
    for optimum in ranked:
        if modulo.is_new(across.element(optimum), [across.element(o) for o in kept]):
            kept.append(optimum)
    return kept


def _stack(directions: list[Floats], k: int) -> Floats:
    return np.array(directions) if directions else np.zeros((0, k, k))
