"""Two sides in the layer's metric: whether they are compared so, and what the search between them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.alignment.clouds import MANY, Cloud, Rows
from analysis.alignment.evidence import evidence
from analysis.alignment.frame import Frame
from analysis.alignment.nodes import FEWEST
from analysis.alignment.sides import Side
from analysis.alignment.wide import ALL, Search


@dataclass(frozen=True)
class Layers:
    """Both sides, ready to be searched.

    Attributes:
        frames: of a and of b.
        within: their rows in the frames, with shared values.
        clouds: the rows themselves, shared values in b's unit.
        search: between them.
        evidence: what is known of rows besides, in words.
    """

    frames: tuple[Frame, Frame]
    within: tuple[Cloud, Cloud]
    clouds: tuple[Cloud, Cloud]
    search: Search
    evidence: tuple[str, ...]


def by_layer(a: Side, b: Side) -> bool:
    """Whether blocks are wide, or both have many pieces, so that their places tell them apart; sets the sides to that."""
    many = all(side.analyzer.has_flow and side.pieces.max() + 1 >= FEWEST for side in (a, b))
    wide = any(side.in_layer or side.s.shape[1] > MANY for side in (a, b)) or many
    for side in (a, b):
        side.in_layer = wide and side.analyzer.has_flow
    return wide


def layers(
    a: Side, b: Side, pairs: Any, labels: Any, values: Any, seed: int, looked: Sequence[Rows | slice] = (ALL, ALL)
) -> Layers:
    """Frames, rows and evidence of two sides; arguments as :func:`~analysis.alignment.evidence.evidence` has them.

    ``looked`` numbers the rows of either that frames and search go by.
    """
    frames = Frame.of(a.s[looked[0]], a.name), Frame.of(b.s[looked[1]], b.name)
    s_a, s_b = frames[0](a.s), frames[1](b.s)
    known = evidence(s_a, s_b, pairs, labels, values)
    within = Cloud(s_a, known.a), Cloud(s_b, known.b)
    unit = frames[1].unit
    clouds = Cloud(a.s, unit * known.a), Cloud(b.s, unit * known.b)
    return Layers(frames, within, clouds, Search(within, frames, known.anchor, seed, looked), known.kinds)
