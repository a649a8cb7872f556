"""How centres lie: false alarms of `arrangement` on class means without an order, and planted ways, grids, tori and trees.

    python tests/benchmarks/arrangements.py nothing      200 sets of class means without an order
    python tests/benchmarks/arrangements.py ways         arcs, rings and lines, even and uneven
    python tests/benchmarks/arrangements.py graphs       grids, tori and trees at three sizes of noise
    python tests/benchmarks/arrangements.py filling      pieces on a ring, and continuous rings cut into classes

Noise of `graphs` is the length of the noise vector in steps between neighbours.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from analysis.pieces.arrangement import arrangement


def said(draw: Callable[[np.random.Generator, int], np.ndarray], draws: int, seed: int) -> str:
    """What so many sets of centres are called, commonest first."""
    rng = np.random.default_rng(seed)
    sets = (draw(rng, number) for number in range(draws))
    kinds = Counter(arrangement(x, np.arange(len(x)), seed=number).kind for number, x in enumerate(sets))
    return f"{draws} draws: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def without_order(rng: np.random.Generator, draw: int) -> np.ndarray:
    """5 to 20 classes in 3 to 50 dimensions, three spectra in turn."""
    count, dims = int(rng.integers(5, 21)), int(rng.integers(3, 51))
    spectrum = (np.ones(dims), 1 / np.arange(1, dims + 1), np.exp(-np.arange(dims) / 2))[draw % 3]
    return rng.normal(size=(count, dims)) * spectrum


def along(degrees: float, least: int, most: int, noise: float = 0.03, even: bool = True) -> Callable:
    """Centres on an arc, both ends included, or on a ring of radius 1; evenly, or at random places."""

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        count = int(rng.integers(least, most + 1))
        places = np.linspace(0, 1, count, endpoint=degrees < 360) if even else np.sort(rng.uniform(size=count))
        t = np.deg2rad(degrees) * places
        return np.stack([np.cos(t), np.sin(t)], axis=1) + noise * rng.normal(size=(count, 2))

    return draw


def line(rng: np.random.Generator, number: int) -> np.ndarray:
    """8 to 20 centres on a line in ten dimensions, noise a fifth of a step."""
    count = int(rng.integers(8, 21))
    return np.arange(count)[:, None] * np.eye(10)[0] + 0.2 / np.sqrt(10) * rng.normal(size=(count, 10))


def grid(rng: np.random.Generator) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(4), np.arange(5.0)), axis=-1).reshape(-1, 2)


def torus(rng: np.random.Generator) -> np.ndarray:
    """6 x 6 in four dimensions; steps of 1."""
    t, p = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2).T * np.pi / 3
    return np.stack([np.cos(t), np.sin(t), np.cos(p), np.sin(p)], axis=1)


def tree(rng: np.random.Generator) -> np.ndarray:
    """Binary, of depth 3, all 15 nodes: each a step of length 1 in a random direction of 50 from its parent."""
    steps = rng.normal(size=(15, 50)) / np.sqrt(50)
    for node in range(1, 15):
        steps[node] += steps[(node - 1) // 2]
    return steps


def thrown(shape: Callable, noise: float) -> Callable:
    """Centres turned into fifty dimensions at random, with noise."""

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        points = shape(rng)
        axes = np.linalg.qr(rng.normal(size=(50, points.shape[1])))[0]
        return points @ axes.T + noise / np.sqrt(50) * rng.normal(size=(len(points), 50))

    return draw


def nothing(given: argparse.Namespace) -> None:
    print(f"no order, {said(without_order, 200, given.seed)}")


def ways(given: argparse.Namespace) -> None:
    rows = {
        "arc of 270 degrees, 8 to 20 centres": (along(270, 8, 20), 50),
        "arc of 330 degrees, 8 to 14 centres": (along(330, 8, 14), 30),
        "arc of 330 degrees, 15 to 20 centres": (along(330, 15, 20), 30),
        "arc of 330 degrees, 21 to 30 centres": (along(330, 21, 30), 20),
        "even ring, 8 to 20 centres": (along(360, 8, 20), 50),
        "even ring, 8 to 20 centres, noise .1": (along(360, 8, 20, 0.1), 30),
        "ring, 8 to 20 centres anywhere": (along(360, 8, 20, even=False), 30),
        "line, 8 to 20 centres": (line, 30),
    }
    for name, (draw, draws) in rows.items():
        print(f"{name}, {said(draw, draws, given.seed)}", flush=True)


def graphs(given: argparse.Namespace) -> None:
    for shape in (grid, torus, tree):
        for noise in (0.1, 0.3, 0.5):
            print(f"{shape.__name__}, noise {noise}, {said(thrown(shape, noise), 5, given.seed)}", flush=True)


def filling(given: argparse.Namespace) -> None:
    """Twelve classes of 60 rows in 20 dimensions: pieces of a given width (in steps), and a ring cut at random or evenly."""
    rng = np.random.default_rng(given.seed)
    at = np.arange(12)
    for width in (0.1, 0.2, 0.3, 0.5, "continuous"):
        for draw in range(3):
            labels = np.repeat(at, 60)
            spread = rng.uniform(-0.5, 0.5, 720) if width == "continuous" else width * rng.normal(size=720)
            t = (labels + spread) * np.pi / 6
            rows = np.pad(np.stack([np.cos(t), np.sin(t)], axis=1), ((0, 0), (0, 18))) + 0.05 * rng.normal(
                size=(720, 20)
            )
            found = arrangement(rows, labels, seed=draw)
            print(f"width {width}: {found.kind}, {found.filling!r}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = {"nothing": nothing, "ways": ways, "graphs": graphs, "filling": filling}
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    verbs[given.verb](given)


if __name__ == "__main__":
    main()
