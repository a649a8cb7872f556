"""Optional steps after the rigid map, each kept only if it wins on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.bends import Bend, Fit, affine, small_flow
from analysis.alignment.clouds import Cloud, assign
from analysis.alignment.rigid import Floats, Rigid

HALF = 400  # most rows in a half
KINDS: dict[str, dict[str, Fit]] = {"affine": {"affine": affine}, "flow": {"affine": affine, "small flow": small_flow}}


@dataclass(frozen=True)
class Step:
    """One step and how it fared.

    Attributes:
        name: "affine", "small flow", or "given".
        bend: the map, kept or not.
        before, after: energy distance to b on held-out rows, without and with it.
        error: standard error of the difference.
    """

    name: str
    bend: Bend
    before: float
    after: float
    error: float

    @property
    def kept(self) -> bool:
        """Whether the held-out rows came nearer by two errors."""
        return self.before - self.after > 2 * self.error


@dataclass(frozen=True, repr=False)
class Correction:
    """What the non-rigid steps did: those that won are applied after the rigid map, one after the other."""

    steps: tuple[Step, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the steps that won."""
        return tuple(step.name for step in self.steps if step.kept)

    def __call__(self, s: Floats) -> Floats:
        """Rows (n, k) of b's block, corrected."""
        for step in self.steps:
            s = np.asarray(step.bend(s)) if step.kept else s
        return s

    def inverse(self, s: Floats) -> Floats:
        """The corrections undone."""
        for step in self.steps[::-1]:
            s = np.asarray(step.bend.inverse(s)) if step.kept else s
        return s

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            step.name: {"kept": step.kept, "before": step.before, "after": step.after, "error": step.error}
            for step in self.steps
        }

    def __repr__(self) -> str:
        told = [
            f"{step.name} {'kept' if step.kept else 'not kept'}: held-out distance {step.before:.3g} -> {step.after:.3g} "
            f"+- {step.error:.2g}"
            for step in self.steps
        ]
        return f"Correction({'; '.join(told)})"


def correct(clouds: Sequence[Cloud], map: Rigid, kind: str | Fit, seed: int) -> Correction:
    """Fit each step on one half of the rows of either side, what came before it applied; the other halves judge it.

    Args:
        clouds: of a and b.
        map: the rigid map.
        kind: a name in ``KINDS``, or a callable from mapped rows (n, k) and their partners in b (n, k) to a :class:`Bend`.
        seed: draws halves.

    Raises:
        ValueError: the bend gives rows of another shape, NaN or inf.
    """
    (one, other), (left, right) = _halved(clouds, np.random.default_rng([seed, 7]))
    done = Correction(())
    for name, fit in (KINDS[kind] if isinstance(kind, str) else {"given": kind}).items():
        here = done(map(one.s))
        partners, _ = assign(np.hstack([here, one.shared]), left.moved())
        bend = fit(here, left.s[partners])
        plain = done(map(other.s))
        bent = _checked(bend(plain), *right.s.shape)
        before, after = (_energy(np.hstack([s, other.shared]), right.moved()) for s in (plain, bent))
        error = float((before - after).std() / np.sqrt(len(before)))
        done = Correction((*done.steps, Step(name, bend, float(before.mean()), float(after.mean()), error)))
    return done


def _energy(x: Floats, y: Floats) -> Floats:
    """Terms (n,) whose mean is the energy distance of two samples of n rows; unlike transport, it does not favour shrinking."""
    own = [cdist(rows, rows).sum(1) / (len(rows) - 1) for rows in (x, y)]
    across = cdist(x, y)
    return across.mean(1) + across.mean(0) - own[0] - own[1]


def _halved(clouds: Sequence[Cloud], generator: np.random.Generator) -> list[tuple[Cloud, Cloud]]:
    """As many rows in every half of either side."""
    size = min(*(len(cloud) // 2 for cloud in clouds), HALF)
    orders = [generator.permutation(len(cloud)) for cloud in clouds]
    return [(c.take(o[:size]), c.take(o[size : 2 * size])) for c, o in zip(clouds, orders, strict=True)]


def _checked(rows: object, count: int, k: int) -> Floats:
    array = np.asarray(rows, dtype=np.float64)
    if array.shape != (count, k) or not np.isfinite(array).all():
        raise ValueError(
            f"the bend must give finite rows of shape ({count}, {k}), got {array.shape}; return b with b(s), b.inverse(s)"
        )
    return array
