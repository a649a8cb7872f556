"""The hierarchical model of a structure block: its pieces, how they join, and a mixture along that tree."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.special import logsumexp

from analysis.clusters import checked
from analysis.partition import FEWEST_ROWS, partition
from analysis.shrunk import ShrunkMixture, choose_shrunk, shrunk_covariance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
MOST_ROWS = 20_000
DEPTH = math.log(2)
HELD_OUT = 0.2


class HasScores(Protocol):
    """A density as scikit-learn spells it."""

    def score_samples(self, X: Floats) -> Floats: ...


@dataclass(frozen=True, repr=False)
class Node:
    """A piece, or a union of pieces.

    Attributes:
        number: the piece's label; unions are numbered on, in the order in which they form, the root last.
        children: the two nodes that it is the union of; none for a piece.
        mass: share of the rows.
        prominence: nats of the shallowest valley that parts it from the rest; infinite for the root.
        birth: highest log-density of the model at its rows, nats.
        death: log-density at which it joins its sibling: of the lower of the two births, the prominence less, and not
            above the level at which its own children joined. Minus infinity for the root.
        rows: the numbers of its rows.
    """

    number: int
    children: tuple[int, ...]
    mass: float
    prominence: float
    birth: float
    death: float
    rows: NDArray[np.intp]

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the number of rows instead of the rows; infinities as None."""
        numbers = {name: getattr(self, name) for name in ("mass", "prominence", "birth", "death")}
        return {
            "number": self.number,
            "children": list(self.children),
            "rows": len(self.rows),
            **{name: float(value) if math.isfinite(value) else None for name, value in numbers.items()},
        }

    def __repr__(self) -> str:
        kind = f"union of {' and '.join(map(str, self.children))}" if self.children else "piece"
        return f"Node({self.number}, {kind}, mass={self.mass:.3g}, prominence={self.prominence:.3g} nats)"


