"""Augmented dimensions: Gaussian draws appended to each row, so that a flow has room that the data do not give it."""

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed 64-bit integer


def row_noise(rows: Tensor, count: int, draw: int = 0) -> Tensor:
    """N(0, 1) draws (B, count) that are a function of each row's bits and of ``draw`` alone.

    So a row has the same draws in every batch and on every device, and different rows have independent ones. The row's
    bits are mixed by splitmix64 (Steele, Lea and Flood 2014), whose output at its 53 highest bits is a uniform number.

    Args:
        rows: (B, D) float32 or float64.
        count: A, draws a row.
        draw: number of the draw; another number, other draws.
    """
    if count == 0:
        return rows.new_empty(len(rows), 0)
    bits = (rows.detach() + 0.0).contiguous().view(torch.int32 if rows.dtype == torch.float32 else torch.int64)
    columns = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    key = _mixed(_mixed(bits.long() + columns * _GOLDEN).sum(1))
    wanted = torch.arange(1, count + 1, device=rows.device) + draw * count
    mixed = _mixed(key[:, None] + wanted * _GOLDEN)
    uniform = (_shifted(mixed, 11).double() + 0.5) * 2.0**-53
    return torch.special.ndtri(uniform).to(rows)


def log_normal(noise: Tensor) -> Tensor:
    """log N(a; 0, I) in nats (B,) of draws (B, A)."""
    return -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)


def _mixed(x: Tensor) -> Tensor:
    """splitmix64's finaliser; int64 products wrap around, as they should."""
    x = (x ^ _shifted(x, 30)) * -4658895280553007687
    x = (x ^ _shifted(x, 27)) * -7723592293110705685
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's keeps the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)
