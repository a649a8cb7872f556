"""Moves of a model's weights that leave its outputs almost unchanged, and how far structure coordinates turn with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.functions.watched import Watched, Weights
from flows.flow import FunnelFlow

Floats = NDArray[np.float64]
ROBUST = 30.0  # degrees; cos^2 = 3/4 of a coordinate's variance is still its own
_HELD = 0.5  # of the turn that moves in any direction make
_CHOOSING = 500  # inputs that say which directions leave outputs alone; as many others say whether they do
_ITERATIONS = 200  # of conjugate residuals
_TRIES = 12
_MOST_ROWS = 2000  # that turns are measured on


@dataclass(frozen=True, eq=False, repr=False)
class WeightMoves:
    """How far structure coordinates turn when the weights move and the outputs hardly do.

    Attributes:
        sizes: (moves,) size of each move, as a share of the weights' own (root mean square, tensor by tensor).
        output_changes: (moves,) what it does to the outputs on inputs that did not choose it, in sds of the outputs.
        free_changes: (moves,) what a move of that size in any direction does.
        turns: (moves, k) degrees between each coordinate before and after as the given flow reads it, by correlation over inputs:
            how far its axes in the layer would have to turn to read the same again.
        free_turns: (moves, k) the same after moves of that size in any direction.
        refit_turns: (moves, k) between each coordinate and the one of a refitted flow that is matched to it: whether a new fit
            finds the same function of the inputs; None without refits.
        block_turns: (moves, k) between each coordinate and the whole of the refitted block.
        again_turns: (k,) the same as refit_turns where no weight moved: what refitting alone does.
    """

    sizes: Floats
    output_changes: Floats
    free_changes: Floats
    turns: Floats
    free_turns: Floats
    refit_turns: Floats | None = None
    block_turns: Floats | None = None
    again_turns: Floats | None = None

    @property
    def largest(self) -> Floats:
        """(k,) largest turn over the moves: of the refits where there are any."""
        return (self.turns if self.refit_turns is None else self.refit_turns).max(0)

    @property
    def is_robust(self) -> NDArray[np.bool_]:
        """(k,) whether no move turned the coordinate by more than 30 degrees; without refits, nor by more than half of what
        moves of that size in any direction do, since moves that the outputs keep short turn nothing far."""
        held = self.turns.max(0) <= _HELD * self.free_turns.max(0)
        return (self.largest <= ROBUST) & (held | (self.refit_turns is not None))

    def columns(self) -> dict[str, list[str]]:
        """For print: heads, and a cell for each coordinate; the largest turn over the moves."""
        shown = {"turn": self.turns.max(0), "free": self.free_turns.max(0)}
        if self.refit_turns is not None and self.block_turns is not None and self.again_turns is not None:
            shown |= {"refit": self.refit_turns.max(0), "unmoved": self.again_turns, "block": self.block_turns.max(0)}
        told = {name: [f"{degrees:.0f}" for degrees in column] for name, column in shown.items()}
        return told | {"robust": ["yes" if robust else "no" for robust in self.is_robust]}

    def __repr__(self) -> str:
        return (
            f"weights: {len(self.sizes)} moves of {self.sizes.min():.2g} to {self.sizes.max():.2g} times their size change "
            f"outputs by {self.output_changes.max():.2%} of their sd at most; in any direction by "
            f"{np.median(self.free_changes):.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        names = (
            "sizes",
            "output_changes",
            "free_changes",
            "turns",
            "free_turns",
            "refit_turns",
            "block_turns",
            "again_turns",
        )
        arrays = {name: getattr(self, name) for name in names}
        plain = {name: None if array is None else array.tolist() for name, array in arrays.items()}
        return plain | {"largest": self.largest.tolist(), "is_robust": self.is_robust.tolist()}


def weight_moves(
    flow: FunnelFlow,
    watched: Watched,
    moves: int,
    size: float,
    change: float,
    fit: Callable[[Tensor], Any] | None,
    seed: int,
) -> WeightMoves:
    """Move the weights `moves` times and see how far each structure coordinate turns.

    Each direction starts as Gaussian noise, every tensor in units of its own root mean square, and is freed of what moves the
    outputs on some inputs. Along it the weights go straight on, until the outputs on other inputs change by `change`, or the
    move is `size` times as large as the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = watched.whole()
    unit = y.double().var(0, correction=0).mean().sqrt().item() or 1.0
    order = torch.randperm(len(x), generator=generator).to(x.device)
    chosen, judged = order[: 2 * _CHOOSING].chunk(2)
    read = order[:_MOST_ROWS]

    def encoded(weights: Weights) -> tuple[Tensor, Tensor]:
        activations = watched.whole(weights)[0]
        return activations, flow.encode(activations[read])

    before = flow.encode(x[read])
    again = None if fit is None else _turns(before, _refitted(fit, x).encode(x[read]))[0]
    sizes, turned, refitted = [], [], []
    for _ in range(moves):
        noise = {name: torch.randn(w.shape, generator=generator).to(w) for name, w in watched.weights.items()}
        move = _freed(watched, noise, chosen, unit)
        length, changed = _length(watched, move, judged, y, unit, size, change)
        sizes.append((length, changed, _changed(watched, noise, length, judged, y, unit)))
        moved, after = encoded(_moved(watched, move, length))
        free = encoded(_moved(watched, noise, length))[1]
        turned.append([_degrees(_correlations(before, s).diagonal()) for s in (after, free)])
        if fit is not None:
            refitted.append(_turns(before, _refitted(fit, moved).encode(moved[read])))
    lengths, changes, free_changes = np.array(sizes).T
    turns, free_turns = np.array(turned).swapaxes(0, 1)
    refit_turns, block_turns = np.array(refitted).swapaxes(0, 1) if fit is not None else (None, None)
    return WeightMoves(lengths, changes, free_changes, turns, free_turns, refit_turns, block_turns, again)


