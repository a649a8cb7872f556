"""The ridge of a density: how many dimensions rows run along, and where the middle of what is thin lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Derivatives = Callable[[Floats], tuple[Floats, Floats]]  # points (n, k) -> gradient (n, k), Hessian (n, k, k) of log p

THIN = 6.0  # curvature, in units of the cloud, beyond which a direction is normal: thinner than about a third of it
STEPS = 12
LONGEST_STEP = 0.3
_CHUNK = 1000


def thin_directions(points: Floats, derivatives: Derivatives, unit: float) -> NDArray[np.intp]:
    """In how many directions the density is thin at points (n, k): it falls off within a third of ``unit``; (n,)."""
    return (-np.linalg.eigvalsh(derivatives(points)[1]) * unit**2 > THIN).sum(1)


def to_ridge(points: Floats, derivatives: Derivatives, normals: int, unit: float, steps: int = STEPS) -> Floats:
    """Move points (n, k) along their ``normals`` most curved directions to where the density is highest along these.

    Subspace-constrained mean shift (Ozertem and Erdogmus, JMLR 12, 2011) with Newton's step in every normal direction,
    none longer than .3 of ``unit``.
    """
    out = points.copy()
    moving = np.arange(len(points) if normals else 0)
    for _ in range(steps):
        if not len(moving):
            break
        gradient, hessian = derivatives(out[moving])
        values, vectors = np.linalg.eigh(hessian)
        values, vectors = values[:, :normals], vectors[:, :, :normals]
        along = np.einsum("nab,na->nb", vectors, gradient)
        step = np.einsum("nab,nb->na", vectors, along / np.maximum(-values, 1.0 / unit**2))
        length = np.linalg.norm(step, axis=1)
        out[moving] += step * np.minimum(1, LONGEST_STEP * unit / np.maximum(length, 1e-300))[:, None]
        moving = moving[length > 1e-3 * unit]
    return out


def kernel_derivatives(cloud: Floats, width: float) -> Derivatives:
    r"""Derivatives of the log of the kernel density of ``cloud`` (N, k), a Gaussian of sd ``width`` at every row.

    With m and C the mean and covariance of the rows, weighted by their kernels at x: :math:`g = (m - x) / w^2`,
    :math:`H = (C / w^2 - I) / w^2`.
    """
    k = cloud.shape[1]
    values = np.concatenate([cloud, (cloud[:, :, None] * cloud[:, None]).reshape(len(cloud), k * k)], axis=1)

    def at(points: Floats) -> tuple[Floats, Floats]:
        moments = np.empty((len(points), k + k * k))
        for start in range(0, len(points), _CHUNK):
            some = slice(start, start + _CHUNK)
            exponent = -0.5 * cdist(points[some], cloud, "sqeuclidean") / width**2
            weights = np.exp(exponent - exponent.max(1, keepdims=True))
            moments[some] = weights @ values / weights.sum(1, keepdims=True)
        mean = moments[:, :k]
        covariance = moments[:, k:].reshape(-1, k, k) - mean[:, :, None] * mean[:, None]
        return (mean - points) / width**2, (covariance / width**2 - np.eye(k)) / width**2

    return at
