"""Other ways to align two clouds without pairs, and supervised Procrustes, for tests/benchmarks/alignment_noise.py.

Each takes rows of a (n, D_a), rows of b (m, D_b) in no common order and a generator, and gives rows of a mapped into a space of
b's together with b's rows there. Distances, plans and assignments are POT's and scipy's.
"""

import warnings

import numpy as np
import ot
from scipy.optimize import quadratic_assignment
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist
from scipy.stats import kurtosis
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import kneighbors_graph

from analysis import Aligner
from analysis.alignment.clouds import Cloud
from analysis.alignment.refine import transported
from analysis.alignment.rigid import polar, random_map

STARTS = 20
CLUSTERS, CLUSTERINGS, SMOOTHINGS = 20, 10, 50


def gromov(a, b, rng, starts=4):
    """Gromov-Wasserstein between distance matrices, from the product plan and random ones: the cheapest plan and its cost."""
    gaps = [cdist(rows, rows) for rows in (a, b)]
    weights = [np.full(len(rows), 1 / len(rows)) for rows in (a, b)]
    found = []
    for i in range(starts):
        first = np.outer(*weights) * (1 if i == 0 else rng.uniform(0.5, 1.5, (len(a), len(b))))
        first = ot.sinkhorn(*weights, -np.log(first), 1.0) if i else first  # its marginals right again
        plan, log = ot.gromov.gromov_wasserstein(
            *(gap / gaps[1].mean() for gap in gaps), *weights, "square_loss", G0=first, log=True
        )
        found.append((float(log["gw_dist"]), i, plan))
    return min(found)[::2]


def gromov_wasserstein(a, b, rng):
    _, plan = gromov(a, b, rng)
    return len(a) * plan @ b, b


def scot(a, b, rng):
    """SCOT (Demetci 2022): geodesics of a k-nearest-neighbour graph of unit rows, entropic plan; epsilon by the least cost."""
    weights = [np.full(len(rows), 1 / len(rows)) for rows in (a, b)]
    gaps, found = [_geodesics(rows, 50) for rows in (a, b)], []
    for epsilon in (5e-3, 1e-3):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # it stops at its own limit
            plan, log = ot.gromov.entropic_gromov_wasserstein(
                *gaps, *weights, epsilon=epsilon, solver="PPA", max_iter=60, log=True
            )
        if np.isfinite(plan).all():
            found.append((float(log["gw_dist"]), epsilon, plan))
    plan = min(found, key=lambda f: f[:2])[2]
    return plan / plan.sum(1, keepdims=True) @ b, b


def _geodesics(rows, k):
    """As SCOT's default in many dimensions; in three or fewer, where correlations mean nothing, Euclidean."""
    many = rows.shape[1] > 3
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if many else rows
    graph = kneighbors_graph(rows, k, metric="correlation" if many else "euclidean")
    gaps = dijkstra(graph, directed=False)
    gaps[np.isinf(gaps)] = gaps[np.isfinite(gaps)].max()
    return gaps / gaps.max()


def wasserstein_procrustes(a, b, rng):
    """Transport and rotation in turn from random rotations; the cheapest end."""
    clouds = [Cloud(rows, np.zeros((len(rows), 0))) for rows in (a, b)]
    ends = [transported(*clouds, random_map(a.shape[1], b.shape[1], rng)) for _ in range(STARTS)]
    matrix = min(ends, key=lambda end: end[1])[0]
    return (a - a.mean(0)) @ matrix + b.mean(0), b


def quadratic(a, b, rng):
    """mini-vec2vec's recipe: k-means, centroids by quadratic assignment, pseudo-pairs, Procrustes, smoothed refinement."""
    x, y = a - a.mean(0), b - b.mean(0)
    like = []
    for _ in range(CLUSTERINGS):
        seed = int(rng.integers(2**31))
        one, other = (KMeans(CLUSTERS, n_init=1, random_state=seed).fit(rows).cluster_centers_ for rows in (x, y))
        tries = [
            quadratic_assignment(
                _cosines(one, one), _cosines(other, other), options={"maximize": True, "P0": "randomized", "rng": rng}
            )
            for _ in range(10)
        ]
        order = max(tries, key=lambda t: t.fun).col_ind
        like.append((_cosines(x, one), _cosines(y, other[order])))
    matrix = _towards(x, y, *(np.hstack(side) for side in zip(*like, strict=True)))
    for _ in range(SMOOTHINGS):
        some = rng.permutation(len(x))[: len(x) // 2]
        matrix = polar(0.5 * matrix + 0.5 * _towards(x[some], y, x[some] @ matrix, y))
    return x @ matrix + b.mean(0), b


def _cosines(x, y):
    return 1 - cdist(x, y, "cosine")


def _towards(x, y, seen_x, seen_y, neighbours=10):
    """The rotation that takes rows of x to the mean of the rows of y which look most like them."""
    near = np.argpartition(cdist(seen_x, seen_y), neighbours, axis=1)[:, :neighbours]
    return polar(x.T @ y[near].mean(1))


def pca_then_aligner(a, b, rng, dims):
    """Leading components, whitened; told the true number of dimensions."""
    return ours(*(PCA(dims, whiten=True).fit_transform(rows) for rows in (a, b)), rng)


def ica_then_aligner(a, b, rng, dims):
    """The independent components furthest from Gaussian kurtosis; told the true number of dimensions."""
    sides = []
    for rows in (a, b):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # with two Gaussian dimensions it never converges
            found = FastICA(whiten="unit-variance", random_state=0, max_iter=300).fit_transform(rows)
        sides.append(found[:, np.argsort(-np.abs(kurtosis(found)))[:dims]])
    return ours(*sides, rng)


def ours(a, b, rng):
    """Our aligner on two blocks."""
    found = Aligner(seed=int(rng.integers(2**31))).fit(a, b)
    return found.transform_structure(a), b


def procrustes(a, b, told_a, told_b):
    """Rotation and shift from known pairs (p, D_a), (p, D_b)."""
    x, y = told_a.mean(0), told_b.mean(0)
    return (a - x) @ polar((told_a - x).T @ (told_b - y)) + y, b
