"""What a map costs beyond chance: the yardstick by which maps count as optima, and as symmetries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud, Rows, assign, squared_distances
from analysis.alignment.rigid import Floats, Rigid

SURE = 3.5  # standard errors; rows share their neighbours, so a gap spreads wider than its error says
DRAWS = 6
NULL_DRAWS = 40
LARGEST_HALF = 200
HOPELESS = 4.0


@dataclass(frozen=True)
class Cost:
    """What a map costs.

    Attributes:
        transport: mean squared distance along the optimal plan between samples of the size of a half.
        gap: by how much rows are further from the nearest row of the other cloud than from the nearest of their own.
        error: standard error of the gap.
    """

    transport: float
    gap: float
    error: float


class Judge:
    """Holds maps against two yardsticks, both of them one model against itself.

    *Transport*: the cost of the optimal plan between samples of ``size`` rows, against that between disjoint halves of one
    model, of the same size. It sees masses, but chance alone shifts mass along a structure, so its range is wide.
    *Gap*: distance to the nearest row of the other cloud less that to the nearest of one's own, both ways. It is free
    of masses, has mean 0 where the two laws agree, and sees a structure that has come to lie where there is none.

    Args:
        a, b: the clouds.
        seed: draws halves and samples.
        half: most rows in a half.
        hopeless: times its range by which a gap rules a map out whatever its transport, which is then measured on one draw alone.

    Attributes:
        null: (2, draws) transport costs of half against half, of a and of b.
    """

    def __init__(self, a: Cloud, b: Cloud, seed: int = 0, half: int = LARGEST_HALF, hopeless: float = HOPELESS):
        self.clouds, self.hopeless = (a, b), hopeless
        self.size = min(len(a) // 2, len(b) // 2, half)
        generator = np.random.default_rng([seed, 1])
        self._halves = [[_halves(len(c), self.size, generator) for _ in range(NULL_DRAWS)] for c in (a, b)]
        self.null = np.array([self._chance(side) for side in (0, 1)])
        self._own = [_nearest_own(c) for c in (a, b)]
        self._slack = 0.0, 0.0

    @property
    def usual(self) -> float:
        """Median cost of half against half, of the model for which it is larger."""
        return float(np.median(self.null, axis=1).max())

    @property
    def most(self) -> float:
        """The end of the range of chance: twice as far from the median as the 95 % quantile of half against half.

        Dozens of maps are tried at once, and a group counts as found only if all of its maps pass; at the quantile itself
        chance alone would lose some of them.
        """
        quantiles = np.quantile(self.null, (0.5, 0.95), axis=1)
        return float((2 * quantiles[1] - quantiles[0]).max())

    def between(self, map: Rigid) -> Cost:
        """Cost of a map from a to b."""
        a, b = self.clouds
        apart = np.sqrt(squared_distances(a.moved(map), b.moved()))
        gaps = np.concatenate([apart.min(1) - self._own[0], apart.min(0) - self._own[1]])
        pairs = zip(self._halves[0], self._halves[1], strict=True)
        return self._cost(gaps, ((a.take(one).centred(map), b.take(other).centred()) for (one, _), (_, other) in pairs))

    def within(self, side: int, map: Rigid) -> Cost:
        """Cost of a map from one model, 0 for a and 1 for b, to itself."""
        cloud = self.clouds[side]
        apart = np.sqrt(squared_distances(cloud.moved(map), cloud.moved()))
        np.fill_diagonal(apart, np.inf)
        gaps = np.concatenate([apart.min(1), apart.min(0)]) - np.tile(self._own[side], 2)
        halves = self._halves[side]
        return self._cost(gaps, ((cloud.take(one).centred(map), cloud.take(other).centred()) for one, other in halves))

    def forgive(self, best: Cost) -> None:
        """Take the best map between the models as the limit of what can be told.

        Where even that exceeds chance, the models themselves differ; a map is then let by whose own defect is no larger than
        that difference, which by the triangle inequality doubles the distance and quadruples its square.
        """
        self._slack = 3 * max(0.0, best.transport - self.most), 2 * max(0.0, best.gap - SURE * best.error)

    @property
    def differs(self) -> bool:
        """Whether even the best map costs more than chance."""
        return max(self._slack) > 0

    def strain(self, cost: Cost) -> float:
        """By how much a cost exceeds the usual one, as a share of what chance or the models' difference would explain."""
        transport = (cost.transport - self.usual) / (self.most + self._slack[0] - self.usual)
        return max(transport, cost.gap / (SURE * cost.error + self._slack[1]))

    def allows(self, cost: Cost) -> bool:
        """Whether chance or the models' difference explain a cost."""
        return self.strain(cost) <= 1

    def badness(self, cost: Cost) -> float:
        """One number to rank maps by: both costs in units of their ranges."""
        return cost.transport / self.most + cost.gap / (SURE * cost.error)

    def _chance(self, side: int) -> list[float]:
        cloud = self.clouds[side]
        return [assign(cloud.take(i).centred(), cloud.take(j).centred())[1] for i, j in self._halves[side]]

    def _cost(self, gaps: Floats, pairs: Iterable[tuple[Floats, Floats]]) -> Cost:
        """Transport is averaged over draws; over one alone where the gap rules the map out anyway."""
        gap, error = float(gaps.mean()), max(float(gaps.std() / np.sqrt(len(gaps))), 1e-12)
        draws = 1 if gap > self.hopeless * SURE * error + self._slack[1] else DRAWS
        return Cost(float(np.mean([assign(a, b)[1] for a, b in islice(pairs, draws)])), gap, error)


def _halves(count: int, size: int, generator: np.random.Generator) -> tuple[Rows, Rows]:
    order = generator.permutation(count)
    return order[:size], order[size : 2 * size]


def _nearest_own(cloud: Cloud) -> Floats:
    rows = cloud.moved()
    apart = cdist(rows, rows)
    np.fill_diagonal(apart, np.inf)
    return apart.min(1)
