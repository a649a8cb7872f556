"""Which symmetries both models and the map between them agree on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.alignment.judge import Judge
from analysis.alignment.refine import polished
from analysis.alignment.rigid import Floats, angle, distinct, polar, random_map, turn
from analysis.alignment.search import SMALL, Optimum, coarse, sample
from analysis.alignment.starts import signs_and_orders
from analysis.alignment.symmetry import MOST_ELEMENTS, Modulo, Symmetry, directions_of, loose

Tried = tuple[Floats, list[Optimum | None]]  # an element and what each view says of it

RANDOM = 60
STEPS_AROUND = 12  # a free turn is followed all the way around in so many steps
VIEW_ROWS = 500
MOST_DIRECTIONS = 10


@dataclass(frozen=True)
class Agreement:
    """Symmetries of the pair of models.

    Attributes:
        optima: near-optimal maps, with those that only a symmetry led to.
        shared: the group that the map and both models agree on, in a's frame.
        own: each model's own group; of the smaller block alone where sizes differ.
    """

    optima: list[Optimum]
    shared: Symmetry
    own: tuple[Symmetry, ...]

    @property
    def agree(self) -> bool:
        """Whether the models' own groups are called the same, and like the shared one."""
        return len({group.name for group in (*self.own, self.shared)}) == 1


class View:
    """One place where a symmetry shows: from a to b, or a model against itself.

    Args:
        judge: the yardstick.
        side: 0 or 1 for a model against itself, None for a to b.
        best: the best map (k_a, k_b).
        tolerance: degrees that a polish may move a map that is there.
        generator: draws rows.
    """

    def __init__(
        self, judge: Judge, side: int | None, best: Floats, tolerance: float, generator: np.random.Generator
    ) -> None:
        self.judge, self.side, self.tolerance = judge, side, tolerance
        # an element g of a's frame is g @ best from a to b, and best' g best in b's own frame
        self.before = best.T if side == 1 else np.eye(len(best))
        self.after = np.eye(len(best)) if side == 0 else best
        a, b = (sample(cloud, VIEW_ROWS, generator) for cloud in judge.clouds)
        self.clouds = (a, b) if side is None else ((a, a) if side == 0 else (b, b))

    def try_map(self, g: Floats) -> Optimum | None:
        """The optimum at an element g (k_a, k_a) of a's frame, if there is one and it is allowed."""
        start = self.before @ g @ self.after
        map = polished(*self.clouds, start, widest=SMALL, same=self.side is not None)
        if angle(map.matrix, start) > self.tolerance:
            return None
        cost = self.judge.between(map) if self.side is None else self.judge.within(self.side, map)
        return Optimum(map, cost) if self.judge.allows(cost) else None

    def element(self, optimum: Optimum) -> Floats:
        """The element of a's frame that an optimum stands for."""
        return polar(self.before.T @ optimum.map.matrix @ self.after.T)

    def turns(self, direction: Floats) -> bool:
        """Whether every turn along a direction, all the way around, is an optimum."""
        steps = np.random.default_rng(0).permutation(STEPS_AROUND) + 1  # far turns first, as likely as not
        return all(self.try_map(turn(direction, 2 * math.pi * i / STEPS_AROUND)) for i in steps)

    def own_elements(self, generator: np.random.Generator) -> list[Floats]:
        """Elements of a's frame that one half of the model finds in the other."""
        cloud = self.judge.clouds[self.side or 0]
        order = generator.permutation(len(cloud))
        half, other = cloud.take(order[::2]), cloud.take(order[1::2])
        k = cloud.s.shape[1]
        begin = [
            *signs_and_orders(half.s, other.s),
            *(random_map(k, k, generator) for _ in range(RANDOM if k > 1 else 0)),
        ]
        ends = coarse(half, other, begin, self.tolerance, generator)
        found = []
        for end in ends:
            map = polished(*self.clouds, end, same=True)
            cost = self.judge.within(self.side or 0, map)
            if self.judge.allows(cost):
                found.append(Optimum(map, cost))
        kept = distinct([o.map.matrix for o in found], [self.judge.badness(o.cost) for o in found], self.tolerance)
        return [self.element(found[i]) for i in kept]


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
    free = _free_directions(judge, views, best)
    proposed = [across.element(o) for o in optima] + [g for view in own for g in view.own_elements(generator)]
    modulo = Modulo(_stack([x for x, passes in free if all(passes)], len(best)), tolerance)
    tried = [(g, [view.try_map(g) for view in views]) for g in modulo.components(proposed)]
    tried += _products(tried, views, modulo)
    groups = [
        _group(free, tried, which, tolerance, len(best)) for which in ([*range(len(views))], *([i + 1] for i in sides))
    ]
    new = [passes[0] for g, passes in tried if passes[0]]
    return Agreement(_merged(optima, new, across, modulo), groups[0], tuple(groups[1:]))


def _free_directions(judge: Judge, views: list[View], best: Floats) -> list[tuple[Floats, list[bool]]]:
    """Directions that some view turns freely along, with what each view says; loosest first, until one fails everywhere."""
    if len(best) < 2:
        return []
    a, b = judge.clouds
    rows, shared = a.s - a.s.mean(0), a.shared
    if len(views) == 3:
        rows, shared = np.vstack([rows, (b.s - b.s.mean(0)) @ best.T]), np.vstack([shared, b.shared])
    form = loose(rows, shared)
    found = []
    for direction in directions_of(form, len(best))[:MOST_DIRECTIONS]:
        passes = [view.turns(direction) for view in views]
        if not any(passes):
            break
        found.append((direction, passes))
    return found


def _products(tried: list[Tried], views: list[View], modulo: Modulo) -> list[Tried]:
    """Products of elements that pass everywhere, as long as they are new."""
    known = [g for g, _ in tried]
    group = [g for g, passes in tried if all(passes)]
    out: list[Tried] = []
    for g in group:  # grows while it is walked
        for h in list(group):
            product = polar(g @ h)
            if len(known) < MOST_ELEMENTS and modulo.is_new(product, known):
                known.append(product)
                out.append((product, [view.try_map(product) for view in views]))
                if all(out[-1][1]):
                    group.append(product)
    return out


def _group(
    free: list[tuple[Floats, list[bool]]], tried: list[Tried], which: list[int], tolerance: float, k: int
) -> Symmetry:
    """The group of what passes in all of some views."""
    directions = _stack([x for x, passes in free if all(passes[i] for i in which)], k)
    elements = Modulo(directions, tolerance).components([g for g, passes in tried if all(passes[i] for i in which)])
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
