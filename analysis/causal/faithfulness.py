"""Whether the net uses what is called structure and does not use what is called noise: rows are edited, and the net is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis import drawing
from analysis.causal.asking import Asked, Effect, Swap
from analysis.causal.edits import WAYS, Edits, OfDirections, OfFlow, subspaces
from analysis.causal.words import PARTS, headline, lines, verdict
from analysis.progress import tracked
from flows.geometry.nuisance import as_nuisance
from flows.io.inputs import as_tensor
from flows.nets.questions import Question
from flows.nets.relevance import partners

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.flow import FunnelFlow

FEWEST_ROWS, MOST_ROWS = 20, 2000
_POINTS = 12  # of a curve
_AS_WELL = 0.005


@dataclass(frozen=True)
class Part:
    """What the net's answers do where a part of k dimensions and its rest are edited.

    Attributes:
        name: "block", the flow's s; or k plain directions: "relevant", those of most relevance, "principal", "random".
        rest: by "mean", "redrawn" and "exchanged" what the answers lose where that is done to all but the part.
        swap: whose the answers are where the part comes from a donor and the rest is the row's own.
        curve: (j, nats lost, agreement) where the first j of the k dimensions are kept and all else comes from the donor.
    """

    name: str
    rest: dict[str, Effect]
    swap: Swap
    curve: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, repr=False)
class Faithfulness:
    """What editing structure and noise does to the net's answers, on rows that the flow has not seen.

    Attributes:
        parts: the flow's block first, then plain subspaces of the same size, treated alike.
        moved: for every dimension of s the nats by which the answer moves where it alone comes from another row.
        information: I(y; x), nats: what the answer says of the input.
        as_it_is: at rows that are not edited; loss and accuracy of the task where class numbers are known.
        structure_dim: k.
        rest_dim: directions called noise, idle ones included.
        is_choice: whether the answer is one of several, or numbers, whose agreement is a cosine.
        rows, pairs: how many rows were edited, and how many of them have another answer than their donor.
        seed: drew the rows, the donors, the noise and the random directions.
        notes: what to know of it, in words.
    """

    parts: tuple[Part, ...]
    moved: tuple[float, ...]
    information: float
    as_it_is: Effect
    structure_dim: int
    rest_dim: int
    is_choice: bool
    rows: int
    pairs: int
    seed: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Part:
        """The part called ``name``."""
        found = {part.name: part for part in self.parts}
        if name not in found:
            raise KeyError(f"no part {name!r}; there are {', '.join(found)}")
        return found[name]

    def share(self, lost: float) -> float:
        """Nats lost as a share of the information."""
        return lost / self.information

    def does_as_well(self, part: Part) -> bool:
        """Whether a plain part keeps, redrawn around and exchanged, at most half a percent fewer answers than the block."""
        block = self.parts[0]
        kept = block.rest["redrawn"].agreement - part.rest["redrawn"].agreement
        return max(kept, block.swap.follow - part.swap.follow) <= _AS_WELL

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return {**plain, "verdict": self.verdict()}

    def verdict(self) -> str:
        """Both halves in a sentence."""
        return verdict(self)

    def __repr__(self) -> str:
        return "\n".join(lines(self))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of the answer lost over the number of dimensions kept, of the block and of plain subspaces."""
        ax = drawing.axes(ax)
        for part, colour, mark in zip(self.parts, drawing.COLOURS, "os^vD", strict=False):
            lost = [self.share(nats) for _, nats, _ in part.curve]
            ax.plot([j for j, *_ in part.curve], lost, marker=mark, ms=4, color=colour, label=PARTS[part.name])
        ax.axhline(0.01, color=drawing.GREY, ls=":", lw=1, label="1 %")
        k = self.structure_dim
        ax.set(
            xlabel="dimensions kept; all else comes from another row", ylabel="nats lost / information of the answer"
        )
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set_ylim(0, None)
        ax.set_xticks(range(k + 1) if k <= 20 else range(0, k + 1, 5))
        ax.set_title(headline(self), fontsize=11)
        ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {self.rows}, I = {self.information:.2f} nats, seed {self.seed}")
        return ax


