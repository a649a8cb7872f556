"""Shortest closed ways through points, many sets at a time, and how much of a ring there is in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

STARTS = 4
LEAST_GAIN = 1e-12
MOST_MOVES = 400
LEAST_SPREAD = 0.01  # of the mean step


def squared_distances(points: Floats) -> Floats:
    """(b, p, p) squared distances of each of b sets of points (b, p, r)."""
    norms = (points**2).sum(2)
    return np.maximum(norms[:, :, None] + norms[:, None] - 2 * points @ points.transpose(0, 2, 1), 0.0)


def random_centres(count: int, spread: Floats, sets: int, rng: np.random.Generator) -> Floats:
    """Centres (sets, count, r) with singular values ``spread`` (r,) about their mean, turned at random."""
    raw = rng.normal(size=(sets, count, len(spread)))
    turned = np.linalg.qr(raw - raw.mean(1, keepdims=True))[0]
    return np.asarray(turned * spread, dtype=np.float64)


def shortest_tours(apart: Floats, rng: np.random.Generator, starts: int = STARTS) -> Integers:
    """A short closed way (b, p) through each of b sets with costs (b, p, p): the best of some starts, by 2-opt."""
    sets, count, _ = apart.shape
    tours = rng.permuted(np.tile(np.arange(count), (sets * starts, 1)), axis=1)
    tours[::starts] = _by_angle(apart)
    costs = np.repeat(apart, starts, axis=0)
    for _ in range(MOST_MOVES):
        if not _improve(tours, costs):
            break
    lengths = _lengths(costs, tours).reshape(sets, starts)
    return tours.reshape(sets, starts, count)[np.arange(sets), lengths.argmin(1)]


def as_ring(apart: Floats, tours: Integers) -> Floats:
    """Share (b,) of the variance of squared distances (b, p, p) that the number of steps along each closed way explains."""
    sets, count = tours.shape
    ordered = apart[np.arange(sets)[:, None, None], tours[:, :, None], tours[:, None]]
    ahead = (np.arange(count)[:, None] + np.arange(1, count)) % count
    by_steps = ordered[:, np.arange(count)[:, None], ahead]  # (b, p, p - 1): from each point, so many steps ahead
    by_steps = (by_steps + by_steps[:, :, ::-1]) / 2  # as many ahead as back
    means = by_steps.mean(1)
    total = ordered[:, ~np.eye(count, dtype=bool)].var(1)
    return np.asarray(means.var(1) / np.maximum(total, np.finfo(float).tiny), dtype=np.float64)


def from_the_gap(apart: Floats, tours: Integers) -> Integers:
    """Each way (b, p) begun after its widest step."""
    steps = apart[np.arange(len(tours))[:, None], tours, np.roll(tours, -1, axis=1)]
    start = steps.argmax(1)[:, None] + 1
    return np.take_along_axis(tours, (start + np.arange(tours.shape[1])) % tours.shape[1], axis=1)


def as_arc(apart: Floats, ways: Integers) -> Floats:
    """Share (b,) of the variance of squared distances (b, p, p) that the number of steps along each open way explains."""
    i, j = np.triu_indices(ways.shape[1], 1)
    pairs = apart[np.arange(len(ways))[:, None], ways[:, i], ways[:, j]]
    counts = np.bincount(j - i)[1:]
    means = np.stack([pairs[:, j - i == steps].mean(1) for steps in range(1, ways.shape[1])], axis=1)
    between = (counts * (means - pairs.mean(1, keepdims=True)) ** 2).sum(1) / len(i)
    return np.asarray(between / np.maximum(pairs.var(1), np.finfo(float).tiny), dtype=np.float64)


def gap_p_value(steps: Floats, rng: np.random.Generator, draws: int = 999) -> float:
    """Chance that the widest of steps (p,) exceeds the others by so many of their sd, were all drawn from one gamma law.

    The law is that of the other steps: what is wide where steps are even is not where they are uneven.
    """
    others = np.sort(steps)[:-1]
    shape = (others.mean() / max(float(others.std(ddof=1)), LEAST_SPREAD * float(others.mean()))) ** 2
    own, nulls = (_beyond(each) for each in (steps[None], rng.gamma(shape, size=(draws, len(steps)))))
    return float((1 + (nulls >= own).sum()) / (1 + draws))


def _beyond(steps: Floats) -> Floats:
    *_, widest = ordered = np.sort(steps, axis=1).T
    others = ordered[:-1]
    return np.asarray((widest - others.mean(0)) / np.maximum(others.std(0), np.finfo(float).tiny), dtype=np.float64)


def directions(apart: Floats) -> Floats:
    """Squared distances (b, p, p) of the points moved to distance one from their mean, from theirs."""
    gram = _gram(apart)
    lengths = np.sqrt(np.maximum(np.einsum("bii->bi", gram), np.finfo(float).tiny))
    return np.maximum(2 - 2 * gram / lengths[:, :, None] / lengths[:, None], 0.0)


def _gram(apart: Floats) -> Floats:
    """Inner products about the mean."""
    centred = apart - apart.mean(1, keepdims=True)
    return -(centred - centred.mean(2, keepdims=True)) / 2


def _by_angle(apart: Floats) -> Integers:
    """Points in the order of their angle in the plane of the two largest directions."""
    axes = np.linalg.eigh(_gram(apart))[1][:, :, -2:]
    return np.argsort(np.arctan2(axes[:, :, 0], axes[:, :, 1]), axis=1)


def along_a_line(apart: Floats) -> Integers:
    """Points (b, p) in the order of their place along the largest direction."""
    return np.argsort(np.linalg.eigh(_gram(apart))[1][:, :, -1], axis=1)


def _improve(tours: Integers, costs: Floats) -> bool:
    """The best reversal of a stretch in each way, in place; whether any was shortened."""
    sets, count = tours.shape
    every = np.arange(sets)[:, None, None]
    following = np.roll(tours, -1, axis=1)
    step = costs[np.arange(sets)[:, None], tours, following]
    gain = step[:, :, None] + step[:, None] - costs[every, tours[:, :, None], tours[:, None]]
    gain -= costs[every, following[:, :, None], following[:, None]]
    gain[:, ~np.triu(np.ones((count, count), dtype=bool), 1)] = 0.0
    best = gain.reshape(sets, -1).argmax(1)
    better = np.flatnonzero(gain.reshape(sets, -1)[np.arange(sets), best] > LEAST_GAIN * step.sum(1))
    first, last = best[better, None] // count + 1, best[better, None] % count
    place = np.arange(count)
    inside = (place >= first) & (place <= last)
    tours[better] = np.take_along_axis(tours[better], np.where(inside, first + last - place, place), axis=1)
    return len(better) > 0


def _lengths(costs: Floats, tours: Integers) -> Floats:
    return np.asarray(costs[np.arange(len(tours))[:, None], tours, np.roll(tours, -1, axis=1)].sum(1), dtype=np.float64)
