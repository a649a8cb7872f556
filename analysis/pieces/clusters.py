"""Pieces of a point cloud: peaks of its density that stand out of their saddles by more than chance."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma

from analysis.density.peaks import Peaks

MOST_ROWS = 20_000


@dataclass(frozen=True, repr=False)
class Pieces:
    """The pieces of a point cloud, heaviest first.

    Attributes:
        labels_: (n,) int, the piece that each row flows to.
        prominence: (count,) nats of log-density from a piece's peak down to the saddle towards a denser piece; infinite
            where there is none.
        mass: (count,) share of the rows.
        threshold: nats of prominence above which a peak is a piece.
        neighbours: k of the nearest-neighbour density and graph.
        dimension: the cloud's dimension at that scale; log-densities are ``-dimension * log(distance)``.
    """

    labels_: NDArray[np.int64]
    prominence: NDArray[np.float64]
    mass: NDArray[np.float64]
    threshold: float
    neighbours: int
    dimension: float

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.mass)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the labels; infinities as None."""
        return {
            "count": self.count,
            "prominence": [float(p) if np.isfinite(p) else None for p in self.prominence],
            "mass": self.mass.tolist(),
            "threshold": self.threshold,
            "neighbours": self.neighbours,
            "dimension": self.dimension,
        }

    def __repr__(self) -> str:
        masses = ", ".join(f"{m:.3g}" for m in self.mass)
        return f"Pieces(count={self.count}, mass=[{masses}], threshold={self.threshold:.3g})"


def find_pieces(s: ArrayLike, neighbours: int | None = None, prominence: float | None = None, seed: int = 0) -> Pieces:
    r"""Find the pieces of a point cloud; their number is not given beforehand.

    ToMATo (Chazal, Guibas, Oudot and Skraba, Persistence-based clustering in Riemannian manifolds, J. ACM 2013) on the
    k-nearest-neighbour graph: every row flows to the densest of its neighbours until it is at a peak, and a peak whose
    prominence over the saddle to a denser one is below a threshold is merged into that one.

    The log-density is :math:`-d \log r_k`, r_k the distance to the k-th neighbour, d the dimension of the cloud at that
    scale, :math:`(\psi(k) - \psi(k/2)) / \mathrm{mean} \log(r_k / r_{k/2})` (after Levina and Bickel 2005, but blind to
    what is finer than r_{k/2}): so its standard error is :math:`1/\sqrt{k}` nats on thin and on thick clouds. Noise
    lifts a peak, and lowers a saddle, by the largest of about n/k independent errors, :math:`\sqrt{2 \log(n/k) / k}`;
    the threshold is the sum of the two,

    .. math:: 2 \sqrt{2 \log(n/k) / k}.

    Measured on 500 to 10 000 rows: no false piece in 519 Gaussian and thin-ring clouds, 8 in 346 flat segments and thick
    rings, the worst case. It does not hold where the dimension changes between r_{k/2} and r_k, as on a thread in 9-D
    noise as thick as the rows' spacing along it.

    Args:
        s: points (n, dims). Above 20 000 rows a random 20 000 are used and the others join their nearest one's piece.
        neighbours: k; default sqrt(n), at least 8.
        prominence: threshold in nats instead of the rule above.
        seed: draws the rows that are used.

    Raises:
        ValueError: not two-dimensional, no rows, NaN or inf, or neighbours below 1.

    Example:
        >>> import numpy as np
        >>> from analysis import find_pieces
        >>> find_pieces(np.repeat([[0.0], [9.0]], 200, axis=0) + np.random.default_rng(0).normal(size=(400, 1))).count
        2
    """
    points = checked(s)
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}; leave it out for sqrt(rows)")
    if len(points) > MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(points), MOST_ROWS, replace=False)
        used = points[chosen]
    else:
        used = points
    k = min(neighbours or max(8, math.isqrt(len(used))), len(used) - 1)
    threshold = prominence if prominence is not None else noise_prominence(len(used), k)
    if k == 0 or not np.ptp(used, axis=0).any():
        return _sorted(np.zeros(len(points), dtype=np.int64), np.array([np.inf]), threshold, k, 0.0)
    tree = cKDTree(used)
    distances, nearest = tree.query(used, k + 1)
    height, dimension = log_density(distances)
    peaks, basins = basins_of(height, nearest)
    pairs, saddles = saddles_of(height, nearest, basins)
    _, prominences = merge(height[peaks], pairs, saddles, np.inf)
    roots, _ = merge(height[peaks], pairs, saddles, threshold)
    kept, labels = np.unique(roots[basins], return_inverse=True)
    if len(points) > len(used):
        labels = labels[tree.query(points)[1]]
    return _sorted(labels, prominences[kept], threshold, k, dimension)


