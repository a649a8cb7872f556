"""What the tree of pieces says: nodes, members, and a density that follows the tree."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from analysis.pieces.clusters import checked
from analysis.pieces.shrunk import ShrunkMixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


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


@dataclass(frozen=True)
class AgainstFlat:
    """The tree's density next to a flat mixture's, both fitted to the same rows and judged on others.

    The others chose the flat mixture's number of components, so it is a little better off.

    Attributes:
        tree, flat: mean log-density of the held-out rows, nats a row.
        gain, error: their difference and its standard error over the rows.
        components, kind: of the flat mixture, the Gaussians and their covariances.
        rows: held-out rows.
    """

    tree: float
    flat: float
    gain: float
    error: float
    components: int
    kind: str
    rows: int

    def __repr__(self) -> str:
        one = "one Gaussian" if self.components == 1 else f"a flat mixture of {self.components} {self.kind} Gaussians"
        return (
            f"held-out log-density {self.tree:.2f} nats a row, {one} {self.flat:.2f}: "
            f"the tree gains {self.gain:.2f} ± {self.error:.2f} ({self.rows} rows)"
        )


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
        against_flat: its density next to a flat mixture's; None where that was not asked for, or there were too few rows.
        note: what is to be known about this answer; empty if nothing is.
    """

    nodes: tuple[Node, ...]
    labels_: NDArray[np.int64]
    mixtures: tuple[ShrunkMixture, ...] = field(repr=False)
    weights: Floats
    depth: float
    fitted_rows: int
    seed: int
    against_flat: AgainstFlat | None = None
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
            "against_flat": None if self.against_flat is None else asdict(self.against_flat),
            "seed": self.seed,
            "note": self.note,
        }

    def __repr__(self) -> str:
        of = f"{len(self.labels_)} rows of {self.mixtures[0].means.shape[1]} dims"
        head = (
            f"MergeTree: {self.count} piece{'s' * (self.count > 1)} in {of}, valleys of at least {self.depth:.2f} nats"
        )
        lines = [head, *self._lines(self.root, "")]
        if self.against_flat is not None:
            lines.append(repr(self.against_flat))
        if self.note:
            lines.append(f"note: {self.note}")
        return "\n".join(lines)

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
        ax.axhline(self.depth, color=GREY, linestyle=":", linewidth=1, label="pieces are at least this far apart")
        ax.legend(fontsize=8, loc="upper right")
        ax.set_xticks(range(self.count), [f"{piece}\n{self.nodes[piece].mass:.0%}" for piece in order])
        ax.set_xlim(-0.6, self.count - 0.4)
        ax.set_ylim(bottom=0, top=1.25 * ax.get_ylim()[1])
        ax.set_xlabel("piece, share of the rows")
        ax.set_ylabel("depth of the valley (nats)")
        corner(ax, f"n = {len(self.labels_)}, seed {self.seed}")
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
        return scores(self._points(points), [self.mixtures[p] for p in pieces], self.weights[list(pieces)])


def scores(points: Floats, mixtures: list[ShrunkMixture], weights: Floats) -> Floats:
    """log(weight x density) (n, p) of every piece."""
    return np.stack([m.log_prob(points) + math.log(w) for m, w in zip(mixtures, weights, strict=True)], axis=1)


def _leaves(nodes: tuple[Node, ...], number: int) -> list[int]:
    children = nodes[number].children
    return [leaf for child in children for leaf in _leaves(nodes, child)] if children else [number]
