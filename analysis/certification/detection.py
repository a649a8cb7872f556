"""The detection limit: the smallest planted dependence that an examination would have seen."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from analysis.certification.bounds import Array
from analysis.certification.critics import Block, cosines
from analysis.certification.examination import examine
from analysis.progress import tracked

GRID = (0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)  # nats
KINDS = ("features", "quadratic", "linear")


@dataclass(frozen=True)
class Control:
    """A planted dependence of known size, put through the same test.

    Attributes:
        kind: what n_1 depends on: a linear, quadratic or random-feature function of s; "shift" of the mean without any.
        nats, bound: its mutual information, -1/2 log(1 - rho²), and the mean lower bound over the draws.
        z, spread: mean and standard deviation of the test's statistic over the draws.
        draws, detected: number of draws (two misses end it early); whether 95 percent would be rejected.
    """

    kind: str
    nats: float
    bound: float
    z: float
    spread: float
    draws: int
    detected: bool


def detection_limit(
    block: Block, m: int, limit: float, seed: int, draws: int, least: float = 0.0
) -> tuple[float, tuple[Control, ...]]:
    """Smallest size on ``GRID``, at least ``least``, whose statistic exceeds ``limit`` in 95 percent of draws for every kind.

    By bisection; the kind that failed last goes first.
    """
    kinds = list(KINDS) if block.s.shape[1] or m > 1 else ["shift"]
    below, above, controls = sum(size < least for size in GRID) - 1, len(GRID), []
    while above - below > 1:
        middle = (below + above) // 2
        for kind in tuple(kinds):
            controls.append(_try_control(block, m, kind, GRID[middle], limit, seed, draws))
            if not controls[-1].detected:
                kinds.insert(0, kinds.pop(kinds.index(kind)))
                below = middle
                break
        else:
            above = middle
    return (GRID[above] if above < len(GRID) else math.inf), tuple(controls)


def _try_control(block: Block, m: int, kind: str, nats: float, limit: float, seed: int, draws: int) -> Control:
    """The same draws of h, noise and split for every size, so that detection is close to monotone in it."""
    outcomes, number = [], (*KINDS, "shift").index(kind)
    for draw in tracked(range(draws), f"certificate: {kind} control of {nats:g} nats", "draw"):
        rng = np.random.default_rng([seed, 3, number, draw])
        noise = control_noise(block.s, m, kind, nats, rng)
        outcomes.append(examine(block, noise, rng, thrifty=True))
        if sum(outcome.z <= limit for outcome in outcomes) == 2:
            break
    z = np.array([outcome.z for outcome in outcomes])
    spread = float(z.std(ddof=1)) if len(z) > 1 else 1.0
    detected = bool(z.mean() - 1.645 * max(spread, 1.0) >= limit)
    bound = float(np.mean([outcome.lower_bound for outcome in outcomes]))
    return Control(kind, nats, bound, float(z.mean()), spread, len(z), detected)


def control_noise(s: Array, m: int, kind: str, nats: float, rng: np.random.Generator) -> Array:
    """Noise (rows, m), N(0, I) except for n_1, which carries ``nats`` about s; about up to three others where s is empty."""
    n = rng.normal(size=(len(s), m))
    source = s if s.shape[1] else n[:, 1:4]
    k = source.shape[1]
    if kind == "shift":
        n[:, 0] += math.sqrt(2 * nats)
        return n
    if kind == "linear":
        h = source @ rng.normal(size=k)
    elif kind == "quadratic":
        h = ((source @ rng.normal(size=(k, k))) * source).sum(1)
    else:
        h = cosines(source, 16, 2, rng) @ rng.normal(size=16)
    h = ndtri((rankdata(h) - 0.5) / len(h))
    rho = math.sqrt(-math.expm1(-2 * nats))
    n[:, 0] = rho * h + math.sqrt(1 - rho**2) * n[:, 0]
    return n
