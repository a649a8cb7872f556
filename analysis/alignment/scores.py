"""How good an alignment is: with pairs (FOSCTTM, label transfer) and without."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.rigid import Floats


def foscttm(mapped: ArrayLike, target: ArrayLike) -> float:
    """Fraction of rows closer than the true match (FOSCTTM): 0 is perfect, .5 is chance.

    Row i of ``mapped`` and row i of ``target`` are the same sample. For every row the share of the others on the other side that
    are closer than its partner; a tie counts as half, so that a collapse of all rows into one point scores .5, not 0. The mean of
    both directions.

    Args:
        mapped, target: (n, k), n at least 2.

    Raises:
        ValueError: shapes that differ, or fewer than 2 rows.
    """
    x, y = np.asarray(mapped, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2:
        raise ValueError(f"foscttm needs two arrays (n, k) of one shape with n >= 2, got {x.shape} and {y.shape}")
    apart = cdist(x, y)
    true = np.diag(apart)
    shares = [
        ((apart < other).sum(axis) + ((apart == other).sum(axis) - 1) / 2) / (len(x) - 1)
        for axis, other in ((1, true[:, None]), (0, true[None]))
    ]
    return float(np.mean(shares))


def label_transfer(mapped: ArrayLike, labels: ArrayLike, target: ArrayLike, truth: ArrayLike, k: int = 5) -> float:
    """Share of target rows whose label a vote of the k nearest mapped rows gets right.

    Args:
        mapped: (n, d) rows of a in b's space; ``labels`` (n,) theirs.
        target: (m, d) rows of b; ``truth`` (m,) theirs.
        k: voters.
    """
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(k).fit(np.asarray(mapped), np.asarray(labels))
    return float((voters.predict(np.asarray(target)) == np.asarray(truth)).mean())


def apart(mapped: Floats, other: Floats, pairs: NDArray[np.intp]) -> float:
    """Root mean square distance of pairs (p, 2) of rows of two clouds, 1 as far as rows drawn at random from both are."""
    gaps = ((mapped[pairs[:, 0]] - other[pairs[:, 1]]) ** 2).sum(1).mean()
    anyhow = mapped.var(0).sum() + other.var(0).sum() + ((mapped.mean(0) - other.mean(0)) ** 2).sum()
    return float(np.sqrt(gaps / anyhow))


def quality(cost: float, usual: float, spread_a: Floats, spread_b: Floats) -> float:
    r"""A score in [0, 1] without pairs: :math:`1 - \sqrt{(c - c_0) / (v - c_0)}`.

    c is the map's transport cost, c_0 what chance alone costs (half against half), v the cost of sending every row
    anywhere, the sum of both variances. 1: as near as two samples of one model.
    """
    anywhere = float(spread_a.sum() + spread_b.sum())
    return float(1 - np.sqrt(np.clip((cost - usual) / max(anywhere - usual, 1e-12), 0, 1)))
