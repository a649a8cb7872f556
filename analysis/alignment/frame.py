"""A wide side's own coordinates: principal directions in one unit for all of them, so that the metric of the rows stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.alignment.nodes import leading, principal
from analysis.alignment.rigid import Floats, Rigid

SHARE = 0.99  # of the variance in the directions that a map carries over
MOST = 384  # directions, at most
COARSE = 48  # directions in which the search begins, at most
TEMPER = 0.25  # power of a direction's variance by which the distances between nodes are evened out
FINEST = 1e-9  # variance, as a share of the largest, below which a direction counts as this


@dataclass(frozen=True)
class Frame:
    """Rows (n, D) -> (n, r): less the mean, along principal directions, in units of the spread in all directions together.

    Attributes:
        middle: (D,).
        axes: (D, r) orthonormal columns, largest variance first.
        unit: root of the summed variance.
        variances: (r,) in that unit.
        coarse: the leading directions in which the search begins.
    """

    middle: Floats
    axes: Floats
    unit: float
    variances: Floats
    coarse: int

    @classmethod
    def of(cls, rows: Floats, name: str = "rows") -> Frame:
        """From rows (n, D).

        Raises:
            ValueError: all rows are equal.
        """
        if not np.ptp(rows, axis=0).any():
            raise ValueError(f"all rows of {name} are equal, so there is nothing to align; check what was captured")
        middle, axes, variances = principal(rows)
        kept = min(leading(variances, SHARE), MOST)
        unit = float(np.sqrt(variances.sum()))
        return cls(middle, axes[:, :kept], unit, variances[:kept] / unit**2, min(leading(variances), COARSE, kept))

    def __call__(self, rows: Floats) -> Floats:
        """(n, r)."""
        return np.asarray((rows - self.middle) @ self.axes / self.unit)

    def tempered(self, points: Floats) -> Floats:
        """Points (m, <= r) of the frame with large directions drawn in: two nets share shapes better than sizes."""
        sizes = np.maximum(self.variances / self.variances[0], FINEST)[: points.shape[1]]
        return np.asarray(points * sizes ** (-TEMPER / 2))


def outward(map: Rigid, a: Frame, b: Frame) -> Rigid:
    """A map between two frames (r_a, r_b) as one between the rows' own spaces (D_a, D_b), with the scale of their units."""
    matrix = a.axes @ map.matrix @ b.axes.T
    scale = map.scale * b.unit / a.unit
    shift = b.middle + b.unit * map.shift @ b.axes.T - scale * a.middle @ matrix
    return Rigid(matrix, shift, scale)
