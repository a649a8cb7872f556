"""Which pieces two models share, where the whole of one does not fit the whole of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.clouds import FEWEST, Cloud
from analysis.alignment.rigid import Floats

MOST_LEFT = 3  # pieces that may be left out on either side
LEAST_KEPT = 0.5  # share of the rows of either side that must stay
MOST_PIECES = 16
BINS = 64
TRIED = 2  # choices of every number of pieces left out
BETTER = 0.5  # of the difference between the wholes, at most, is left in a choice worth a search

Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]


def choices(
    clouds: Sequence[Cloud], pieces: Sequence[Numbers], fewest: int = 1, most: int = 2 * MOST_LEFT
) -> Iterator[tuple[Mask, Mask]]:
    """Masks of the rows of a and b to keep, fewest pieces left out first; of every number the two that look most alike.

    They are ranked by what no rigid map changes: the distribution of the distance between two of the rows that stay (the D2
    shape distribution, Osada et al. 2002). That is a screen only; the caller searches for a map and judges it.

    Args:
        clouds, pieces: of a and of b; the pieces number the rows.
        fewest, most: pieces that may be left out of both together.
    """
    if max(len(np.unique(numbers)) for numbers in pieces) > MOST_PIECES:
        return
    widest = max(float(cdist(c.s, c.s).max()) for c in clouds)
    one, other = (_subsets(*side, widest) for side in zip(clouds, pieces, strict=True))
    apart = cdist([law for _, _, law in one], [law for _, _, law in other], "cityblock")
    left = np.add.outer([gone for gone, _, _ in one], [gone for gone, _, _ in other])
    for count in range(fewest, min(most, int(left.max())) + 1):
        at = np.argwhere((left == count) & (apart <= BETTER * apart[0, 0]))
        for i, j in sorted(at, key=lambda ij: apart[*ij])[:TRIED]:
            yield one[i][1], other[j][1]


def _subsets(cloud: Cloud, pieces: Numbers, widest: float) -> list[tuple[int, Mask, Floats]]:
    """Every choice of pieces to keep: how many are left out, its rows, the distribution function of its distances."""
    names, at = np.unique(pieces, return_inverse=True)
    bins = np.minimum((cdist(cloud.s, cloud.s) / widest * BINS).astype(np.intp), BINS - 1)
    counts = np.zeros((len(names), len(names), BINS))
    np.add.at(counts, (at[:, None], at[None, :], bins), 1.0)
    found = []
    for left in range(min(MOST_LEFT, len(names) - 1) + 1):
        for gone in combinations(range(len(names)), left):
            mask = ~np.isin(at, gone)
            if not left or (mask.mean() >= LEAST_KEPT and mask.sum() >= FEWEST):
                stays = np.setdiff1d(np.arange(len(names)), gone)
                law = counts[np.ix_(stays, stays)].sum((0, 1)).cumsum()
                found.append((left, mask, law / law[-1]))
    return found
