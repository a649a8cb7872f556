"""Does a function factor through a low-dimensional summary? Ranks of its Jacobian at many rows, against noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.functions.jacobians import singular_values
from analysis.functions.layers import RowFunction, evaluating, row_function, without_slope
from analysis.functions.noise import Noise, as_noise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.functions.summary import Bottleneck, Summary

Floats = NDArray[np.float64]
SCALE = 0.1
_NEIGHBOURS = 10
_SMALLEST_PIECE = 0.02  # of the rows
_CONSISTENT = 0.95
_SHOWN = 32
_ZERO = 1e-6  # of the largest singular value
_HANGS = 2.0  # a gap or a step below this is none


@dataclass(frozen=True, eq=False, repr=False)
class Region:
    """Rows at which the Jacobian has one rank, and in how many pieces of 2 percent of the rows or more they lie.

    The pieces are those of the graph of ten nearest neighbours, so their number (not the rows) depends on coordinates.
    """

    rank: int
    rows: NDArray[np.intp]
    pieces: int


class Step(NamedTuple):
    """A rank, and from where to where the output noise may be (times what it is) for the median spectrum to have it."""

    rank: int
    lowest: float
    highest: float


@dataclass(frozen=True, eq=False, repr=False)
class Factorization:
    """Ranks of a function's Jacobian over rows, at the scale of given noise. Made by :func:`factorize`.

    Attributes:
        singular_values: (n, q) of Sy^(-1/2) J Sx^(1/2) at every row, falling: noise sds that the output moves when the input
            moves by one. Those above 1 count.
        inputs, outputs: D and E.
        sketched: the largest singular values only, as lower bounds.
        rows: (n, D) rows that were looked at.
        scale: the default output noise as a share of the outputs' sd; None where noise was given.
        seed: of sketches and fits.
    """

    singular_values: Floats
    inputs: int
    outputs: int
    sketched: bool
    rows: Tensor = field(repr=False)
    scale: float | None
    seed: int
    _function: RowFunction = field(repr=False)
    _owner: object = field(repr=False)

    @cached_property
    def ranks(self) -> NDArray[np.intp]:
        """(n,) singular values above 1 at every row."""
        return (self.singular_values > 1).sum(1)

    @cached_property
    def rank(self) -> int:
        """The commonest rank, the smaller one in a tie."""
        return int(np.bincount(self.ranks).argmax())

    @property
    def agreement(self) -> float:
        """Share of the rows with that rank."""
        return float((self.ranks == self.rank).mean())

    @property
    def is_consistent(self) -> bool:
        """Whether 95 percent of the rows have it."""
        return self.agreement >= _CONSISTENT

    @property
    def is_full(self) -> bool:
        """Whether it is as large as it can be: the function does not factor through anything smaller, to first order."""
        return self.rank == min(self.inputs, self.outputs)

    @property
    def gap(self) -> float:
        """Median over rows of the last singular value that counts over the next: near 1, the rank hangs on the scale; nan at none
        and at all."""
        r, s = self.rank, self.singular_values
        if r == 0 or r >= s.shape[1]:
            return float("nan")
        return float(np.median(s[:, r - 1] / np.maximum(s[:, r], 1e-300)))

    @cached_property
    def widest(self) -> Step | None:
        """The widest step of the median spectrum: the rank, less than full, that holds over the largest range of scales.

        Where the gap is near 1 the rank hangs on the scale, and this one need not: a residual of .1 sd reaches an output
        noise of .1 sd in a hundred directions, and one of .4 sd in none. None where there is no step.
        """
        median = np.median(self.singular_values, 0)
        if len(median) < 2 or not median[0] > 0:
            return None
        median = np.maximum(median, _ZERO * median[0])
        rank = int((median[:-1] / median[1:]).argmax()) + 1
        return Step(rank, float(median[rank]), float(median[rank - 1]))

    @property
    def leading(self) -> int:
        """The rank to go by: that at the noise given, or after the widest step where it hangs on the scale (gap below 2)."""
        return self.rank if self._step is None else self._step.rank

    @property
    def _step(self) -> Step | None:
        """The widest step where the rank hangs on the scale and the step does not."""
        step = self.widest
        return step if step and self.gap < _HANGS and step.highest > _HANGS * step.lowest else None

    @cached_property
    def regions(self) -> list[Region]:
        """Rows by rank, the commonest first."""
        counts = np.bincount(self.ranks)
        order = [int(r) for r in np.argsort(-counts, kind="stable") if counts[r]]
        return [Region(r, rows, self._pieces(rows)) for r in order for rows in [np.flatnonzero(self.ranks == r)]]

    def _pieces(self, rows: NDArray[np.intp]) -> int:
        from scipy.sparse.csgraph import connected_components
        from sklearn.neighbors import kneighbors_graph

        if len(rows) == len(self.rows):
            return 1  # nothing to tell apart
        points = self.rows.flatten(1).double().cpu().numpy()
        graph = kneighbors_graph(points, min(_NEIGHBOURS, len(points) - 1))[rows][:, rows]
        labels = connected_components(graph, directed=False)[1]
        return max(1, int((np.bincount(labels) >= _SMALLEST_PIECE * len(points)).sum()))

    def summary(self, width: int | None = None) -> Summary:
        """Fit f = g o h with h: R^D -> R^width (default the leading rank); its error on held-out rows."""
        from analysis.functions.summary import fit_summary

        with evaluating(self._owner):
            return fit_summary(self._function, self.rows, self.leading if width is None else width, self.seed)

    def summaries(self) -> list[Summary]:
        """Summaries of width r - 1, r, r + 1, r leading, as far as they exist: f = g o h should fail below r, hold from r on."""

        most, r = min(self.inputs, self.outputs), self.leading
        return [self.summary(w) for w in range(max(0, r - 1), min(most, r + 1) + 1)]

    def bottleneck(self, tolerance: float = SCALE, most: int | None = None) -> Bottleneck:
        """The smallest width that a summary needs, which the Jacobian's rank bounds from below but need not reach.

        x -> x / |x| on a ring has rank 1 and needs 2: no angle is continuous all the way round.

        Args:
            tolerance: held-out error, as a share of the outputs' sd, at which a summary holds.
            most: largest width to try (default leading rank + 2).
        """
        from analysis.functions.summary import bottleneck

        top = min(self.inputs, self.outputs, self.leading + 2 if most is None else most)
        return bottleneck(self.summary, self.leading, top, tolerance)

    def invariants(self) -> list[str]:
        """What no change of coordinates alters, if the noise is carried along."""
        return ["rank", "agreement", "is_consistent", "is_full", "gap", "ranks", "spectrum", "widest", "leading"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the spectrum is the median over rows of each singular value, at most 32 of them."""
        gap = self.gap
        return {
            "leading": self.leading, "rank": self.rank, "agreement": self.agreement,
            "is_consistent": self.is_consistent, "is_full": self.is_full,
            "gap"
: gap if np.isfinite(gap) else None, "widest": self.widest and self.widest._asdict(),
            "ranks": self.ranks.tolist(),
            "spectrum": np.median(self.singular_values, 0)[:_SHOWN].tolist(),
            "regions": [{"rank": r.rank, "rows": len(r.rows), "pieces": r.pieces} for r in self.regions],
            "inputs": self.inputs, "outputs": self.outputs, "sketched": self.sketched, "scale": self.scale,
        }  # fmt: skip

    def __repr__(self) -> str:
        n, most = len(self.ranks), min(self.inputs, self.outputs)
        kind = "full rank" if self.is_full else f"of at most {most}"
        scale = "the noise given" if self.scale is None else f"an output noise of {self.scale:g} sd"
        counted = f"rank {self.rank} ({kind}) at {self.agreement:.0%} of {n} rows"
        step, function = self._step, f"R^{self.inputs} -> R^{self.outputs}"
        if step is None:
            lines = [f"Factorization: {counted}, {function}, at {scale}"]
        else:
            lines = [
                f"Factorization: rank {step.rank} of at most {most}, {function}: the widest step of the spectrum, at "
                f"{step.lowest:.2g} to {step.highest:.2g} times {scale}",
                f"  at that noise itself the rank hangs on the scale: {counted}",
            ]
        median = np.median(self.singular_values, 0)
        near = range(max(0, self.rank - 3), min(len(median), self.rank + 3))
        shown = ", ".join(f"s{i + 1} {median[i]:.3g}" for i in near)
        gap = f"; gap {self.gap:.3g}" if np.isfinite(self.gap) else ""
        lines.append(f"  median singular values (noise units; above 1 counts): {shown}{gap}")
        if len(self.regions) > 1:
            told = ", ".join(
                f"rank {r.rank}: {len(r.rows)} rows in {r.pieces} piece{'s' * (r.pieces > 1)}" for r in self.regions[:6]
            )
            more = f", and {len(self.regions) - 6} more" if len(self.regions) > 6 else ""
            lines.append(f"  constant-rank regions: {told}{more}")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Singular values by index, median and range over rows, and the line at 1 noise sd."""
        from analysis import drawing

        ax = drawing.axes(ax)
        values = np.maximum(self.singular_values, 1e-12)
        index = np.arange(1, values.shape[1] + 1)
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
        ax.fill_between(index, low, high, color=drawing.COLOURS[0], alpha=0.25, lw=0, label="5 to 95 % of the rows")
        ax.plot(index, median, ".-", ms=4, color=drawing.COLOURS[0], label="median")
        ax.axhline(1, color="black", ls=":", lw=1, label="output noise")
        ax.set(yscale="log", xlabel="singular value of the Jacobian", ylabel="noise sds of output per sd of input")
        ax.set_title(f"Rank {self.rank} at {self.agreement:.0%} of the rows")
        ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {len(values)}, seed {self.seed}")
        return ax


def factorize(
    function: Callable[[Tensor], Tensor],
    x: object,
    *,
    start: str | None = None,
    end: str | None = None,
    input_noise: Noise | float | Tensor | None = None,
    output_noise: Noise | float | Tensor | None = None,
    scale: float = SCALE,
    sketch_above: int = 256,
    seed: int = 0,
) -> Factorization:
    """Rank of a function's Jacobian over rows: whether f = g o h through a low-dimensional summary h, to first order.

    The only local structure of a function that no change of coordinates can hide is the rank of its Jacobian. A real
    function has full rank by a little, so a rank needs a scale, and a bare threshold is not invariant: here the singular
    values are those of Sy^(-1/2) J Sx^(1/2), and count above 1. `analysis.coordinate_freedom` shows what stays.

    Args:
        function: maps rows (B, D) to outputs (B, E), row by row, in torch. Modules run in eval mode.
        x: rows (n, D) to look at; for a torch module its inputs, (n, ...).
        start, end: layers by name, if it is a module: the function from the one's output to the other's. None is the model's
            own input, or output.
        input_noise: Sx as a sd, sds (D,), a covariance (D, D) or a `Noise`; default isotropic, as wide as the rows (root mean
            square of the columns' sds).
        output_noise: Sy likewise; default isotropic, `scale` times as wide as the outputs.
        scale: see there.
        sketch_above: beyond this many of min(D, E), singular values are sketched: the largest only, down to below 1, which
            takes second derivatives.
        seed: of the sketch; global random state is not touched.

    Returns:
        a `Factorization`. Cost: min(E, 4 D) backward passes over the rows, or five passes for each direction of a sketch.

    Raises:
        TypeError: no callable, or outputs that are no floating tensor.
        ValueError: unknown layers, bad rows or noise, outputs that are not one row for each row, or not finite.

    Example:
        >>> x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        >>> factorize(lambda x: torch.stack([x.sum(1), x.sum(1).sin()], 1), x).rank
        1
    """
    if not scale > 0:
        raise ValueError(f"scale is a share of the outputs' sd above 0, got {scale}; 0.1 is the default")
    f, rows = row_function(function, x, start, end)
    if len(rows) < 2:
        raise ValueError(f"factorize needs at least 2 rows, got {len(rows)}; a rank holds over many")
    with evaluating(function):
        y = torch.cat([f(rows[i], i) for i in torch.arange(len(rows), device=rows.device).split(4096)])
        if not y.isfinite().all():
            raise ValueError(
                f"outputs contain NaN or inf at {int((~y.isfinite()).any(1).sum())} of {len(y)} rows; drop those rows"
            )
        into = as_noise(input_noise, rows, 1.0, "input_noise")
        out = as_noise(output_noise, y, scale, "output_noise")
        values, sketched = singular_values(f, rows, into, out, y.shape[1], sketch_above, seed)
        if not values.any() and _moves(f, rows, y, into, seed):
            raise without_slope(len(rows))
    return Factorization(
        values.cpu().numpy(), rows.shape[1], y.shape[1], sketched, rows,
        scale if output_noise is None else None, seed, f, function,
    )  # fmt: skip


def _moves(f: RowFunction, rows: Tensor, y: Tensor, into: Noise, seed: int) -> bool:
    """Whether outputs y change when input noise moves some of the rows."""
    some = slice(0, 64)
    noise = torch.randn(rows[some].shape, generator=torch.Generator().manual_seed(seed)).to(rows)
    index = torch.arange(len(rows), device=rows.device)[some]
    return not torch.equal(f(into.displace(rows[some], noise), index), y[some])
