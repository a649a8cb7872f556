"""The regularity map: which k is best at every (lambda, kappa), and which survives over the widest range of both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.io.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KAPPAS = (0.5, 1.0, 2.0, 4.0, 8.0)
_FILE = "kappas.json"


@dataclass(frozen=True)
class Interval:
    """The lambdas, in nats, at which ``k`` dimensions are best at one kappa; ``high`` is None where there is no end."""

    k: int
    low: float
    high: float | None


@dataclass(frozen=True)
class KappaRow:
    """What the run at one kappa found; as in :class:`~training.FitResult`."""

    kappa: float
    structure_dim: int
    confidence: float
    stability: float
    null_worth: float
    worth: list[float]
    intervals: list[Interval]
    nll: float
    kinetic: float | None

    @classmethod
    def read(cls, run: Path, kappa: float) -> KappaRow:
        """The row of a finished run, from its result.json."""
        found = json.loads((run / "result.json").read_text(encoding="utf8"))
        return cls(
            kappa,
            found["structure_dim"],
            found["confidence"],
            found["stability"],
            found["null"]["threshold"],
            found["worth"],
            [Interval(vertex["k"], vertex["low"], vertex["high"]) for vertex in found["hull"]],
            found["nll"],
            found["kinetic"],
        )

    def width(self, k: int) -> float:
        """Decades of lambda above the null at which k >= 1 is best; 0 where it never is."""
        lows = [(max(i.low, self.null_worth), i.high) for i in self.intervals if i.k == k and i.high is not None]
        return sum(max(0.0, float(np.log10(high / low))) for low, high in lows if high > 0)


@dataclass(frozen=True, repr=False)
class KappaMap:
    """One cloud at several regularities, everything else the same; rows by rising kappa."""

    rows: list[KappaRow]

    @property
    def areas(self) -> dict[int, float]:
        """For every k >= 1, decades of lambda times octaves of kappa at which it is best, the largest first.

        The trapezoid rule over log kappa; with one kappa the width alone.
        """
        octaves = np.log2([row.kappa for row in self.rows])
        found = {}
        for k in sorted({i.k for row in self.rows for i in row.intervals if i.k > 0}):
            widths = np.array([row.width(k) for row in self.rows])
            found[k] = float(np.trapezoid(widths, octaves)) if len(self.rows) > 1 else float(widths[0])
        return dict(sorted(((k, area) for k, area in found.items() if area > 0), key=lambda item: -item[1]))

    @property
    def structure_dim(self) -> int:
        """The k that is best over the largest area above the null; 0 where none is anywhere."""
        return next(iter(self.areas), 0)

    def to_dict(self) -> dict[str, Any]:
        areas = {str(k): area for k, area in self.areas.items()}
        return {"structure_dim": self.structure_dim, "areas": areas, "rows": [asdict(row) for row in self.rows]}

    def write(self, folder: Path) -> None:
        """``kappas.json``, whole or not at all."""
        write_whole({folder / _FILE: json.dumps(self.to_dict(), indent=1).encode()})

    @classmethod
    def load(cls, folder: str | Path) -> KappaMap:
        """The map of a folder that ``unknot sweep`` wrote.

        Raises:
            FileNotFoundError: there is none.
        """
        file = Path(folder) / _FILE
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; unknot sweep writes it")
        rows = json.loads(file.read_text(encoding="utf8"))["rows"]
        return cls([KappaRow(**{**row, "intervals": [Interval(**i) for i in row["intervals"]]}) for row in rows])

    def __repr__(self) -> str:
        head = (
            f"{'kappa':>7} {'k':>4} {'confidence':>11} {'stability':>10} {'null':>6}  best k, by rising lambda (nats)"
        )
        lines = [
            f"{r.kappa:7g} {r.structure_dim:4d} {r.confidence:11.2f} {r.stability:10.0%} {r.null_worth:6.3f}  "
            + ", ".join(_described(i, r.null_worth) for i in reversed(r.intervals) if _above(i, r.null_worth))
            for r in self.rows
        ]
        areas = ", ".join(f"k = {k} {area:.2f}" for k, area in self.areas.items()) or "none"
        return "\n".join([head, *lines, f"decades of lambda x octaves of kappa above the null: {areas}"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """For every kappa a bar of lambda, coloured by the k that is best there; grey below the null."""
        from matplotlib.patches import Patch

        from training.figures.panels import COLOURS, GREY, axes, corner, log_lambda

        ax = axes(ax, 6.4, 1.6 + 0.5 * len(self.rows))
        rows = [(row, i) for row in self.rows for i in row.intervals]
        ends = [e for row, i in rows for e in (i.low, i.high) if e] + [row.null_worth for row in self.rows]
        left, right = min(ends) / 2, max(ends) * 3
        ks = sorted({i.k for row, i in rows if i.high is None or i.high > row.null_worth})
        places = (
            range(len(ks)) if max(ks) > len(COLOURS) else [k - 1 for k in ks]
        )  # where it can be the same in every map
        colours = {k: COLOURS[place % len(COLOURS)] if k else "#FFFFFF" for k, place in zip(ks, places, strict=True)}
        for height, row in enumerate(self.rows):
            ax.barh(height, row.null_worth - left, left=left, height=0.8, color=GREY)
            for i in row.intervals:
                low, high = max(i.low, row.null_worth), i.high or right
                if high <= low:
                    continue
                bar = ax.barh(height, high - low, left=low, height=0.8, color=colours[i.k], edgecolor="black", lw=0.6)
                if high / low > 1.3:
                    shade = "black" if i.k == 0 else "white"
                    ax.bar_label(bar, [f"{i.k}"], label_type="center", color=shade, fontweight="bold", fontsize=8)
        log_lambda(ax)
        ax.set(xlim=(left, right), xlabel="lambda (nats a dimension)", ylabel="kappa (nats per squared unit moved)")
        ax.set_yticks(range(len(self.rows)), [f"{row.kappa:g}" for row in self.rows])
        ax.set_title(f"Best k at every regularity; k = {self.structure_dim} over the widest range")
        handles = [Patch(facecolor=colours[k], edgecolor="black", label=f"k = {k}") for k in ks]
        ax.legend(
            handles=[*handles, Patch(facecolor=GREY, label="below the null")],
            fontsize=8,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
        )
        corner(ax, f"{len(self.rows)} runs")
        return ax


def _above(interval: Interval, null_worth: float) -> bool:
    return interval.high is None or interval.high > null_worth


def _described(interval: Interval, null_worth: float) -> str:
    """ "2 from .03 to .131", "0 beyond"."""
    if interval.high is None:
        return f"{interval.k} beyond"
    return f"{interval.k} from {max(interval.low, null_worth):.3g} to {interval.high:.3g}"
