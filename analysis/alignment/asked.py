"""What the caller of an alignment asked for: parts of the two sides, and a nuisance of each."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

Both = tuple[ArrayLike, ArrayLike]
Part = tuple[str, Both]  # "only", "piece" or "loop", and which of a and of b


def both_of(nuisance: tuple[ArrayLike | None, ArrayLike | None] | None) -> tuple[ArrayLike | None, ArrayLike | None]:
    """The nuisance of a and of b."""
    if nuisance is None:
        return None, None
    if not isinstance(nuisance, Sequence) or len(nuisance) != 2:
        raise ValueError(
            f"nuisance must be a pair, of a and of b, each one entry a row or None, got {type(nuisance).__name__}"
        )
    return nuisance[0], nuisance[1]


def part_of(only: Both | None, piece: Both | None, loop: Both | None) -> Part | None:
    """What alone is to be aligned, or None for all."""
    asked = [(kind, both) for kind, both in (("only", only), ("piece", piece), ("loop", loop)) if both is not None]
    if len(asked) > 1:
        raise ValueError(f"at most one of only, piece and loop, got {' and '.join(kind for kind, _ in asked)}")
    for kind, both in asked:
        if not isinstance(both, Sequence) or len(both) != 2:
            raise ValueError(f"{kind} must name one of a and one of b, such as {kind}=(0, 0), got {both!r}")
    return asked[0] if asked else None
