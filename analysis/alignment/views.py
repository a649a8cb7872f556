"""Where a symmetry shows: in the map between two models, and in either model against itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from analysis.alignment.judge import Cost, Judge
from analysis.alignment.refine import polished
from analysis.alignment.rigid import Floats, Rigid, angle, distinct, polar, random_map, turn, turned
from analysis.alignment.search import SMALL, Optimum, cheapest, descended, sample
from analysis.alignment.starts import signs_and_orders

RANDOM = 60
ROWS = 500
STEPS_AROUND = (
    11  # a free turn is followed all the way around in so many steps; a prime number, for finite groups miss them
)
STRAY = 1.5  # the strain beyond which one map alone refutes a symmetry
FREE = 0.5  # the mean strain up to which a turn is free; that of true ones is below .35

Strains = Sequence[float]


def holds(strains: Sequence[Strains], most: float = 1.0) -> bool:
    """Whether a symmetry holds in several views at once, by the strains that it has in each.

    Chance alone puts one of many strains beyond 1; their mean is surer than each, so it decides, unless one is far beyond.
    """
    every = np.concatenate([np.asarray(s, dtype=np.float64) for s in strains])
    return bool(every.max() <= STRAY and every.mean() <= most)


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
        a, b = (sample(cloud, ROWS, generator) for cloud in judge.clouds)
        self.clouds = (a, b) if side is None else ((a, a) if side == 0 else (b, b))

    def near(self, g: Floats) -> Optimum | None:
        """The optimum at an element g (k_a, k_a) of a's frame, if there is one, whatever it costs."""
        map = self._polished(g)
        return None if angle(self._element(map), g) > self.tolerance else Optimum(map, self._cost(map))

    def strain(self, found: Optimum | None) -> float:
        """Strain of what :meth:`near` gave."""
        return math.inf if found is None else self.judge.strain(found.cost)

    def element(self, optimum: Optimum) -> Floats:
        """The element of a's frame that an optimum stands for."""
        return self._element(optimum.map)

    def walk(self, direction: Floats) -> tuple[Floats, Strains]:
        """Follow the optima around from the identity on, in steps along a direction (k_a, k_a).

        The direction is read off moments of few rows and so is a little off: after each step a polish sets it right sideways.
        What the polish moves along the direction is undone, so that the elements of a finite group do not catch the steps.

        Returns:
            The mean step, per radian of the direction asked for, and the strain at every step.
        """
        size = 2 * math.pi / STEPS_AROUND
        here, taken, strains = np.eye(len(direction)), np.zeros_like(direction), []
        for _ in range(STEPS_AROUND):
            map = self._polished(turn(direction, size) @ here)
            moved = turned(self._element(map) @ here.T)
            moved += (size - np.sum(moved * direction) / np.sum(direction**2)) * direction
            taken, here = taken + moved / (STEPS_AROUND * size), turn(moved, 1.0) @ here
            strains.append(self.judge.strain(self._cost(self._rotated(map, here))))
            if strains[-1] > STRAY:
                break
        return taken, strains

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
        ends = cheapest(descended(half, other, begin, generator), self.tolerance)
        found = []
        for end in ends:
            map = polished(*self.clouds, end, same=True)
            cost = self._cost(map)
            if self.judge.strain(cost) <= STRAY:
                found.append(Optimum(map, cost))
        kept = distinct([o.map.matrix for o in found], [self.judge.badness(o.cost) for o in found], self.tolerance)
        return [self.element(found[i]) for i in kept]

    def _polished(self, g: Floats) -> Rigid:
        start = self.before @ g @ self.after
        return polished(*self.clouds, start, widest=SMALL, same=self.side is not None)

    def _element(self, map: Rigid) -> Floats:
        return polar(self.before.T @ map.matrix @ self.after.T)

    def _cost(self, map: Rigid) -> Cost:
        return self.judge.between(map) if self.side is None else self.judge.within(self.side, map)

    def _rotated(self, map: Rigid, g: Floats) -> Rigid:
        """The map at an element g that takes the middle of the rows where another map does."""
        matrix, middle = self.before @ g @ self.after, self.clouds[0].s.mean(0)
        return Rigid(matrix, map(middle) - middle @ matrix)
