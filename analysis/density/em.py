"""Gaussian mixtures by expectation and maximisation, in matrix products: quick enough to refit hundreds of times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = ("full", "diag", "tied")
VARIANCE_FLOOR = 1e-4  # in units of the rows' own variance
MANY = 16  # components that need one start only
MOST_STARTING = 4_000  # rows that the starting k-means sees
CHUNK = 2_000_000  # entries of a (points, components) array held at once


@dataclass(frozen=True, repr=False)
class Mixture:
    """A Gaussian mixture.

    Attributes:
        weights: (K,) positive, sum 1.
        means: (K, k).
        covariances: (K, k, k).
    """

    weights: Array
    means: Array
    covariances: Array

    def __repr__(self) -> str:
        return f"Mixture({len(self.weights)} components in {self.means.shape[1]} dims)"

    def log_prob(self, points: Array) -> Array:
        """Log-density in nats (n,) at points (n, k)."""
        coefficients = _coefficients(self)
        out = np.empty(len(points))
        step = max(1, CHUNK // max(len(self.weights), len(coefficients)))
        for start in range(0, len(points), step):
            out[start : start + step] = _expect(features(points[start : start + step]) @ coefficients)[1]
        return out

    def score(self, points: Array) -> Array:
        r"""Gradient of the log-density (n, k): :math:`\sum_j r_j(x) P_j (m_j - x)`, r the responsibilities."""
        k = points.shape[1]
        coefficients = _coefficients(self)
        precisions = np.linalg.inv(self.covariances)
        out = np.empty(points.shape)
        step = max(1, CHUNK // max(len(self.weights), k * k))
        for start in range(0, len(points), step):
            x = points[start : start + step]
            share = _expect(features(x) @ coefficients)[0].astype(np.float64)
            curvature = (share @ precisions.reshape(-1, k * k)).reshape(-1, k, k)
            out[start : start + step] = share @ coefficients[1 : 1 + k].T - np.einsum("nij,nj->ni", curvature, x)
        return out

    def between(self, points: Array, fractions: Array) -> Array:
        r"""Log-density (T, n, n) at (1 - t) points[a] + t points[b], for every t, a, b.

        A component's log-density is quadratic, so along a segment it is
        :math:`(1 - t) q(a) + t q(b) + t (1 - t) |L^T (a - b)|^2 / 2`, L the Cholesky factor of its precision: the cost per
        segment does not grow with k.
        """
        ends = features(points) @ _coefficients(self)  # (n, K)
        roots = np.linalg.cholesky(np.linalg.inv(self.covariances))
        turned = points @ roots  # (K, n, k)
        squares = (turned**2).sum(2)
        out = np.empty((len(fractions), len(points), len(points)))
        step = max(1, CHUNK // (len(points) * len(self.weights)))
        for start in range(0, len(points), step):
            some = slice(start, start + step)
            apart = squares[:, some, None] + squares[:, None] - 2 * turned[:, some] @ turned.transpose(0, 2, 1)
            apart = np.maximum(apart, 0).transpose(1, 2, 0)  # (step, n, K)
            for index, t in enumerate(fractions):
                logs = (1 - t) * ends[some, None] + t * ends[None] + t * (1 - t) / 2 * apart
                out[index, some] = _expect(logs)[1]
        return out

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw (count, k)."""
        roots = np.linalg.cholesky(self.covariances)
        which = rng.choice(len(self.weights), count, p=self.weights)
        noise = rng.standard_normal((count, self.means.shape[1]))
        return self.means[which] + np.einsum("nij,nj->ni", roots[which], noise)

    def moved(self, centre: Array, scale: Array) -> Mixture:
        """The law of centre + scale * x, x from this one; centre, scale (k,)."""
        return Mixture(self.weights, centre + scale * self.means, self.covariances * np.outer(scale, scale))


def average(mixtures: list[Mixture]) -> Mixture:
    """The density that is the mean of the mixtures' densities: again a mixture."""
    return Mixture(
        np.concatenate([m.weights for m in mixtures]) / len(mixtures),
        np.concatenate([m.means for m in mixtures]),
        np.concatenate([m.covariances for m in mixtures]),
    )


def features(x: Array) -> Array:
    """1, x_i and x_i x_j for i <= j, as columns (n, 1 + k + k (k + 1) / 2): a Gaussian's log-density is linear in them."""
    i, j = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]])


