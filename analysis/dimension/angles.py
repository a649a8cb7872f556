"""Angles: read from a planar structure block, and compared with known ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def plane_angle(s: ArrayLike) -> NDArray[np.float64]:
    """Angle (N,) in radians, in (-pi, pi], of planar rows s (N, 2) about their mean.

    Where it begins and which way it runs are arbitrary, as they are in any block that a flow finds.

    Raises:
        ValueError: not two columns.
    """
    s = np.asarray(s, dtype=float)
    if s.ndim != 2 or s.shape[1] != 2:
        raise ValueError(f"s must have shape (N, 2), got {s.shape}; an angle needs a planar block, k = 2")
    centred = s - s.mean(0)
    return np.arctan2(centred[:, 1], centred[:, 0])


def circular_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Correlation in [-1, 1] of two series of angles (N,) in radians; -1 where one runs the other way.

    As for uniform angles (Jammalamadaka and SenGupta 2001, equation 8.2.5): R(a - b) - R(a + b), R the length of the mean
    vector. It does not change when either series is turned as a whole.

    Raises:
        ValueError: series of different lengths, or none.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"angles must be two series of one length, got shapes {a.shape} and {b.shape}")
    return float(np.abs(np.exp(1j * (a - b)).mean()) - np.abs(np.exp(1j * (a + b)).mean()))


def probed_angle(rows: ArrayLike, angle: ArrayLike, train: ArrayLike) -> NDArray[np.float64]:
    """Angle (N,) by a linear probe: least squares from rows (N, D) to (cos, sin), fitted where `train` (N,) is true."""
    rows, angle, train = np.asarray(rows, dtype=float), np.asarray(angle, dtype=float), np.asarray(train, dtype=bool)
    design = np.column_stack([rows, np.ones(len(rows))])
    answers = np.column_stack([np.cos(angle), np.sin(angle)])
    fitted = design @ np.linalg.lstsq(design[train], answers[train], rcond=None)[0]
    return np.arctan2(fitted[:, 1], fitted[:, 0])
