"""Non-rigid maps of a block to itself, fitted to rows and where they should go: affine, and a small flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial.distance import cdist

from analysis.alignment.rigid import Floats

STEPS = 4
CENTRES = 60
RIDGE = 0.1  # of the kernel's mean row sum; partners are noisy
STEEPEST = 0.5  # bound on the slope of a step, so that it can be undone
ROUNDS = 60  # halving an error so often leaves nothing of it


class Bend(Protocol):
    """A map of b's structure space to itself, with its inverse."""

    def __call__(self, s: Floats) -> Floats: ...

    def inverse(self, s: Floats) -> Floats: ...


Fit = Callable[[Floats, Floats], Bend]  # rows (n, k) and where they should go (n, k)


@dataclass(frozen=True)
class Affine:
    """s -> s @ matrix + shift, nearly the identity."""

    matrix: Floats
    shift: Floats

    def __call__(self, s: Floats) -> Floats:
        return s @ self.matrix + self.shift

    def inverse(self, s: Floats) -> Floats:
        return (s - self.shift) @ np.linalg.inv(self.matrix)


def affine(x: Floats, y: Floats) -> Affine:
    """Least squares, shrunk to the identity by as much as k rows weigh."""
    centre_x, centre_y = x.mean(0), y.mean(0)
    x, y = x - centre_x, y - centre_y
    ridge = np.trace(x.T @ x) / len(x) * np.eye(x.shape[1])
    matrix = np.linalg.solve(x.T @ x + ridge, x.T @ y + ridge)
    return Affine(matrix, centre_y - centre_x @ matrix)


@dataclass(frozen=True)
class SmallFlow:
    """Euler steps s -> s + exp(-|s - c|^2 / 2 h^2) @ w, each with a slope below 1/2 and so invertible.

    Attributes:
        centres: (m, k) c.
        pushes: (steps, m, k) w.
        width: h.
    """

    centres: Floats
    pushes: Floats
    width: float

    def __call__(self, s: Floats) -> Floats:
        for push in self.pushes:
            s = s + self._kernel(s) @ push
        return s

    def inverse(self, s: Floats) -> Floats:
        """By fixed point, step by step."""
        for push in self.pushes[::-1]:
            ahead = s
            for _ in range(ROUNDS):
                s = ahead - self._kernel(s) @ push
        return s

    def _kernel(self, s: Floats) -> Floats:
        return np.exp(-cdist(s, self.centres, "sqeuclidean") / (2 * self.width**2))


def small_flow(x: Floats, y: Floats) -> SmallFlow:
    """A flow of a few steps, each by kernel ridge regression on what is left of the way from x to y; as wide as the block.

    The kernel's width is the block's spread: it bends as a whole, and does not follow single rows.
    """
    width = float(np.sqrt(x.var(0).sum()))
    flow = SmallFlow(x[:CENTRES], np.zeros((0, len(x[:CENTRES]), x.shape[1])), width)
    for left in range(STEPS, 0, -1):
        here = flow(x)
        kernel = flow._kernel(here)
        gram = kernel.T @ kernel
        ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        push = np.linalg.solve(gram + ridge, kernel.T @ (y - here)) / left
        # |d exp(-r^2 / 2 h^2)| is at most exp(-1/2) / h
        slope = float(np.linalg.norm(push, axis=1).sum()) * np.exp(-0.5) / width
        push *= min(1.0, STEEPEST / max(slope, 1e-12))
        flow = SmallFlow(flow.centres, np.concatenate([flow.pushes, push[None]]), width)
    return flow
