"""The hierarchical model of a structure block: its pieces, how they join, and a mixture along that tree."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.special import logsumexp

from analysis.density.bag import Density
from analysis.pieces.clusters import checked
from analysis.pieces.merge_tree import AgainstFlat, MergeTree, Node, scores
from analysis.pieces.partition import FEWEST_ROWS, partition
from analysis.pieces.shrunk import ShrunkMixture, choose_shrunk, fit_shrunk, shrunk_covariance
from analysis.progress import tracked

Floats = NDArray[np.float64]
MOST_ROWS = 20_000
DEPTH = math.log(2)
HELD_OUT = 0.2


def tree(
    s: ArrayLike,
    seed: int = 0,
    depth: float = DEPTH,
    groups: ArrayLike | None = None,
    held_out: float = HELD_OUT,
    flat: Density | None = None,
) -> MergeTree:
    """Find the pieces of a structure block, how they join, and a generative mixture along that tree.

    Pieces are parted by valleys in which the density falls to half or less, whatever linear coordinates the points are
    in (:func:`~analysis.pieces.partition.partition`); their number is not given. Each piece then gets a Gaussian mixture with as
    many components as the likelihood of held-out rows asks for; its covariances are shrunk to one another and to what
    the pieces of its parent share, so that children refine their parents. Every row goes to the piece that explains it
    best. About 10 seconds on one core for 12 000 x 31.

    Args:
        s: points (n, k), such as ``flow.encode(x)``. Of more than 20 000 a random 20 000 are used, the others assigned.
        seed: draws rows, halves, held-out rows and starts.
        depth: nats that the density must fall between pieces; log 2 is the half. Two equal Gaussians 3.4 sd apart.
        groups: (n,) source of each row (image, sentence, trial): rows of one source are never on both sides of a test.
        held_out: share of the rows that choose the number of components.
        flat: a density of the same rows to compare with, from ``fit_density``: on the rows that it has not seen, with the
            tree's mixtures fitted to the rows that it has.

    Raises:
        ValueError: not two-dimensional, no rows, NaN or inf, or a setting out of range.

    Example:
        >>> import numpy as np
        >>> from analysis.pieces.tree import tree
        >>> two = np.repeat([[0.0], [9.0]], 200, axis=0) + np.random.default_rng(0).normal(size=(400, 1))
        >>> tree(two).count
        2
    """
    points = checked(s)
    if flat is not None and flat.rows != len(points):
        raise ValueError(f"flat must be a density of the same {len(points)} rows, got one of {flat.rows}")
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
    against_flat = None
    if flat is not None:
        counts = [len(mixture.weights) for mixture in mixtures]
        against_flat = _against_flat(fit_rows, found.labels, links, np.isin(used, flat.held_out), counts, flat, seed)
    return _assembled(points, mixtures, weights, links, depth, len(used), seed, against_flat)


def _sources(groups: ArrayLike | None, count: int) -> NDArray[np.intp]:
    """Source (n,) of each row, numbered from 0; by default each its own."""
    if groups is None:
        return np.arange(count)
    given = np.asarray(groups)
    if given.shape != (count,):
        raise ValueError(f"groups must have one entry per row, shape ({count},), got {given.shape}")
    return np.unique(given, return_inverse=True)[1]


def _fitted(
    points: Floats, labels: NDArray[np.intp], links: Floats, judges: NDArray[np.bool_], seed: int
) -> list[ShrunkMixture]:
    """A mixture for every piece."""
    priors = _priors(points, labels, links)
    pieces = tracked(range(len(priors)), "tree: mixtures", "piece")
    return [choose_shrunk(points[labels == p], judges[labels == p], priors[p], seed) for p in pieces]


def _priors(points: Floats, labels: NDArray[np.intp], links: Floats) -> list[Floats]:
    """A prior covariance for every piece, handed down from the root: what the pieces of its parent share."""
    count = len(links) + 1
    members = [points[labels == piece] for piece in range(count)]
    priors = {count + len(links) - 1: shrunk_covariance(points)}
    for number in range(count + len(links) - 1, count - 1, -1):
        below = [members[p] for p in _leaves_of(links, count, number) if len(members[p])]
        shared = shrunk_covariance(np.concatenate([m - m.mean(0) for m in below]), priors[number])
        priors.update({int(child): shared for child in links[number - count, :2]})
    return [priors[piece] for piece in range(count)]


def _against_flat(
    points: Floats,
    labels: NDArray[np.intp],
    links: Floats,
    unseen: NDArray[np.bool_],
    counts: list[int],
    flat: Density,
    seed: int,
) -> AgainstFlat | None:
    """Both densities on rows that neither was fitted to; None where a piece has too few of the others, or they are few."""
    rows, seen, seen_labels = points[unseen], points[~unseen], labels[~unseen]
    sizes = np.bincount(seen_labels, minlength=len(counts))
    if len(rows) < FEWEST_ROWS or (sizes < counts).any():
        return None
    priors = _priors(seen, seen_labels, links)
    mixtures = [fit_shrunk(seen[seen_labels == p], count, priors[p], seed) for p, count in enumerate(counts)]
    ours, theirs = logsumexp(scores(rows, mixtures, sizes / len(seen)), axis=1), flat.log_prob(rows)
    gain = ours - theirs
    means = float(ours.mean()), float(theirs.mean()), float(gain.mean())
    error = float(gain.std() / math.sqrt(len(rows)))
    return AgainstFlat(*means, error, flat.members * flat.components, flat.kind, len(rows))


def _leaves_of(links: Floats, count: int, number: int) -> list[int]:
    if number < count:
        return [number]
    return [leaf for child in links[number - count, :2] for leaf in _leaves_of(links, count, int(child))]


def _assembled(
    points: Floats,
    mixtures: list[ShrunkMixture],
    weights: Floats,
    links: Floats,
    depth: float,
    fitted: int,
    seed: int,
    against_flat: AgainstFlat | None,
) -> MergeTree:
    """Number the pieces by the mass that the model gives them, and build the nodes."""
    parts = scores(points, mixtures, weights)
    labels = parts.argmax(1)
    order = np.argsort(-np.bincount(labels, minlength=len(mixtures)), kind="stable")
    labels = np.argsort(order)[labels]
    links = links.copy()
    is_piece = links[:, :2] < len(order)
    links[:, :2][is_piece] = np.argsort(order)[links[:, :2][is_piece].astype(np.intp)]
    nodes = _nodes(labels, logsumexp(parts, axis=1), links, len(order))
    note = ""
    if len(points) < 2 * FEWEST_ROWS:
        note = f"too few rows to tell pieces apart: {len(points)}, it takes {2 * FEWEST_ROWS}"
    elif not np.ptp(points, axis=0).any():
        note = "all rows are equal" if points.shape[1] else "no dimensions"
    return MergeTree(
        nodes, labels, tuple(mixtures[p] for p in order), weights[order], float(depth), fitted, seed, against_flat, note
    )


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
