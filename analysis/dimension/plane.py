"""Whether a plane is one feature or two: the separability and mixture indices of Engels et al. (2024)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis import drawing
from analysis.density.bag import as_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

ANGLES = 180  # of half a turn
OFFSETS = 101  # c, from -2 to 2 standard deviations of the projection
FEWEST = 50


@dataclass(frozen=True, repr=False)
class Irreducibility:
    """Both indices of a plane. Neither says anything of topology: k clusters score as high as a ring.

    Attributes:
        separability: S, nats: the least mutual information of two orthogonal coordinates, over all rotations. Near 0 the plane
            is two independent features.
        mixture: M, the largest share of rows that some projection brings within ``epsilon`` of its root mean square from 0.
            Near 1 the rows live on lines that do not occur together. A Gaussian has 2 Phi(epsilon) - 1, .08 at .1.
        angle: degrees of the rotation of S.
        epsilon: of M.
        rows: how many.
        curve: (180,) mutual information in nats at rotations of 0 to 90 degrees.
    """

    separability: float
    mixture: float
    angle: float
    epsilon: float
    rows: int
    curve: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "curve": list(self.curve)}

    def __repr__(self) -> str:
        return (
            f"Irreducibility of {self.rows} rows: separability {self.separability:.3f} nats at {self.angle:.0f} degrees, mixture "
            f"{self.mixture:.3f} within {self.epsilon:g}; clusters score as high as a ring, describe() has the topology"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mutual information over the rotation."""
        ax = drawing.axes(ax)
        ax.plot(np.linspace(0, 90, ANGLES, endpoint=False), self.curve, color=drawing.COLOURS[0])
        ax.set(
            xlabel="rotation (degrees)",
            ylabel="mutual information (nats)",
            title="Separability of a plane",
            ylim=(0, None),
        )
        drawing.corner(ax, f"n = {self.rows}, M = {self.mixture:.3f}")
        return ax


def irreducibility(points: ArrayLike, epsilon: float = 0.1) -> Irreducibility:
    r"""Indices of Engels, Liao, Michaud, Gurnee and Tegmark, Not all language model features are linear (2024).

    .. math:: S = \min_R I(a; b), \; (a, b) = R f, \qquad
              M_\epsilon = \max_{v, c} P(|v \cdot f + c| < \epsilon \sqrt{E (v \cdot f + c)^2}).

    I is read from a histogram of ranks, n^(1/3) bins a side, less its bias (bins - 1)^2 / 2n (Miller and Madow). M is found on
    a grid of 180 directions and 101 offsets. They say that a plane is *one* feature, not which shape it has.

    Args:
        points: plane (n, 2), rows of at least 50.
        epsilon: in (0, 1).

    Raises:
        ValueError: another shape, too few rows, a line, or an epsilon out of range.

    Example:
        >>> import numpy as np
        >>> from analysis import irreducibility
        >>> t = np.linspace(0, 2 * np.pi, 1000)
        >>> irreducibility(np.stack([np.cos(t), np.sin(t)], 1)).separability > 0.5
        True
    """
    rows = as_points(points, "points")
    if rows.shape[1] != 2 or len(rows) < FEWEST:
        raise ValueError(
            f"points must have shape (n >= {FEWEST}, 2), got {rows.shape}; choose two coordinates of a block"
        )
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must be in (0, 1), got {epsilon}; 0.1 is the paper's")
    rows = rows - rows.mean(0)
    if np.linalg.matrix_rank(rows, tol=1e-9 * np.abs(rows).max(initial=1e-300)) < 2:
        raise ValueError("points lie on a line, which is one coordinate and no plane")
    turns = np.linspace(0, np.pi / 2, ANGLES, endpoint=False)
    curve = [_information(*_turned(rows, turn)) for turn in turns]
    least = int(np.argmin(curve))
    mixture = max(_mixed(_turned(rows, turn)[0], epsilon) for turn in 2 * turns)
    return Irreducibility(curve[least], mixture, float(np.degrees(turns[least])), epsilon, len(rows), tuple(curve))


def _turned(rows: Floats, turn: float) -> tuple[Floats, Floats]:
    """Two orthogonal coordinates (n,)."""
    x, y = rows.T
    return np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x


def _information(a: Floats, b: Floats) -> float:
    """Mutual information of two coordinates (n,) in nats, 0 at least."""
    count = len(a)
    bins = max(4, round(count ** (1 / 3)))
    placed = [np.argsort(np.argsort(values, kind="stable"), kind="stable") * bins // count for values in (a, b)]
    joint = np.zeros((bins, bins))
    np.add.at(joint, tuple(placed), 1 / count)
    alone = joint.sum(1)[:, None] * joint.sum(0)
    seen = joint > 0
    plain = float((joint[seen] * np.log(joint[seen] / alone[seen])).sum())
    return max(0.0, plain - (bins - 1) ** 2 / (2 * count))


def _mixed(values: Floats, epsilon: float) -> float:
    """Largest share of projections (n,) of mean 0 within epsilon of their root mean square from 0, over offsets."""
    offsets = np.linspace(-2, 2, OFFSETS) * values.std()
    reach = epsilon * np.sqrt(values.var() + offsets**2)
    ordered = np.sort(values)
    low, high = (np.searchsorted(ordered, -offsets + side * reach) for side in (-1, 1))
    return float((high - low).max() / len(values))
