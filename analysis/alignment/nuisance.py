"""What the user knows of the rows and does not care for, taken off before two models are compared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from analysis.alignment.rigid import Floats
from flows.geometry.nuisance import Nuisance, as_nuisance

MOST_GONE = 1 - 1e-9  # share of the variance beyond which nothing is left


def without(rows: Floats, nuisance: ArrayLike, name: str) -> Floats:
    """Rows (n, D) less their linear share in a nuisance, as :class:`~flows.geometry.nuisance.Nuisance` fits it.

    The overall mean stays.

    Args:
        nuisance: (n,) or (n, j): columns of whole numbers or strings are classes, others covariates.
        name: "a" or "b", for errors.

    Raises:
        ValueError: another number of rows, NaN or inf, a class of one row, or nothing left of the rows.
    """
    given, x = np.asarray(nuisance), torch.from_numpy(rows)
    try:
        known = as_nuisance(given if np.issubdtype(given.dtype, np.number) else _numbered(given), len(rows))
        fitted, _, gone = Nuisance.of(x, known)
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None
    if gone >= MOST_GONE:
        raise ValueError(f"{name}: the nuisance explains all of the rows; leave out columns that tell every row apart")
    return np.asarray((x - fitted.effect(known, len(rows))).numpy())


def _numbered(given: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Names as numbers, each column by itself."""
    columns = given.reshape(len(given), -1) if given.ndim else given.reshape(1, 1)
    return np.stack([np.unique(column, return_inverse=True)[1] for column in columns.T], axis=1)
