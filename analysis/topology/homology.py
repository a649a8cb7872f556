"""Persistent homology of landmarks: bars with p-values against blobs, and the cocycles of the loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]

PRIME = 47  # for loops whose cocycles are lifted to the integers
LEAST_RATIO = 1.05
# location and scale of the Gumbel law of the largest log log(death / birth) of a Gaussian blob
# (python tests/benchmarks/topology.py null); degree: (location, scale)
NULL = {1: (-0.60, 0.085), 2: (-1.70, 0.13)}
# the same where every landmark has ten rows or more: of log log ratio, and of its distance above the upper quartile of all bars,
# which hardly depends on the dimension of the cloud. Set above what python tests/benchmarks/known_shapes.py null prints, in its
# largest quantiles: loops -.73 to -.66 / .07 in the plane, less elsewhere; voids -1.50 / .08; above the quartile .61 to .86,
# scales .04 to .11
NULL_SPREAD = {1: (-0.58, 0.075), 2: (-1.55, 0.12)}
NULL_ABOVE = (0.95, 0.08)
FEWEST_BARS = 40  # for an upper quartile
ROUNDING = 1e-6  # of the largest distance
ROWS_A_LANDMARK = 4  # the blobs of the null have as many


@dataclass(frozen=True)
class Bar:
    """A loop (degree 1) or void (degree 2) of a cloud, from one scale to another.

    Attributes:
        degree: 1 or 2.
        birth, death: scales (in the units of the points) at which it closes and is filled in; death is infinite where it was
            still there at the largest scale looked at.
        ratio: death / birth, at least.
        p_value: of so large a ratio somewhere among the landmarks of a blob.
    """

    degree: int
    birth: float
    death: float
    ratio: float
    p_value: float


@dataclass(frozen=True)
class Diagram:
    """Bars of one degree, those of the largest ratio first, with their cocycles."""

    bars: tuple[Bar, ...]
    cocycles: tuple[NDArray[np.intp], ...]

    def count(self, p_value: float) -> int:
        """How many bars have a p-value of at most this."""
        return sum(bar.p_value <= p_value for bar in self.bars)


def diagram(
    landmarks: Floats, degree: int, prime: int = PRIME, largest: float = math.inf, spread: bool = False
) -> Diagram:
    """Bars of the Vietoris-Rips complex (ripser).

    Args:
        landmarks: (m, k); evenly spread, ``maxmin`` of at least four times as many rows, or the p-values are too small.
        degree: 1 or 2.
        prime: of the coefficients.
        largest: edges beyond are left out.
        spread: every landmark has ten rows or more, see :func:`spread_p_values`.
    """
    if len(landmarks) <= degree + 2:
        return Diagram((), ())
    from ripser import ripser

    distances = cdist(landmarks, landmarks)  # given points, ripser warns where there are fewer than dimensions
    options = {"maxdim": degree, "coeff": prime, "thresh": largest, "do_cocycles": degree == 1}
    found = ripser(distances, distance_matrix=True, **options)
    pairs = found["dgms"][degree].astype(float)
    cocycles = found["cocycles"][degree] if degree == 1 else [np.empty((0, 3), dtype=np.intp)] * len(pairs)
    ends = np.where(np.isfinite(pairs[:, 1]), pairs[:, 1], largest)
    ratios = ends / np.maximum(pairs[:, 0], ROUNDING * distances.max())  # below are points that coincide
    order = [i for i in np.argsort(-ratios, kind="stable") if ratios[i] > LEAST_RATIO]
    p_values = spread_p_values(ratios, degree) if spread else [p_value(float(ratio), degree) for ratio in ratios]
    bars = [Bar(degree, *map(float, (*pairs[i], ratios[i], p_values[i]))) for i in order]
    return Diagram(tuple(bars), tuple(cocycles[i] for i in order))


def p_value(ratio: float, degree: int) -> float:
    r"""Chance that the landmarks of a Gaussian blob show a bar with death / birth at least this large.

    log log of a noise bar's ratio follows one law whatever the cloud (Bobrowski and Skraba, A universal null-distribution for
    topological data analysis, 2023); the largest is Gumbel, with constants measured on landmarks like ours in the lowest
    dimension that can have such bars (2 for loops, 3 for voids), where the ratios are largest.
    """
    return _tail(ratio, *NULL[degree])


def spread_p_values(ratios: Floats, degree: int) -> Floats:
    """P-values (b,) of all bars of landmarks that have ten rows or more each: the less of two, twice.

    One is against blobs in the lowest dimension that has such bars, where ratios are largest. The other, of loops, takes the
    cloud's own bars for the measure: the law of log log ratio is the same for all clouds up to a shift (Bobrowski and Skraba).
    """
    heights = np.log(np.log(np.maximum(ratios, 1 + 1e-9)))
    least = np.array([_tail(ratio, *NULL_SPREAD[degree]) for ratio in ratios])
    if degree == 1 and len(ratios) >= FEWEST_BARS:
        above = heights - np.quantile(heights, 0.75)
        location, scale = NULL_ABOVE
        least = np.minimum(least, -np.expm1(-np.exp(-(above - location) / scale)))
    return np.minimum(2 * least, 1.0)


def _tail(ratio: float, location: float, scale: float) -> float:
    if ratio <= 1:
        return 1.0
    return -math.expm1(-math.exp(-(math.log(math.log(ratio)) - location) / scale))


def ratio_at(p_value: float, degree: int) -> float:
    """The ratio death / birth that has this p-value."""
    location, scale = NULL[degree]
    return math.exp(math.exp(location - scale * math.log(-math.log1p(-p_value))))
