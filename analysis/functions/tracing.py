"""Curves of a level set by predictor and corrector, with the two kinds of end told apart."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.functions.solving import Level, Region

Floats = NDArray[np.float64]
End = Literal["closed", "leaves the data", "real end", "unfinished"]

_MOST_STEPS = 4000
_SMALLEST = 1e-3  # of the step: a curve that cannot be followed so far has ended
_CORRECTIONS = 6
_STRAIGHT = 0.93  # cosine of the largest turn in a step
_DEVIATION = 0.3  # largest correction, in steps


class Curve(NamedTuple):
    """Points (m, D) along a curve, in order, and how its two ends came about; both "closed" if it has none."""

    points: Floats
    ends: tuple[End, End]

    @property
    def is_closed(self) -> bool:
        return self.ends[0] == "closed"

    def length(self) -> float:
        """Arc length, that of the closing edge included."""
        points = np.vstack([self.points, self.points[:1]]) if self.is_closed else self.points
        return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def trace(level: Level, region: Region, start: Floats, step: float) -> Curve:
    """The curve of the level set through `start` (D,), both ways, until it closes or ends."""
    forward, end = _follow(level, region, start, 1.0, step)
    if end == "closed":
        return Curve(forward, ("closed", "closed"))
    backward, other = _follow(level, region, start, -1.0, step)
    return Curve(np.vstack([backward[:0:-1], forward]), (other, end))


def _follow(level: Level, region: Region, start: Floats, sign: float, longest: float) -> tuple[Floats, End]:
    """Points from `start` on, one way, and why they end."""
    tangent, inverse = _direction(level, start)
    if tangent is None:
        return start[None], "real end"
    first = tangent = sign * tangent
    points, travelled, step = [start], 0.0, longest
    for _ in range(_MOST_STEPS):
        here = points[-1]
        found = _corrected(level, here, tangent, inverse, step)
        if found is None:
            step /= 2
            if step < _SMALLEST * longest:
                return np.array(points), "real end"
            continue
        there, ahead, inverse = found
        if travelled > 2 * step and _passes(here, there, start) and ahead @ first > 0.5:
            return np.array(points), "closed"
        if not region.holds(there[None])[0]:
            return np.array([*points, there]), "leaves the data"
        travelled += float(np.linalg.norm(there - here))
        points.append(there)
        tangent, step = ahead, min(longest, 1.5 * step)
    return np.array(points), "unfinished"


def _direction(level: Level, at: Floats) -> tuple[Floats | None, Floats]:
    """The unit tangent, None where the level set is no curve, and the pseudo-inverse of the Jacobian."""
    residual, jacobian = level.linear(at[None])
    if not (np.isfinite(residual).all() and np.isfinite(jacobian).all()):
        return None, np.empty(0)
    inverse, axes, ranks = level.decomposed(jacobian)
    if ranks[0] < len(at) - 1:
        return None, np.empty(0)
    return axes[0, -1], inverse[0]


def _corrected(
    level: Level, here: Floats, tangent: Floats, inverse: Floats, step: float
) -> tuple[Floats, Floats, Floats] | None:
    """One step on: the point, its tangent and pseudo-inverse; None if the step was too long for the curve."""
    guess = here + step * tangent
    there = guess
    for _ in range(_CORRECTIONS):  # with the last point's Jacobian: cheap, and the new one finishes it
        residual = level.residual(there[None])[0]
        if not np.isfinite(residual).all():
            return None
        if np.abs(residual).max() <= level.precision:
            break
        there = there - inverse @ residual
        if np.linalg.norm(there - guess) > _DEVIATION * step:
            return None
    ahead, inverse = _direction(level, there)
    if ahead is None:
        return None
    residual = level.residual(there[None])[0]
    if np.abs(residual).max() > level.precision:
        there = there - inverse @ residual
        residual = level.residual(there[None])[0]
        if not np.abs(residual).max() <= 10 * level.precision:
            return None
    ahead = ahead if ahead @ tangent > 0 else -ahead
    return (there, ahead, inverse) if ahead @ tangent >= _STRAIGHT else None


def _passes(here: Floats, there: Floats, start: Floats) -> bool:
    """Whether the piece from here to there passes by the start."""
    return float(distance_to_curve(start[None], np.array([here, there]), False)[0]) < 0.25 * float(
        np.linalg.norm(there - here)
    )


def distance_to_curve(points: Floats, curve: Floats, is_closed: bool) -> Floats:
    """Distance of points (n, D) from a polygon (m, D)."""
    corners = np.vstack([curve, curve[:1]]) if is_closed else curve
    if len(corners) == 1:
        return np.linalg.norm(points - corners, axis=1)
    nearest = np.full(len(points), np.inf)
    for a, b in zip(corners[:-1], corners[1:], strict=True):
        edge = b - a
        along = np.clip((points - a) @ edge / max(float(edge @ edge), 1e-300), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - along[:, None] * edge, axis=1))
    return nearest
