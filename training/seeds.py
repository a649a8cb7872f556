"""The honest "how sure": one fit over several seeds, the k that each finds and what resamples of its held-out rows choose."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.io.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SeedRow:
    """What the run of one seed found: fields of :class:`~training.FitResult`, the prices those of the structure alone.

    `seconds` is None where a stopped run was resumed by itself.
    """

    seed: int
    structure_dim: int
    confidence: float
    stability: float
    resampled: dict[int, float]
    worth: list[float]
    prices: list[float]
    hull: list[tuple[int, float]]
    nll: float
    seconds: float | None

    @classmethod
    def read(cls, run: Path, seconds: float | None) -> SeedRow:
        """The row of a finished run, from its result.json."""
        found = json.loads((run / "result.json").read_text(encoding="utf8"))
        k = found["structure_dim"]
        return cls(
            found["seed"],
            k,
            found["confidence"],
            found["stability"],
            {int(other): share for other, share in found["resampled"].items()},
            found["worth"],
            sorted((p for p in found["prices"] if p is not None), reverse=True)[:k],
            [(vertex["k"], vertex["J"]) for vertex in found["hull"]],
            found["nll"],
            seconds,
        )


@dataclass(frozen=True, repr=False)
class Seeds:
    """Runs of one configuration that differ in their seed alone: it draws the split, the start, the batches and the gates,
    and what is made here (a subject's training, a planted cloud) is made again.
    """

    rows: list[SeedRow]

    @property
    def votes(self) -> dict[int, float]:
        """For every k, the share of pairs (seed, resample of its held-out rows) that choose it; the largest first."""
        votes: Counter[int] = Counter()
        for row in self.rows:
            for k, share in row.resampled.items():
                votes[k] += share / len(self.rows)  # type: ignore[assignment]
        return dict(votes.most_common())

    @property
    def structure_dim(self) -> int:
        """The k with the most votes."""
        return next(iter(self.votes))

    def to_dict(self) -> dict[str, Any]:
        votes = {str(k): share for k, share in self.votes.items()}
        return {"structure_dim": self.structure_dim, "votes": votes, "rows": [asdict(row) for row in self.rows]}

    def write(self, folder: Path) -> None:
        """``seeds.json``, whole or not at all."""
        write_whole({folder / "seeds.json": json.dumps(self.to_dict(), indent=1).encode()})

    def __repr__(self) -> str:
        head = f"{'seed':>4} {'k':>4} {'confidence':>11} {'stability':>10} {'nll':>10} {'seconds':>8}  worth (nats a dimension)"
        lines = [
            f"{r.seed:4d} {r.structure_dim:4d} {r.confidence:11.2f} {r.stability:10.0%} {r.nll:10.3f} {_whole(r.seconds):>8}  "
            + (_worths(r.worth) or "-")
            for r in self.rows
        ]
        same = Counter(r.structure_dim for r in self.rows)
        found = ", ".join(f"k = {k} in {count} of {len(self.rows)} seeds" for k, count in same.most_common())
        votes = ", ".join(f"k = {k} {share:.0%}" for k, share in self.votes.items())
        return "\n".join([head, *lines, found, f"votes over seeds and resamples of the held-out rows: {votes}"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """The hull of every seed, J less that of its smallest k, its choice ringed; in a strip below the votes."""
        import numpy as np
        from matplotlib.ticker import MaxNLocator

        from training.figures.panels import (
            COLOURS,
            LEGEND_LABELS,
            axes,
            colour_of,
            corner,
            dash_of,
            legend_beside,
            strip_below,
        )

        ax = axes(ax, 6.4, 5.4)
        strip = strip_below(ax)
        for i, row in enumerate(self.rows):
            ks, J = np.array([k for k, _ in row.hull]), np.array([value for _, value in row.hull])
            ax.plot(ks, J - J[0], marker="o", ms=3, color=colour_of(i), ls=dash_of(i), label=f"seed {row.seed}")
            chosen = ks == row.structure_dim
            ax.plot(ks[chosen], (J - J[0])[chosen], "o", ms=11, mfc="none", mec=colour_of(i), mew=1.5)
        strip.bar(list(self.votes), list(self.votes.values()), width=0.6, color=COLOURS[0])
        ax.set(ylabel="J less J at the smallest k (nats per row)", title=f"k = {self.structure_dim} has the most votes")
        strip.set(xlabel="k, structure dimensions", ylabel="votes", ylim=(0, 1))
        strip.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(self.rows) <= LEGEND_LABELS:
            legend_beside(ax)
        corner(strip, f"{len(self.rows)} seeds x resamples of the held-out rows")
        return ax


def _worths(worth: list[float]) -> str:
    """Worths with their number of dimensions where several share one: ".131 x 2, .08"."""
    blocks = [(value, len(list(same))) for value, same in groupby(worth)]
    return ", ".join(f"{value:.3f}" + (f" x {count}" if count > 1 else "") for value, count in blocks)


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"
