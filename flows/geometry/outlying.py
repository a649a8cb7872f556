"""Rows so far out that they would set the scale of all others: found by a robust scale for each principal direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flows.geometry.moments import Moments
from flows.io.rows import CHUNK, Rows, chunks

MOST = 0.05  # share of the rows; what is more is a part of the data
_CHANCE = 1e-5  # of a gap as wide in a tail as heavy as that of Student's t with 3 degrees of freedom
_TAIL = 3.0
_GAP = 5.0  # the least ratio of radii
_WIDEST = 512  # columns up to which principal directions are looked for; beyond it the columns stand for them
_NAMED = 8
_QUANTILES = ((0.1587, 0.8413, 1.0), (0.025, 0.975, 1.96))


class RowWarning(UserWarning):
    """Rows were set aside or changed; the message names them."""


def outlying(x: Tensor | Rows) -> Tensor:
    """Numbers (n,) of the rows of ``x`` (N, D) that lie far outside and make up most of the variance of a direction, ascending.

    A row's radius is its largest distance from the median along any principal direction, in robust standard deviations (half the
    distance of the 15.9 % and 84.1 % quantiles). The i rows of largest radius are outlying where the next is so much nearer
    that a Pareto tail of index 3 would show such a gap once in 100 000 draws (radii r_i / r_(i+1) > g have probability g^(-3 i)),
    at least five times, and where without them more than half the variance of a direction is gone. At most 5 % of the rows are.
    """
    directions = _directions(x)
    centre, scale = _robust(x[:: max(1, x.shape[0] * x.shape[1] // CHUNK)].double() @ directions)
    radii = torch.cat([((c.double() @ directions - centre) / scale).abs().amax(1) for c in chunks(x)])
    order = radii.argsort(descending=True, stable=True)
    most = max(1, int(MOST * len(radii)))
    far = radii[order[: most + 1]].clamp_min(1e-300).log()
    if len(far) < 2:
        return order[:0]
    needed = math.log(1 / _CHANCE) / (_TAIL * torch.arange(1, len(far)))
    gaps = (far[:-1] - far[1:] > needed.clamp_min(math.log(_GAP))).nonzero().flatten()
    if not len(gaps):
        return order[:0]
    found = order[: int(gaps[-1]) + 1].sort().values
    return found if _dominates(x, found, directions, centre) else order[:0]


def named(rows: Tensor, count: int) -> str:
    """What to say of outlying rows (n,) of ``count``, the first eight by number."""
    numbers = ", ".join(map(str, rows[:_NAMED].tolist())) + (", ..." if len(rows) > _NAMED else "")
    who, them = (f"rows {numbers} lie", "them") if len(rows) > 1 else (f"row {numbers} lies", "it")
    return (
        f"{len(rows)} of {count} rows set aside: {who} so far out as to set the scale of all others; look at {them}, drop {them} "
        f"or fit {them} separately"
    )


def _directions(x: Tensor | Rows) -> Tensor:
    """Principal directions (D, D) of the rows in columns, or the columns themselves where they are many."""
    if x.shape[1] > _WIDEST:
        return torch.eye(x.shape[1], dtype=torch.float64)
    covariance = Moments.of(x).covariance
    if not bool(covariance.isfinite().all()):
        return torch.eye(x.shape[1], dtype=torch.float64)
    return torch.linalg.eigh(covariance)[1]


def _robust(y: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust sd (D,) of coordinates (N, D); infinite where one value fills 95 % of the rows: sparse, not outlying."""
    centre, scale = y.median(0).values, torch.zeros(y.shape[1], dtype=y.dtype)
    ordered = y.sort(0).values
    for low, high, width in _QUANTILES:
        wide = ordered[round(high * (len(y) - 1))] - ordered[round(low * (len(y) - 1))]
        scale = torch.where(scale > 0, scale, wide / (2 * width))
    spread = ordered[-1] - ordered[0]
    return centre, torch.where(scale > 1e-12 * spread, scale, torch.inf)


def _dominates(x: Tensor | Rows, found: Tensor, directions: Tensor, centre: Tensor) -> bool:
    """Whether rows ``found`` make up more than half the sum of squares about the centre along a direction."""
    whole = torch.zeros(x.shape[1], dtype=torch.float64)
    for chunk in chunks(x):
        whole += (chunk.double() @ directions - centre).square().sum(0)
    own = (x[found].double() @ directions - centre).square().sum(0)
    return bool((own > 0.5 * whole).any())
