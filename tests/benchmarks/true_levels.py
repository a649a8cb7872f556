"""What level sets by mass should read: Betti numbers of the planted structures' own densities, no rows fitted, no flow.

    python tests/benchmarks/true_levels.py                                   # all structures as they are planted
    python tests/benchmarks/true_levels.py --names trefoil --thickness .06   # the same knot, a thinner tube

A structure's density is known: points spread as planted, each blurred by a Gaussian of the planted thickness. It is read on a
fine grid at the masses of 20 000 draws; the second line gives the masses at which loops and voids come and go, the third how
many nats the level of mass .9 is away from the nearest of these. An estimate that is off by more reads something else at .9.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.special import logsumexp

from analysis.density.domains import Grid
from training.data.planting import _SHAPES

MASSES = (0.5, 0.8, 0.9, 0.95)
LEAST = 0.1  # nats; shorter bars come from the grid and from the points
POINTS = 72**3


def centres(name: str) -> np.ndarray:
    """Points (c, k) of the bare structure, evenly spread over its parameters."""
    shape = _SHAPES[name]
    around = np.arange(500) * 2 * np.pi / 500
    if shape.intrinsic_dim == 2:
        t, p = (a.ravel() for a in np.meshgrid(around[::5], around[::5] + np.pi / 100))
    else:
        t, p = around, np.zeros(500)
    pieces = shape.betti[0]
    piece = np.repeat(np.arange(pieces), len(t))
    turned = [torch.from_numpy(np.tile(a, pieces)) for a in (t, p)]
    return shape.embed(torch.from_numpy(piece), *turned).double().numpy()


def log_density(at: np.ndarray, points: np.ndarray, sd: float) -> np.ndarray:
    """Of the mean of Gaussians of that sd about points, up to a constant."""
    out = np.empty(len(at))
    for start in range(0, len(at), 4000):
        x = at[start : start + 4000]
        squares = (x**2).sum(1)[:, None] + (points**2).sum(1) - 2 * x @ points.T
        out[start : start + 4000] = logsumexp(-squares / (2 * sd**2), axis=1)
    return out


def show(name: str, sd: float) -> None:
    points, generator = centres(name), np.random.default_rng(0)
    draws = points[generator.integers(len(points), size=20_000)]
    draws = draws + sd * generator.normal(size=draws.shape)
    heights = np.sort(log_density(draws, points, sd))
    grid = Grid.over(draws.min(0) - sd, draws.max(0) + sd, POINTS if points.shape[1] == 3 else 200**2)
    bars = grid.bars(log_density(grid.points, points, sd).reshape(grid.shape), heights[100], "top_dimensional_cells")
    levels = {mass: float(np.quantile(heights, 1 - mass)) for mass in MASSES}
    read = {mass: bars.betti(level, LEAST, points.shape[1]) for mass, level in levels.items()}
    print(f"{name}, sd {sd:g}: planted {_SHAPES[name].betti}; " + ", ".join(f"{b} at {m:g}" for m, b in read.items()))
    ends = np.concatenate([bars.birth, bars.death[bars.ends]])
    kept = np.concatenate([bars.persistence > LEAST, (bars.persistence > LEAST)[bars.ends]])
    degree = np.concatenate([bars.degree, bars.degree[bars.ends]])
    changes = ends[kept & (degree > 0)]
    masses = sorted(1 - np.searchsorted(heights, changes) / len(heights))
    print(f"    loops and voids come or go at mass {', '.join(f'{m:.3f}' for m in masses) or '-'}")
    if len(changes):
        print(f"    {np.abs(changes - levels[0.9]).min():.2f} nats from the level of mass .9 to the nearest of these")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name, shape in _SHAPES.items() if shape.structure_dim and shape.scored]
    parser.add_argument("--names", nargs="+", default=names, choices=names)
    parser.add_argument("--thickness", type=float, help="sd instead of the planted one")
    given = parser.parse_args()
    for name in given.names:
        show(name, given.thickness or _SHAPES[name].thickness)


if __name__ == "__main__":
    main()
