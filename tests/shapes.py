"""Point clouds whose shape is known: curves, surfaces, knots and links as tubes of Gaussian thickness."""

import math

import numpy as np
from scipy.spatial.transform import Rotation


def _turn(count, rng, times=1):
    return rng.uniform(0, 2 * math.pi, (times, count)) if times > 1 else rng.uniform(0, 2 * math.pi, count)


def circle(count, rng):
    t = _turn(count, rng)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def arc(count, rng):
    t = rng.uniform(0, 1.3 * math.pi, count)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def blob(count, rng):
    return rng.normal(size=(count, 2)) * [1, 0.6]


def figure_eight(count, rng):
    side, points = rng.integers(2, size=count) * 2 - 1, circle(count, rng)
    return np.stack([side * (1 + points[:, 0]), points[:, 1]], axis=1)


def theta(count, rng):
    """A circle and its diameter, evenly."""
    points, along = circle(count, rng), rng.uniform(-1, 1, count)
    on_diameter = rng.random(count) < 2 / (2 + 2 * math.pi)
    return np.where(on_diameter[:, None], np.stack([along, 0 * along], axis=1), points)


def tree(count, rng):
    """Three arms from one point."""
    arm, out = rng.integers(3, size=count), rng.uniform(0, 1.5, count)
    angle = 2 * math.pi / 3 * arm
    return np.stack([out * np.cos(angle), out * np.sin(angle)], axis=1)


def sphere(count, rng):
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def torus(count, rng):
    t, p = _turn(count, rng, 2)
    radius = 1 + 0.45 * np.cos(p)
    return np.stack([radius * np.cos(t), radius * np.sin(t), 0.45 * np.sin(p)], axis=1)


def flat_torus(count, rng):
    t, p = _turn(count, rng, 2)
    return np.stack([np.cos(t), np.sin(t), np.cos(p), np.sin(p)], axis=1)


def klein_bottle(count, rng):
    """In four dimensions, where it does not meet itself."""
    t, p = _turn(count, rng, 2)
    radius = 2 + np.cos(p)
    across = np.sin(p)[:, None] * np.stack([np.cos(t / 2), np.sin(t / 2)], axis=1)
    return np.concatenate([radius[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1), 1.3 * across], axis=1) / 2


def sphere_with_two_loops(count, rng):
    """Two circles and a sphere that touch: the Betti numbers of a torus, and no torus."""
    share = rng.random(count)
    ring = 0.9 * circle(count, rng)
    loop, aside = np.stack([ring[:, 0], 0 * share, ring[:, 1]], axis=1), np.array([1.9, 0, 0])
    points = np.where((share < 0.7)[:, None], sphere(count, rng), loop + aside)
    return np.where((share > 0.85)[:, None], loop - aside, points)


def curve(*coordinates):
    """Rows evenly in t along a closed curve in space."""

    def draw(count, rng):
        t = _turn(count, rng)
        return np.stack([coordinate(t) for coordinate in coordinates], axis=1)

    return draw


def torus_knot(p, q):
    return curve(
        lambda t: (2 + np.cos(q * t)) * np.cos(p * t),
        lambda t: (2 + np.cos(q * t)) * np.sin(p * t),
        lambda t: 1.5 * np.sin(q * t),
    )


trefoil = torus_knot(2, 3)
figure_eight_knot = curve(
    lambda t: (2 + np.cos(2 * t)) * np.cos(3 * t),
    lambda t: (2 + np.cos(2 * t)) * np.sin(3 * t),
    lambda t: np.sin(4 * t),
)
ring = curve(np.cos, np.sin, lambda t: 0 * t)
wobbly = curve(
    lambda t: np.cos(t) + 0.25 * np.sin(7 * t),
    lambda t: np.sin(t) + 0.25 * np.cos(6 * t),
    lambda t: 0.35 * np.sin(5 * t + 1),
)
coil = torus_knot(1, 5)


def link(distance):
    """Two rings at right angles whose centres are so far apart: linked below 2."""

    def draw(count, rng):
        points = ring(count, rng)
        turned = points @ Rotation.from_euler("x", 90, degrees=True).as_matrix().T + [distance, 0, 0]
        return np.where((rng.random(count) < 0.5)[:, None], points, turned)

    return draw


# name: how rows are drawn, what they are called, and the standard deviation of the tube in units of the cloud's own
SHAPES = {
    "blob": (blob, "blob", 0.05),
    "arc": (arc, "arc", 0.08),
    "tree": (tree, "tree", 0.08),
    "circle": (circle, "circle", 0.15),
    "figure eight": (figure_eight, "figure eight", 0.08),
    "theta": (theta, "theta curve", 0.08),
    "sphere": (sphere, "sphere", 0.1),
    "torus": (torus, "torus", 0.08),
    "flat torus in R^4": (flat_torus, "torus", 0.08),
    "Klein bottle in R^4": (klein_bottle, "Klein bottle", 0.05),
    "sphere with two loops": (sphere_with_two_loops, "unknown", 0.05),
}
CURVES = {
    "trefoil": (trefoil, "knot", 0.06),
    "figure-eight knot": (figure_eight_knot, "knot", 0.06),
    "round unknot": (ring, "circle", 0.06),
    "wobbly unknot": (wobbly, "circle", 0.06),
    "coiled unknot": (coil, "circle", 0.06),
    "Hopf link": (link(1.0), "link", 0.06),
    "split circles": (link(3.5), "2 circle", 0.06),
}


def cloud(draw, count, seed, thickness, turned=True):
    """Rows (count, k) of a shape at unit scale, thickened, turned at random."""
    rng = np.random.default_rng(seed)
    points = draw(count, rng)
    points = (points - points.mean(0)) / points.std()
    points = points + thickness * rng.normal(size=points.shape)
    if turned and points.shape[1] == 3:
        points = points @ Rotation.random(random_state=seed).as_matrix()
    return points


def grid_cells(moments, seed, cells=120, peak=12.0):
    """Spike counts (moments, cells) of one module of grid cells, and the animal's two phases (moments, 2), radians.

    Rates are bumps on a twisted (hexagonal) torus, each cell's at a phase of its own; counts are Poisson.
    """
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * math.pi, (moments, 2))
    centres = rng.uniform(0, 2 * math.pi, (cells, 2))
    one, other = (phases[:, None] - centres[None]).transpose(2, 0, 1)
    height = (np.cos(one) + np.cos(other) + np.cos(one - other)) / 3  # three waves at 60 degrees
    return rng.poisson(peak * np.exp(2.5 * (height - 1))), phases
