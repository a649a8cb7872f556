"""What the map cannot have made: the depth of valleys and holes of s against log |det| on the way through them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.density.bag import Density
    from analysis.pieces.merge_tree import MergeTree
    from analysis.topology.loops import Loop
    from flows.flow import FunnelFlow

Floats = NDArray[np.float64]

WAYPOINTS = 1000  # rows that a way between pieces may lead over
POWER = 3  # of the distance, what an edge costs: a way keeps to where rows are dense
MOST_ROWS = 3000  # of a loop
CHORDS = 8  # ways through a hole
NEAREST = 20  # rows whose mean is the end of a chord
FINE = 8  # points an edge, FINE x 8 a chord


@dataclass(frozen=True)
class Valley:
    """A valley between two pieces, or the hole of a loop.

    Attributes:
        of: what it parts, in words.
        depth: nats that the density of s falls in it.
        volume: range, in nats, of log |det| of the map on the way through it.
        dug: nats by which log |det| rises on the way above the lower of its ends: what the map can have dug, at most.
    """

    of: str
    depth: float
    volume: float
    dug: float

    @property
    def left(self) -> float:
        """Nats of the valley that are in the data, at least; 0 where the map can have dug all of it."""
        return max(self.depth - self.dug, 0.0)

    def __repr__(self) -> str:
        said = f"at least {self.left:.2f} nats of it are in the data" if self.left else "the map can have dug all of it"
        way = f"on the way log |det| ranges over {self.volume:.2f} and rises by {self.dug:.2f}"
        return f"{self.of}: {self.depth:.2f} nats deep, {way}: {said}"


@dataclass(frozen=True, repr=False)
class Carved:
    """What :func:`carved` found.

    Attributes:
        valleys: between pieces in the order in which they join, then of loops.
        rows: rows of s.
        seed: drew the rows that ways lead over.
        note: why nothing was measured; empty otherwise.
    """

    valleys: tuple[Valley, ...]
    rows: int
    seed: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        valleys = [{**asdict(valley), "left": valley.left} for valley in self.valleys]
        return {"valleys": valleys, "rows": self.rows, "seed": self.seed, "note": self.note}

    def __repr__(self) -> str:
        real = sum(valley.left > 0 for valley in self.valleys)
        head = f"Carved: {real} of {len(self.valleys)} valleys and holes are deeper than the map can have dug"
        return "\n".join([f"Carved: {self.note}" if self.note else head, *(f"  {v!r}" for v in self.valleys)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Depth of every valley, and what the map can have dug of it, nats."""
        if not self.valleys:
            return drawing.nothing(repr(self), ax)
        ax = drawing.axes(ax)
        at = np.arange(len(self.valleys))
        ax.barh(at - 0.2, [v.depth for v in self.valleys], 0.4, color=drawing.COLOURS[0], label="depth in s")
        ax.barh(at + 0.2, [v.dug for v in self.valleys], 0.4, color=drawing.COLOURS[1], label="rise of log |det|")
        ax.set_yticks(at, [v.of for v in self.valleys], fontsize=8)
        ax.set(xlabel="nats", title="Valleys, and what the map can have dug")
        ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {self.rows}, seed {self.seed}")
        return ax


def carved(
    flow: FunnelFlow, s: Floats, tree: MergeTree, density: Density | None, loops: Iterable[Loop] = (), seed: int = 0
) -> Carved:
    r"""Hold the valleys between pieces, and the holes of loops, against the range of log \|det\| of the map through them.

    The density of the kept coordinates y (white, augmented ones included) and that of z = (s, n) differ by the map's
    volume, log p(y) = log p(z) + log \|det dz/dy\|. On any way c from one piece to the other, noise at 0, the fall V
    of a log-density from its lower end to its lowest point therefore obeys

    .. math:: V_y(c) \ge V_s(c) - (\max_c \log|\det| - \min_{\text{ends of } c} \log|\det|),

    and that difference is at most the range of log \|det\| on c: what a valley is deeper was not made by the map. The
    converse does not hold: a valley within it may be in the data or not. Ways: between the densest rows of two pieces, the
    shortest over rows by distance cubed; the depth is the tree's. Through a hole, 8 chords between opposite angles; the depth
    is the smallest of theirs, range and rise the largest. This holds for these ways, not for all there are, and as far as z is
    structure x noise: see the certificate.

    Args:
        s: structure block (n, k), the rows of ``tree``.
        density: of s, for the holes; None where there is none, and then loops are left out.
        loops: of the same rows.
        seed: draws the rows that ways lead over.
    """
    pairs = [node.children for node in tree.nodes if node.children]
    try:
        valleys = [_between(flow, s, tree, pair, seed) for pair in pairs]
        valleys += [_hole(flow, s, density, loop) for loop in loops if density is not None]
    except RuntimeError as error:
        return Carved((), len(s), seed, f"the flow cannot be inverted on the way: {error}")
    return Carved(tuple(valleys), len(s), seed, "" if valleys else "one piece and no loop, there is no valley")


