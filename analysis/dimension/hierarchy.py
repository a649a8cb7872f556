"""The hierarchy of structure dimensions: by price and worth, by what the reconstruction loses without them, by exit depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis import drawing
from analysis.progress import tracked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from flows.flow import FunnelFlow

Floats = NDArray[np.float64]
Known = ArrayLike | Sequence[float | None] | None
NOTHING = "nothing but noise at this regularity"


@dataclass(frozen=True)
class Dimension:
    """One structure dimension s_i, with errors as shares of the variance of x.

    Attributes:
        index: its number in the latent z.
        worth: nats a dimension from the hull; nan where it is not known. Dimensions that leave together share one.
        price: nats it explained when it left; nan where it is not known or it never left.
        exit_depth: tau; a structure dimension stays to depth 1.
        zeroed: error of decode(s with s_i = 0) against x.
        moved: the same against project(x): how far the reconstruction moves.
        kept: error against x of decode(s) with this dimension and all before it in the table, the others 0.
    """

    index: int
    worth: float
    price: float
    exit_depth: float
    zeroed: float
    moved: float
    kept: float


@dataclass(frozen=True, repr=False)
class Hierarchy:
    """Structure dimensions in order of falling price, and the depths at which the noise leaves.

    Errors are mean squared errors over rows, in original units, as shares of the total variance of the same rows.

    Attributes:
        dimensions: one entry a structure dimension, in the order of ``flow.encode``.
        projected: error of project(x), every structure dimension kept.
        nothing_kept: error of decode(0), one point for all rows.
        noise_exits: index in z -> exit depth tau of every noise dimension, the deepest first; -w/2 means that it never
            enters the flow.
        rows: the number of rows that errors are means over.
        variance: total variance of those rows, summed over columns, in squared original units.
        seed: drew the rows.
    """

    dimensions: list[Dimension]
    projected: float
    nothing_kept: float
    noise_exits: dict[int, float]
    rows: int
    variance: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""
        numbers = {name: _finite(getattr(self, name)) for name in ("projected", "nothing_kept", "variance")}
        return {
            "dimensions": [{name: _finite(v) for name, v in asdict(d).items()} for d in self.dimensions],
            **numbers,
            "noise_exits": {str(i): tau for i, tau in self.noise_exits.items()},
            "rows": self.rows,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        sizes = f"{self.rows} rows, seed {self.seed}"
        taus = list(self.noise_exits.values())
        noise = f"noise: {len(taus)} dimension{'s' * (len(taus) != 1)}" + (
            f", out at depth {min(taus):.2f} to {max(taus):.2f}" if taus else ""
        )
        if not self.dimensions:
            return f"Hierarchy: {NOTHING}; {noise}; {sizes}"
        lines = [
            f"Hierarchy of {len(self.dimensions)} structure dimensions; errors as shares of the variance of x; {sizes}",
            "   s   z   worth   price  depth  zeroed   moved  so far",
        ]
        for j, d in enumerate(self.dimensions):
            lines.append(
                f"{f's{j + 1}':>4}{d.index:4d}{_cell(d.worth)}{_cell(d.price)}{d.exit_depth:7.2f}"
                f"{_cell(d.zeroed)}{_cell(d.moved)}{_cell(d.kept)}"
            )
        ends = (_cell(value).strip() for value in (self.projected, self.nothing_kept))
        lines.append("all kept {}, none kept {}".format(*ends) + f"; {noise}")
        lines.append(
            "worth, price in nats; zeroed: error with this one alone at 0; moved: the same against all kept; "
            "so far: with it and those above kept"
        )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Error against x as dimensions are added in order of price, and with each one alone at zero."""
        ax = drawing.axes(ax)
        k = len(self.dimensions)
        kept = [self.nothing_kept, *(d.kept for d in self.dimensions)]
        ax.plot(range(k + 1), kept, "o-", color=drawing.COLOURS[0], label="the first j dimensions kept")
        zeroed = [d.zeroed for d in self.dimensions]
        ax.plot(range(1, k + 1), zeroed, "s", mfc="none", color=drawing.COLOURS[1], label="the j-th alone at zero")
        ax.axhline(self.projected, color=drawing.COLOURS[2], ls=":", label="all kept: noise alone is lost")
        ax.set(xlabel="j, dimensions in order of falling price", ylabel="squared error / variance of x", ylim=(0, None))
        ax.set_xticks(range(k + 1) if k <= 20 else range(0, k + 1, 5))
        ax.set_title(f"Hierarchy of {k} structure dimensions" if k else f"Hierarchy: {NOTHING}", fontsize=11)
        ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {self.rows}, seed {self.seed}")
        return ax


def hierarchy(
    flow: FunnelFlow,
    x: object,
    worth: Known = None,
    prices: Known = None,
    seed: int = 0,
    most_rows: int = 2000,
) -> Hierarchy:
    """Order the structure dimensions by price and say what x loses without each.

    Args:
        x: rows (n, D) in original units; above ``most_rows`` a random ``most_rows`` of them.
        worth: (k,) nats a structure dimension, in the flow's order, as ``result.json`` has them; None inside means unknown.
        prices: (M,) nats of every latent dimension, as ``result.json`` has them.
        seed: draws the rows.

    Cost: 2 k + 2 inversions of the flow over the rows used.

    Raises:
        ValueError: rows that do not fit the flow, worth or prices of another length.
        RuntimeError: the flow does not invert there; see :meth:`flows.FunnelFlow.inverse`.
    """
    import torch

    from flows.io.inputs import as_rows

    given = as_rows(x, width=flow.front.features).detach()
    rows = given[torch.from_numpy(_sample(len(given), most_rows, seed))].to(flow.exits.tau)
    structure, tau = flow.structure.tolist(), flow.exits.tau.detach().double().cpu().tolist()
    k, dims = len(structure), len(tau)
    worths, price = _known("worth", worth, k), _known("prices", prices, dims)[structure]
    variance = float(rows.double().var(0, correction=0).sum())

    def share(a: Tensor, b: Tensor) -> float:
        return float((a - b).double().square().sum(1).mean()) / variance if variance > 0 else math.nan

    with torch.no_grad():
        s = flow.encode(rows)
        project = flow.decode(s)
        alone = [flow.decode(_without(s, [j])) for j in tracked(range(k), "hierarchy: one at zero")]
        shown = tracked(range(k), "hierarchy: so far")
        kept = [share(flow.decode(_without(s, range(j, k))), rows) for j in shown] + [share(project, rows)]
    dimensions = [
        Dimension(
            i, float(worths[j]), float(price[j]), tau[i], share(alone[j], rows), share(alone[j], project), kept[j + 1]
        )
        for j, i in enumerate(structure)
    ]
    noise = sorted(set(range(dims)) - set(structure), key=lambda i: -tau[i])
    return Hierarchy(dimensions, kept[-1], kept[0], {i: tau[i] for i in noise}, len(rows), variance, seed)


def _without(s: Tensor, zeroed: Iterable[int]) -> Tensor:
    """A copy of s (B, k) with the named columns at 0, the mean of every dimension under the base."""
    s = s.clone()
    s[:, list(zeroed)] = 0
    return s


def _sample(count: int, most: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).choice(count, min(count, most), replace=False))


def _known(name: str, values: Known, count: int) -> Floats:
    """``count`` numbers, nan where nothing is known."""
    known = np.full(count, np.nan) if values is None else np.asarray(values, dtype=np.float64)
    if known.shape != (count,):
        raise ValueError(
            f"{name} must have {count} entries, got shape {known.shape}; pass those of the run this flow is from"
        )
    return known


def _cell(value: float) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.3f}':>8}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
