"""False neighbours: rows that a map puts next to each other although they were far apart."""

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

_MOST_ROWS = 4000


def false_neighbours(before: Tensor, after: Tensor) -> float:
    """Share of the ten nearest rows in ``after`` (N, k') that are far apart in ``before`` (N, k).

    Far is farther than half the median distance of two rows there. Of more than 4000 rows that many, evenly spread.
    """
    rows = slice(None, None, -(-len(before) // _MOST_ROWS))
    p, q = before[rows].detach().double().numpy(), after[rows].detach().double().numpy()
    near = cKDTree(q).query(q, 11)[1][:, 1:]
    left, right = np.random.default_rng(0).integers(len(p), size=(2, 20_000))
    half = 0.5 * np.median(np.linalg.norm(p[left] - p[right], axis=1))
    return float((np.linalg.norm(p[:, None] - p[near], axis=2) > half).mean())
