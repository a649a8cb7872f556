"""Fibres {x : f(x) = value}: sampled near the data, counted, and told by type: points, circles, lines, arcs, surfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from analysis.functions.components import MOST_CURVES, Component, components_of
from analysis.functions.layers import evaluating, outputs_of, without_slope
from analysis.functions.solving import Level, Region
from flows.io.inputs import as_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
STEP = 0.1  # sds of the data along a curve
SPACING = 0.4  # sds of the data between the points of a net on a surface
_PLURALS = {"torus": "tori", "annulus": "annuli"}
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, eq=False, repr=False)
class Fibre:
    """The fibre of a function over a value, near data. Made by :func:`fibre`.

    Attributes:
        dimension: D minus the Jacobian's rank on the fibre; None where it is empty.
        components: largest first; of a fibre of dimension 3 or more one, "untyped", of its sampled points.
        value: (E,).
        seeds: number of points that Newton's method started from.
        reached: how many of these came to the fibre near the data.
        seed: drew them.
        left: how many of these lie on none of the components, because the search ends at 50 curves.
    """

    dimension: int | None
    components: tuple[Component, ...]
    value: Floats
    seeds: int
    reached: int
    seed: int
    left: int = 0

    @property
    def kinds(self) -> dict[str, int]:
        """Number of components of each kind."""
        return dict(sorted(Counter(c.kind for c in self.components).items()))

    def describe(self) -> str:
        """ "two circles and a line"."""
        if (self.dimension or 0) > 2:
            return f"{self.dimension}-dimensional, untyped"
        told = [_counted(count, kind) for kind, count in self.kinds.items()]
        if not told:
            return "empty near the data"
        listed = " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)
        return f"at least {listed}" if self.left else listed

    def invariants(self) -> list[str]:
        """What no change of coordinates alters, as long as the data reach as far."""
        return ["dimension", "kinds", "description"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the points."""
        return {
            "dimension": self.dimension, "kinds": str(self.kinds), "description": self.describe(),
            "components": [c.to_dict() for c in self.components], "value": self.value.tolist(),
            "seeds": self.seeds, "reached": self.reached, "seed": self.seed, "left": self.left,
        }  # fmt: skip

    def __repr__(self) -> str:
        value = ", ".join(f"{v:.4g}" for v in self.value[:6]) + (", ..." if len(self.value) > 6 else "")
        dimension = f", of dimension {self.dimension}" if self.dimension in (0, 1, 2) else ""
        lines = [
            f"Fibre over ({value}): {self.describe()}{dimension}; {self.reached} of {self.seeds} points reached it"
        ]
        lines += [f"  {component}" for component in self.components[:12]]
        if len(self.components) > 12:
            lines.append(f"  and {len(self.components) - 12} more")
        if self.left:
            lines.append(
                f"  the search ended at {MOST_CURVES} curves; {self.left} of the points that reached it lie on none"
            )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The components along the fibre's two (in R^3: own three) leading directions."""
        from analysis import drawing

        if not self.components:
            return drawing.nothing(repr(self).splitlines()[0], ax)
        points = np.vstack([c.points for c in self.components])
        is_space = points.shape[1] == 3
        ax = drawing.axes(ax, 5.6, 5.0, "3d" if is_space else None)
        axes = np.eye(3) if is_space else np.linalg.svd(points - points.mean(0), full_matrices=False)[2][:2].T
        for i, component in enumerate(self.components):
            shown = component.points @ axes
            if component.ends and component.ends[0] == "closed":
                shown = np.vstack([shown, shown[:1]])
            shown = shown if shown.shape[1] > 1 else np.hstack([shown, np.zeros_like(shown)])
            style = {"lw": 1.8} if component.ends else {"ls": "", "marker": ".", "ms": 4}
            ax.plot(*shown.T, color=drawing.COLOURS[i % len(drawing.COLOURS)], label=component.kind, **style)
        names = ("x1", "x2", "x3") if is_space else ("first direction", "second direction")
        ax.set(**dict(zip(("xlabel", "ylabel", "zlabel"), names, strict=False)), title=self.describe())
        if points.shape[1] > 1:
            ax.set_aspect("equal", adjustable="datalim")
        ax.legend(fontsize=8)
        drawing.corner(ax, f"{self.reached} of {self.seeds} points reached the fibre, seed {self.seed}")
        return ax


