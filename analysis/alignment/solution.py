"""From two clouds to their near-optimal maps and symmetries, some pieces left out where the whole does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.alignment.agreement import Agreement, agreement
from analysis.alignment.clouds import Cloud
from analysis.alignment.judge import Judge
from analysis.alignment.partial import Numbers, choices
from analysis.alignment.rigid import Floats
from analysis.alignment.search import Found, optima


@dataclass(frozen=True)
class Solution:
    """What a search found.

    Attributes:
        judge: of the rows that were not left out.
        found: of the search: the maps, and how many starts led to the best.
        agreement: the maps, from the first cloud to the second, and the symmetries.
        left_out: numbers of the pieces of either without which the rest fits; empty where the whole does, or nothing.
    """

    judge: Judge
    found: Found
    agreement: Agreement
    left_out: tuple[list[int], list[int]]


def solution(
    clouds: Sequence[Cloud], pieces: Sequence[Numbers], anchor: Floats | None, tolerance: float, seed: int
) -> Solution:
    """Search the whole; where even its best map costs more than chance, search what is left without the fewest pieces.

    Args:
        clouds: the smaller block first.
        pieces: the number of every row's piece, of either.
        anchor: cross-covariance (k_1, k_2) of known pairs, or None.
        tolerance: degrees within which two maps count as one.
        seed: draws everything.
    """
    judge, found = _searched(clouds, pieces, anchor, tolerance, seed)
    left: tuple[list[int], list[int]] = ([], [])
    for masks in choices(clouds, pieces) if judge.differs else ():
        some = [cloud.take(np.flatnonzero(mask)) for cloud, mask in zip(clouds, masks, strict=True)]
        kept = [numbers[mask] for numbers, mask in zip(pieces, masks, strict=True)]
        rest, maps = _searched(some, kept, anchor, tolerance, seed)
        if not rest.differs:
            judge, found = rest, maps
            gone = [np.setdiff1d(numbers, stay).tolist() for numbers, stay in zip(pieces, kept, strict=True)]
            left = (gone[0], gone[1])
            break
    return Solution(judge, found, agreement(judge, found.optima, tolerance, seed), left)


def _searched(
    clouds: Sequence[Cloud], pieces: Sequence[Numbers], anchor: Floats | None, tolerance: float, seed: int
) -> tuple[Judge, Found]:
    judge = Judge(clouds[0], clouds[1], seed)
    return judge, optima(judge, (pieces[0], pieces[1]), tolerance, anchor, seed=seed)
