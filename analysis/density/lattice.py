"""Points that were rounded: a lattice has no density, so every coordinate gets back the noise that rounding took."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from flows.geometry.outlying import RowWarning

FEWEST = 10  # distinct rows of a cloud
_COARSE = 1e-2  # of a column's sd: finer steps do no harm (half precision has such)
_WIDE = 1e-3  # of the largest sd: narrower columns are nearly constant, and matter to no distance

Floats = NDArray[np.float64]


def unrounded(points: Floats, seed: int) -> Floats:
    """Points (N, k) with uniform noise of one step on columns that are rounded coarsely; a warning names them.

    Raises:
        ValueError: repeated rows, and fewer than 10 distinct ones.
    """
    distinct = len(np.unique(points, axis=0))
    if distinct < min(FEWEST, len(points)):
        raise ValueError(
            f"the structure has only {distinct} distinct rows among {len(points)}: places, not a cloud, so there is no density "
            "to read; np.unique(points, axis=0, return_counts=True) lists them"
        )
    sds = points.std(0)
    steps = np.array([step_of(column) for column in points.T]) * (sds > _WIDE * sds.max())
    if not steps.any():
        return points
    columns, sizes = np.flatnonzero(steps).tolist(), sorted(set(steps[steps > 0].tolist()))
    warnings.warn(
        f"columns {columns} are rounded to steps of {', '.join(f'{s:.3g}' for s in sizes)}: uniform noise of one step was added, "
        "for a lattice has no density",
        RowWarning,
        stacklevel=4,
    )
    return points + steps * np.random.default_rng(seed).uniform(-0.5, 0.5, points.shape)


def step_of(column: Floats) -> float:
    """The step of which all values (N,) are multiples beyond the smallest, if half of them or more are ties; else 0."""
    values = np.unique(column)
    if len(values) < 2 or 2 * len(values) > len(column):
        return 0.0
    step = float(np.diff(values).min())
    multiples = (values - values[0]) / step
    on_a_lattice = step > _COARSE * float(column.std()) and np.abs(multiples - multiples.round()).max() < 1e-3
    return step if on_a_lattice else 0.0
