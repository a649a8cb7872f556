"""Ranks of what a model does between any two of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.functions.factorization import SCALE, Factorization, factorize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
_APPROXIMATE = "~: fewer than 95 % of the rows have that rank"


@dataclass(frozen=True, eq=False, repr=False)
class RankTable:
    """Ranks between all pairs of layers. Made by :func:`rank_table`.

    Attributes:
        layers: names in the order they run; the first is the model's input.
        widths: numbers of outputs.
        found: (start, end) -> `Factorization`.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    found: dict[tuple[str, str], Factorization]

    @property
    def ranks(self) -> Floats:
        """(layers, layers): rank from row to column; nan where the column does not come after the row."""
        table = np.full((len(self.layers),) * 2, np.nan)
        for (a, b), f in self.found.items():
            table[self.layers.index(a), self.layers.index(b)] = f.rank
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        pairs = [{"start": a, "end": b, "rank": f.rank, "agreement": f.agreement} for (a, b), f in self.found.items()]
        return {"layers": list(self.layers), "widths": list(self.widths), "pairs": pairs}

    def __repr__(self) -> str:
        cells = [["rank from \\ to", *(f"{n} ({w})" for n, w in zip(self.layers[1:], self.widths[1:], strict=True))]]
        for a in self.layers[:-1]:
            hits = [self.found.get((a, b)) for b in self.layers[1:]]
            cells.append([a, *("" if f is None else _told(f) for f in hits)])
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join([*(line.rstrip() for line in lines), _APPROXIMATE])

    def plot(self, ax: Axes | None = None) -> Axes:
        """The table as a picture."""
        from analysis import drawing

        ax = drawing.axes(ax, 1.6 + len(self.layers), 1 + 0.7 * len(self.layers))
        ranks = self.ranks[:-1, 1:]
        ax.imshow(ranks, cmap="cividis")
        for i, j in zip(*np.nonzero(~np.isnan(ranks)), strict=True):
            light = ranks[i, j] > np.nanmax(ranks) / 2
            told = _told(self.found[self.layers[i], self.layers[j + 1]])
            ax.text(j, i, told, ha="center", va="center", color="black" if light else "white")
        ax.set_xticks(range(len(self.layers) - 1), self.layers[1:], rotation=30, ha="right")
        ax.set_yticks(range(len(self.layers) - 1), self.layers[:-1])
        ax.set(xlabel="to", ylabel="from")
        ax.set_title(f"Rank of the function between two layers\n({_APPROXIMATE})", fontsize=9)
        return ax


def _told(found: Factorization) -> str:
    return f"{found.rank}{'' if found.is_consistent else '~'}"


def rank_table(
    model: torch.nn.Module, x: object, layers: Sequence[str] | None = None, *, scale: float = SCALE, seed: int = 0
) -> RankTable:
    """Ranks of what a model does between any two of its layers, the input included.

    Args:
        x: the model's inputs (n, ...); a few hundred will do.
        layers: names in the order they run (default: the model's children, or all its leaves if it has one child).
        scale, seed: as in :func:`factorize`.

    Raises:
        ValueError: unknown layers, or layers that do not run in that order.
    """
    if layers is None:
        named = [name for name, _ in model.named_children()]
        layers = named if len(named) > 1 else [n for n, m in model.named_modules() if n and not list(m.children())]
    names = [None, *layers]
    found = {
        (a or "input", b): factorize(model, x, start=a, end=b, scale=scale, seed=seed)
        for i, a in enumerate(names[:-1]) for b in names[i + 1 :] if b is not None
    }  # fmt: skip
    widths = (next(iter(found.values())).inputs, *(found["input", b].outputs for b in layers))
    return RankTable(("input", *layers), widths, found)
