"""Shares of the rows that pieces hold: evidence of which goes with which, or left out, so that geometry alone decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.clouds import FEWEST, Rows

if TYPE_CHECKING:
    from analysis.alignment.aligner import Aligner
    from analysis.alignment.matching import Match
    from analysis.alignment.sides import Side

UNEQUAL = 0.05  # difference between shares from which on they can tell pieces apart


def even(pieces: NDArray[np.intp], name: str, seed: int = 0) -> Rows:
    """Numbers of rows, ascending, of which every piece has as many as the smallest; those of larger ones are drawn.

    Args:
        pieces: (n,) number of each row's piece.
        name: of the side, for the error.
        seed: draws them.

    Raises:
        ValueError: fewer than 40 rows would be left.
    """
    names, sizes = np.unique(pieces, return_counts=True)
    if len(names) * sizes.min() < FEWEST:
        raise ValueError(
            f"proportions=False leaves as many rows of every piece as the smallest has, and of {name}'s {len(names)} pieces that "
            f"is {sizes.min()} of {len(pieces)} rows: {FEWEST} in all are needed; pass more rows, or leave that piece out (only=)"
        )
    generator = np.random.default_rng([seed, 14])
    return np.sort(np.concatenate([generator.permutation(np.flatnonzero(pieces == p))[: sizes.min()] for p in names]))


def shares(side: Side) -> NDArray[np.float64]:
    """(pieces,) share of the side's rows in each piece."""
    return np.bincount(side.pieces) / len(side.pieces)


def with_shares(matches: Sequence[Match], a: Side, b: Side) -> list[Match]:
    """The same matches with the shares that their pieces have of all rows."""
    of_a, of_b = shares(a), shares(b)
    return [replace(m, mass_a=float(of_a[m.a]), mass_b=float(of_b[m.b])) for m in matches]


def lines(aligner: Aligner) -> list[str]:
    """What part the shares played; nothing where a side has one piece, or equal ones."""
    of_a, of_b = shares(aligner.a_), shares(aligner.b_)
    if min(len(of_a), len(of_b)) < 2 or max(np.ptp(of_a), np.ptp(of_b)) < UNEQUAL:
        return []
    if not aligner.proportions:
        return [
            "the shares of the pieces were left out: every piece of a side counts the same, and geometry alone decides"
        ]
    return [
        f"the shares of the pieces count as evidence ({_listed(of_a)} in a, {_listed(of_b)} in b): where the models saw "
        "classes in other proportions, proportions=False leaves them out"
    ]


def _listed(of: NDArray[np.float64], most: int = 5) -> str:
    more = ", ..." if len(of) > most else ""
    return ", ".join(f"{share:.0%}" for share in np.sort(of)[::-1][:most]) + more
