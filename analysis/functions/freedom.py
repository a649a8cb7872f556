"""Coordinate freedom: which answers of an analysis survive strong random diffeomorphisms of what it looks at."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.functions.noise import Noise, as_noise
from flows.diffeo import StrongDiffeo
from flows.io.inputs import as_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class View:
    """A function and rows, in one choice of coordinates for inputs and outputs.

    Attributes:
        x: (n, D) the rows.
        function: maps rows to outputs.
        input_map, output_map: what brought the original coordinates here; None in the original.
    """

    x: Tensor
    function: Callable[[Tensor], Tensor]
    input_map: StrongDiffeo | None = None
    output_map: StrongDiffeo | None = None

    def inputs(self, points: Tensor) -> Tensor:
        """Original input points (m, D) in these coordinates."""
        return points if self.input_map is None else self.input_map(points.double())

    def outputs(self, points: Tensor) -> Tensor:
        """Original output points (m, E) in these coordinates."""
        return points if self.output_map is None else self.output_map(points.double())

    def input_noise(self, noise: Noise | float | Tensor | None = None) -> Noise:
        """Original input noise in these coordinates; default isotropic, as wide as the original rows."""
        phi = self.input_map
        held = as_noise(noise, self.x if phi is None else phi.inverse(self.x), 1.0, "input_noise")
        return held if phi is None else held.through(phi)

    def output_noise(self, noise: Noise | float | Tensor | None = None) -> Noise:
        """Original output noise in these coordinates; default isotropic, a tenth of the original outputs' sd."""
        psi = self.output_map
        with torch.no_grad():
            y = self.function(self.x)
        held = as_noise(noise, y if psi is None else psi.inverse(y), 0.1, "output_noise")
        return held if psi is None else held.through(psi)


class Output(NamedTuple):
    """One output of an analysis: its first value, in how many maps it stayed equal, the worst change, whether claimed."""

    name: str
    value: Any
    equal: int
    change: float
    claimed: bool


