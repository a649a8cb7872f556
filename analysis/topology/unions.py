"""Which pieces of a tree are one shape: a loop that runs through several pieces belongs to their union."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.density.bag import Density
from analysis.density.em import Mixture
from analysis.pieces.merge_tree import MergeTree
from analysis.progress import tracked
from analysis.topology.reading import FEWEST_ROWS, loops_of

Floats = NDArray[np.float64]

DRAWS = 3


def united(tree: MergeTree, rows: Floats, density: Density | None, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """The pieces of each shape, (0,), (1, 2), ..., in the order of the first.

    Pieces are modes of the density; a shape is what a level set that holds most of the mass looks like. Where the density
    around a ring has two modes, the tree has two pieces, arcs both, and their union is the ring. So a union of the tree is
    one shape where it has more loops than its two parts have together; else its parts are shapes of their own.

    Args:
        tree: of the rows.
        rows: (n, k).
        density: fitted to them; None where they are too few for one.
        seed: of three draws; a loop of a union must show in all of them, one of a part in any.
    """
    parts: dict[int, list[tuple[int, ...]]] = {}
    counts: dict[int, int] = {}
    if tree.count == 1 or density is None:
        return tuple((piece,) for piece in range(tree.count))
    for node in tracked(tree.nodes, "shapes: loops through several pieces", "node"):
        below = sum(counts[child] for child in node.children)
        seen = _loops(rows[node.rows], density.mixture, seed, node.number)
        parts[node.number] = [part for child in node.children for part in parts[child]]
        counts[node.number] = max(below, min(seen) if node.children else max(seen))
        if not node.children or min(seen) > below:
            parts[node.number] = [tuple(sorted(tree.leaves(node.number)))]
    return tuple(sorted(parts[tree.root]))


def _loops(rows: Floats, density: Mixture, seed: int, node: int) -> list[int]:
    """Loops of a node in each draw."""
    if len(rows) < FEWEST_ROWS:
        return [0]
    return [loops_of(rows, density, np.random.default_rng([seed, 19, node, draw])) for draw in range(DRAWS)]
