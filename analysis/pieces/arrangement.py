"""How the centres of pieces or classes lie to one another: simplex, line, ring, arc, grid, torus or tree, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import as_points
from analysis.pieces.between import Filling, filling
from analysis.pieces.neighbourhoods import Graph, as_graph
from analysis.pieces.ordering import (
    along_a_line,
    as_arc,
    as_ring,
    directions,
    from_the_gap,
    gap_p_value,
    random_centres,
    shortest_tours,
    squared_distances,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

NULLS = 499
PERMUTATIONS = 4999
SIGNIFICANT = 0.05
FEWEST = 5
LINE = 0.8  # share of the first direction
EVEN = 0.7  # directions that count, as a share of those that there could be
GAP, LEAST_GAP = 1.75, 1.25  # median steps: a wider one is a gap; a narrower one is none, however even the others are
WAYS = ("ring", "arc", "ring or arc", "line")


@dataclass(frozen=True)
class Agreement:
    """Whether the centres follow an order that was given.

    Attributes:
        shared: neighbours of the found order that are neighbours in the given one, of ``possible``.
        possible: neighbours in the given order.
        cyclic, linear: permutation p-values: mean squared step round the given order, closed or open, against shuffled classes.
    """

    shared: int
    possible: int
    cyclic: float
    linear: float

    def __repr__(self) -> str:
        return (
            f"given order: {self.shared} of {self.possible} neighbours found, permutation p {self.cyclic:.2g} as a cycle, "
            f"{self.linear:.2g} as a line"
        )


@dataclass(frozen=True, repr=False)
class Arrangement:
    """How the centres of pieces or classes lie.

    Attributes:
        kind: "ring", "arc", "ring or arc", "line", "grid", "torus", "tree", "simplex", "no order shown" or "too few pieces".
        order: names of the classes round the shortest closed way, from the widest gap on; where four fifths of the variance
            lie in one direction, along that.
        statistic: share, in [0, 1], of the variance of the angles between centres that steps round the order explain; 1 on an
            even ring. Along one direction that of squared distances; 1 on an even line.
        p_value: of so much, or of as much along an open way, in centres with the same spectrum turned at random, each set with
            its own shortest way; for the two looks twice the less. Of a grid, torus or tree that of its graph.
        gap: widest step of the way in median steps.
        gap_p_value: of a step that exceeds the others by so many of their sd, were all drawn from one gamma law.
        shares: (r,) share of each direction in the variance of the centres.
        agreement: with the order that was given; None where none was.
        graph: links between neighbouring centres, and whether they make a grid, a torus or a tree; None for too few pieces.
        filling: whether rows run on between neighbours on a way; None without a way, or with too few rows.
        names, centres: (p,) and (p, D), in the layer's units.
        seed: of nulls and permutations.
    """

    kind: str
    order: tuple[Any, ...]
    statistic: float
    p_value: float
    gap: float
    gap_p_value: float
    shares: tuple[float, ...]
    agreement: Agreement | None
    graph: Graph | None
    filling: Filling | None
    names: tuple[Any, ...]
    centres: Floats
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the centres; what is not known as None."""
        numbers = {name: getattr(self, name) for name in ("statistic", "p_value", "gap", "gap_p_value")}
        return {
            "kind": self.kind,
            "order": list(self.order),
            **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
            "shares": list(self.shares),
            "agreement": vars(self.agreement) if self.agreement else None,
            "graph": self.graph.to_dict(self.names) if self.graph else None,
            "filling": vars(self.filling) if self.filling else None,
            "pieces": len(self.names),
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        count = len(self.names)
        if self.kind == "too few pieces":
            return f"Arrangement: {count} pieces, too few for an order; it takes {FEWEST}"
        lines = [
            f"Arrangement of {count} centres: {self._named}, p {self.p_value:.2g} against centres of the same spectrum turned at "
            f"random (statistic {self.statistic:.2f}, widest step {self.gap:.1f} of the median, p {self.gap_p_value:.2g})",
            f"  found order: {', '.join(map(str, self.order))}",
            "  share of the directions: " + ", ".join(f"{share:.2f}" for share in self.shares[:5]),
        ]
        return "\n".join(lines + [f"  {part!r}" for part in (self.filling, self.agreement) if part])

    @property
    def _named(self) -> str:
        sides = self.graph.sides if self.graph and self.kind == self.graph.family else ()
        return f"{self.kind} {' x '.join(map(str, sides))}".rstrip()

    def plot(self, ax: Axes | None = None) -> Axes:
        """The centres in their first two directions, the found way drawn through them."""
        from analysis.drawing import COLOURS, GREY, axes, corner

        ax = axes(ax, 5, 4.6)
        centred = self.centres - self.centres.mean(0)
        flat = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
        if self.graph and self.kind == self.graph.family:
            for pair in self.graph.links:
                ax.plot(*flat[list(pair)].T, color=GREY, zorder=1)
        elif self.order:
            way = flat[[self.names.index(name) for name in self.order]]
            way = np.concatenate([way, way[:1]]) if self.kind == "ring" else way
            ax.plot(way[:, 0], way[:, 1], color=GREY, zorder=1)
        ax.scatter(flat[:, 0], flat[:, 1], s=20, color=COLOURS[0], zorder=2)
        for name, (x, y) in zip(self.names, flat, strict=True):
            ax.annotate(str(name), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
        ax.set(xlabel="first direction of the centres (units of the layer)", ylabel="second direction")
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(f"Centres: {self._named}", fontsize=11)
        corner(ax, f"{len(self.names)} centres, seed {self.seed}")
        return ax


def arrangement(x: ArrayLike, labels: ArrayLike, order: Sequence[Any] | None = None, seed: int = 0) -> Arrangement:
    """How the class means of rows lie to one another.

    The way round them is the shortest closed one of squared distances. On a ring the angles between centres, seen from their
    mean, hang on the number of steps alone, on an arc their distances do. Class means in few dimensions always close into
    something like a ring, so the p-value is against as many centres with the same spectrum, turned at random. A line has
    four fifths of the variance in one direction and even steps along it. An arc has a gap, wider than 1.75 median steps and
    than the spread of the steps explains; where only one is so, or it is narrower, "ring or arc". (An arc of 330 degrees
    with twelve centres is an even ring.) Grids, tori and trees are told by the links between neighbours, see
    :func:`~analysis.pieces.neighbourhoods.relative_neighbours`.

    Args:
        x: rows (n, D) in the layer's units; what is known and of no interest (template means) best taken off.
        labels: (n,) class of each row.
        order: all classes in the order to compare with, such as a calendar.
        seed: draws nulls and permutations.

    Raises:
        ValueError: rows with NaN or inf, labels of another length, or an order of other classes.

    Example:
        >>> import numpy as np
        >>> from analysis.pieces.arrangement import arrangement
        >>> t = np.repeat(np.arange(12), 5) * np.pi / 6
        >>> arrangement(np.stack([np.cos(t), np.sin(t)], 1), np.repeat(np.arange(12), 5)).kind
        'ring'
    """
    rows = as_points(x, "rows")
    given = np.asarray(labels)
    if given.shape != (len(rows),):
        raise ValueError(f"labels must have one entry per row, shape ({len(rows)},), got {given.shape}")
    names, index = np.unique(given, return_inverse=True)
    listed = tuple(names.tolist())
    if order is not None and sorted(map(str, order)) != sorted(map(str, listed)):
        raise ValueError(
            f"order must name each of the {len(listed)} classes once, got {list(order)}; classes: {list(listed)}"
        )
    centres = np.stack([rows[index == number].mean(0) for number in range(len(names))])
    if len(names) < FEWEST:
        few = (np.nan,) * 4
        return Arrangement("too few pieces", (), *few, (), None, None, None, listed, centres, seed)
    rng = np.random.default_rng([seed, 41])
    found, tour = _arranged(centres, listed, seed, rng)
    if order is not None:
        apart = squared_distances(centres[None])[0]
        found = replace(found, agreement=_agreement(apart, tour, [listed.index(name) for name in order], rng))
    return replace(found, filling=filling(rows, index, tour, found.kind == "ring") if found.kind in WAYS else None)


def _arranged(
    centres: Floats, names: tuple[Any, ...], seed: int, rng: np.random.Generator
) -> tuple[Arrangement, NDArray[np.intp]]:
    """What the centres alone say, and the way through them."""
    spread = np.linalg.svd(centres - centres.mean(0), compute_uv=False)[: len(centres) - 1]
    shares = spread**2 / max(float((spread**2).sum()), np.finfo(float).tiny)
    apart = squared_distances(centres[None])
    nulls = squared_distances(random_centres(len(centres), spread, NULLS, rng))
    is_line = bool(shares[0] >= LINE)
    statistic, p_value, tour = _along_a_line(apart, nulls) if is_line else _closed(apart, nulls, rng)
    steps = np.sqrt(apart[0, tour, np.roll(tour, -1)])[: -1 if is_line else None]
    gap = float(steps.max() / max(float(np.median(steps)), np.finfo(float).tiny))
    gap_p = gap_p_value(steps, rng)
    graph = as_graph(centres, spread, rng)
    is_graph = graph.p_value <= SIGNIFICANT and (
        graph.family != "tree" or graph.explained > max(statistic, float(as_arc(apart, tour[None])[0]))
    )
    kind = graph.family if is_graph else _kind(shares, p_value, gap, gap_p)
    return Arrangement(
        kind=kind,
        order=tuple(names[i] for i in tour),
        statistic=statistic,
        p_value=graph.p_value if is_graph else p_value,
        gap=gap,
        gap_p_value=gap_p,
        shares=tuple(shares.tolist()),
        agreement=None,
        graph=graph,
        filling=None,
        names=names,
        centres=centres,
        seed=seed,
    ), tour


def _closed(apart: Floats, nulls: Floats, rng: np.random.Generator) -> tuple[float, float, NDArray[np.intp]]:
    """Of the shortest closed way: how much of a ring it is, the p-value of that or of an arc, the way from its gap on."""
    (ring, arc), (rings, arcs) = (_statistics(each, rng) for each in (apart, nulls))
    p_value = 2 * min(_share_beyond(rings, ring), _share_beyond(arcs, arc))  # two looks, each as likely to err
    return float(ring[0]), min(1.0, p_value), from_the_gap(apart, shortest_tours(apart, rng))[0]


def _along_a_line(apart: Floats, nulls: Floats) -> tuple[float, float, NDArray[np.intp]]:
    """Of the order along the first direction: how even it is, the p-value of that, the order."""
    own, null = (as_arc(each, along_a_line(each)) for each in (apart, nulls))
    return float(own[0]), _share_beyond(null, own), along_a_line(apart)[0]


def _share_beyond(nulls: Floats, own: Floats) -> float:
    return float((1 + (nulls >= own).sum()) / (1 + NULLS))


def _statistics(apart: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """How much of a ring and of an arc there is in the shortest ways (b,)."""
    tours = from_the_gap(apart, shortest_tours(apart, rng))
    return as_ring(directions(apart), tours), as_arc(apart, tours)


def _kind(shares: Floats, p_value: float, gap: float, gap_p: float) -> str:
    """Without a graph that has a name."""
    if p_value <= SIGNIFICANT:
        return "line" if shares[0] >= LINE else _way(gap, gap_p)
    return "simplex" if 1 / (shares**2).sum() >= EVEN * len(shares) else "no order shown"


def _way(gap: float, gap_p: float) -> str:
    stands_out = gap > LEAST_GAP and gap_p <= SIGNIFICANT
    if stands_out == (gap > GAP):
        return "arc" if stands_out else "ring"
    return "ring or arc"


def _agreement(apart: Floats, tour: NDArray[np.intp], order: list[int], rng: np.random.Generator) -> Agreement:
    """Neighbours shared, and mean squared steps of the order against shuffled ones."""
    calendar = np.array(order)
    pairs = [
        {frozenset(pair) for pair in zip(way.tolist(), np.roll(way, -1).tolist(), strict=True)}
        for way in (tour, calendar)
    ]
    shuffled = np.array([calendar, *(rng.permutation(calendar) for _ in range(PERMUTATIONS))])
    steps = apart[shuffled, np.roll(shuffled, -1, axis=1)]
    closed, opened = steps.sum(1), steps[:, :-1].sum(1)
    cyclic, linear = (float((each <= each[0] * (1 + 1e-12)).mean()) for each in (closed, opened))
    return Agreement(len(pairs[0] & pairs[1]), len(pairs[1]), cyclic, linear)
