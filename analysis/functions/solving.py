"""Points of a level set {x : f(x) = value}: Jacobians, Newton's method, and the region that the data cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from analysis.functions.layers import outputs_of

Floats = NDArray[np.float64]
_ITERATIONS = 25
_NEIGHBOURS = 5
REACH = 2.0  # the region: nearer to one of the data than so many times the distance to its fifth neighbour


class Level:
    """The equations f(x) = value, in the coordinates (x - centre) / spread of the data.

    Args:
        function: rows (B, D) to outputs (B, E).
        value: (E,).
        points: (n, D) data, in the function's dtype.
        rank: of the Jacobian on the level set; None reads it off.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], value: Tensor, points: Tensor, rank: int | None) -> None:
        self.function, self.value, self.like = function, value.double().cpu().numpy(), points
        wide = points.double()
        self.centre = wide.mean(0).cpu().numpy()
        self.spread = float(wide.var(0, correction=0).mean().sqrt()) or 1.0
        with torch.no_grad():
            outputs = outputs_of(function, points).double()
        self.unit = max(float((outputs - value.to(outputs)).square().mean().sqrt()), 1e-300)
        self.precision = 1e-9 if points.dtype == torch.float64 else 1e-4
        self.cutoff = 1e-7 if points.dtype == torch.float64 else 1e-3  # singular values below this share are zero
        self.rank = rank

    def local(self, points: Tensor) -> Floats:
        """Rows in the internal coordinates."""
        return (points.double().cpu().numpy() - self.centre) / self.spread

    def rows(self, u: Floats) -> Tensor:
        """Internal coordinates as rows."""
        return torch.as_tensor(u * self.spread + self.centre).to(self.like)

    def residual(self, u: Floats) -> Floats:
        """(f(x) - value) in units of f's typical distance from the value: (B, E)."""
        with torch.no_grad():
            y = outputs_of(self.function, self.rows(u)).double().cpu().numpy()
        return (y - self.value) / self.unit

    def linear(self, u: Floats) -> tuple[Floats, Floats]:
        """Residual (B, E) and its Jacobian (B, E, D)."""
        y, pull = torch.func.vjp(lambda x: outputs_of(self.function, x), self.rows(u))[:2]
        eye = torch.eye(y.shape[1]).to(y)
        slopes = [pull(e.expand_as(y).contiguous())[0].double().cpu().numpy() for e in eye]
        residual = (y.detach().double().cpu().numpy() - self.value) / self.unit
        return residual, np.stack(slopes, 1) * (self.spread / self.unit)

    def decomposed(self, jacobian: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Pseudo-inverses (B, D, E), right singular vectors (B, D, D) and numerical ranks (B,)."""
        u, s, vt = np.linalg.svd(jacobian)
        limit = self.cutoff * np.maximum(s[:, :1], 1e-300)
        ranks = (s > limit).sum(1)
        kept = s > limit
        if self.rank is not None:
            kept &= np.arange(s.shape[1]) < self.rank
        inverse = np.where(kept, 1 / np.where(kept, s, 1), 0)
        q = s.shape[1]
        return (vt[:, :q].transpose(0, 2, 1) * inverse[:, None]) @ u[:, :, :q].transpose(0, 2, 1), vt, ranks

    def newton(self, u: Floats, farthest: float = 1.0) -> tuple[Floats, NDArray[np.bool_]]:
        """Nearest points of the level set by Gauss-Newton with steps of least length, and where that converged.

        A step is no longer than `farthest`, in sds of the data.
        """
        u, done = u.copy(), np.zeros(len(u), dtype=bool)
        alive = np.arange(len(u))
        for _ in range(_ITERATIONS):
            residual, jacobian = self.linear(u[alive])
            sound = np.isfinite(residual).all(1) & np.isfinite(jacobian).all((1, 2))
            small = sound & (np.abs(residual).max(1) <= self.precision)
            done[alive[small]] = True
            going = sound & ~small
            alive, residual, jacobian = alive[going], residual[going], jacobian[going]
            if not len(alive):
                break
            step = np.einsum("bde,be->bd", self.decomposed(jacobian)[0], -residual)
            length = np.linalg.norm(step, axis=1, keepdims=True)
            u[alive] += step * np.minimum(1, farthest / np.maximum(length, 1e-300))
        return u, done


class Region:
    """Where the data are: nearer to one of them than twice the distance to its fifth neighbour."""

    def __init__(self, u: Floats, reach: float = REACH) -> None:
        self.count = min(_NEIGHBOURS, len(u) - 1)
        self.tree = cKDTree(u)
        self.radii = reach * self.tree.query(u, self.count + 1)[0][:, -1]

    def holds(self, u: Floats) -> NDArray[np.bool_]:
        """Which points (B, D) lie in it."""
        distance, nearest = self.tree.query(u, self.count)
        return (distance.reshape(len(u), -1) <= self.radii[nearest.reshape(len(u), -1)]).any(1)
