"""Intrinsic dimension at scale sigma, with TwoNN on the same rows beside it.

    python tests/benchmarks/intrinsic_dimension.py --seeds 3

A circle (radius 1) and a torus (radii 1 and .45), turned at random in R^10, with Gaussian noise of sd .02 and .05 in all ten
coordinates: the dimension within .1 of 1 and 2. Below them clouds without one answer at any scale, where "no plateau" is
legal and a wrong number is not. About half a minute a seed on one core.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from analysis.dimension.intrinsic import intrinsic_dimension, two_nn
from training.data.planting import planted

RADII = (1.0, 0.45)  # of the planted torus


def circle(generator: np.random.Generator, rows: int) -> np.ndarray:
    t = generator.uniform(0, 2 * np.pi, rows)
    return np.c_[np.cos(t), np.sin(t)]


def torus(generator: np.random.Generator, rows: int) -> np.ndarray:
    """Angles uniform, as planted: rows lie closer on the inner side."""
    t, p = generator.uniform(0, 2 * np.pi, (2, rows))
    radius = RADII[0] + RADII[1] * np.cos(p)
    return np.c_[radius * np.cos(t), radius * np.sin(t), RADII[1] * np.sin(p)]


def turned(generator: np.random.Generator, points: np.ndarray, noise: float, dims: int = 10) -> np.ndarray:
    """Points in a random ``points.shape[1]``-dimensional subspace of R^dims, with noise in all coordinates."""
    basis = np.linalg.qr(generator.normal(size=(dims, points.shape[1])))[0]
    return points @ basis.T + noise * generator.normal(size=(len(points), dims))


def clouds(seed: int, rows: int) -> list[tuple[str, str, np.ndarray]]:
    """Name, truth, rows."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape)

    ends = generator.choice([-1.0, 1.0], (rows, 1))
    return [
        ("circle in R^10, noise .02", "1", turned(generator, circle(generator, rows), 0.02)),
        ("circle in R^10, noise .05", "1", turned(generator, circle(generator, rows), 0.05)),
        ("torus in R^10, noise .02", "2", turned(generator, torus(generator, rows), 0.02)),
        ("torus in R^10, noise .05", "2", turned(generator, torus(generator, rows), 0.05)),
        ("torus .02, a quarter of the rows", "2", turned(generator, torus(generator, rows // 4), 0.02)),
        ("planted circle, 3 unit noise dims", "none or 4", planted("circle", rows, 3, seed).x.numpy()),
        ("planted torus, 10 unit noise dims", "none or 13", planted("torus", rows, 10, seed).x.numpy()),
        ("Gaussian in R^5", "none or 5", normal(rows, 5)),
        ("Gaussian in R^20, 1000 rows", "none or 20", normal(1000, 20)),
        ("Gaussian, sds .7^0 to .7^7", "none", normal(rows, 8) * 0.7 ** np.arange(8)),
        ("two clusters, sd .25 in the plane", "none or 2", np.c_[ends, 0 * ends] + 0.25 * normal(rows, 2)),
        ("two clusters, sd .02 in R^10", "0", turned(generator, ends, 0.02)),
    ]


def line(name: str, truth: str, x: np.ndarray, seed: int) -> str:
    began = time.process_time()
    found = intrinsic_dimension(x, seed=seed)
    seconds = time.process_time() - began
    if found.plateau:
        answer = f"{found.dimension:5.2f} ± {found.error:.2f}  {found.plateau[0]:.3f} to {found.plateau[1]:.3f}"
    else:
        sure = found.sigmas[found.trusted]
        span = f"{found.curve[found.trusted][0]:.1f} at {sure[0]:.2g}, falling" if len(sure) else "too few rows"
        answer = f"none ({span})"
    noise = "" if np.isnan(found.noise_floor) else f"{found.noise_floor:.3f}"
    return f"{name:34} {len(x):6} {truth:>10}  {answer:30} {noise:>6} {two_nn(x):6.2f} {seconds:5.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=12_000)
    given = parser.parse_args()
    print(
        f"{'cloud':34} {'rows':>6} {'truth':>10}  {'ID(sigma) and its plateau':30} {'noise':>6} {'TwoNN':>6} {'CPU s':>5}"
    )
    for seed in range(given.seeds):
        for name, truth, x in clouds(seed, given.rows):
            print(line(name, truth, x, seed), flush=True)


if __name__ == "__main__":
    main()
