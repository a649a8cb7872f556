"""What the user knows of the rows and does not care for, taken off before two models are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from analysis.alignment.rigid import Floats

MOST_LEFT = 1e-9  # share of the variance below which nothing is left


def without(rows: Floats, nuisance: ArrayLike, name: str) -> Floats:
    """Rows (n, D) less their linear share in a nuisance: class means, or the least-squares fit of real covariates.

    The overall mean stays.

    Args:
        nuisance: (n,) or (n, j): columns of whole numbers or strings are classes, others covariates.
        name: "a" or "b", for errors.

    Raises:
        ValueError: another number of rows, NaN or inf, or nothing left of the rows.
    """
    given = np.asarray(nuisance)
    columns = given[:, None] if given.ndim == 1 else given
    if columns.ndim != 2 or len(columns) != len(rows):
        raise ValueError(
            f"nuisance of {name} must have shape ({len(rows)},) or ({len(rows)}, columns), got {given.shape}; "
            "pass one entry a row"
        )
    design = np.hstack([np.ones((len(rows), 1)), *(_columns(column, name) for column in columns.T)])
    left = rows - design @ np.linalg.lstsq(design, rows - rows.mean(0), rcond=None)[0]
    if left.var(0).sum() <= MOST_LEFT * rows.var(0).sum():
        raise ValueError(f"nuisance of {name} explains all of the rows; leave out columns that tell every row apart")
    return left


def _columns(values: np.ndarray, name: str) -> Floats:  # type: ignore[type-arg]
    if not np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.integer):
        classes, at = np.unique(values, return_inverse=True)
        return np.eye(len(classes))[at]
    if not np.isfinite(values).all():
        raise ValueError(f"nuisance of {name} contains NaN or inf; leave those rows out")
    return np.asarray(values[:, None] - values.mean(), dtype=np.float64)