@dataclass(frozen=True, repr=False)
class MergeTree:
    """Pieces of s, heaviest first, how they join as the level falls, and a density that follows the tree.

    Every piece has its own Gaussian mixture; the density of a union is the mixture of its children's by their masses.

    Attributes:
        nodes: pieces 0 .. p - 1, then unions up to the root.
        labels_: (n,) piece of each row: the one whose mixture, at its mass, is the likeliest.
        mixtures: one a piece.
        weights: (p,) masses of the pieces in the density.
        depth: nats that the density falls between pieces, at least.
        fitted_rows: how many rows the model was fitted on.
        seed: drew the rows, halves and starts.
        note: what is to be known about this answer; empty if nothing is.
    """

    nodes: tuple[Node, ...]
    labels_: NDArray[np.int64]
    mixtures: tuple[ShrunkMixture, ...] = field(repr=False)
    weights: Floats
    depth: float
    fitted_rows: int
    seed: int
    note: str = ""

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.mixtures)

    @property
    def root(self) -> int:
        """Number of the node that holds all rows."""
        return len(self.nodes) - 1

    def leaves(self, node: int | None = None) -> list[int]:
        """Pieces of a node, by default of the root, in the order in which a drawing of the tree shows them.

        Raises:
            ValueError: no such node.
        """
        return _leaves(self.nodes, self._node(node).number)

    def path(self, piece: int) -> list[int]:
        """Nodes from the root down to a piece.

        Raises:
            ValueError: no such node.
        """
        here, steps = self._node(None), []
        self._node(piece)
        while here.number != piece:
            steps.append(here.number)
            here = next(self.nodes[child] for child in here.children if piece in [child, *self.leaves(child)])
        return [*steps, piece]

    def log_prob(self, points: ArrayLike, node: int | None = None) -> Floats:
        """Log-density (m,) in nats at points (m, k), of the whole or given that a point belongs to ``node``.

        Raises:
            ValueError: points of another width, NaN or inf, or no such node.
        """
        pieces = self.leaves(node)
        return logsumexp(self._scores(points, pieces), axis=1) - math.log(self.weights[pieces].sum())

    def predict(self, points: ArrayLike) -> NDArray[np.int64]:
        """The piece (m,) of new points (m, k).

        Raises:
            ValueError: points of another width, NaN or inf.
        """
        return self._scores(points, range(self.count)).argmax(1)

    def sample(self, node: int | None = None, count: int = 1, seed: int = 0) -> Floats:
        """Draw (count, k) from a node, by default the root.

        Raises:
            ValueError: no such node, or a negative count.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        generator, pieces = np.random.default_rng(seed), self.leaves(node)
        share = self.weights[pieces] / self.weights[pieces].sum()
        counts = generator.multinomial(count, share)
        drawn = [self.mixtures[p].sample(c, generator) for p, c in zip(pieces, counts, strict=True)]
        return generator.permutation(np.concatenate(drawn))

    def gain(self, flat: HasScores, held_out: ArrayLike) -> tuple[float, float]:
        """Nats a row by which the tree's density beats another on the same held-out rows (m, k), and its standard error."""
        rows = self._points(held_out)
        difference = self.log_prob(rows) - flat.score_samples(rows)
        return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the labels; infinities as None."""
        return {
            "count": self.count,
            "nodes": [node.to_dict() for node in self.nodes],
            "components": [len(mixture.weights) for mixture in self.mixtures],
            "depth": self.depth,
            "fitted_rows": self.fitted_rows,
            "seed": self.seed,
            "note": self.note,
        }

    def __repr__(self) -> str:
        of = f"{len(self.labels_)} rows of {self.mixtures[0].means.shape[1]} dims"
        head = (
            f"MergeTree: {self.count} piece{'s' * (self.count > 1)} in {of}, valleys of at least {self.depth:.2f} nats"
        )
        return "\n".join([head, *self._lines(self.root, "")] + ([f"note: {self.note}"] if self.note else []))

    def _lines(self, number: int, indent: str) -> list[str]:
        node = self.nodes[number]
        if node.children:
            # the only child depth a reader needs is where the children part
            text = f"{indent}[{number}] {node.mass:.1%}, parts at {self.nodes[node.children[0]].prominence:.2f} nats"
        else:
            components = len(self.mixtures[number].weights)
            text = f"{indent}piece {number}: {node.mass:.1%} of the rows, {components} Gaussian{'s' * (components > 1)}"
        below = sorted(node.children, key=lambda child: -self.nodes[child].mass)
        return [text] + [line for child in below for line in self._lines(child, indent + "  ")]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Dendrogram: pieces with their masses, joined at the depth of the valley between them, in nats."""
        from analysis.drawing import COLOURS, GREY, axes, corner

        ax = axes(ax)
        order = self.leaves()
        places = {piece: float(i) for i, piece in enumerate(order)}
        for node in self.nodes[self.count :]:
            depth = self.nodes[node.children[0]].prominence
            for child in node.children:
                low = self.nodes[self.nodes[child].children[0]].prominence if self.nodes[child].children else 0.0
                colour = COLOURS[child % 7] if child < self.count else GREY
                ax.plot([places[child]] * 2, [low, depth], color=colour, linewidth=1 + 12 * self.nodes[child].mass)
            ax.plot([places[child] for child in node.children], [depth] * 2, color=GREY)
            places[node.number] = sum(places[child] for child in node.children) / 2
        if self.count == 1:
            ax.plot([0, 0], [0, self.depth], color=COLOURS[0], linewidth=13)
        ax.axhline(self.depth, color=GREY, linestyle=":", linewidth=1)
        ax.set_xticks(range(self.count), [f"{piece}\n{self.nodes[piece].mass:.0%}" for piece in order])
        ax.set_xlim(-0.6, self.count - 0.4)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("piece, share of the rows")
        ax.set_ylabel("depth of the valley (nats)")
        corner(ax, f"n = {len(self.labels_)}, seed {self.seed}; dotted: pieces are at least this far apart")
        return ax

    def _node(self, number: int | None) -> Node:
        if number is None:
            return self.nodes[-1]
        if not 0 <= number < len(self.nodes):
            raise ValueError(
                f"no node {number}; pieces are 0 to {self.count - 1}"
                + (f", unions {self.count} to {self.root}, the root" if self.root else "")
            )
        return self.nodes[number]

    def _points(self, points: ArrayLike) -> Floats:
        rows, dims = checked(points), self.mixtures[0].means.shape[1]
        if rows.shape[1] != dims:
            raise ValueError(
                f"the tree is of {dims}-dimensional points, got {rows.shape[1]} columns; pass flow.encode(x)"
            )
        return rows

    def _scores(self, points: ArrayLike, pieces: Any) -> Floats:
        return _scores(self._points(points), [self.mixtures[p] for p in pieces], self.weights[list(pieces)])


