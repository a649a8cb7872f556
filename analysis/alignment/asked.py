"""What the caller of an alignment asked for: settings, parts of the two sides, and a nuisance of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.alignment.clouds import FEWEST
from analysis.alignment.correction import KINDS

if TYPE_CHECKING:
    from analysis.alignment.sides import Side

Both = tuple[ArrayLike, ArrayLike]
Part = tuple[str, Both]  # "only", "piece" or "loop", and which of a and of b


ROWS = 600
TOLERANCE = 15.0
NULL_DRAWS = 39


def check_settings(tolerance: float, rows: int, correction: object, null_draws: int) -> None:
    """Raises ValueError: a setting out of its range; the message names the default."""
    if not 0 < tolerance < 90:
        raise ValueError(f"tolerance must lie between 0 and 90 degrees, got {tolerance}; the default is {TOLERANCE:g}")
    if rows < FEWEST:
        raise ValueError(f"rows must be at least {FEWEST}, got {rows}; the default is {ROWS}")
    if null_draws < 19:
        raise ValueError(f"null_draws must be at least 19 to reach .05, got {null_draws}; the default is {NULL_DRAWS}")
    if not (correction is None or correction in KINDS or callable(correction)):
        raise ValueError(f"correction must be None, 'affine', 'flow' or a callable, got {correction!r}")


def both_of(
    given: Sequence[ArrayLike | None] | None, name: str = "nuisance"
) -> tuple[ArrayLike | None, ArrayLike | None]:
    """What was given of a and of b.

    Raises:
        ValueError: no pair.
    """
    if given is None:
        return None, None
    if not isinstance(given, Sequence) or len(given) != 2:
        raise ValueError(
            f"{name} must be a pair, of a and of b, each one entry a row or None, got {type(given).__name__}"
        )
    return given[0], given[1]


def known_of(given: Both | None, name: str) -> Both | None:
    """Labels or values of a and of b, both or neither.

    Raises:
        ValueError: no pair, or one side alone.
    """
    one, other = both_of(given, name)
    if (one is None) != (other is None):
        raise ValueError(
            f"{name} are there for {'b' if one is None else 'a'} alone; pass those of the other, or neither"
        )
    return None if one is None or other is None else (one, other)


def part_of(only: Both | None, piece: Both | None, loop: Both | None) -> Part | None:
    """What alone is to be aligned, or None for all."""
    asked = [(kind, both) for kind, both in (("only", only), ("piece", piece), ("loop", loop)) if both is not None]
    if len(asked) > 1:
        raise ValueError(f"at most one of only, piece and loop, got {' and '.join(kind for kind, _ in asked)}")
    for kind, both in asked:
        if not isinstance(both, Sequence) or len(both) != 2:
            raise ValueError(f"{kind} must name one of a and one of b, such as {kind}=(0, 0), got {both!r}")
    return asked[0] if asked else None


def within(part: Part | None, sides: Sequence[Side], pairs: Any, labels: Any, values: Any) -> tuple[Any, Any, Any]:
    """Evidence of the chosen rows alone.

    Raises:
        ValueError: pairs of a part, whose rows they do not number; labels or values that are no pair, or of one side alone.
    """
    labels, values = known_of(labels, "labels"), known_of(values, "values")
    if part is None:
        return pairs, labels, values
    if pairs is not None:
        raise ValueError("pairs number all rows; of chosen rows (only=, piece=, loop=), align the arrays instead")
    labels, values = (
        None if both is None else tuple(np.asarray(v)[side.rows] for v, side in zip(both, sides, strict=True))
        for both in (labels, values)
    )
    return None, labels, values
