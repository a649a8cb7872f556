"""One examination of a product: critics are trained, one is chosen and evaluated, each on rows of its own."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from analysis.certification.bounds import Array, cut, fit_scale, nwj
from analysis.certification.critics import LAST_CHEAP, Block, Critic, Index, critics

TRAIN, CHOOSE = 0.5, 0.2  # shares of the rows; the rest gives the bound
NEGATIVES = 4  # fresh noise blocks for each row that chooses or evaluates


@dataclass(frozen=True)
class Outcome:
    """What one examination gives; fields as in :class:`Certificate`."""

    lower_bound: float
    se: float
    z: float
    critic: str
    scores: tuple[tuple[str, float], ...]
    split: tuple[int, int, int]


def examine(block: Block, n: Array, rng: Generator, thrifty: bool = False) -> Outcome:
    """Train the critics, choose one, and evaluate it; each on rows of its own."""
    first, second = round(TRAIN * len(n)), round((TRAIN + CHOOSE) * len(n))
    train, choose, evaluate = np.split(rng.permutation(len(n)), [first, second])

    def values(critic: Critic, rows: Index, noise: Array) -> tuple[Array, Array]:
        """On the rows themselves (rows,), and on fresh noise (NEGATIVES, rows)."""
        return cut(critic(rows, n[rows])), cut(np.stack([critic(rows, one) for one in noise]))

    fresh = rng.normal(size=(NEGATIVES, len(choose), n.shape[1]))
    candidates: list[tuple[float, float, float, str, Critic]] = []
    for name, critic in critics(block, n, train, choose, fresh, rng):
        candidates.append((*fit_scale(*values(critic, choose, fresh)), name, critic))
        if thrifty and name == LAST_CHEAP and max(c[0] for c in candidates) > 8 / len(choose):  # z = 4: bound z²/2 rows
            break
    _, scale, offset, name, critic = max(candidates, key=lambda candidate: candidate[0])
    p, q = values(critic, evaluate, rng.normal(size=(NEGATIVES, len(evaluate), n.shape[1])))
    bound, se = _mean(nwj(scale * p + offset, scale * q + offset))
    slope, slope_se = _mean(p - q.mean(0))
    scores = tuple((candidate[3], candidate[0]) for candidate in candidates)
    return Outcome(bound, se, slope / max(slope_se, 1e-99), name, scores, (len(train), len(choose), len(evaluate)))


def _mean(x: Array) -> tuple[float, float]:
    """Mean of independent values and its standard error."""
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x)))
