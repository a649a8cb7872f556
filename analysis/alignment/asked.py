"""What the caller of an alignment asked for: parts of the two sides, and a nuisance of each."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

Both = tuple[ArrayLike, ArrayLike]
Part = tuple[str, Both]  # "only", "piece" or "loop", and which of a and of b


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