def tree(
    s: ArrayLike, seed: int = 0, depth: float = DEPTH, groups: ArrayLike | None = None, held_out: float = HELD_OUT
) -> MergeTree:
    """Find the pieces of a structure block, how they join, and a generative mixture along that tree.

    Pieces are parted by valleys in which the density falls to half or less, whatever linear coordinates the points are
    in (:func:`~analysis.partition.partition`); their number is not given. Each piece then gets a Gaussian mixture with as
    many components as the likelihood of held-out rows asks for; its covariances are shrunk to one another and to what
    the pieces of its parent share, so that children refine their parents. Every row goes to the piece that explains it
    best. About 10 seconds on one core for 12 000 x 31.

    Args:
        s: points (n, k), such as ``flow.encode(x)``. Of more than 20 000 a random 20 000 are used, the others assigned.
        seed: draws rows, halves, held-out rows and starts.
        depth: nats that the density must fall between pieces; log 2 is the half. Two equal Gaussians 3.4 sd apart.
        groups: (n,) source of each row (image, sentence, trial): rows of one source are never on both sides of a test.
        held_out: share of the rows that choose the number of components.

    Raises:
        ValueError: not two-dimensional, no rows, NaN or inf, or a setting out of range.

    Example:
        >>> import numpy as np
        >>> from analysis.tree import tree
        >>> two = np.repeat([[0.0], [9.0]], 200, axis=0) + np.random.default_rng(0).normal(size=(400, 1))
        >>> tree(two).count
        2
    """
    points = checked(s)
    sources = _sources(groups, len(points))
    if not depth > 0 or not 0 < held_out < 1:
        raise ValueError(f"depth must be above 0 and held_out in (0, 1), got {depth} and {held_out}")
    generator = np.random.default_rng(seed)
    used = np.sort(generator.choice(len(points), min(len(points), MOST_ROWS), replace=False))
    fit_rows, fit_sources = points[used], sources[used]
    draw = generator.random(fit_sources.max() + 1)[fit_sources]
    found = partition(fit_rows, depth, draw < np.median(draw), seed)
    judges = generator.random(fit_sources.max() + 1)[fit_sources] < held_out
    links = linkage(squareform(found.depths), "single") if found.count > 1 else np.zeros((0, 4))
    mixtures = _fitted(fit_rows, found.labels, links, judges, seed)
    weights = np.bincount(found.labels) / len(used)
    return _assembled(points, mixtures, weights, links, depth, len(used), seed)


def _sources(groups: ArrayLike | None, count: int) -> NDArray[np.intp]:
    """Source (n,) of each row, numbered from 0; by default each its own."""
    if groups is None:
        return np.arange(count)
    given = np.asarray(groups)
    if given.shape != (count,):
        raise ValueError(f"groups must have one entry per row, shape ({count},), got {given.shape}")
    return np.unique(given, return_inverse=True)[1]


