"""What is knotted or tangled, before and after it goes up and comes down; and the same flow forced down without going up.

    python tests/benchmarks/untangle.py --names trefoil --seeds 0 1 2       # about 4 minutes a seed on one core
    python tests/benchmarks/untangle.py --names torus_knot figure_eight_knot hopf spiral wobbly arcs

One curve or two, thickened by .05 of their size and whitened, beside three noise dimensions, through a random diffeomorphism:
12 000 rows; "trefoil" is the planted one (training.planted). Three lines each: *as fitted*; *forced*, the first fit's debiased
flow at the k that untangling reached, without a lift; *untangled*. Columns:

- k, the shape's name, Betti numbers at mass .9, verdict and bound of the certificate on held-out rows;
- winding of each closed curve about its middle, by the planted parameter, and how often the polygon of the 60 mean positions
  along it crosses itself or the other, both in the plane of the first two dimensions;
- strangers: share of the ten nearest rows in s that lie more than a sixth of the curve away, or on the other curve.
  (The verdict's own share knows no curve: it counts rows that lay far apart in s before.)
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from itertools import combinations

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

ROWS, NOISE_DIMS, BINS, THICKNESS = 12_000, 3, 60, 0.05
Curve = Callable[[np.ndarray], tuple]


def torus_knot(p: int, q: int) -> Curve:
    return lambda t: (
        (2 + np.cos(q * t)) * np.cos(p * t),
        (2 + np.cos(q * t)) * np.sin(p * t),
        1.5 * np.sin(q * t),
    )


def figure_eight_knot(t: np.ndarray) -> tuple:
    return (2 + np.cos(2 * t)) * np.cos(3 * t), (2 + np.cos(2 * t)) * np.sin(3 * t), np.sin(4 * t)


def wobbly(t: np.ndarray) -> tuple:
    return np.cos(t) + 0.25 * np.sin(7 * t), np.sin(t) + 0.25 * np.cos(6 * t), 0.35 * np.sin(5 * t + 1)


def spiral(t: np.ndarray) -> tuple:
    """Two and a fifth turns of an Archimedean spiral, even in length."""
    turn = np.sqrt(1.0 + 6.2 * t) * 2.6
    return turn * np.cos(turn), turn * np.sin(turn)


def arc(side: int) -> Curve:
    """One of two half moons that reach into one another."""
    return lambda t: (np.cos(t / 2) * side + 0.5 * (side < 0), np.sin(t / 2) * side + 0.25 * (side < 0))


SETS: dict[str, tuple[Sequence[Curve], bool]] = {  # curves, and whether they are closed
    "torus_knot": ([torus_knot(2, 5)], True),
    "figure_eight_knot": ([figure_eight_knot], True),
    "hopf": ([lambda t: (np.cos(t), np.sin(t), 0 * t), lambda t: (1 + np.cos(t), 0 * t, np.sin(t))], True),
    "wobbly": ([wobbly], True),
    "spiral": ([spiral], False),
    "arcs": ([arc(1), arc(-1)], False),
}


def draw(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Rows (n, D), the parameter (n,) of each in [0, 1), its curve (n,), and whether curves are closed."""
    import torch

    from flows.diffeo import RandomDiffeo
    from training.data.planting import planted

    if name == "trefoil":
        made = planted("trefoil", ROWS, NOISE_DIMS, seed)
        return made.x.numpy(), made.angles[:, 0].numpy() / (2 * math.pi), made.labels.numpy(), True
    curves, closed = SETS[name]
    rng = np.random.default_rng(seed)
    t, which = rng.uniform(size=ROWS), rng.integers(len(curves), size=ROWS)
    every = np.stack([np.stack(curve(2 * math.pi * t), axis=1) for curve in curves])
    points = every[which, np.arange(ROWS)]
    points = points + THICKNESS * points.std() * rng.normal(size=points.shape)
    points = (points - points.mean(0)) / points.std(0)
    clean = torch.from_numpy(np.c_[points, rng.normal(size=(ROWS, NOISE_DIMS))])
    return RandomDiffeo(clean.shape[1], seed)(clean).float().numpy(), t, which, closed


