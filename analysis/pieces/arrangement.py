"""How the centres of pieces or classes lie to one another: simplex, line, ring or arc, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import as_points
from analysis.pieces.ordering import (
    as_arc,
    as_ring,
    directions,
    from_the_gap,
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
GAP = 1.75  # median steps


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
        kind: "ring", "arc", "line", "simplex", "no order shown" or "too few pieces".
        order: names of the classes round the shortest closed way; from the widest gap on.
        statistic: share, in [0, 1], of the variance of the angles between centres that steps round the order explain; 1 on an
            even ring.
        p_value: of so much, or of as much along an open way, in centres with the same spectrum turned at random, each set with
            its own shortest way; for the two looks twice the less.
        gap: widest step of the way in median steps.
        shares: (r,) share of each direction in the variance of the centres.
        agreement: with the order that was given; None where none was.
        names, centres: (p,) and (p, D), in the layer's units.
        seed: of nulls and permutations.
    """

    kind: str
    order: tuple[Any, ...]
    statistic: float
    p_value: float
    gap: float
    shares: tuple[float, ...]
    agreement: Agreement | None
    names: tuple[Any, ...]
    centres: Floats
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the centres; what is not known as None."""
        numbers = {name: getattr(self, name) for name in ("statistic", "p_value", "gap")}
        return {
            "kind": self.kind,
            "order": list(self.order),
            **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
            "shares": list(self.shares),
            "agreement": vars(self.agreement) if self.agreement else None,
            "pieces": len(self.names),
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        count = len(self.names)
        if self.kind == "too few pieces":
            return f"Arrangement: {count} pieces, too few for an order; it takes {FEWEST}"
        lines = [
            f"Arrangement of {count} centres: {self.kind}, p {self.p_value:.2g} against centres of the same spectrum turned at "
            f"random (statistic {self.statistic:.2f}, widest step {self.gap:.1f} of the median)",
            f"  found order: {', '.join(map(str, self.order))}",
            "  share of the directions: " + ", ".join(f"{share:.2f}" for share in self.shares[:5]),
        ]
        return "\n".join(lines + ([f"  {self.agreement!r}"] if self.agreement else []))

    def plot(self, ax: Axes | None = None) -> Axes:
        """The centres in their first two directions, the found way drawn through them."""
        from analysis.drawing import COLOURS, GREY, axes, corner

        ax = axes(ax, 5, 4.6)
        centred = self.centres - self.centres.mean(0)
        flat = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
        if self.order:
            way = flat[[self.names.index(name) for name in self.order]]
            way = np.concatenate([way, way[:1]]) if self.kind == "ring" else way
            ax.plot(way[:, 0], way[:, 1], color=GREY, zorder=1)
        ax.scatter(flat[:, 0], flat[:, 1], s=20, color=COLOURS[0], zorder=2)
        for name, (x, y) in zip(self.names, flat, strict=True):
            ax.annotate(str(name), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
        ax.set(xlabel="first direction of the centres (units of the layer)", ylabel="second direction")
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(f"Centres: {self.kind}", fontsize=11)
        corner(ax, f"{len(self.names)} centres, seed {self.seed}")
        return ax


def arrangement(x: ArrayLike, labels: ArrayLike, order: Sequence[Any] | None = None, seed: int = 0) -> Arrangement:
    """How the class means of rows lie to one another.

    The way round them is the shortest closed one of squared distances. On a ring the angles between centres, seen from their
    mean, hang on the number of steps alone, on an arc their distances do. Class means in few dimensions always close into
    something like a ring, so the p-value is against as many centres with the same spectrum, turned at random. Centres on a
    straight line are told by their spectrum, an arc by its gap: as wide as 1.75 median steps, so that a ring that is filled
    unevenly may read as an arc.

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
        return Arrangement("too few pieces", (), np.nan, np.nan, np.nan, (), None, listed, centres, seed)
    return _arranged(centres, listed, order, seed)


def _arranged(centres: Floats, names: tuple[Any, ...], order: Sequence[Any] | None, seed: int) -> Arrangement:
    rng = np.random.default_rng([seed, 41])
    spread = np.linalg.svd(centres - centres.mean(0), compute_uv=False)[: len(centres) - 1]
    shares = spread**2 / max(float((spread**2).sum()), np.finfo(float).tiny)
    apart = squared_distances(centres[None])
    nulls = squared_distances(random_centres(len(centres), spread, NULLS, rng))
    (ring, arc), (rings, arcs) = (_statistics(each, rng) for each in (apart, nulls))
    # two looks, each as likely to err
    p_value = min(
        1.0, 2 * min(float((1 + (null >= own).sum()) / (1 + NULLS)) for own, null in ((ring, rings), (arc, arcs)))
    )
    tour = from_the_gap(apart, shortest_tours(apart, rng))[0]
    steps = np.sqrt(apart[0, tour, np.roll(tour, -1)])
    gap = float(steps.max() / max(float(np.median(steps)), np.finfo(float).tiny))
    found = tuple(names[i] for i in tour)
    agreement = None if order is None else _agreement(apart[0], tour, [names.index(name) for name in order], rng)
    kind = _kind(shares, p_value, gap)
    return Arrangement(
        kind, found, float(ring[0]), p_value, gap, tuple(shares.tolist()), agreement, names, centres, seed
    )


def _statistics(apart: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """How much of a ring and of an arc there is in the shortest ways (b,)."""
    tours = from_the_gap(apart, shortest_tours(apart, rng))
    return as_ring(directions(apart), tours), as_arc(apart, tours)


def _kind(shares: Floats, p_value: float, gap: float) -> str:
    if shares[0] >= LINE:
        return "line"
    if p_value <= SIGNIFICANT:
        return "arc" if gap > GAP else "ring"
    return "simplex" if 1 / (shares**2).sum() >= EVEN * len(shares) else "no order shown"


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
