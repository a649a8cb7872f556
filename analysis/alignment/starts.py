"""Where the search begins: random maps, signs and orders of axes, matched pieces, annealed Gromov-Wasserstein."""

from __future__ import annotations

import math
import warnings
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import Cloud
from analysis.alignment.rigid import Floats, polar, random_map

RANDOM = {2: 60}  # starts by the number of dimensions
MOST_RANDOM = 200
GROMOV_ROWS = 80
MOST_ENUMERATED = 6  # pieces whose matchings are all tried
MOST_MATCHINGS = 24
QUANTILES = 33


def starts(
    a: Cloud, b: Cloud, pieces_a: NDArray[np.intp], pieces_b: NDArray[np.intp], seed: int
) -> tuple[list[Floats], list[Floats]]:
    """Maps (k_a, k_b) to begin with, guided by the clouds, and uniform ones.

    Args:
        a, b: the clouds.
        pieces_a, pieces_b: (n_a,) and (n_b,) numbers of the rows' pieces.
        seed: draws them.
    """
    generator = np.random.default_rng([seed, 2])
    shape = a.s.shape[1], b.s.shape[1]
    if max(shape) == 1:
        return [np.array([[1.0]]), np.array([[-1.0]])], []
    guided = [
        *matched_pieces(a, b, pieces_a, pieces_b, generator),
        *signs_and_orders(a.s, b.s),
        *gromov(a, b, generator),
    ]
    return guided, [random_map(*shape, generator) for _ in range(RANDOM.get(max(shape), MOST_RANDOM))]


def signs_and_orders(a: Floats, b: Floats) -> list[Floats]:
    """All signed permutations up to three axes; beyond, the one under which marginal quantiles agree best."""
    rows, columns = a.shape[1], b.shape[1]
    eye = np.eye(max(rows, columns))
    if len(eye) <= 3:
        found = [
            (eye[list(order)] * signs)[:rows, :columns]
            for order in permutations(range(len(eye)))
            for signs in product((1.0, -1.0), repeat=len(eye))
        ]
        return [m for m in found if np.linalg.matrix_rank(m) == min(rows, columns)]
    levels = np.linspace(0.02, 0.98, QUANTILES)
    one, other = np.quantile(a - a.mean(0), levels, axis=0).T, np.quantile(b - b.mean(0), levels, axis=0).T
    kept, flipped = cdist(one, other, "sqeuclidean"), cdist(one, -other[:, ::-1], "sqeuclidean")
    first, second = linear_sum_assignment(np.minimum(kept, flipped))
    start = np.zeros((rows, columns))
    start[first, second] = np.where(kept <= flipped, 1.0, -1.0)[first, second]
    return [start]


def matched_pieces(
    a: Cloud, b: Cloud, pieces_a: NDArray[np.intp], pieces_b: NDArray[np.intp], generator: np.random.Generator
) -> list[Floats]:
    """Rotations that bring the centres of matched pieces together, for the matchings that keep distances and masses best.

    A matching is a quadratic assignment: every matching of the smaller side is tried up to six pieces, beyond that the fast
    approximate solver from many random starts.
    """
    (centres_a, mass_a), (centres_b, mass_b) = _centres(a, pieces_a), _centres(b, pieces_b)
    count = min(len(mass_a), len(mass_b))
    if count < 2:
        return []
    gaps_a, gaps_b = cdist(centres_a, centres_a), cdist(centres_b, centres_b)
    scored = []
    for rows, columns in _matchings(gaps_a, gaps_b, generator):
        weights = np.sqrt(mass_a[rows] * mass_b[columns])
        distances = (gaps_a[np.ix_(rows, rows)] - gaps_b[np.ix_(columns, columns)]) ** 2
        masses = (mass_a[rows] - mass_b[columns]) ** 2
        scored.append((float(weights @ distances @ weights + masses.sum() * (gaps_a**2).mean()), rows, columns))
    scored.sort(key=lambda item: item[0])
    out = []
    for _, rows, columns in scored[:MOST_MATCHINGS]:
        weights = np.sqrt(mass_a[rows] * mass_b[columns])[:, None]
        x, y = centres_a[rows], centres_b[columns]
        cross = ((x - x.mean(0)) * weights).T @ (y - y.mean(0))
        # pieces may leave directions open: a small random part fills them
        out.append(polar(cross + 1e-3 * np.linalg.norm(cross) * random_map(len(x.T), len(y.T), generator)))
    return out


def _centres(cloud: Cloud, pieces: NDArray[np.intp]) -> tuple[Floats, Floats]:
    names = np.unique(pieces)
    centres = np.array([cloud.s[pieces == name].mean(0) for name in names]) - cloud.s.mean(0)
    return centres, np.array([(pieces == name).mean() for name in names])


def _matchings(
    gaps_a: Floats, gaps_b: Floats, generator: np.random.Generator
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    fewer, more = sorted((len(gaps_a), len(gaps_b)))
    a_is_fewer = len(gaps_a) == fewer
    small, large = (gaps_a, gaps_b) if a_is_fewer else (gaps_b, gaps_a)
    if math.perm(more, fewer) <= math.factorial(MOST_ENUMERATED):
        orders = [np.array(order) for order in permutations(range(more), fewer)]
    else:
        from scipy.optimize import quadratic_assignment

        padded = np.zeros((more, more))
        padded[:fewer, :fewer] = small
        options = {"maximize": False, "P0": "randomized"}
        orders = [
            quadratic_assignment(-2 * padded, large, options={**options, "rng": generator}).col_ind[:fewer]
            for _ in range(4 * MOST_MATCHINGS)
        ]
    whole = np.arange(fewer)
    return [(whole, order) if a_is_fewer else (order, whole) for order in orders]


def gromov(a: Cloud, b: Cloud, generator: np.random.Generator) -> list[Floats]:
    """The rotation of an entropic Gromov-Wasserstein plan between distance matrices, its entropy annealed."""
    import ot

    if min(a.s.shape[1], b.s.shape[1]) < 2:
        return []
    x, y = (_sample(cloud.s, generator) for cloud in (a, b))
    gaps = [cdist(rows, rows) for rows in (x, y)]
    scale = max(float(gap.max()) for gap in gaps) or 1.0
    plan = None
    weights = [np.full(len(rows), 1 / len(rows)) for rows in (x, y)]
    for epsilon in (0.05, 0.02, 0.01):
        # the product plan is a saddle: a first plan that is not quite even leaves it
        first = generator.random((len(x), len(y))) + 4 if plan is None else plan
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a start need not converge
            plan = ot.gromov.entropic_gromov_wasserstein(
                *(gap / scale for gap in gaps),
                *weights,
                epsilon=epsilon,
                G0=first / first.sum(),
                max_iter=20,
                numItermax=50,
            )
        if not np.isfinite(plan).all():
            return []
    return [polar((x - x.mean(0)).T @ plan @ (y - y.mean(0)))]


def _sample(rows: Floats, generator: np.random.Generator) -> Floats:
    return rows[generator.permutation(len(rows))[:GROMOV_ROWS]]
