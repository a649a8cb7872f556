"""What separates two groups of rows: how deep the density falls between them, in nats, whatever the coordinates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from analysis.pieces.shrunk import FLOOR, shrunk_covariance

Floats = NDArray[np.float64]
FEW_DIMS = 8  # beyond, a k-d tree looks at every row anyway, and matrix products do that faster
BLOCK = 1000
ROUNDS = 16
QUERIES = 1000
CELLS = 4  # grid cells to a bandwidth
SURE = 1.0  # standard errors


def nearest_rows(points: Floats, queries: NDArray[np.intp] | None, k: int) -> tuple[Floats, NDArray[np.intp]]:
    """Distances and indices (q, k + 1) of every query row to itself, first, and its k nearest others, sorted.

    Args:
        points: (n, d) with n > k.
        queries: (q,) row numbers; None for all.
    """
    asked = np.arange(len(points)) if queries is None else queries
    if points.shape[1] <= FEW_DIMS:
        return cKDTree(points).query(points[asked], k + 1)
    rows = np.asarray(points, dtype=np.float32)
    squares = (rows**2).sum(1)
    found = [_block(rows, squares, asked[i : i + BLOCK], k) for i in range(0, len(asked), BLOCK)]
    return np.concatenate([d for d, _ in found]).astype(np.float64), np.concatenate([i for _, i in found])


def _block(rows: NDArray[np.float32], squares: NDArray[np.float32], asked: NDArray[np.intp], k: int):  # type: ignore[no-untyped-def]
    distances = squares[asked, None] + squares - 2 * rows[asked] @ rows.T
    distances[np.arange(len(asked)), asked] = -1  # itself first, also among duplicates
    near = np.argpartition(distances, k, axis=1)[:, : k + 1]
    chosen = np.take_along_axis(distances, near, 1)
    order = np.argsort(chosen, axis=1, kind="stable")
    return np.sqrt(np.maximum(np.take_along_axis(chosen, order, 1), 0)), np.take_along_axis(near, order, 1)


def neighbour_metric(points: Floats, neighbours: int, seed: int) -> Floats:
    r"""A map (d, r), points @ map, after which rows differ from their neighbours by as much in every direction.

    Whitening makes noise as large as structure: distances in many dimensions then see noise alone. Here the rows are
    whitened by the covariance W of differences between neighbours instead, found by iterating: neighbours in the metric
    of W have differences of covariance W (Art, Gnanadesikan and Kettenring, Data-based metrics for cluster analysis,
    Utilitas Mathematica 1982). It estimates the covariance *within* pieces without knowing them; directions in which
    pieces differ come out long. Any linear change of coordinates gives the same rows up to a rotation.

    Args:
        points: (n, d). Directions in which they do not vary are dropped: r is the rank.
        neighbours: how many of each row's nearest rows.
        seed: draws the 1000 rows whose neighbours are looked at.
    """
    rows, dims = points.shape
    spread = points.std(0)
    scale = np.diag(1 / np.where(spread > 0, spread, 1.0))
    white = scale @ _inverse_root(shrunk_covariance(points @ scale, strength=0.0 if rows > 4 * dims else None))
    metric, ranks = white, white.shape[1]
    if ranks < 2 or rows <= neighbours + 1:
        return metric
    generator = np.random.default_rng(seed)
    whitened = points @ white
    for _ in range(ROUNDS):
        asked = generator.choice(rows, min(rows, QUERIES), replace=False)
        _, near = nearest_rows(points @ metric, asked, neighbours)
        gaps = (whitened[near[:, 1:]] - whitened[asked][:, None]).reshape(-1, ranks)
        within = gaps.T @ gaps / len(gaps)
        if not np.trace(within):
            break
        metric = white @ _inverse_root(within + 1e-6 * np.trace(within) / ranks * np.eye(ranks))
    return metric


def _inverse_root(covariance: Floats) -> Floats:
    """(d, r), without the directions in which nothing varies."""
    variances, axes = np.linalg.eigh(covariance)
    varies = variances > 4 * FLOOR
    return axes[:, varies] * variances[varies] ** -0.5


def valley_depth(a: Floats, b: Floats, side_a: NDArray[np.bool_], side_b: NDArray[np.bool_]) -> float:
    r"""Nats by which the density falls between two groups of rows, along the direction that tells them apart best.

    Each half of the rows is projected on the other half's linear discriminant (covariances shrunk), in units of the sd
    within groups; so no direction is judged by the rows that chose it. The depth is the log-ratio of the lower of the
    two peaks of the projected density to the valley between the groups' means,

    .. math:: 2 \log \frac{\sqrt{N_p} - 1/2}{\sqrt{N_v + 3/8} + 1/2},

    N the number of rows within the kernel's width at peak and valley: with many rows the plain log-ratio, with few a
    bound one standard error below (square roots of counts have sd 1/2). Two equal Gaussians 2 delta sd apart have
    :math:`\delta^2/2 - \log 2`, whatever the noise in the other dimensions; two halves of a Gaussian 0; two halves of a
    thin circle, whose shadow has two peaks, 1.3.

    Args:
        a, b: (n_a, d), (n_b, d).
        side_a, side_b: the half that each row belongs to. Rows that share a source belong to the same half.
    """
    shadows = [_shadow(a, b, side_a, side_b, half) for half in (False, True)]
    if any(shadow is None for shadow in shadows):
        return 0.0
    left = np.concatenate([shadow[0] for shadow in shadows if shadow])
    right = np.concatenate([shadow[1] for shadow in shadows if shadow])
    return _depth(left, right)


def _shadow(
    a: Floats, b: Floats, side_a: NDArray[np.bool_], side_b: NDArray[np.bool_], half: bool
) -> tuple[Floats, Floats] | None:
    """Projections of one half, centred between the groups, by the other half's discriminant; None with too few rows."""
    fit_a, fit_b = a[side_a != half], b[side_b != half]
    if min(len(fit_a), len(fit_b), (side_a == half).sum(), (side_b == half).sum()) < 2:
        return None
    within = shrunk_covariance(np.concatenate([fit_a - fit_a.mean(0), fit_b - fit_b.mean(0)]))
    gap = fit_b.mean(0) - fit_a.mean(0)
    direction = np.linalg.solve(within, gap)
    scale, middle = math.sqrt(direction @ within @ direction), direction @ (fit_a.mean(0) + gap / 2)
    if not scale:
        return None
    return (a[side_a == half] @ direction - middle) / scale, (b[side_b == half] @ direction - middle) / scale


def _depth(left: Floats, right: Floats) -> float:
    shadow = np.concatenate([left, right])
    spread = math.sqrt((left.var() * len(left) + right.var() * len(right)) / len(shadow))
    bandwidth = max(1.06 * spread * len(shadow) ** -0.2, 1e-3 * float(np.ptp(shadow)), 1e-12)
    step = bandwidth / CELLS
    start = shadow.min() - 4 * bandwidth
    cells = np.bincount(((shadow - start) / step).astype(np.intp), minlength=1)
    counts = gaussian_filter1d(np.pad(cells, 4 * CELLS).astype(np.float64), CELLS) * CELLS * 2 * math.sqrt(math.pi)
    first, last = (int((side.mean() - start) / step) + 4 * CELLS for side in (left, right))
    if first >= last:
        return 0.0
    valley = first + int(counts[first : last + 1].argmin())
    peak = min(counts[: valley + 1].max(), counts[valley:].max())
    high = max(math.sqrt(peak) - SURE / 2, 1e-3)
    return max(0.0, 2 * math.log(high / (math.sqrt(counts[valley] + 3 / 8) + SURE / 2)))