@dataclass(frozen=True, repr=False)
class Freedom:
    """Which outputs of an analysis stayed equal under strong changes of coordinates.

    Attributes:
        outputs: one entry an output, in the analysis' own order.
        n_maps: number of maps.
        unexplained: (n_maps,) share of the inputs' variance that the best affine map back leaves, map by map.
        tolerance: relative change up to which numbers count as equal.
        seed: drew the maps.
    """

    outputs: tuple[Output, ...]
    n_maps: int
    unexplained: tuple[float, ...]
    tolerance: float
    seed: int

    @property
    def invariant(self) -> list[str]:
        """Names of the outputs that stayed equal in every map."""
        return [o.name for o in self.outputs if o.equal == self.n_maps]

    @property
    def broken(self) -> list[str]:
        """Names of the outputs that the analysis claims to be invariant and that changed."""
        return [o.name for o in self.outputs if o.claimed and o.equal < self.n_maps]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        outputs = {o.name: {"equal": o.equal, "change": _finite(o.change), "claimed": o.claimed} for o in self.outputs}
        return {
            "outputs": outputs, "n_maps": self.n_maps, "unexplained": list(self.unexplained),
            "tolerance": self.tolerance, "seed": self.seed,
        }  # fmt: skip

    def __repr__(self) -> str:
        width = max(len(o.name) for o in self.outputs)
        lines = [
            f"{o.name:{width}}  {o.equal:3d} of {self.n_maps}  {_word(o, self.n_maps):22}  {_short(o.value)}".rstrip()
            for o in self.outputs
        ]
        low, high = min(self.unexplained), max(self.unexplained)
        head = (
            f"Freedom: {len(self.invariant)} of {len(self.outputs)} outputs equal in all {self.n_maps} maps "
            f"(unexplained by affine maps: {low:.0%} to {high:.0%}; numbers equal within {self.tolerance:g}; seed {self.seed})"
        )
        return "\n".join([head, *("  " + line for line in lines)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """A bar an output: share of the maps in which it stayed equal."""
        from analysis import drawing

        ax = drawing.axes(ax, height=1.2 + 0.3 * len(self.outputs))
        shares = [o.equal / self.n_maps for o in self.outputs]
        colours = [drawing.COLOURS[0 if share == 1 else 1] for share in shares]
        ax.barh(range(len(shares)), [max(share, 0.004) for share in shares], color=colours)
        ax.set_yticks(range(len(shares)), [o.name + (" (claimed)" if o.claimed else "") for o in self.outputs])
        ax.set(xlim=(0, 1), xlabel="share of maps in which the output stayed equal")
        ax.invert_yaxis()
        drawing.corner(ax, f"{self.n_maps} maps, seed {self.seed}")
        return ax


def coordinate_freedom(
    analysis: Callable[[Any], Any],
    x: object,
    n_maps: int = 20,
    *,
    function: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Freedom:
    """Rerun an analysis in `n_maps` other coordinate systems and table which of its outputs stayed equal.

    The maps are strong random diffeomorphisms (`flows.StrongDiffeo`: rotations, shears and monotone coordinatewise maps; the
    best affine map leaves at least a quarter of the variance). What is claimed to be coordinate-free must pass; what is not,
    such as the sparsity of activations, must be caught.

    Args:
        analysis: without `function`, called with rows (n, D) of the dtype of x; with it, called with a `View` of the function
            psi o f o phi^-1 and the rows phi(x), which also carries points and noise along. It returns a mapping, a
            result with `to_dict()`, or one value. A result's `invariants()`, where there is one, names what it claims.
        x: rows (n, D).
        n_maps: number of changes of coordinates, each of its own seed.
        function: maps rows (n, D) to outputs (n, E), row by row; its outputs go through maps of their own.
        tolerance: numbers (and arrays, by their largest entry) count as equal up to this relative change. Whole numbers,
            words and truth values must be the same.
        seed: everything is drawn from it; global random state is not touched.

    Raises:
        ValueError: fewer than 1 map, bad rows, an analysis that returns nothing, or rows no strong map can be made for.

    Example:
        >>> x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
        >>> found = coordinate_freedom(lambda rows: {"rows": len(rows), "sd": rows.std()}, x, n_maps=3)
        >>> found.invariant
        ['rows']
    """
    if n_maps < 1:
        raise ValueError(f"n_maps must be at least 1, got {n_maps}; 20 is the default")
    rows = as_rows(x, min_rows=2).detach()
    first = analysis(rows if function is None else View(rows, function))
    claimed = _claims(first)
    values = dict(_flat(first))
    if not values:
        raise ValueError("the analysis returned nothing to compare; return a mapping, a number or a result object")
    equal, change, unexplained = dict.fromkeys(values, 0), dict.fromkeys(values, 0.0), []
    for i in range(n_maps):
        seen, share = _seen(rows, function, seed + 2 * i)
        unexplained.append(share)
        again = dict(_flat(analysis(seen)))
        for name, value in values.items():
            moved = _change(value, again.get(name, _MISSING))
            equal[name] += moved <= tolerance
            change[name] = max(change[name], moved)
    outputs = tuple(
        Output(name, value, equal[name], change[name], any(name == c or name.startswith(f"{c}.") for c in claimed))
        for name, value in values.items()
    )
    return Freedom(outputs, n_maps, tuple(unexplained), tolerance, seed)


_MISSING = object()


def _seen(rows: Tensor, function: Callable[[Tensor], Tensor] | None, seed: int) -> tuple[Tensor | View, float]:
    """The rows, or a view of the function on them, in other coordinates; how far from affine the inputs' map is."""
    phi = StrongDiffeo(rows, seed)
    moved = phi(rows.double())
    if function is None:
        return moved.to(rows.dtype), phi.unexplained
    with torch.no_grad():
        psi = StrongDiffeo(as_rows(function(rows), name="outputs"), seed + 1)

    def carried(x: Tensor) -> Tensor:
        return psi(function(phi.inverse(x).to(rows.dtype)).double())

    return View(moved, carried, phi, psi), phi.unexplained


def _claims(result: Any) -> list[str]:
    return list(result.invariants()) if hasattr(result, "invariants") else []


def _flat(result: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all that a result holds."""
    if hasattr(result, "to_dict"):
        result = result.to_dict()
    if isinstance(result, Mapping):
        for name, value in result.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    elif result is not None or prefix:
        yield prefix or "value", result


def _is_real(value: Any) -> bool:
    """Whether a value is compared up to the tolerance."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except ValueError:  # ragged
        return False
    return array.dtype.kind == "f"


def _change(a: Any, b: Any) -> float:
    """Relative change from a to b by the largest entry: 0 where they are the same, inf where they cannot be compared."""
    a, b = (v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in (a, b))
    if not (_is_real(a) and _is_real(b)):
        try:
            return 0.0 if np.array_equal(np.asarray(a), np.asarray(b)) else float("inf")
        except ValueError:
            return 0.0 if repr(a) == repr(b) else float("inf")
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or not (np.isnan(a) == np.isnan(b)).all():
        return float("inf")
    if not a.size or np.array_equal(a, b, equal_nan=True):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nanmax(np.abs(a - b)) / np.nanmax(np.abs(a)))


def _word(output: Output, n_maps: int) -> str:
    if output.equal < n_maps:
        return "BROKEN CLAIM" if output.claimed else "coordinate-dependent"
    return "invariant, as claimed" if output.claimed else "invariant"


def _short(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Integral)):
        return f"{float(value):.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
