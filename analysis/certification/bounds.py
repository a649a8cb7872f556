"""The held-out lower bound on a divergence that a critic's values give, at the scale that suits them."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SCALES = np.geomspace(0.05, 2, 16)


def cut(f: Array) -> Array:
    """Cut off |f| at the log of the rows (last axis): the most nats that so many can show (arXiv:1811.04251)."""
    return np.clip(f, -math.log(f.shape[-1]), math.log(f.shape[-1]))


def nwj(p: Array, q: Array) -> Array:
    """Row by row (rows,), what is averaged to the bound; critic's values p (rows,) and q (negatives, rows)."""
    return cut(p) - np.exp(cut(q)).mean(0) + 1


def fit_scale(p: Array, q: Array) -> tuple[float, float, float]:
    """The best bound over ``SCALES`` for values p (rows,) and q (negatives, rows); scale and offset of the best bound less
    1.645 standard errors.
    """
    offsets = np.array([-math.log(np.exp(scale * q).mean()) for scale in SCALES])
    u = np.stack([nwj(a * p + c, a * q + c) for a, c in zip(SCALES, offsets, strict=True)])
    best = int(np.argmax(u.mean(1) - 1.645 * u.std(1) / math.sqrt(len(p))))
    return float(u.mean(1).max()), float(SCALES[best]), float(offsets[best])