def log_volume(flow: FunnelFlow, s: Floats) -> Floats:
    """log |det dz/dy| (n,) at structure s (n, k) with the noise at 0, y the kept coordinates.

    Raises:
        RuntimeError: the flow does not invert there.
    """
    import torch

    from flows.solver import invert_rk4

    with torch.no_grad():
        rows = torch.from_numpy(s).to(flow.exits.tau)
        z = flow.join(rows, rows.new_zeros(len(rows), flow.front.dims - rows.shape[1]))
        start = invert_rk4(flow.field, flow.exits, z, flow.steps, 1e-6 if z.dtype == torch.float32 else 1e-9)
        return flow.solve(start).ladj.double().cpu().numpy()


def _range_and_rise(flow: FunnelFlow, way: Floats) -> tuple[float, float]:
    """Of log |det| on a way: largest less smallest, and largest less the smaller of the ends."""
    heights = log_volume(flow, way)
    return float(np.ptp(heights)), float(heights.max() - min(heights[0], heights[-1]))


def _between(flow: FunnelFlow, s: Floats, tree: MergeTree, pair: tuple[int, ...], seed: int) -> Valley:
    ends = [_top(s, tree, node) for node in pair]
    among = np.concatenate([tree.nodes[node].rows for node in pair])
    over = np.random.default_rng(seed).permutation(among)[:WAYPOINTS]
    way = _over_rows(np.concatenate([s[ends], s[over]]))
    names = " and ".join("+".join(map(str, tree.leaves(node))) for node in pair)
    return Valley(f"pieces {names}", tree.nodes[pair[0]].prominence, *_range_and_rise(flow, way))


def _top(s: Floats, tree: MergeTree, node: int) -> int:
    """The densest row of a node."""
    rows = tree.nodes[node].rows
    return int(rows[tree.log_prob(s[rows]).argmax()])


def _over_rows(points: Floats) -> Floats:
    """Points (m, k) on the way from the first to the second of the given ones that is shortest by distance cubed."""
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial.distance import cdist

    _, before = dijkstra(cdist(points, points) ** POWER, indices=0, return_predecessors=True)
    steps = [1]
    while steps[-1] != 0 and before[steps[-1]] >= 0:
        steps.append(int(before[steps[-1]]))
    corners = points[steps]
    at = np.linspace(0, len(corners) - 1, FINE * (len(corners) - 1) + 1)
    return np.stack([np.interp(at, np.arange(len(corners)), column) for column in corners.T], axis=1)


def _hole(flow: FunnelFlow, s: Floats, density: Density, loop: Loop) -> Valley:
    rows = s[loop.rows[:: -(-len(loop.rows) // MOST_ROWS)]]
    angles = loop.angle(rows)
    depths, moves = [], []
    for angle in np.arange(CHORDS) * np.pi / CHORDS:
        a, b = (_at(rows, angles, each) for each in (angle, angle + np.pi))
        chord = a + np.linspace(0, 1, 8 * FINE)[:, None] * (b - a)
        heights = density.log_prob(chord)
        depths.append(min(heights[0], heights[-1]) - heights.min())
        moves.append(_range_and_rise(flow, chord))
    return Valley(f"loop {loop.number}", float(min(depths)), *np.max(moves, axis=0).tolist())


def _at(rows: Floats, angles: Floats, angle: float) -> Floats:
    """Mean (k,) of the rows nearest to an angle."""
    apart = np.abs(np.angle(np.exp(1j * (angles - angle))))
    return rows[np.argsort(apart)[:NEAREST]].mean(0)
