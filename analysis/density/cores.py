"""The densest rows of a cloud, by the distance to a neighbour: what is left when stray rows are put aside."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from analysis.density.bag import as_points


def densest(x: ArrayLike, share: float = 0.3, neighbours: int = 15) -> NDArray[np.intp]:
    """Indices, rising, of the share of rows whose neighbour of that rank is nearest: the core X(neighbours, share).

    Few neighbours show what is dense in a small place, many what is dense at large (Carlsson, Ishkhanov, de Silva and
    Zomorodian, On the local behavior of spaces of natural images, 2008).

    Args:
        x: rows (n, k).
        share: of the rows to keep, in (0, 1].
        neighbours: rank of the neighbour, from 1 to n - 1, the row itself not counted.

    Raises:
        ValueError: a share or rank out of range, not two axes, NaN or inf.

    Example:
        >>> from analysis import densest
        >>> densest([[0.0], [0.1], [0.2], [9.0]], share=0.75, neighbours=1)
        array([0, 1, 2])
    """
    rows = as_points(x, "rows")
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}; .3 keeps the densest three rows in ten")
    if not 1 <= neighbours < len(rows):
        raise ValueError(f"neighbours must be from 1 to {len(rows) - 1}, of {len(rows)} rows, got {neighbours}")
    reach = NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors()[0][:, -1]
    kept = np.argsort(reach, kind="stable")[: max(1, round(share * len(rows)))]
    return np.sort(kept)
