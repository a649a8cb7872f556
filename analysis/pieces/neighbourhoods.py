"""Relative neighbourhood graphs of centres, and whether they are the graph of a grid, a torus or a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.pieces.ordering import random_centres, squared_distances

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FAMILIES = ("grid", "torus", "tree")
FEWEST = {"grid": 6, "torus": 9, "tree": 7}
NULLS = 499
SAME = 1e-6  # between eigenvalues


@dataclass(frozen=True)
class Graph:
    """Neighbouring centres.

    Attributes:
        family: "grid", "torus", "tree", or "" for any other graph.
        sides: of a grid or torus.
        p_value: of centres with the same spectrum, turned at random, whose graph is of that family too and explains their
            distances as well; three times that, for there are three families. 1 without a family.
        explained: share of the variance of squared distances that the number of links between two centres explains.
        links: pairs of centres without a third one nearer to both.
    """

    family: str
    sides: tuple[int, ...]
    p_value: float
    explained: float
    links: tuple[tuple[int, int], ...]

    def to_dict(self, names: tuple[Any, ...]) -> dict[str, Any]:
        """Plain data, links by the names of their centres."""
        links = [[names[i], names[j]] for i, j in self.links]
        return {
            "family": self.family,
            "sides": list(self.sides),
            "p_value": self.p_value,
            "explained": self.explained,
            "links": links,
        }


def relative_neighbours(apart: Floats) -> Flags:
    """Links (p, p) of points with squared distances (p, p): pairs without a third point nearer to both than they are.

    On the product of two curves with the sum of their squared distances these are the steps along one or the other; on a
    tree whose branches turn off at right angles they are its branches (Toussaint, The relative neighbourhood graph of a
    finite planar set, 1980).
    """
    nearer = np.maximum(apart[:, None, :], apart[None, :, :])  # (i, j, third)
    count = np.arange(len(apart))
    nearer[count, :, count] = nearer[:, count, count] = np.inf
    linked = nearer.min(2, initial=np.inf) >= apart
    linked[count, count] = False
    return np.asarray(linked)


def family(linked: Flags) -> tuple[str, tuple[int, ...]]:
    """ "grid" or "torus" with its two sides, "tree" with none, or "" for any other graph."""
    count, degrees = len(linked), linked.sum(1)
    edges = int(degrees.sum()) // 2
    if edges == count - 1 and degrees.max() > 2 and count >= FEWEST["tree"]:
        return "tree", ()  # these graphs are connected
    own = _spectrum(linked)
    for name, side in (("grid", _path), ("torus", _cycle)):
        for a, b in _sides(count, 2 if name == "grid" else 3):
            if count >= FEWEST[name] and edges == _edges(name, a, b) and degrees.max() <= 4:
                template = np.sort((side(a)[:, None] + side(b)).ravel())
                if np.abs(template - own).max() < SAME:
                    return name, (a, b)
    return "", ()


def explained(apart: Floats, linked: Flags) -> float:
    """Share of the variance of squared distances (p, p) that the number of links on the way between two points explains."""
    from scipy.sparse.csgraph import shortest_path

    upper = np.triu_indices(len(apart), 1)
    hops, values = shortest_path(linked.astype(float), unweighted=True)[upper].astype(int), apart[upper]
    counts = np.bincount(hops)
    means = np.bincount(hops, weights=values) / np.maximum(counts, 1)
    return float((counts * (means - values.mean()) ** 2).sum() / max(len(values) * values.var(), np.finfo(float).tiny))


def as_graph(centres: Floats, spread: Floats, rng: np.random.Generator) -> Graph:
    """The graph of centres (p, r) with singular values ``spread`` about their mean, and its p-value."""
    apart = squared_distances(centres[None])[0]
    linked = relative_neighbours(apart)
    name, sides = family(linked)
    own, p_value = explained(apart, linked), 1.0
    if name:
        nulls = squared_distances(random_centres(len(centres), spread, NULLS, rng))
        beyond = sum(_exceeds(null, name, own) for null in nulls)
        p_value = min(1.0, len(FAMILIES) * (1 + beyond) / (1 + NULLS))
    links = [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(linked)), strict=True)]
    return Graph(name, sides, p_value, own, tuple(links))


def _exceeds(apart: Floats, name: str, own: float) -> bool:
    linked = relative_neighbours(apart)
    return family(linked)[0] == name and explained(apart, linked) >= own


def _sides(count: int, least: int) -> list[tuple[int, int]]:
    return [(a, count // a) for a in range(least, int(count**0.5) + 1) if count % a == 0]


def _edges(name: str, a: int, b: int) -> int:
    return 2 * a * b - (a + b if name == "grid" else 0)


def _spectrum(linked: Flags) -> Floats:
    """Eigenvalues of the graph's Laplacian, rising."""
    return np.linalg.eigvalsh(np.diag(linked.sum(1)) - linked.astype(float)).astype(np.float64)


def _path(count: int) -> Floats:
    return np.asarray(2 - 2 * np.cos(np.pi * np.arange(count) / count), dtype=np.float64)


def _cycle(count: int) -> Floats:
    return np.asarray(2 - 2 * np.cos(2 * np.pi * np.arange(count) / count), dtype=np.float64)
