"""The ridge of a density: how many dimensions the rows of a piece run along, and where its middle lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from analysis.density.em import CHUNK, Mixture, _coefficients, _expect, features
from flows.geometry import ridge
from flows.geometry.ridge import THIN

Floats = NDArray[np.float64]

SMOOTHED = 0.2  # sd, in units of the piece, at which dimensions are counted
SHARP = 0.1  # the same for the ridge itself
NEIGHBOURS, RARE = 15, 10.0
MOST_COUNTED = 600  # rows at which dimensions are counted
SURFACE = 2  # what runs on in more directions has no name here, so that its ridge is not looked for


@dataclass(frozen=True)
class Thickness:
    """In how many directions a piece runs on, and in how many it is thin.

    Attributes:
        dimension: directions in which it is not thin, for most rows; all of them where it is a blob.
        dims: of the space.
        share: share of the rows that have that many.
        unit: largest standard deviation of the piece, the unit of lengths here.
    """

    dimension: int
    dims: int
    share: float
    unit: float

    @property
    def is_solid(self) -> bool:
        """Thin in no direction."""
        return self.dimension == self.dims

    @property
    def has_ridge(self) -> bool:
        """Whether rows are moved to a ridge: that of a curve or a surface."""
        return not self.is_solid and self.dimension <= SURFACE


def thickness(rows: Floats, density: Mixture) -> Thickness:
    """Count the directions in which rows (n, k) of one piece run on, from the Hessian of the smoothed log-density.

    The count is that of most of the first 600 rows, which should be in random order.

    A direction is thin where the curvature says that the density falls off within a third of the piece's largest standard
    deviation. A Gaussian, however long, is thin nowhere: it is as thick as its covariance says.
    """
    covariance = np.atleast_2d(np.cov(rows.T))
    variances, axes = np.linalg.eigh(covariance)
    k, unit = rows.shape[1], float(np.sqrt(variances[-1]))
    if not unit > 0:
        return Thickness(k, k, 1.0, 1.0)
    rows = rows[:MOST_COUNTED]
    white = axes * np.sqrt(np.maximum(variances, 1e-12 * variances[-1]))
    own = _curvatures(rows @ np.linalg.inv(white).T, _mapped(density, np.linalg.inv(white)), SMOOTHED)
    if np.median(own[:, -1]) < THIN:
        return Thickness(k, k, float((own[:, -1] < THIN).mean()), unit)
    smooth = _smoothed(density, SMOOTHED * unit)
    thin = ridge.thin_directions(rows, lambda points: derivatives(smooth, points), unit)
    counts = np.bincount(thin, minlength=k + 1) / len(rows)
    return Thickness(k - int(counts.argmax()), k, float(counts.max()), unit)


def to_ridge(rows: Floats, density: Mixture, dimension: int, unit: float) -> Floats:
    """Rows (n, k) moved to where the density is highest along their k - dimension most curved directions."""
    smooth = _smoothed(density, SHARP * unit)
    return ridge.to_ridge(rows, lambda points: derivatives(smooth, points), rows.shape[1] - dimension, unit)


def is_frequented(ridge: Floats, dimension: int) -> NDArray[np.bool_]:
    """Which ridge points (n,) have at least a tenth of the usual density of ridge points: rows in a bend make short spurs."""
    count = min(NEIGHBOURS, len(ridge) - 1)
    if dimension < 1 or count < 1:
        return np.ones(len(ridge), dtype=bool)
    reach = cKDTree(ridge).query(ridge, k=[count + 1])[0][:, 0]
    return reach**dimension <= RARE * np.median(reach) ** dimension


def derivatives(density: Mixture, points: Floats) -> tuple[Floats, Floats]:
    r"""Gradient (n, k) and Hessian (n, k, k) of the log-density at points (n, k).

    With responsibilities r_j, precisions P_j and g_j = P_j (m_j - x): :math:`g = \sum r_j g_j`,
    :math:`H = \sum r_j (g_j g_j^T - P_j) - g g^T`.
    """
    k = points.shape[1]
    coefficients, precisions = _coefficients(density), np.linalg.inv(density.covariances)
    pulls = np.einsum("jab,jb->ja", precisions, density.means)
    gradient, hessian = np.empty(points.shape), np.empty((len(points), k, k))
    chunk = max(1, CHUNK // (len(precisions) * k))
    for start in range(0, len(points), chunk):
        some = slice(start, start + chunk)
        x = points[some]
        share = _expect(features(x) @ coefficients)[0].astype(np.float64)
        each = pulls - np.einsum("jab,nb->nja", precisions, x)
        g = np.einsum("nj,nja->na", share, each)
        curvature = (share @ precisions.reshape(len(precisions), -1)).reshape(-1, k, k)
        gradient[some] = g
        hessian[some] = (each * share[..., None]).transpose(0, 2, 1) @ each - curvature - g[:, :, None] * g[:, None]
    return gradient, hessian


def _curvatures(rows: Floats, density: Mixture, sigma: float) -> Floats:
    """Minus the eigenvalues (n, k), rising, of the Hessian of the log-density smoothed by sigma."""
    hessian = derivatives(_smoothed(density, sigma), rows)[1]
    return -np.linalg.eigvalsh(hessian)[:, ::-1].astype(np.float64)


def _smoothed(density: Mixture, sigma: float) -> Mixture:
    return Mixture(density.weights, density.means, density.covariances + sigma**2 * np.eye(density.means.shape[1]))


def _mapped(density: Mixture, matrix: Floats) -> Mixture:
    """The law of matrix @ x, x from the density."""
    return Mixture(density.weights, density.means @ matrix.T, matrix @ density.covariances @ matrix.T)
