"""A faithfulness in plain words: the verdict in a sentence, and the lines below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from analysis.causal.edits import SUBSPACES, WAYS

if TYPE_CHECKING:
    from analysis.causal.faithfulness import Faithfulness, Part

PARTS = {
    "block": "the flow's block",
    "relevant": "most relevant directions",
    "principal": "principal directions",
    "random": "random directions",
}
_OTHERS = {"relevant": "most relevant", "principal": "principal", "random": "random"}
_WAYS = {"mean": "rest at its mean", "redrawn": "rest redrawn", "exchanged": "rest exchanged"}
_WIDTH = 26


def verdict(found: Faithfulness) -> str:
    """Both halves in a sentence: what redrawn noise leaves, what an exchanged block takes along."""
    block, others = found.parts[0], found.parts[1:]
    k, rest = found.structure_dim, found.rest_dim

    def compared(value: Callable[[Part], str], lead: str = "") -> str:
        return ", ".join(f"{lead}{k} {_OTHERS[part.name]} ones {value(part)}" for part in reversed(others))

    def kept(part: Part) -> str:
        same = part.rest["redrawn"].agreement
        return _percent(same) if found.is_choice else f"{same:.3f}"

    if not rest:
        noise = "no direction is called noise"
    elif found.is_choice:
        noise = f"redrawing {_directions(rest)} called noise leaves {kept(block)} of the answers as they are"
    else:
        noise = f"redrawing {_directions(rest)} called noise leaves the answers at a cosine of {kept(block)} to what they were"
    noise += f" ({compared(kept, 'all but ')})" if rest else ""
    moves = "makes {} of answers follow the donor" if found.is_choice else "takes {} of answers to the donor's"
    follow = moves.format(_percent(block.swap.follow))
    return f"{noise}; exchanging the block {follow} ({compared(lambda part: _percent(part.swap.follow))})"


def headline(found: Faithfulness) -> str:
    """The same for the head of a plot."""
    block = found.parts[0]
    same, follow = block.rest["redrawn"].agreement, _percent(block.swap.follow)
    stays = f"{_percent(same)} of answers stay" if found.is_choice else f"answers at a cosine of {same:.3f}"
    return f"noise redrawn: {stays}; block exchanged: {follow} follow"


def lines(found: Faithfulness) -> Iterator[str]:
    """The verdict, a table of what was edited, single dimensions and the curve."""
    yield f"Faithfulness: {verdict(found)}"
    same = "agree" if found.is_choice else "cosine"
    yield " " * _WIDTH + "".join(f"{_WAYS[way]:>18}" for way in WAYS) + f"{'part exchanged':>25}"
    yield (
        f"{f'part, {found.structure_dim} dimensions':<{_WIDTH}}"
        + f"{'lost':>10}{same:>8}" * 3
        + f"{'follow':>9}{'stay':>8}{'missing':>8}"
    )
    for part in found.parts:
        effects = "".join(f"{part.rest[way].lost:10.3f}{part.rest[way].agreement:8.3f}" for way in WAYS)
        swap = part.swap
        yield f"{PARTS[part.name]:<{_WIDTH}}{effects}{_cell(swap.follow, 9)}{_cell(swap.stay, 8)}{swap.missing:8.3f}"
    equal = [
        f"{found.structure_dim} {_OTHERS[part.name]} directions" for part in found.parts[1:] if found.does_as_well(part)
    ]
    if equal:
        yield f"{' and '.join(equal)} do as well: for this answer alone no flow is needed"
    yield from _task(found)
    yield "nats moved where one dimension is exchanged: " + ", ".join(
        f"s{i + 1} {nats:.3f}" for i, nats in enumerate(found.moved)
    )
    yield "nats lost where the first j are kept and all else is exchanged:"
    yield f"{'  j':<{_WIDTH}}" + "".join(f"{j:8d}" for j, *_ in found.parts[0].curve)
    for part in found.parts:
        yield f"{'  ' + PARTS[part.name]:<{_WIDTH}}" + "".join(f"{lost:8.3f}" for _, lost, _ in part.curve)
    yield from _key(found)


def _task(found: Faithfulness) -> Iterator[str]:
    own = found.as_it_is
    if own.loss is None:
        return
    yield (
        f"{'task':<{_WIDTH}}"
        + f"{'loss':>10}{'right':>8}" * 3
        + f"   (not edited: loss {own.loss:.3f}, right {own.accuracy:.3f})"
    )
    for part in found.parts:
        yield f"{PARTS[part.name]:<{_WIDTH}}" + "".join(
            f"{part.rest[way].loss:10.3f}{part.rest[way].accuracy:8.3f}" for way in WAYS
        )


def _key(found: Faithfulness) -> Iterator[str]:
    """What the columns are, how many rows they are of, and notes."""
    lost = found.parts[0].rest["redrawn"].lost
    yield (
        f"nats of {found.information:.3f} that the answer says of the input (redrawn: {_percent(found.share(lost))} lost); "
        f"random: mean over {SUBSPACES} subspaces"
    )
    if found.is_choice:
        yield "agree: share of answers that stay; follow, stay: of pairs with two answers; missing: nats from the donor's answer"
    else:
        yield "follow, stay: share that comes nearer than half of the way; missing: nats from the donor's answer"
    yield f"{found.rows} rows, {found.pairs} of them with another answer than their donor, seed {found.seed}"
    yield from (f"note: {note}" for note in found.notes)


def _directions(count: int) -> str:
    return f"the {count} directions" if count > 1 else "the one direction"


def _percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    return (
        f"{100 * share:.3g} %"
        if 1e-4 <= share < 0.995
        else "under 0.01 %"
        if 0 < share < 1e-4
        else f"{100 * share:.1f} %"
    )


def _cell(value: float, width: int) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.3f}':>{width}}"