def fibre(
    function: Callable[[Tensor], Tensor],
    value: ArrayLike | Tensor,
    points: object,
    *,
    rank: int | None = None,
    step: float = STEP,
    spacing: float = SPACING,
    most_seeds: int = 400,
    seed: int = 0,
) -> Fibre:
    """Sample {x : f(x) = value} near data points, count its components and say what they are.

    Points of the data are moved onto the fibre by Gauss-Newton steps. Where it is a curve, it is followed by tangent steps and
    corrections until it closes, leaves the region that the data cover, or really ends; seeds that no curve has met start the
    next one, up to 50 curves. In R^3 a closed curve is tested for being a knot. Where it is a surface, even nets are grown
    over it, finer and finer, until the holes of two agree. Strands nearer than a fifth of a step are not told apart. Above
    dimension 2 the points are returned, untyped.

    Known limit: a sheet through a Gaussian cloud comes back "undecided", since the region's rim is ragged where rows are few.

    Args:
        function: maps rows (B, D) to outputs (B, E), row by row, in torch.
        value: (E,), or a number where E = 1.
        points: data rows (n, D). They say where to look: a point belongs to their region if it is nearer to one of
            them than twice the distance from that one to its fifth neighbour.
        rank: of the Jacobian on the fibre, where some of its small singular values stand for noise; default numerical.
        step, spacing: between points on curves and surfaces, in sds of the data (root mean square over
            columns); nets start at that spacing.
        most_seeds: points of the data to start from; a component that none of them comes to is missed.
        seed: draws these; global random state is not touched.

    Returns:
        a `Fibre`; it is empty where no point near the data has that value.

    Raises:
        TypeError, ValueError: a function of another kind, without slope anywhere, a value of another size, bad rows or rank, a
            step that is not positive.
        RuntimeError: the function fails.

    Example:
        >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> fibre(lambda x: x.square().sum(1, keepdim=True), 1.0, x).describe()
        'a circle'
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {type(function).__name__}; pass a torch module or a function")
    for name, size in (("step", step), ("spacing", spacing), ("most_seeds", most_seeds)):
        if not size > 0:
            raise ValueError(f"{name} must be above 0, got {size}")
    rows = as_rows(points, name="points", min_rows=3).detach()
    with evaluating(function):
        target = _target(function, value, rows)
        if rank is not None and not 1 <= rank <= min(rows.shape[1], len(target)):
            raise ValueError(f"rank must be in 1..{min(rows.shape[1], len(target))}, got {rank}; None reads it off")
        if not (rows != rows[0]).any():
            raise ValueError(f"the {len(rows)} points are all the same and cover no region; pass data that vary")
        level = Level(function, target, rows, rank)
        u = level.local(rows)
        region = Region(u)
        chosen = np.random.default_rng(seed).permutation(len(u))[: int(most_seeds)]
        if not level.linear(u[chosen])[1].any():
            if (outputs_of(function, rows) != outputs_of(function, rows[:1])).any():
                raise without_slope(len(chosen))
            raise ValueError("the function gives the same everywhere: its fibre is all of the data, or empty")
        seeds, converged = level.newton(u[chosen])
        seeds = seeds[converged]
        seeds = seeds[region.holds(seeds)] if len(seeds) else seeds
        dimension: int | None = None
        components: list[Component] = []
        left = 0
        if len(seeds):
            ranks = level.decomposed(level.linear(seeds)[1])[2]
            level.rank = int(np.bincount(ranks).argmax()) if rank is None else rank
            dimension = u.shape[1] - level.rank
            components, left = components_of(level, region, seeds, dimension, step, spacing)
    return Fibre(dimension, tuple(components), target.double().cpu().numpy(), len(chosen), len(seeds), seed, left)


def _target(function: Callable[[Tensor], Tensor], value: ArrayLike | Tensor, rows: Tensor) -> Tensor:
    width = outputs_of(function, rows[:2]).shape[1]
    target = torch.as_tensor(value, dtype=torch.float64).flatten()
    if len(target) != width:
        raise ValueError(
            f"value must have one entry for each of {width} outputs, got {len(target)}; pass a point of f's range"
        )
    if not target.isfinite().all():
        raise ValueError("value contains NaN or inf; pass a point of f's range")
    return target


def _counted(count: int, kind: str) -> str:
    if count == 1:
        return f"{'an' if kind[0] in 'aeu' else 'a'} {kind}"
    number = _WORDS[count] if count < len(_WORDS) else str(count)
    noun, colon, which = kind.partition(": ")
    return f"{number} {_PLURALS.get(noun, noun + 's')}{colon}{which}"
