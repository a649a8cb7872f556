"""Wide clouds without pieces: rows of either side retrieve one another, and a rotation is learned from what they retrieve.

The idea is self-learning with a dictionary that is drawn in every step (Artetxe, Labaka and Agirre 2018). Its start needs no
pairs: a row's similarities to all others, sorted, look alike in both spaces. Here rows are not translations of each other, so
the rotation is learned in few directions first and in more later, and the chain of several that fits best goes on.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.alignment.rigid import Floats, polar

Singles = NDArray[np.float32]

UNCLEAR = 0.15  # silhouette of the clearest cut below which there are no pieces to speak of
FEWEST_ROWS, FEWEST_DIMS = 200, 20
MOST_ROWS = 2500
CHAINS, KEPT = 12, 3  # how many chains start, and how many of them go through a whole cycle
MOST_CYCLES, PATIENCE = 16, 4  # of the best chain: it ends after so many cycles that are no better
CYCLE = ((20, 20), (40, 15), (80, 15), (160, 15), (384, 10))  # directions, and steps in them
FIRST = (384, 20)
COMPARED = (40, 4)  # the same where maps are compared: few directions fit less of what is chance
DRAWN = 0.1  # share of the pairs that may be retrieved in a step
NEIGHBOURS = 10  # of cross-domain local scaling (Conneau et al. 2018)
QUANTILES = 1000
_NEVER = np.float32(-9)


class _Chain(NamedTuple):
    near: float  # how well its rotation fits
    matrix: Singles
    pairs: Singles  # similarities under it


class Retrieval:
    """Rows (n_a, r_a) and (n_b, r_b), both centred and along principal directions, that retrieve one another.

    Beyond 2500 rows a side a random 2500 stand for all. A step is a product of all rows with all rows. Twelve chains take 55
    steps, the three that fit best 75 more, and the best of these goes on as long as it improves.

    Args:
        seed: draws rows, and the pairs that may be retrieved.
    """

    def __init__(self, a: Floats, b: Floats, seed: int = 0) -> None:
        self.generator = np.random.default_rng([seed, 43])
        self.a, self.b = (
            np.asarray(rows[self.generator.permutation(len(rows))[:MOST_ROWS]], dtype=np.float32) for rows in (a, b)
        )

    def found(self) -> Floats:
        """The rotation (r_a, r_b)."""
        begin = _scaled(_profiles(self.a) @ _profiles(self.b).T)
        begun = (self._through((FIRST, *CYCLE[:2]), begin.copy()) for _ in range(CHAINS))
        kept = heapq.nlargest(KEPT, begun, key=lambda chain: chain.near)
        chain = best = max((self._through(CYCLE[2:], chain.pairs) for chain in kept), key=lambda chain: chain.near)
        worse = 0
        for _ in range(MOST_CYCLES):
            chain = self._through(CYCLE, chain.pairs)
            best, worse = (chain, 0) if chain.near > best.near else (best, worse + 1)
            if worse == PATIENCE:
                break
        return best.matrix.astype(float)

    def nearness(self, matrix: Floats | Singles) -> float:
        """Mean cosine of mapped rows to their nearest on the other side, both ways, after four steps from a map (r_a, r_b)."""
        x, y = _unit(self.a[:, : len(matrix)]), _unit(self.b[:, : matrix.shape[1]])
        return self._steps(_scaled(x @ matrix.astype(np.float32) @ y.T), *COMPARED, drawn=1.0)[2]

    def _through(self, stages: Sequence[tuple[int, int]], pairs: Singles) -> _Chain:
        """A chain taken through stages of directions and steps."""
        for dims, steps in stages:
            matrix, pairs, _ = self._steps(pairs, dims, steps)
        return _Chain(self.nearness(matrix), matrix, pairs)

    def _steps(self, pairs: Singles, dims: int, steps: int, drawn: float = DRAWN) -> tuple[Singles, Singles, float]:
        """Retrieve and rotate in turn: the rotation, scaled similarities under it (n_a, n_b), mean cosine of nearest rows."""
        x, y = _unit(self.a[:, :dims]), _unit(self.b[:, :dims])
        for _ in range(steps):
            if drawn < 1:
                pairs[self.generator.random(pairs.shape, dtype=np.float32) > drawn] = _NEVER
            forth, back = pairs.argmax(1), pairs.argmax(0)
            matrix = polar(x.T @ y[forth] + x[back].T @ y)  # type: ignore[arg-type]
            cosines = np.asarray(x @ matrix @ y.T, dtype=np.float32)
            near = float(cosines.max(1).mean() + cosines.max(0).mean()) / 2
            pairs = _scaled(cosines)
        return np.asarray(matrix, dtype=np.float32), pairs, near


def enough(a: Floats, b: Floats) -> bool:
    """Whether both clouds have the rows and the directions that retrieval takes."""
    return all(len(rows) >= FEWEST_ROWS and rows.shape[1] >= FEWEST_DIMS for rows in (a, b))


def _scaled(cosines: Singles) -> Singles:
    """2 cos(x, y) less the mean cosine of either to its nearest rows of the other side: rows near to all are not near to any."""
    rows, columns = cosines.shape
    count = min(NEIGHBOURS, rows, columns)
    of_rows = np.partition(cosines, columns - count, axis=1)[:, -count:].mean(1)
    of_columns = np.partition(cosines, rows - count, axis=0)[-count:].mean(0)
    return 2 * cosines - of_rows[:, None] - of_columns


def _profiles(rows: Singles) -> Singles:
    """(n, QUANTILES) of a row's similarities to all rows, by the root of the Gram matrix; centred, of length 1."""
    left, sizes, _ = np.linalg.svd(_unit(rows), full_matrices=False)
    ordered = np.sort((left * sizes) @ left.T, axis=1)
    ordered = ordered[:, np.linspace(0, len(rows) - 1, QUANTILES).round().astype(int)]
    return _unit(ordered - ordered.mean(0))


def _unit(rows: Singles) -> Singles:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
