"""Random diffeomorphisms of R^D with closed-form inverses: gentle ones for planted clouds, strong ones to test invariance."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flows.io.inputs import as_rows

__all__ = ["RandomDiffeo", "StrongDiffeo", "unexplained_share"]

LEAST_UNEXPLAINED = 0.25  # of the variance, by the best affine map back, for a strong map
_PROBE_DIMS = 128  # a strong map's share is measured in at most so many dimensions: it does not depend on their number
_FLOOR = 1e-3  # directions with less of the largest sd than this are scaled as if they had so much


class RandomDiffeo:
    """A random diffeomorphism of R^dims: `rounds` of rotation and shear, then a last rotation.

    A shear adds strength * tanh(u)^2 to each coordinate of one half, u being its partner in the other half: a random
    linear form of the input, by the rotation before. An even function of a Gaussian is uncorrelated with it, so no
    linear map undoes any of it; one partner each makes the effect per dimension the same in every dimension.

    With `skew` or `stretch` every round ends with u -> sinh(stretch asinh(u) + e) in each coordinate, |e| uniform between
    half and three halves of the skew, its sign a coin: monotone, smooth, and in the tails as straight as before where
    stretch is 1 (Jones and Pewsey 2009).

    Args:
        dims: dimension, at least 2 unless there is no shear.
        seed: the rotations are drawn from it, uniformly (Haar); global random state is not touched.
        strength: height of the shear, in units of the input; its slope is at most .77 * strength. The default hides about
            5 percent of the variance of whitened rows from every linear map back, whatever dims. A share r puts
            -1/2 log(1 - r) nats a dimension into bent noise, of which kappa = 1 leaves about half: .013 at the default;
            at strength 1 (12 percent) it is .03 and bent noise is structure by the path's own measure.
        rounds: number of rotations each followed by a shear.
        skew, stretch: of the coordinatewise maps; the defaults leave these out.

    Raises:
        ValueError: dims below 2 with a shear.
    """

    def __init__(
        self, dims: int, seed: int, strength: float = 0.65, rounds: int = 3, skew: float = 0.0, stretch: float = 1.0
    ) -> None:
        if dims < 2 and strength:
            raise ValueError(f"a shear needs two coordinates, got dims={dims}; add noise_dims, or pass diffeo=False")
        generator = torch.Generator().manual_seed(seed)
        self.rotations = [_random_rotation(dims, generator) for _ in range(rounds + 1)]
        self.half = dims // 2
        # where dims is odd one coordinate stays put: the others make up for it
        self.strength = strength * math.sqrt(dims / (2 * self.half)) if strength else 0.0
        self.stretch = stretch
        size, coin = torch.rand(2, rounds, dims, generator=generator, dtype=torch.float64)
        self.skews = skew * (0.5 + size) * (coin - 0.5).sign() if skew or stretch != 1 else None

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, dims), in its own floating dtype."""
        for i, rotation in enumerate(self.rotations[:-1]):
            x = self._shear(x @ rotation.to(x), self.strength)
            if self.skews is not None:
                x = (self.stretch * x.asinh() + self.skews[i].to(x)).sinh()
        return x @ self.rotations[-1].to(x)

    def inverse(self, y: Tensor) -> Tensor:
        """The exact inverse, up to rounding, of `__call__`."""
        y = y @ self.rotations[-1].to(y).T
        for i, rotation in reversed(list(enumerate(self.rotations[:-1]))):
            if self.skews is not None:
                y = ((y.asinh() - self.skews[i].to(y)) / self.stretch).sinh()
            y = self._shear(y, -self.strength) @ rotation.to(y).T
        return y

    def _shear(self, x: Tensor, strength: float) -> Tensor:
        partner, sheared, rest = x[:, : self.half], x[:, self.half : 2 * self.half], x[:, 2 * self.half :]
        return torch.cat([partner, sheared + strength * partner.tanh().square(), rest], dim=1)