def _scores(points: Floats, mixtures: list[ShrunkMixture], weights: Floats) -> Floats:
    """log(weight x density) (n, p) of every piece."""
    return np.stack([m.log_prob(points) + math.log(w) for m, w in zip(mixtures, weights, strict=True)], axis=1)


def _fitted(
    points: Floats, labels: NDArray[np.intp], links: Floats, judges: NDArray[np.bool_], seed: int
) -> list[ShrunkMixture]:
    """A mixture for every piece, its prior covariance handed down from the root."""
    count = labels.max() + 1
    members = [labels == piece for piece in range(count)]
    priors = {count + len(links) - 1: shrunk_covariance(points)}
    for number in range(count + len(links) - 1, count - 1, -1):
        below = _leaves_of(links, count, number)
        centred = np.concatenate([points[members[p]] - points[members[p]].mean(0) for p in below])
        shared = shrunk_covariance(centred, priors[number])
        priors.update({int(child): shared for child in links[number - count, :2]})
    return [choose_shrunk(points[m], judges[m], priors[p], seed) for p, m in enumerate(members)]


def _leaves_of(links: Floats, count: int, number: int) -> list[int]:
    if number < count:
        return [number]
    return [leaf for child in links[number - count, :2] for leaf in _leaves_of(links, count, int(child))]


def _leaves(nodes: tuple[Node, ...], number: int) -> list[int]:
    children = nodes[number].children
    return [leaf for child in children for leaf in _leaves(nodes, child)] if children else [number]


def _assembled(
    points: Floats,
    mixtures: list[ShrunkMixture],
    weights: Floats,
    links: Floats,
    depth: float,
    fitted: int,
    seed: int,
) -> MergeTree:
    """Number the pieces by the mass that the model gives them, and build the nodes."""
    scores = _scores(points, mixtures, weights)
    labels = scores.argmax(1)
    order = np.argsort(-np.bincount(labels, minlength=len(mixtures)), kind="stable")
    labels = np.argsort(order)[labels]
    links = links.copy()
    is_piece = links[:, :2] < len(order)
    links[:, :2][is_piece] = np.argsort(order)[links[:, :2][is_piece].astype(np.intp)]
    nodes = _nodes(labels, logsumexp(scores, axis=1), links, len(order))
    note = ""
    if len(points) < 2 * FEWEST_ROWS:
        note = f"too few rows to tell pieces apart: {len(points)}, it takes {2 * FEWEST_ROWS}"
    elif not np.ptp(points, axis=0).any():
        note = "all rows are equal" if points.shape[1] else "no dimensions"
    return MergeTree(nodes, labels, tuple(mixtures[p] for p in order), weights[order], float(depth), fitted, seed, note)


def _nodes(labels: NDArray[np.intp], log_density: Floats, links: Floats, count: int) -> tuple[Node, ...]:
    """Pieces, then unions in the order of falling level; prominence and death are those of the union above."""
    rows = [np.flatnonzero(labels == piece) for piece in range(count)]
    births = [log_density[r].max(initial=-math.inf) for r in rows]
    levels, above = [math.inf] * count, {}
    for a, b, prominence, _ in links:
        pair = int(a), int(b)
        level = min(min(births[i] for i in pair) - prominence, *(levels[i] for i in pair))
        above.update({i: (float(prominence), float(level)) for i in pair})
        rows.append(np.sort(np.concatenate([rows[i] for i in pair])))
        births.append(max(births[i] for i in pair))
        levels.append(level)
    children = [()] * count + [(int(a), int(b)) for a, b, *_ in links]
    return tuple(
        Node(i, children[i], len(rows[i]) / len(labels), *_last(above.get(i), float(births[i])), rows[i])
        for i in range(len(rows))
    )


def _last(above: tuple[float, float] | None, birth: float) -> tuple[float, float, float]:
    prominence, level = above or (math.inf, -math.inf)
    return prominence, birth, level
