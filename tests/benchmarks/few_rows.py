"""Few rows and thin places: loops where there are none, rings of 150 to 1000 rows, rings that are filled unevenly.

    python tests/benchmarks/few_rows.py null       clouds without a loop: how often loops() and the support find one
    python tests/benchmarks/few_rows.py rings      rings of few rows, alone and next to a blob, and arcs
    python tests/benchmarks/few_rows.py uneven     rings filled unevenly: both answers, of the support and of the densest rows

Limits were chosen on seeds below 1000; figures are of `--first 1000`.
"""

import argparse
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

ROWS = (150, 300, 600, 1000)
LOOPY = ("circle", "figure eight", "theta curve", "bouquet", "knot", "torus", "Klein bottle", "link")
Draw = Callable[[int, int, np.random.Generator], np.ndarray]


def clusters(count: int, dims: int, rng: np.random.Generator) -> np.ndarray:
    """Three to seven Gaussians of different widths."""
    many = int(rng.integers(3, 8))
    centres, widths = 2.5 * rng.normal(size=(many, dims)), rng.uniform(0.3, 1, many)
    which = rng.integers(many, size=count)
    return centres[which] + widths[which, None] * rng.normal(size=(count, dims))


def fan(count: int, dims: int, rng: np.random.Generator) -> np.ndarray:
    """A line whose noise grows along it, tenfold."""
    along = rng.uniform(0, 4, count)
    return np.column_stack([along, (0.1 + 0.25 * along)[:, None] * rng.normal(size=(count, dims - 1))])


def bent(count: int, dims: int, rng: np.random.Generator, turn: float = 1.0) -> np.ndarray:
    """An arc of so many half turns with noise .15."""
    angle = rng.uniform(0, turn * np.pi, count)
    flat = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.pad(flat, ((0, 0), (0, dims - 2))) + 0.15 * rng.normal(size=(count, dims))


NULLS: dict[str, Draw] = {
    "Gaussian": lambda n, k, rng: rng.normal(size=(n, k)),
    "uniform": lambda n, k, rng: rng.uniform(-1, 1, size=(n, k)),
    "clusters": clusters,
    "skew": lambda n, k, rng: rng.gamma(0.7, size=(n, k)),
    "log-normal": lambda n, k, rng: np.exp(rng.normal(size=(n, k))),
    "Student t, 2": lambda n, k, rng: rng.standard_t(2, size=(n, k)),
    "fan": fan,
    "half ring": bent,
}


