"""What a net's layer carries while the net is trained: one fit at each moment, and how k, pieces, loops and worth go."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.io.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Moment:
    """The layer at one moment of training.

    Attributes:
        step: of the net's training; where files were given and have no numbers in their names, their place.
        structure_dim, confidence, worth, prices: of the fit; prices of the structure's dimensions alone, highest first.
        shape: what the analyzer calls the structure, in one word or two.
        pieces, loops: of the set that holds 90 % of the rows; 0 where k = 0.
        scores: of the net on sources it was not trained on, by name; empty for files.
    """

    step: int
    structure_dim: int
    confidence: float
    worth: list[float]
    prices: list[float]
    shape: str
    pieces: int
    loops: int
    scores: dict[str, float]

    @classmethod
    def read(cls, run: Path, step: int, shape: str, betti: tuple[int, ...], scores: dict[str, float]) -> Moment:
        """A moment from a finished run's result.json and what the analyzer said of it."""
        found = json.loads((run / "result.json").read_text(encoding="utf8"))
        k = found["structure_dim"]
        return cls(
            step,
            k,
            found["confidence"],
            found["worth"],
            sorted((p for p in found["prices"] if p is not None), reverse=True)[:k],
            shape,
            pieces=betti[0] if betti else 0,
            loops=betti[1] if len(betti) > 1 else 0,
            scores=scores,
        )


@dataclass(frozen=True, repr=False)
class Following:
    """Moments by rising step."""

    moments: list[Moment]

    def to_dict(self) -> dict[str, Any]:
        return {"moments": [asdict(moment) for moment in self.moments]}

    def write(self, folder: Path) -> None:
        """``follow.json``, whole or not at all."""
        write_whole({folder / "follow.json": json.dumps(self.to_dict(), indent=1).encode()})

    def __repr__(self) -> str:
        head = f"{'step':>7} {'k':>4} {'confidence':>11} {'pieces':>7} {'loops':>6}  {'shape':22} {'worth':18} score"
        lines = [
            f"{m.step:7d} {m.structure_dim:4d} {m.confidence:11.2f} {m.pieces:7d} {m.loops:6d}  {m.shape:22} "
            f"{_range(m.worth):18} " + ", ".join(f"{name} {value:.3g}" for name, value in m.scores.items())
            for m in self.moments
        ]
        return "\n".join([head, *lines])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Worth of every dimension over the net's steps; in a strip below k, pieces and loops."""
        from matplotlib.ticker import MaxNLocator, NullLocator

        from training.figures.panels import COLOURS, axes, corner, legend_beside, strip_below

        ax = axes(ax, 7.4, 5.6)
        strip = strip_below(ax, height=0.8)
        steps = [m.step for m in self.moments]
        for moment in self.moments:
            ax.plot([moment.step] * len(moment.worth), moment.worth, "o", ms=5, color=COLOURS[0], alpha=0.7)
        ax.plot(steps, [sum(m.worth) for m in self.moments], color=COLOURS[1], marker="s", ms=4, label="all together")
        ax.plot([], [], "o", ms=5, color=COLOURS[0], label="one dimension")
        names = (("structure_dim", "k"), ("pieces", "pieces"), ("loops", "loops"))
        for (name, label), colour, marker, size in zip(names, COLOURS[2:5], "o^s", (5, 9, 5), strict=True):
            heights = [getattr(m, name) for m in self.moments]
            strip.plot(steps, heights, color=colour, marker=marker, ms=size, label=label, alpha=0.8)
        if max(steps) > 20 * max(1, min((s for s in steps if s > 0), default=1)):
            ax.set_xscale("symlog", linthresh=max(1, min(s for s in steps if s > 0)))
            strip.set_xticks(steps, [f"{step}" for step in steps])
            strip.xaxis.set_minor_locator(NullLocator())
        ax.set(ylabel="worth (nats per row)", title="What the layer carries while the net is trained")
        strip.set(xlabel="step of the net's training", ylabel="number")
        strip.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend_beside(ax)
        legend_beside(strip)
        corner(strip, f"{len(steps)} fits; pieces and loops of the set that holds 90 % of the rows")
        return ax


def _range(worth: list[float]) -> str:
    if not worth:
        return "-"
    return f"{worth[0]:.3f}" if max(worth) - min(worth) < 5e-4 else f"{max(worth):.3f} to {min(worth):.3f}"
