"""Is it an alignment at all? The best cost against that of structures bent out of shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.alignment.clouds import Cloud
from analysis.alignment.judge import Judge
from analysis.alignment.partial import Numbers, choices
from analysis.alignment.refine import polished
from analysis.alignment.rigid import Floats, random_map
from analysis.alignment.search import cheapest, descended, sample
from analysis.alignment.starts import signs_and_orders

ROWS = 150
CHOOSING = 400  # rows a side by which pieces to leave out are chosen
RANDOM = 8
TRIED = 3
STRENGTH = 1.0  # height of a bend, in units of the block's spread per dimension


def p_value(
    sides: Sequence[Cloud], pieces: Sequence[Numbers], draws: int, tolerance: float, seed: int, left_out: int = 0
) -> float:
    """Share of mismatched structures that fit at least as well, the real one counted: (1 + hits) / (1 + draws).

    A mismatched structure is one of the two clouds, bent by a random smooth map and brought back to its own covariance: it has
    the pieces, masses and moments of a real one, but not its shape. Each is searched for its best map in the same quick
    way as the real pair is; and where pieces of that were left out, so are as many of each, those without which it fits best.

    Args:
        sides: the clouds of a and b, whole.
        pieces: the number of every row's piece, of either.
        draws: mismatched structures; 19 reach .05.
        tolerance: degrees.
        seed: draws bends, rows and starts.
        left_out: pieces that were left out of both together.
    """
    generator = np.random.default_rng([seed, 6])

    def best(clouds: Sequence[Cloud]) -> float:
        """Least badness of the whole, or of what stays after the likeliest choices of as many pieces to leave out."""
        pairs: list[Sequence[Cloud]] = []
        if left_out:
            some = [generator.permutation(len(c))[:CHOOSING] for c in clouds]
            few = [c.take(rows) for c, rows in zip(clouds, some, strict=True)]
            numbers = [n[rows] for n, rows in zip(pieces, some, strict=True)]
            for masks in choices(few, numbers, left_out, left_out):
                pairs.append([c.take(np.flatnonzero(m)) for c, m in zip(few, masks, strict=True)])
        return min(_quick(a, b, tolerance, generator) for a, b in pairs or [clouds])

    real, hits = best(sides), 0
    for i in range(draws):
        mismatched = [Cloud(bent(c.s, generator), c.shared) if i % 2 != j else c for j, c in enumerate(sides)]
        hits += best(mismatched) <= real
    return (1 + hits) / (1 + draws)


def _quick(a: Cloud, b: Cloud, tolerance: float, generator: np.random.Generator) -> float:
    """Least badness that a quick search finds, from the smaller block to the larger."""
    a, b = (sample(c, ROWS, generator) for c in sorted((a, b), key=lambda c: c.s.shape[1]))
    judge = Judge(a, b, seed=int(generator.integers(2**31)))
    shape = a.s.shape[1], b.s.shape[1]
    begin = [*signs_and_orders(a.s, b.s), *(random_map(*shape, generator) for _ in range(RANDOM))]
    ends = cheapest(descended(a, b, begin, generator), tolerance)[:TRIED]
    return min(judge.badness(judge.between(polished(a, b, end))) for end in ends)


def bent(s: Floats, generator: np.random.Generator, strength: float = STRENGTH) -> Floats:
    """s plus even bumps along random directions, its mean and covariance restored."""
    k = s.shape[1]
    white, root, mean = _whitened(s)
    directions = np.vstack([random_map(k, k, generator) for _ in range(2)])
    places = generator.normal(size=len(directions))
    pushes = np.vstack([random_map(k, k, generator) for _ in range(2)])
    bumpy = white + strength * np.tanh(white @ directions.T + places) ** 2 @ pushes
    return _whitened(bumpy)[0] @ root + mean


def _whitened(s: Floats) -> tuple[Floats, Floats, Floats]:
    """White rows, the symmetric root that undoes it, and the mean."""
    centred = s - s.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(s))
    sizes = np.sqrt(np.maximum(values, 1e-12))
    return centred @ (axes / sizes) @ axes.T, (axes * sizes) @ axes.T, s.mean(0)