def ring(count: int, dims: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.pad(np.stack([np.cos(angle), np.sin(angle)], 1), ((0, 0), (0, dims - 2))) + noise * rng.normal(
        size=(count, dims)
    )


def next_to_a_blob(count: int, dims: int, rng: np.random.Generator) -> np.ndarray:
    """Two thirds of the rows on a ring, one third in a blob four radii away."""
    blob = 0.4 * rng.normal(size=(count // 3, dims))
    blob[:, 0] += 4
    return rng.permutation(np.concatenate([ring(count - count // 3, dims, rng, 0.15), blob]))


RINGS: dict[str, Draw] = {
    "ring, noise .08": lambda n, k, rng: ring(n, k, rng, 0.08),
    "ring, noise .15": lambda n, k, rng: ring(n, k, rng, 0.15),
    "ring, noise .25": lambda n, k, rng: ring(n, k, rng, 0.25),
    "ring next to a blob": next_to_a_blob,
    "arc of 180 degrees": lambda n, k, rng: bent(n, k, rng, 1.0),
    "arc of 270 degrees": lambda n, k, rng: bent(n, k, rng, 1.5),
}


def angles_filled(count: int, rng: np.random.Generator, thin: float | None, kappa: float) -> np.ndarray:
    """Angles with a quarter of the way at ``thin`` of the mean density, or von Mises."""
    if thin is None:
        return rng.vonmises(np.pi, kappa, count)
    inside = rng.random(count) < thin / 4
    return np.where(inside, rng.uniform(-np.pi / 4, np.pi / 4, count), rng.uniform(np.pi / 4, 7 * np.pi / 4, count))


def uneven(thin: float | None, kappa: float = 0.0, noise: float = 0.1) -> Draw:
    def draw(count: int, dims: int, rng: np.random.Generator) -> np.ndarray:
        angle = angles_filled(count, rng, thin, kappa)
        return np.pad(np.stack([np.cos(angle), np.sin(angle)], 1), ((0, 0), (0, dims - 2))) + noise * rng.normal(
            size=(count, dims)
        )

    return draw


UNEVEN: dict[str, Draw] = {
    "a quarter at 1/4": uneven(1 / 4),
    "a quarter at 1/10": uneven(1 / 10),
    "a quarter at 1/40": uneven(1 / 40),
    "a quarter empty": uneven(0.0),
    "von Mises, kappa 1": uneven(None, 1.0),
    "von Mises, kappa 2": uneven(None, 2.0),
}


def clouds(
    draws: dict[str, Draw], each: int, first: int, rows: tuple[int, ...]
) -> Iterator[tuple[str, list[tuple[int, np.ndarray]]]]:
    """Of each kind so many clouds with their seeds, rows and dimensions (2, 3) in turn."""
    settings = list(itertools.product(rows, (2, 3)))
    for name, draw in draws.items():
        made = []
        for seed in range(first, first + each):
            count, dims = settings[seed % len(settings)]
            made.append((seed, draw(count, dims, np.random.default_rng([seed, len(name)]))))
        yield name, made


def null_table(given: argparse.Namespace) -> None:
    """Of each kind: clouds with a loop at p <= .05, listed by loops(), in a name, or in the support."""
    from analysis import Analyzer

    total: Counter[str] = Counter()
    for name, made in clouds(NULLS, given.each, given.first, ROWS):
        seen: Counter[str] = Counter()
        for seed, rows in made:
            described = Analyzer.from_structure(rows, seed=seed).describe()
            sure = described.support is not None and described.support.is_sure and described.support.betti[2][1] > 0
            seen["p <= .05"] += least_p(described.found) <= 0.05
            seen["listed"] += len(described.found) > 0
            seen["named"] += any(piece.kind in LOOPY and piece.confidence > 0.5 for piece in described.pieces)
            seen["support"] += bool(sure)
        total += seen
        print(f"{name:14} of {len(made)}: " + ", ".join(f"{count} {what}" for what, count in seen.items()), flush=True)
    print(f"all of {given.each * len(NULLS)}: " + ", ".join(f"{count} {what}" for what, count in total.items()))


def least_p(found: object) -> float:
    """Of the strongest loop of any part, its p-value in the median draw, times the parts that are looked at."""
    strongest = [
        float(np.median([r.loops.bars[0].p_value if r.loops.bars else 1.0 for r in readings]))
        for readings in found.survey.readings  # type: ignore[attr-defined]
        if readings
    ]
    return min([1.0, *(len(strongest) * p_value for p_value in strongest)])


def ring_table(given: argparse.Namespace) -> None:
    """What describe() calls rings and arcs, with confidence."""
    _named(RINGS, given, ROWS)


def uneven_table(given: argparse.Namespace) -> None:
    _named(UNEVEN, given, (600, 2000))


def _named(draws: dict[str, Draw], given: argparse.Namespace, rows: tuple[int, ...]) -> None:
    from analysis import Analyzer

    for name, made in clouds(draws, given.each, given.first, rows):
        said: Counter[str] = Counter()
        started = time.process_time()
        for seed, points in made:
            described = Analyzer.from_structure(points, seed=seed).describe()
            how = "" if described.confidence > 0.5 else " (at most .5)"
            said[described.kind + how] += 1
            if given.verbose:
                print(f"    seed {seed}, {points.shape}: {described!r}", flush=True)
        each = (time.process_time() - started) / len(made)
        print(
            f"{name:20} of {len(made)}: " + ", ".join(f"{c} {w}" for w, c in said.most_common()) + f"; {each:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = {"null": null_table, "rings": ring_table, "uneven": uneven_table}
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--each", type=int, default=40, help="clouds of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--verbose", action="store_true", help="print every answer")
    given = parser.parse_args()
    verbs[given.verb](given)


if __name__ == "__main__":
    main()