def strangers(s: np.ndarray, t: np.ndarray, which: np.ndarray, closed: bool) -> float:
    from scipy.spatial import cKDTree

    near = cKDTree(s).query(s, 11)[1][:, 1:]
    apart = np.abs(t[near] - t[:, None])
    apart = np.minimum(apart, 1 - apart) if closed else apart
    return float(((apart > 1 / 6) | (which[near] != which[:, None])).mean())


def polygons(s: np.ndarray, t: np.ndarray, which: np.ndarray) -> list[np.ndarray]:
    """The 60 mean positions (60, 2) along each curve, in the first two dimensions of s."""
    flat = s[:, :2] if s.shape[1] > 1 else np.c_[s, t]
    found = []
    for label in np.unique(which):
        mine = which == label
        place = (t[mine] * BINS).astype(int)
        found.append(np.stack([flat[mine][place == b].mean(0) for b in range(BINS)]))
    return found


def winding(polygon: np.ndarray) -> float:
    turns = np.angle(np.exp(1j * np.diff(np.arctan2(*(np.r_[polygon, polygon[:1]] - polygon.mean(0)).T))))
    return float(turns.sum() / (2 * math.pi))


def crossings(found: list[np.ndarray], closed: bool) -> int:
    """Pairs of edges, of one polygon or two, that cross."""
    edges = []
    for polygon in found:
        loop = np.r_[polygon, polygon[:1]] if closed else polygon
        edges += list(zip(loop[:-1], loop[1:], strict=True))

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float(np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])))

    return sum(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )


def line(what: str, analyzer, t: np.ndarray, which: np.ndarray, closed: bool, seconds: float) -> str:  # type: ignore[no-untyped-def]
    """One row of the table."""
    s, k = analyzer.s, analyzer.structure_dim
    if not k:
        return f"  {what:10} k 0"
    betti, certificate, shape = analyzer.levels().betti(0.9), analyzer.certificate(), analyzer.describe()
    found = polygons(s, t, which)
    plane = (
        f"winding {', '.join(f'{winding(p):+.0f}' for p in found)}, crossings {crossings(found, closed)}"
        if k == 2
        else "-"
    )
    bound = f"{certificate.verdict} (bound {certificate.lower_bound:.3f}, delta {certificate.delta:g})"
    return (
        f"  {what:10} k {k}  {shape.kind:14} {shape.confidence:.2f}  betti {betti!s:10} {bound:50} {plane:28} "
        f"strangers {strangers(s, t, which, closed):.3f}  {seconds:.0f} s"
    )


def one(name: str, seed: int) -> None:
    import torch

    import training
    from analysis.analyzer import Analyzer
    from training.untangling.untangle import lifted, structure

    x, t, which, closed = draw(name, seed)
    started = time.perf_counter()
    result = training.fit(x, seed=seed)
    fitted = time.perf_counter() - started
    held = np.zeros(len(x), dtype=bool)
    held[result.held_out] = True
    print(f"{name} seed {seed}", flush=True)
    print(line("as fitted", Analyzer(result.flow, x, is_held_out=held), t, which, closed, fitted), flush=True)
    if not result.structure_dim:
        return
    started = time.perf_counter()
    found = training.untangle(result.flow, x, seed)
    seconds = time.perf_counter() - started
    if found.flow is None or found.result is None:
        print(f"  {found.verdict()}", flush=True)
        return
    print(f"  {found.verdict()}", flush=True)
    k = found.result.structure_dim
    if k in result.snapshots:
        print(line("forced", Analyzer(result.snapshots[k], x, is_held_out=held), t, which, closed, 0), flush=True)
    rows = lifted(found.flow.lift, structure(result.flow, torch.from_numpy(x)))
    held = np.zeros(len(x), dtype=bool)
    held[found.result.held_out] = True
    print(line("untangled", Analyzer(found.result.flow, rows, is_held_out=held), t, which, closed, seconds), flush=True)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=["trefoil", *SETS], choices=["trefoil", *SETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        for seed in given.seeds:
            one(name, seed)


if __name__ == "__main__":
    main()