def fit_mixture(
    rows: Array,
    components: int,
    kind: str,
    rng: np.random.Generator,
    moments: Array | None = None,
    iterations: int = 60,
    tolerance: float = 3e-3,
) -> Mixture:
    r"""Fit a mixture by EM from a short k-means, stopped early.

    Covariances have an inverse-Wishart prior worth k rows, centred on the components' common shape S0 at their mean
    log-volume: :math:`\Sigma_j = (\text{scatter}_j + k S_0) / (N_j + k)` plus a floor of 1e-4. EM stops when a row gains
    less than ``tolerance`` nats: on planted tori held-out likelihood and topology are hardly better with more.

    Args:
        rows: (n, k), at unit scale.
        components: K, at most n; components that lose their rows are dropped.
        kind: covariances, "full", "diag" or "tied" (one full covariance for all).
        rng: draws the starting means.
        moments: ``features(rows)`` where the caller has them.
        iterations: most EM iterations.
        tolerance: nats per row.
    """
    columns = features(rows) if moments is None else moments
    mixture, last = _start(rows, components, rng), -np.inf
    for iteration in range(iterations):
        share, logs = _expect(columns @ _coefficients(mixture))
        gain, last = logs.mean() - last, logs.mean()
        if gain < tolerance and iteration > 2:
            break
        mixture = _maximise(share, columns, mixture, kind)
    return mixture


def _start(rows: Array, components: int, rng: np.random.Generator) -> Mixture:
    """Round components of one size at the means of a short k-means; where K <= 16 at the tightest of 1 + 16 // K.

    Few components easily share two clusters out wrongly, and one member that does spoils a bag.
    """
    some = rows[rng.choice(len(rows), min(len(rows), MOST_STARTING), replace=False)]
    tries = [_k_means(some, components, rng) for _ in range(1 + MANY // components if components > 1 else 1)]
    means, spread = min(tries, key=lambda found: found[1])
    k = rows.shape[1]
    covariance = max(spread, 10 * VARIANCE_FLOOR) * np.eye(k)
    return Mixture(np.full(components, 1 / components), means, np.tile(covariance, (components, 1, 1)))


def _k_means(rows: Array, components: int, rng: np.random.Generator, steps: int = 3) -> tuple[Array, float]:
    """Means (K, k) and mean squared distance per dimension, from rows drawn at random."""
    means = rows[rng.choice(len(rows), components, replace=len(rows) < components)].copy()
    for _ in range(steps):
        nearest = ((means**2).sum(1) - 2 * rows @ means.T).argmin(1)
        counts = np.bincount(nearest, minlength=components)
        for axis in range(rows.shape[1]):
            sums = np.bincount(nearest, rows[:, axis], minlength=components)
            means[:, axis] = np.where(counts > 0, sums / np.maximum(counts, 1), means[:, axis])
    return means, float(((rows - means[nearest]) ** 2).mean())


def _coefficients(mixture: Mixture) -> Array:
    """(features, K): weighted log-density of every component = features(x) @ coefficients."""
    k = mixture.means.shape[1]
    precisions = np.linalg.inv(mixture.covariances)
    linear = np.einsum("kij,kj->ki", precisions, mixture.means)
    volume = np.linalg.slogdet(2 * np.pi * mixture.covariances)[1]
    constant = np.log(mixture.weights) - (volume + (linear * mixture.means).sum(1)) / 2
    i, j = np.triu_indices(k)
    quadratic = -precisions[:, i, j] * np.where(i == j, 0.5, 1.0)
    return np.hstack([constant[:, None], linear, quadratic]).T


def _expect(logs: Array) -> tuple[NDArray[np.float32], Array]:
    """Responsibilities (..., K), in float32 once the largest term is taken out, and the log-density (...). Spoils `logs`."""
    largest = logs.max(-1, keepdims=True)
    logs -= largest
    share = logs.astype(np.float32)
    np.exp(share, out=share)
    total = share.sum(-1, keepdims=True)
    share /= total
    return share, (np.log(total) + largest)[..., 0]


def _maximise(share: NDArray[np.float32], columns: Array, before: Mixture, kind: str) -> Mixture:
    k = before.means.shape[1]
    sums = share.astype(np.float64).T @ columns
    kept = sums[:, 0] >= min(2.0, sums[:, 0].max())
    sums = sums[kept]
    counts = sums[:, 0]
    means = sums[:, 1 : 1 + k] / counts[:, None]
    scatter = np.empty((len(counts), k, k))
    i, j = np.triu_indices(k)
    scatter[:, i, j] = scatter[:, j, i] = sums[:, 1 + k :]
    scatter -= counts[:, None, None] * means[:, :, None] * means[:, None, :]
    weights = counts / counts.sum()
    return Mixture(weights, means, _covariances(scatter, counts, before, kind))


def _covariances(scatter: Array, counts: Array, before: Mixture, kind: str) -> Array:
    k = scatter.shape[1]
    floor = VARIANCE_FLOOR * np.eye(k)
    if kind == "tied":
        return np.tile(scatter.sum(0) / counts.sum() + floor, (len(counts), 1, 1))
    common = np.einsum("k,kij->ij", before.weights, before.covariances)
    volumes = np.linalg.slogdet(before.covariances)[1]
    common = common * np.exp((volumes.mean() - np.linalg.slogdet(common)[1]) / k)
    out = (scatter + k * common) / (counts + k)[:, None, None] + floor
    return out * np.eye(k) if kind == "diag" else out
