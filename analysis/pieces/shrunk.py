"""Gaussian mixtures whose covariances are shrunk to one another and to a given one, so that few rows a component do."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

Floats = NDArray[np.float64]
FLOOR = 1e-6  # added to every variance, as a share of it: rows on a line or in a heap have no density
MOST_COMPONENTS = 64
ROWS_A_COMPONENT = 60
STEPS = 30
ENOUGH = 1e-3  # nats a row and dimension: EM stops where a step brings less


@dataclass(frozen=True)
class ShrunkMixture:
    """A mixture of K Gaussians on R^d.

    Attributes:
        weights: (K,) sum to 1.
        means: (K, d).
        covariances: (K, d, d).
    """

    weights: Floats
    means: Floats = field(repr=False)
    covariances: Floats = field(repr=False)

    def log_parts(self, points: Floats) -> Floats:
        """log(weight x density) of every component at points (n, d), in nats: (n, K)."""
        parts = np.empty((len(points), len(self.weights)))
        constant = 0.5 * points.shape[1] * math.log(2 * math.pi)
        for k, (weight, mean, covariance) in enumerate(zip(self.weights, self.means, self.covariances, strict=True)):
            root = np.linalg.cholesky(covariance)
            scaled = solve_triangular(root, (points - mean).T, lower=True, check_finite=False)
            parts[:, k] = math.log(weight) - 0.5 * (scaled**2).sum(0) - np.log(np.diag(root)).sum() - constant
        return parts

    def log_prob(self, points: Floats) -> Floats:
        """Log-density (n,) in nats at points (n, d)."""
        return logsumexp(self.log_parts(points), axis=1)

    def sample(self, count: int, generator: np.random.Generator) -> Floats:
        """Draw (count, d)."""
        which = generator.choice(len(self.weights), size=count, p=self.weights)
        noise = generator.normal(size=(count, self.means.shape[1]))
        roots = np.linalg.cholesky(self.covariances)
        return self.means[which] + np.einsum("nij,nj->ni", roots[which], noise)


def shrunk_covariance(points: Floats, towards: Floats | None = None, strength: float | None = None) -> Floats:
    r"""Covariance (d, d) of points (n, d), positive definite also for few rows, equal rows, or one row.

    .. math:: (n S + \nu P) / (n + \nu)

    with P ``towards``, by default the diagonal of S, and nu ``strength``, by default d: the posterior mean of a covariance
    whose prior is worth nu rows. Columns that do not vary count as varying like the mean one, by 1 if there is none.
    """
    rows, dims = points.shape
    centred = points - points.mean(0)
    scatter = centred.T @ centred
    prior = towards if towards is not None else np.diag(_variances(scatter / rows))
    nu = dims if strength is None else strength
    return _floored((scatter + nu * prior) / (rows + nu)) if dims else scatter


def fit_shrunk(points: Floats, components: int, prior: Floats, seed: int, steps: int = STEPS) -> ShrunkMixture:
    r"""Fit K components by EM from k-means.

    Each M-step takes :math:`\Sigma_k = (S_k + d W) / (N_k + d)`: S_k the scatter of component k, N_k its share of rows,
    :math:`W = (\sum_k S_k + d P) / (n + d)` the pooled covariance within components, itself shrunk to P = ``prior``.
    So a component with fewer rows than dimensions has the shape of its siblings, and all of them that of their parent
    (maximum a posteriori under inverse Wishart priors worth d rows; Fraley and Raftery 2007 do the same with one level).

    Args:
        points: (n, d), n >= components.
        prior: (d, d) positive definite.
        seed: of k-means.
    """
    rows, dims = points.shape
    share = _start(points, components, prior, seed)
    last = -math.inf
    for _ in range(steps):
        mixture = _maximised(points, share, prior)
        if share.shape[1] == 1:
            break
        parts = mixture.log_parts(points)
        log_density = logsumexp(parts, axis=1)
        share = np.exp(parts - log_density[:, None])
        if log_density.mean() - last < ENOUGH * dims:
            break
        last = log_density.mean()
    return mixture


def choose_shrunk(points: Floats, held_out: NDArray[np.bool_], prior: Floats, seed: int) -> ShrunkMixture:
    """Fit with 1, 2, 4, ... components, by the likelihood of the held-out rows; the best is refitted on all.

    Two doublings that do not help end the search; more than 64 components, or one to 60 rows, are not tried.

    Args:
        points: (n, d).
        held_out: (n,) the rows that judge.
    """
    fit_rows, judges = points[~held_out], points[held_out]
    best, best_score, components = 1, -math.inf, 1
    if not len(judges) or not len(fit_rows) or not points.shape[1]:
        return fit_shrunk(points, 1, prior, seed)
    while components <= min(MOST_COMPONENTS, max(1, len(fit_rows) // ROWS_A_COMPONENT)) and components <= 4 * best:
        score = fit_shrunk(fit_rows, components, prior, seed).log_prob(judges).mean()
        if score > best_score:
            best, best_score = components, score
        components *= 2
    return fit_shrunk(points, best, prior, seed)


def k_means(points: Floats, parts: int, seed: int) -> NDArray[np.intp]:
    """Part (n,) of each row, numbered without gaps; fewer than ``parts`` where fewer rows are distinct."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if parts < 2:
        return np.zeros(len(points), dtype=np.intp)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        labels = KMeans(parts, n_init=1, max_iter=30, random_state=seed).fit_predict(points)
    return np.unique(labels, return_inverse=True)[1]


def _start(points: Floats, components: int, prior: Floats, seed: int) -> Floats:
    """Shares (n, K) of a k-means in coordinates in which the rows' covariance is the identity."""
    root = np.linalg.cholesky(shrunk_covariance(points, prior))
    labels = k_means(solve_triangular(root, (points - points.mean(0)).T, lower=True).T, components, seed)
    return np.eye(labels.max() + 1)[labels]


def _maximised(points: Floats, share: Floats, prior: Floats) -> ShrunkMixture:
    (rows, dims), counts = points.shape, share.sum(0)
    means = (share.T @ points) / np.maximum(counts, 1e-9)[:, None]
    scatters = np.empty((len(counts), dims, dims))
    for k in range(len(counts)):
        centred = points - means[k]
        scatters[k] = (centred * share[:, [k]]).T @ centred
    within = (scatters.sum(0) + dims * prior) / (rows + dims)
    covariances = (scatters + dims * within) / (counts + dims)[:, None, None] if dims else scatters
    return ShrunkMixture((counts + 1) / (rows + len(counts)), means, np.array([_floored(c) for c in covariances]))


def _floored(covariance: Floats) -> Floats:
    return covariance + np.diag(FLOOR * _variances(covariance)) if len(covariance) else covariance


def _variances(covariance: Floats) -> Floats:
    """The diagonal (d,), without zeros."""
    variances = np.diag(covariance)
    return np.where(variances > 0, variances, variances.mean() or 1.0) if len(variances) else variances
