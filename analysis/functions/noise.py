"""Noise with a covariance at every point, and how a change of coordinates carries it along."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flows.diffeo import StrongDiffeo

Rows = Callable[[Tensor], Tensor]


class Noise:
    """Noise of covariance S at every point of R^D: the unit that movements are measured in.

    A bare threshold on a Jacobian's singular values is not invariant under a change of coordinates; those of
    Sy^(-1/2) J Sx^(1/2) are, when both covariances are carried along. So noise is a chart around every point:
    `displace(x, e)` is the point at e noise sds from x, `measure(y, around)` how many noise sds y lies from `around`. In new
    coordinates x' = phi(x) the same noise is `noise.through(phi)`, whose covariance at x' is Dphi S Dphi^T.

    Args:
        covariance: an sd (a number: isotropic), sds (D,), or a covariance matrix (D, D), positive definite.
        dims: D.

    Raises:
        ValueError: not positive (definite), or of another size.
    """

    def __init__(self, covariance: float | Tensor, dims: int) -> None:
        given = torch.as_tensor(covariance, dtype=torch.float64)
        if given.shape not in ((), (dims,), (dims, dims)):
            raise ValueError(
                f"noise must be a sd, {dims} sds or a ({dims}, {dims}) covariance, got shape {tuple(given.shape)}"
            )
        self.dims = dims
        self.factor: Tensor | None = None
        if given.ndim == 2:
            factor, failed = torch.linalg.cholesky_ex(given)
            if failed or not given.isfinite().all():
                raise ValueError("a noise covariance must be positive definite; add a small multiple of the identity")
            self.factor = factor
        elif not (given.isfinite().all() and (given > 0).all()):
            raise ValueError(f"a noise sd must be positive and finite, got {given.min().item():g}")
        self.sds = given

    def displace(self, x: Tensor, e: Tensor) -> Tensor:
        """The points (B, D) at e (B, D) noise sds from x (B, D); differentiable in e."""
        return x + (e * self.sds.to(x) if self.factor is None else e @ self.factor.to(x).T)

    def measure(self, y: Tensor, around: Tensor) -> Tensor:
        """How many noise sds y (B, D) lies from `around` (B, D), along each of D axes (B, D); differentiable in y."""
        if self.factor is None:
            return (y - around) / self.sds.to(y)
        return torch.linalg.solve_triangular(self.factor.to(y), (y - around).T, upper=False).T

    def through(self, phi: StrongDiffeo) -> Noise:
        """The same noise in the coordinates phi(x); phi has an `inverse`."""
        return CarriedNoise(self, phi)


class CarriedNoise(Noise):
    """Noise as it looks in other coordinates."""

    def __init__(self, noise: Noise, phi: StrongDiffeo) -> None:
        self.noise, self.phi, self.dims = noise, phi, noise.dims

    def displace(self, x: Tensor, e: Tensor) -> Tensor:
        return self.phi(self.noise.displace(self.phi.inverse(x), e))

    def measure(self, y: Tensor, around: Tensor) -> Tensor:
        return self.noise.measure(self.phi.inverse(y), self.phi.inverse(around))


def as_noise(given: Noise | float | Tensor | None, rows: Tensor, share: float, name: str) -> Noise:
    """`given` as noise; by default isotropic, its sd `share` times the rows' root mean square sd over their columns.

    Raises:
        ValueError: noise of another dimension, or rows without any spread to take a default from.
    """
    dims = rows.shape[1]
    if isinstance(given, Noise):
        if given.dims != dims:
            raise ValueError(f"{name} has {given.dims} dimensions, expected {dims}; make it for these rows")
        return given
    if given is not None:
        return Noise(given, dims)
    spread = spread_of(rows)
    if not spread > 0:
        raise ValueError(f"{len(rows)} rows without spread give no scale for {name}; pass it as a sd or a covariance")
    return Noise(share * spread, dims)


def spread_of(rows: Tensor) -> float:
    """Root mean square of the columns' sds."""
    return float(rows.detach().double().var(0, correction=0).mean().sqrt())