def _scale(weights: Tensor, fallback: Tensor) -> Tensor:
    """The unit of a tensor's moves: its root mean square, or that of all weights where it is zero, as biases at the start are."""
    own = weights.double().square().mean().sqrt()
    return (own if own > 0 else fallback).to(weights)


def _moved(watched: Watched, move: Weights, length: float) -> Weights:
    count = sum(w.numel() for w in watched.weights.values())
    fallback = (sum(w.double().square().sum() for w in watched.weights.values()) / count) ** 0.5
    return {name: w + length * _scale(w, fallback) * move[name] for name, w in watched.weights.items()}


def _freed(watched: Watched, noise: Weights, rows: Tensor, unit: float) -> Weights:
    """The part of `noise` that moves no output at `rows`, to first order, brought back to its root mean square of 1.

    noise - J^T a, with J J^T a = J noise by conjugate residuals, each of which leaves less for the outputs to change by.
    """
    inputs = watched.inputs[rows]

    def outputs(move: Weights) -> Tensor:
        return watched.run(inputs, _moved(watched, move, 1.0))[1] / unit

    zero = {name: torch.zeros_like(w) for name, w in watched.weights.items()}
    y, pull = torch.func.vjp(outputs, zero)[:2]
    push = torch.func.vjp(lambda u: torch.func.vjp(outputs, zero)[1](u)[0], torch.zeros_like(y))[1]

    def gram(u: Tensor) -> Tensor:
        return push(pull(u)[0])[0]

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u.double() * v.double()).sum().to(u)

    left, a = push(noise)[0], torch.zeros_like(y)
    bent = gram(left)
    direction, bent_direction, power = left, bent, dot(left, bent)
    start = dot(left, left)
    for _ in range(_ITERATIONS):
        if not (dot(left, left) > 1e-10 * start and power > 0):
            break
        step = power / dot(bent_direction, bent_direction)
        a, left = a + step * direction, left - step * bent_direction
        bent = gram(left)
        grown = dot(left, bent)
        direction, bent_direction = left + grown / power * direction, bent + grown / power * bent_direction
        power = grown
    back = pull(a)[0]
    move = {name: part - back[name] for name, part in noise.items()}
    count = sum(part.numel() for part in move.values())
    norm = (sum(part.double().square().sum() for part in move.values()) / count).sqrt()
    return {name: part / norm.clamp_min(1e-30).to(part) for name, part in move.items()}


def _changed(watched: Watched, move: Weights, length: float, rows: Tensor, y: Tensor, unit: float) -> float:
    """Root mean square change of the outputs at `rows`, in sds of the outputs."""
    moved = watched.whole(_moved(watched, move, length), rows)[1]
    change = float((moved - y[rows]).double().square().mean().sqrt()) / unit
    return change if np.isfinite(change) else float("inf")


def _length(
    watched: Watched, move: Weights, rows: Tensor, y: Tensor, unit: float, size: float, change: float
) -> tuple[float, float]:
    """About the largest length up to `size` at which outputs change by `change` at most, and that change."""
    length = size
    for _ in range(_TRIES):
        found = _changed(watched, move, length, rows, y, unit)
        if found <= change and (length == size or found > 0.8 * change):
            break
        length = min(
            size, length * float(np.clip(0.9 * change / max(found, 1e-12), 0.1, 2))
        )  # changes grow in proportion
    while found > change:
        length *= 0.8
        found = _changed(watched, move, length, rows, y, unit)
    return length, found


def _refitted(fit: Callable[[Tensor], Any], x: Tensor) -> FunnelFlow:
    """The flow that `fit` gives, by itself or as a result's `flow`."""
    with torch.enable_grad():
        found = fit(x)
    flow = getattr(found, "flow", found)
    if not isinstance(flow, FunnelFlow):
        raise TypeError(
            f"fit must return a FunnelFlow or a result with one, got {type(found).__name__}; pass training.fit"
        )
    return flow


def _turns(before: Tensor, after: Tensor) -> tuple[Floats, Floats]:
    """Degrees (k,) from each coordinate to the one matched to it in another block, 90 if none is left, and to the whole block."""
    from scipy.optimize import linear_sum_assignment

    k = before.shape[1]
    if not after.shape[1]:
        return np.full(k, 90.0), np.full(k, 90.0)
    correlations = np.abs(_correlations(before.detach(), after.detach()))
    own, matched = linear_sum_assignment(-correlations)
    turns = np.full(k, 90.0)
    turns[own] = _degrees(correlations[own, matched])
    a, b = (_standardised(s.detach()) for s in (before, after))
    told = b @ torch.linalg.lstsq(b, a).solution
    freedom = (len(b) - 1) / max(1, len(b) - 1 - b.shape[1])
    left = ((a - told).square().mean(0) * freedom).clamp(0, 1)
    return turns, _degrees((1 - left).sqrt().cpu().numpy())


def _standardised(s: Tensor) -> Tensor:
    s = s.double() - s.double().mean(0)
    return s / s.square().mean(0).sqrt().clamp_min(1e-300)


def _correlations(a: Tensor, b: Tensor) -> Floats:
    return (_standardised(a).T @ _standardised(b) / len(a)).cpu().numpy()


def _degrees(correlations: Floats) -> Floats:
    return np.degrees(np.arccos(np.clip(np.abs(correlations), 0, 1)))