class StrongDiffeo:
    """A random diffeomorphism of R^D that no affine map comes near to: it leaves at least 25 percent of the variance.

    Rows are centred and whitened, then go through a `RandomDiffeo` whose shears (in one dimension, whose monotone map)
    grow until the best affine map back to the whitened rows leaves `least` of their variance. That share is measured on the
    rows themselves where there are 4 D of them and D <= 128; else on Gaussian rows, in 128 dimensions if D is larger.

    Args:
        x: rows (n, D) that say where the map is to bend.
        seed: everything is drawn from it; global random state is not touched.
        least: share of the variance to be left, in [0, .6].

    Attributes:
        unexplained: that share, as measured.

    Raises:
        ValueError: `least` out of range, fewer than 2 rows, NaN or inf; no strength reaches `least` on these rows.
        TypeError: no numbers.

    Example:
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> phi = StrongDiffeo(x, seed=0)
        >>> phi.unexplained >= 0.25 and torch.allclose(phi.inverse(phi(x)), x)
        True
    """

    def __init__(self, x: object, seed: int, least: float = LEAST_UNEXPLAINED) -> None:
        if not 0 <= least <= 0.6:
            raise ValueError(f"least is a share of the variance in [0, .6], got {least}; .25 is the default")
        rows = as_rows(x, min_rows=2).detach().double()
        self.centre = rows.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(rows.T).reshape(rows.shape[1], -1))
        sds = variances.clamp_min(0).sqrt()
        sds = sds.clamp_min(_FLOOR * sds.max()) if sds.max() > 0 else torch.ones_like(sds)
        self.whitening, self.colouring = (axes / sds) @ axes.T, (axes * sds) @ axes.T
        self.map, self.unexplained = _bent_enough(self._whiten(rows), seed, least)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, D), in its own floating dtype; differentiable."""
        return self.map(self._whiten(x))

    def inverse(self, y: Tensor) -> Tensor:
        """The exact inverse, up to rounding; differentiable."""
        return self.map.inverse(y) @ self.colouring.to(y) + self.centre.to(y)

    def _whiten(self, x: Tensor) -> Tensor:
        return (x - self.centre.to(x)) @ self.whitening.to(x)


def _bent_enough(white: Tensor, seed: int, least: float) -> tuple[RandomDiffeo, float]:
    """The gentlest of a ladder of maps that leaves `least` of the variance, and what it leaves."""
    count, dims = white.shape
    if count < 4 * dims or dims > _PROBE_DIMS:
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn(4 * min(dims, _PROBE_DIMS), min(dims, _PROBE_DIMS), generator=generator).double()
    share = 0.0
    for step in range(24):
        grown = 1.15**step
        settings: dict[str, Any] = (
            {"strength": grown, "skew": 0.6} if dims > 1 else {"strength": 0, "skew": 0.3, "stretch": grown}
        )
        bent = RandomDiffeo(white.shape[1], seed, **settings)(white)
        if not bent.isfinite().all():
            break
        share = unexplained_share(bent, white)
        if share >= least:
            return RandomDiffeo(dims, seed, **settings), share
    raise ValueError(
        f"no map leaves {least:.0%} of the variance of these {count} rows, the last left {share:.0%}; "
        "give rows with more distinct values, or a smaller least"
    )


def unexplained_share(x: Tensor, target: Tensor) -> float:
    """Share of the variance of `target` (rows, D) that the best affine map of x leaves, corrected for its freedom."""
    x, target = x - x.mean(0), (target - target.mean(0))[:, target.amin(0) < target.amax(0)]
    residual = target - x @ torch.linalg.lstsq(x, target).solution
    freedom = (len(x) - 1) / (len(x) - 1 - x.shape[1])
    return float((residual.square().sum(0) / target.square().sum(0)).mean() * freedom)


def _random_rotation(dims: int, generator: torch.Generator) -> Tensor:
    """A rotation (dims, dims), float64, uniform on SO(dims)."""
    q, r = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.linalg.det(q).sign()
    return q
