"""From debiased supports to a verdict: convex hull of J_k, worth per dimension, the interval of lambda of each k."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

SIGNIFICANT = 2.0  # standard errors


@dataclass(frozen=True)
class Vertex:
    """A k that is best for some lambda.

    Attributes:
        k: structure dimensions.
        J: held-out NLL + kappa * kinetic energy, nats per row.
        worth: nats per dimension over the next smaller vertex; infinite at the smallest.
        worth_se: its paired standard error over held-out rows.
        low, high: the interval of lambda, in nats, in which this k is best.
    """

    k: int
    J: float
    worth: float
    worth_se: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """The verdict: k, how sure, and the hull it was read from (rising k)."""

    structure_dim: int
    confidence: float
    hull: list[Vertex] = field(repr=False)


def lower_hull(J: dict[int, np.ndarray]) -> list[Vertex]:
    """Vertices of the lower convex hull of k -> mean J_k, as far as J falls.

    Args:
        J: for every k with a debiased flow, its held-out rows' NLL + kappa * kinetic energy (n,), the same rows for all.
    """
    means = {k: float(np.mean(rows)) for k, rows in sorted(J.items())}
    kept: list[int] = []
    for k, value in means.items():
        if kept and value >= means[kept[-1]]:
            continue
        kept.append(k)
        while len(kept) > 2 and _slope(means, *kept[-3:-1]) <= _slope(means, *kept[-2:]):
            kept.pop(-2)
    worths = [_slope(means, a, b) for a, b in zip(kept, kept[1:], strict=False)]
    errors = [_paired_error(J[a] - J[b]) / (b - a) for a, b in zip(kept, kept[1:], strict=False)]
    lows, highs = [*worths, 0.0], [np.inf, *worths]
    return [
        Vertex(k, means[k], high, se, low, high)
        for k, se, low, high in zip(kept, [0.0, *errors], lows, highs, strict=True)
    ]


def _slope(means: dict[int, float], a: int, b: int) -> float:
    """Nats per dimension that going from a to b dimensions is worth."""
    return (means[a] - means[b]) / (b - a)


def _paired_error(differences: np.ndarray) -> float:
    """Standard error of their mean; nan of a single row."""
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("nan")


def choose(J: dict[int, np.ndarray], null_worth: float) -> Choice:
    """The k that is best at the middle of log lambda, between ``null_worth`` and the largest worth; k = 0 if no worth exceeds it.

    The middle hangs on the hull's first edge alone, and k minimises J_k + lambda k there: a support debiased later moves k to
    a neighbour at most, unless it opens a steeper first edge. The widest interval, which every further vertex splits, does not
    have that. Of two intervals the middle is in the wider.

    A worth that is not two standard errors above 0 is chance and exceeds nothing.
    Confidence is how far log lambda can move, either way, before another k is best, as a share of the way to the nearer end of
    the range. Where k = 0 it is 1 - largest worth / what it had to exceed.
    """
    hull = lower_hull({k: J[k] for k in _beyond_chance(J)})
    lam = middle(hull, null_worth)
    if lam is None:
        return Choice(0, _sure_of_none(J, null_worth), lower_hull(J))
    best = next(v for v in hull if v.low < lam)
    room = min(np.log(best.high / lam), np.log(lam / max(best.low, null_worth)))
    return Choice(best.k, float(room / np.log(lam / null_worth)), hull)


def middle(hull: list[Vertex], null_worth: float) -> float | None:
    """Lambda, in nats, at which k is read off: the geometric mean of null and largest worth; None if that is below the null."""
    largest = max((v.worth for v in hull[1:]), default=0.0)
    return float(np.sqrt(largest * null_worth)) if largest > null_worth else None


def _sure_of_none(J: dict[int, np.ndarray], null_worth: float) -> float:
    """1 - the largest worth, chance or not, over the null or two of its standard errors, whichever is more."""
    shares = [v.worth / max(null_worth, SIGNIFICANT * v.worth_se) for v in lower_hull(J)[1:]]
    return max(0.0, 1 - max(shares, default=0.0))


def _beyond_chance(J: dict[int, np.ndarray]) -> list[int]:
    """The smallest k and every larger one whose J lies two standard errors of the difference below it."""
    first, *others = sorted(J)
    surely = [k for k in others if np.mean(J[first] - J[k]) > SIGNIFICANT * _paired_error(J[first] - J[k])]
    return [first, *surely]


def resampled(J: dict[int, np.ndarray], null_worth: float, draws: int = 200, seed: int = 0) -> dict[int, float]:
    """For every k that :func:`choose` finds in bootstrap resamples of the held-out rows, the share of them that choose it.

    Confidence compares intervals as if J_k were known; with few held-out rows it is not, and this says so.
    """
    generator, rows = np.random.default_rng(seed), len(next(iter(J.values())))
    chosen: Counter[int] = Counter()
    for _ in range(draws):
        drawn = generator.integers(rows, size=rows)
        chosen[choose({k: values[drawn] for k, values in J.items()}, null_worth).structure_dim] += 1
    return {k: chosen[k] / draws for k in sorted(chosen)}
