"""What can be told at all: how well the distances of two spaces agree, and whether the true assignment is the best one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.assignment import assignments
from analysis.alignment.frame import Frame
from analysis.alignment.nodes import Nodes
from analysis.alignment.rigid import Floats, random_map

NULL_DRAWS, NULL_STARTS = 99, 30


@dataclass(frozen=True)
class Geometry:
    """Agreement of the distances between pieces, and between classes.

    Attributes:
        pieces: of a and of b.
        clearness: of these pieces in a and in b, mean silhouettes; 1 is points far apart.
        agreement: correlation of the distances at the assignment that keeps them best.
        second: the same at the second best, or None.
        usual: median of the best agreement over centres of the same spectrum that lie elsewhere.
        p_value: share of these that agree as well.
        reached, starts: how many starts led to the best assignment, and how many there were.
        true_agreement: with labels on both sides, at the true assignment of the classes; None without.
        best_agreement: and at the best one.
        true_right: share of the classes that the best one has right.
    """

    pieces: tuple[int, int]
    clearness: tuple[float, float]
    agreement: float
    second: float | None
    usual: float
    p_value: float
    reached: int
    starts: int
    true_agreement: float | None = None
    best_agreement: float | None = None
    true_right: float | None = None

    def lines(self) -> list[str]:
        """In words."""
        second = "" if self.second is None else f", second best {self.second:.2f}"
        out = [
            f"geometry: {self.pieces[0]} and {self.pieces[1]} pieces; their distances agree at {self.agreement:.2f} at best"
            f"{second}; pieces placed at random reach {self.usual:.2f} (p = {self.p_value:.2f}); {self.reached} of "
            f"{self.starts} starts led there"
        ]
        if self.true_agreement is not None and self.best_agreement is not None and self.true_right is not None:
            best = self.true_right == 1
            out.append(
                f"by the labels, classes' distances agree at {self.true_agreement:.2f} as they truly go together; "
                + (
                    "no other assignment is better"
                    if best
                    else f"a wrong assignment reaches {self.best_agreement:.2f}, so distances "
                )
                + ("" if best else f"between centres alone mislead (it has {self.true_right:.0%} of the classes right)")
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def geometry(
    rows: tuple[Floats, Floats],
    frames: tuple[Frame, Frame],
    nodes: tuple[Nodes, Nodes],
    labels: tuple[NDArray[Any], NDArray[Any]] | None,
    seed: int,
) -> Geometry:
    """Compare the distances within two spaces.

    Args:
        rows: (n_a, r_a) and (n_b, r_b), in their frames.
        frames: of a and of b.
        nodes: pieces of a and of b.
        labels: a class per row of either, or None; classes that one side lacks are left out.
        seed: draws starts and the null.
    """
    generator = np.random.default_rng([seed, 14])
    centres = [frame.tempered(n.centres(x)) for x, frame, n in zip(rows, frames, nodes, strict=True)]
    found = assignments(cdist(centres[0], centres[0]), cdist(centres[1], centres[1]), generator)
    null = []
    for i in range(NULL_DRAWS):
        pair = [elsewhere(c, generator) if i % 2 == j else c for j, c in enumerate(centres)]
        gaps = [cdist(c, c) for c in pair]
        null.append(assignments(gaps[0], gaps[1], generator, NULL_STARTS).agreement[0])
    best = float(found.agreement[0])
    told = (None, None, None) if labels is None else _told(rows, frames, labels, generator)
    return Geometry(
        (nodes[0].count, nodes[1].count),
        (nodes[0].clearness, nodes[1].clearness),
        best,
        float(found.agreement[1]) if len(found.agreement) > 1 else None,
        float(np.median(null)),
        float((1 + (np.array(null) >= best).sum()) / (1 + NULL_DRAWS)),
        int(found.reached[0]),
        found.starts,
        *told,
    )


def elsewhere(centres: Floats, generator: np.random.Generator) -> Floats:
    """Centres (p, r) turned at random among themselves: the same Gram spectrum and mean, other neighbours."""
    count = len(centres)
    if count < 3:
        return centres
    frames = [np.linalg.qr(np.c_[np.ones(count), random_map(count, count - 1, generator)])[0][:, 1:] for _ in "ab"]
    return np.asarray(frames[0] @ frames[1].T @ (centres - centres.mean(0)) + centres.mean(0))


def _told(
    rows: tuple[Floats, Floats],
    frames: tuple[Frame, Frame],
    labels: tuple[NDArray[Any], NDArray[Any]],
    generator: np.random.Generator,
) -> tuple[float | None, float | None, float | None]:
    """Agreement at the true assignment of the classes and at the best, and the share of classes that has right."""
    names = np.intersect1d(*labels)
    if len(names) < 3:
        return None, None, None
    means = [
        frame.tempered(np.array([x[of == name].mean(0) for name in names]))
        for x, frame, of in zip(rows, frames, labels, strict=True)
    ]
    gaps = [cdist(m, m) for m in means]
    found = assignments(gaps[0], gaps[1], generator)
    upper = np.triu_indices(len(names), 1)
    true = float(np.corrcoef(gaps[0][upper], gaps[1][upper])[0, 1])
    best = float(found.agreement[0])
    right = 1.0 if true >= best - 1e-9 else float((found.orders[0] == np.arange(len(names))).mean())
    return true, max(best, true), right