def agreement(labels_a: ArrayLike, labels_b: ArrayLike) -> float:
    """Adjusted Rand index of two labellings of the same rows: 1 the same partition, 0 on average by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(np.asarray(labels_a), np.asarray(labels_b)))


def checked(s: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(s, dtype=np.float64)
    if points.ndim != 2 or not len(points):
        raise ValueError(f"points must have shape (rows, dims) with at least one row, got {points.shape}")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if len(bad):
        first = ", ".join(map(str, bad[:3]))
        raise ValueError(f"points contain NaN or inf in {len(bad)} of {len(points)} rows (first: {first}); drop them")
    return points


def noise_prominence(rows: int, k: int) -> float:
    """Nats that noise alone lifts a peak over its saddle; see :func:`find_pieces`."""
    return 2 * math.sqrt(2 * math.log(max(rows / k, math.e)) / k) if k else math.inf


def log_density(distances: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Log-density (n,) up to a constant, from sorted distances (n, k + 1) to oneself and k neighbours; the dimension.

    Duplicates count as the smallest positive distance.
    """
    k = distances.shape[1] - 1
    half = (k + 1) // 2
    positive = distances[distances > 0]
    floor = positive.min() if len(positive) else 1.0
    r_half, r_k = np.log(np.maximum(distances[:, [half, k]], floor)).T
    spread = float((r_k - r_half).mean())
    dimension = float(digamma(k) - digamma(half)) / spread if spread > 0 else 1.0
    return -dimension * r_k, dimension


def basins_of(height: NDArray[np.float64], nearest: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Peaks (p,), rows that no neighbour tops, and for every row (n,) the number of the peak it flows to."""
    rank = np.empty(len(height), dtype=np.intp)
    rank[np.argsort(height, kind="stable")] = np.arange(len(height))
    uphill = nearest[np.arange(len(height)), rank[nearest].argmax(1)]
    uphill = np.where(rank[uphill] > rank, uphill, np.arange(len(height)))
    while (further := uphill[uphill]).tolist() != uphill.tolist():
        uphill = further
    return np.unique(uphill, return_inverse=True)


def saddles_of(
    height: NDArray[np.float64], nearest: NDArray[np.intp], basins: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pairs of basins (e, 2) that touch, with the log-density (e,) of the highest pass between them, highest first."""
    rows = np.repeat(np.arange(len(height)), nearest.shape[1])
    pairs = np.sort(np.stack([basins[rows], basins[nearest.ravel()]], axis=1), axis=1)
    levels = np.minimum(height[rows], height[nearest.ravel()])
    between = pairs[:, 0] != pairs[:, 1]
    unique, which = np.unique(pairs[between], axis=0, return_inverse=True)
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, which.ravel(), levels[between])
    order = np.argsort(-highest, kind="stable")
    return unique[order], highest[order]


def merge(
    heights: NDArray[np.float64],
    pairs: NDArray[np.intp],
    saddles: NDArray[np.float64],
    threshold: float,
    sizes: NDArray[np.intp] | None = None,
    fewest: int = 0,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Union-find from the highest saddle down: peaks below ``threshold`` join the higher one they meet first.

    So do, with ``sizes`` (p,) the rows of each, two of which one has fewer rows than ``fewest``.

    Returns:
        The peak (p,) each peak ends in, and the prominence (p,) of those that joined another; infinite for the rest.
    """
    peaks, prominence = Peaks(heights), np.full(len(heights), np.inf)
    rows = np.full(len(heights), fewest) if sizes is None else sizes.copy()
    for (a, b), level in zip(pairs, saddles, strict=True):
        low, high = peaks.meeting(a, b)
        if low != high and (heights[low] - level < threshold or min(rows[low], rows[high]) < fewest):
            peaks.join(low, high)
            prominence[low] = heights[low] - level
            rows[high] += rows[low]
    return np.array([peaks.of(i) for i in range(len(heights))], dtype=np.intp), prominence


def _sorted(
    labels: NDArray[np.int64], prominence: NDArray[np.float64], threshold: float, k: int, dimension: float
) -> Pieces:
    """Number the pieces by falling mass."""
    mass = np.bincount(labels, minlength=len(prominence)) / len(labels)
    order = np.argsort(-mass, kind="stable")
    return Pieces(np.argsort(order)[labels], prominence[order], mass[order], float(threshold), k, dimension)