def faithfulness(
    flow: FunnelFlow,
    x: object,
    question: Question,
    numbers: NDArray[Any] | None = None,
    sources: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    nuisance: object = None,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> Faithfulness:
    """Edit the structure and the noise of rows and ask the net.

    Args:
        flow: a trained flow with k > 0.
        x: rows (n, D) in its units, without their nuisance, best rows that it has not seen; of more than ``most_rows`` that many.
        question: what comes after the layer, and what its answer is.
        numbers: (n,) of the rows in the data that the head, and ``nuisance``, are of (default 0, 1, ...).
        sources: (n,); rows exchange with rows of other sources.
        labels: (n,) class numbers that the net is to answer; used where they can be.
        nuisance: of all rows of that data, where the flow was fitted with one: the net sees rows with it.
        seed: draws rows, donors, noise and random directions.

    Cost: at most k + 17 inversions of the flow and k + 70 passes of the head over the rows.

    Raises:
        ValueError: too few rows, a nuisance that is missing or of other rows, or a head that does not fit (see
            :class:`analysis.causal.asking.Asked`).
        RuntimeError: the flow does not invert at edited rows; see :meth:`flows.FunnelFlow.inverse`.
    """
    from flows.io.inputs import as_rows

    rows = as_rows(x, width=flow.front.features).detach()
    if len(rows) < FEWEST_ROWS:
        raise ValueError(
            f"too few rows to exchange: got {len(rows)}, expected at least {FEWEST_ROWS}; add held-out rows"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), min(len(rows), most_rows), replace=False))
    names = torch.from_numpy((np.arange(len(rows)) if numbers is None else _whole(numbers))[chosen])
    rows, generator = rows[torch.from_numpy(chosen)].to(flow.exits.tau), torch.Generator().manual_seed(seed)
    groups = None if sources is None else torch.from_numpy(np.unique(sources, return_inverse=True)[1][chosen])
    partner = partners(torch.arange(len(rows)), groups, generator)
    classes = None if labels is None or labels.dtype.kind not in "iu" else torch.from_numpy(labels[chosen]).long()
    effect = _effect(flow, nuisance, names)
    with torch.no_grad():
        asked = Asked(question, rows, names, partner, classes, effect)
        return _measured(flow, rows, asked, generator, seed)


def _measured(
    flow: FunnelFlow, rows: torch.Tensor, asked: Asked, generator: torch.Generator, seed: int
) -> Faithfulness:
    block, k = OfFlow(flow, rows, asked.partner, generator), flow.structure_dim
    edits: list[tuple[str, Edits]] = [("block", block)]
    for name, bases in subspaces(flow.front, k, generator):
        edits.append((name, OfDirections(flow.front, rows, asked.partner, generator, bases)))
    parts = tuple(_part(name, each, asked, k) for name, each in edits)
    moved = tuple(asked.effect(block.one(i)).lost for i in tracked(range(k), "faithfulness: one exchanged"))
    pairs = int(asked.differ.sum())
    return Faithfulness(
        parts, moved, asked.information, asked.as_it_is, k, block.rest_dim, asked.is_choice, len(rows), pairs, seed,
        tuple(asked.notes),
    )  # fmt: skip


def _part(name: str, edits: Edits, asked: Asked, k: int) -> Part:
    rest = {way: asked.effect(edits.rest(way)) for way in WAYS}
    curve = []
    for j in tracked(list(_grid(k)), f"faithfulness: {name}"):
        effect = asked.effect(edits.first(j))
        curve.append((j, effect.lost, effect.agreement))
    return Part(name, rest, asked.swap(edits.swapped()), tuple(curve))


def _grid(k: int) -> Iterator[int]:
    """0 to k, at most some dozen, dense at first."""
    last = -1
    for i in range(_POINTS + 1):
        j = i if k <= _POINTS else round(k * (i / _POINTS) ** 1.5)
        if last < j <= k:
            yield j
            last = j


def _effect(flow: FunnelFlow, nuisance: object, numbers: torch.Tensor) -> torch.Tensor | float:
    """What the nuisance adds to the rows ``numbers`` (n, D), or 0."""
    if flow.nuisance is None:
        if nuisance is not None:
            raise ValueError("this flow was fitted without a nuisance; leave nuisance= out")
        return 0.0
    if nuisance is None:
        raise ValueError(
            "the flow was fitted with a nuisance: its rows are without it, and the net knows them with it; "
            "pass nuisance=, the one that was given to the fit"
        )
    known = as_nuisance(nuisance, len(as_tensor(nuisance, "nuisance")))
    if int(numbers.max()) >= len(known):
        raise ValueError(
            f"the nuisance is of {len(known)} rows, the analyzer has row number {int(numbers.max())}; "
            "give that of the data that was fitted, in the same order"
        )
    return flow.nuisance.effect(known[numbers], len(numbers))


def _whole(numbers: NDArray[Any]) -> NDArray[np.int64]:
    if numbers.dtype.kind not in "iu" or (len(numbers) and numbers.min() < 0):
        raise ValueError(f"rows must be numbered from 0 to ask a head about them, got {numbers.dtype} {numbers[:3]}")
    return numbers.astype(np.int64)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
