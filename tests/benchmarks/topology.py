"""Shapes named by `Analyzer.describe`: planted runs, clouds of known shape, knots and links, grid cells, time and memory.

    python tests/benchmarks/planted.py --noise-dims 3 10 --seeds 0 1 2 --jobs 2 --save suite
    python tests/benchmarks/topology.py suite suite --jobs 2    every planted run: its name, and angles against the planted ones
    python tests/benchmarks/topology.py shapes                  tubes of known shape, three seeds; ripser on the clean shape
    python tests/benchmarks/topology.py curves                  knots, unknots and links, three seeds
    python tests/benchmarks/topology.py cells                   a simulated module of grid cells
    python tests/benchmarks/topology.py angle runs/rotated-digits    the ring of that preset's run, on held-out images
    python tests/benchmarks/topology.py cost                    seconds and memory at 2 000 and 20 000 rows
    python tests/benchmarks/topology.py null                    the constants of analysis/topology/homology.py

Angles are compared on 40 000 fresh rows of the same cloud by the correlation |mean exp i(a - b)| - |mean exp i(a + b)|, in
absolute value: 1 where one is the other but for phase and direction, 0 where they are independent (uniform angles). By chance
one of the two terms is .9 / sqrt(rows) where it should be 0: .014 on 4 000 rows, .004 on 40 000. Beside it stands what a probe
gets, the best that any coordinate can: it is told the planted angles of the rows (nearest neighbours in s, ranks made even).
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import shapes

FRESH_ROWS = 40_000
NEIGHBOURS = 60  # of the probe

EXPECTED = {
    "gaussian": "nothing",
    "two": "2 blob",
    "three": "3 blob",
    "circle": "circle",
    "figure_eight": "figure eight",
    "torus": "torus",
    "sphere": "sphere",
    "linked_circles": "link",
    "trefoil": "knot",
}


def circular_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """See above."""
    return float(abs(abs(np.exp(1j * (a - b)).mean()) - abs(np.exp(1j * (a + b)).mean())))


def best_match(found: np.ndarray, true: np.ndarray) -> list[float]:
    """Correlation of each true angle (n, j) with the found one (n, l) that the best assignment gives it."""
    if found.shape[1] < true.shape[1]:
        return [0.0] * true.shape[1]
    table = np.array([[circular_correlation(f, t) for t in true.T] for f in found.T])
    orders = itertools.permutations(range(found.shape[1]), true.shape[1])
    return max(([float(table[f, t]) for t, f in enumerate(order)] for order in orders), key=sum)


def probed(s: np.ndarray, angles: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Angles (m, j) at fresh rows by a probe fitted to known ones; each runs evenly over the rows, as ours do."""
    from sklearn.neighbors import KNeighborsRegressor

    means = (
        KNeighborsRegressor(NEIGHBOURS).fit(s, np.concatenate([np.cos(angles), np.sin(angles)], axis=1)).predict(fresh)
    )
    found = np.arctan2(means[:, angles.shape[1] :], means[:, : angles.shape[1]])
    return 2 * math.pi * np.argsort(np.argsort(found, axis=0), axis=0) / len(found)


def one_run(folder: str) -> dict:
    """Name one saved planted run."""
    import torch

    import flows
    import training
    from analysis.analyzer import Analyzer, Nothing

    torch.set_num_threads(1)
    fitted = json.loads((Path(folder) / "row.json").read_text(encoding="utf8"))
    name, noise_dims, seed = fitted["name"], fitted["noise_dims"], fitted["seed"]
    made = training.planted(name, fitted["rows"], noise_dims, seed)
    analyzer = Analyzer(flows.load(folder), made.x)
    started = time.process_time()
    described, loops = analyzer.describe(), analyzer.loops()
    row = {
        "run": f"{name} x {noise_dims} seed {seed}",
        "k_right": analyzer.structure_dim == made.structure_dim,
        "expected": EXPECTED[name],
        "found": "nothing" if isinstance(described, Nothing) else described.kind,
        "confidence": 1.0 if isinstance(described, Nothing) else described.confidence,
        "loops": 0 if isinstance(loops, Nothing) else len(loops),
        "loopless": name in ("gaussian", "two", "three"),
        "seconds": time.process_time() - started,
        "angles": [],
        "probes": [],
        "says": repr(described).splitlines(),
    }
    if name == "trefoil" and row["found"] == "knot":
        row["found"] = "knot" if described.pieces[0].knot.polynomial == (1, -1, 1) else "another knot"
    if made.angles.shape[1] and not isinstance(described, Nothing) and len(described.pieces) == 1:
        fresh = training.planted(name, FRESH_ROWS, noise_dims, seed)
        s, true = analyzer.flow.encode(fresh.x).double().numpy(), fresh.angles.numpy()
        row["angles"] = best_match(loops.angles(s), true)
        best = probed(analyzer.s, made.angles.numpy(), s)
        row["probes"] = [circular_correlation(a, b) for a, b in zip(best.T, true.T, strict=True)]
    return row


def suite(given: argparse.Namespace) -> None:
    folders = [str(p) for p in sorted(Path(given.folder).iterdir()) if (p / "row.json").is_file()]
    parts = [(path, *Path(path).name.rsplit("-", 2)) for path in folders]
    folders = [
        path
        for path, name, noise_dims, seed in parts
        if name in EXPECTED and int(noise_dims) in given.noise_dims and int(seed) in given.seeds
    ]
    rows = []
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for row in pool.imap_unordered(one_run, folders):
            rows.append(row)
            right = "right" if row["found"] == row["expected"] else f"WRONG, {row['expected']}"
            pairs = zip(row["angles"], row["probes"], strict=True)
            angles = ", ".join(f"{a:.3f} (probe {p:.3f})" for a, p in pairs)
            print(
                f"{row['run']:28} k {'right' if row['k_right'] else 'WRONG'}  {row['found']:14} "
                f"{row['confidence']:.2f}  {right}  {row['seconds']:.0f} s  {angles and 'angles ' + angles}",
                flush=True,
            )
            if right != "right":
                print(*(f"      {line}" for line in row["says"]), sep="\n", flush=True)
    for label, some in (("all", rows), ("where k was right", [row for row in rows if row["k_right"]])):
        right = sum(row["found"] == row["expected"] for row in some)
        print(f"type right, {label}: {right} of {len(some)}, {right / max(len(some), 1):.0%}")
    false = [row["run"] for row in rows if row["loopless"] and row["loops"]]
    print(f"loops on gaussian, two, three: {', '.join(false) or 'none'}")


def shape_table(given: argparse.Namespace) -> None:
    from analysis import Analyzer
    from analysis.topology.homology import diagram
    from flows.geometry.landmarks import maxmin

    right = 0
    for name, (draw, kind, thickness) in shapes.SHAPES.items():
        rng = np.random.default_rng(0)
        clean = draw(4000, rng)
        chosen, cover = maxmin(clean, 400, rng)
        numbers = tuple(
            diagram(clean[chosen], degree, 2, math.inf if degree == 1 else 5 * cover).count(0.05) for degree in (1, 2)
        )
        said = []
        for seed in given.seeds:
            found = Analyzer.from_structure(shapes.cloud(draw, given.rows, seed, thickness), seed=seed).describe()
            said.append(f"{found.kind} {found.confidence:.2f}")
            right += found.kind == kind
        print(f"{name:22} ripser on it clean (1, {numbers[0]}, {numbers[1]})  called {'; '.join(said)}", flush=True)
    print(f"right: {right} of {len(shapes.SHAPES) * len(given.seeds)}")


def curve_table(given: argparse.Namespace) -> None:
    from analysis import Analyzer

    for name, (draw, kind, thickness) in shapes.CURVES.items():
        for seed in given.seeds:
            analyzer = Analyzer.from_structure(shapes.cloud(draw, given.rows, seed, thickness), seed=seed)
            started = time.process_time()
            described = analyzer.describe()
            right = "right" if described.kind == kind else "WRONG"
            print(
                f"{name:18} seed {seed}  {right}  {described.kind}  {time.process_time() - started:.0f} s", flush=True
            )
            for named in described.pieces:
                print(f"      {named.knot!r}" if named.knot else f"      {named!r}")
            loops = analyzer.loops()
            if len(described.pieces) == 2 and len(loops) == 2:
                print(f"      {analyzer.linking(0, 1)!r}", flush=True)


def cell_table(given: argparse.Namespace) -> None:
    from sklearn.decomposition import PCA

    from analysis import Analyzer

    for seed in given.seeds:
        counts, phases = shapes.grid_cells(given.rows + 2000, seed)
        points = PCA(6, random_state=0).fit_transform(np.sqrt(counts))
        analyzer = Analyzer.from_structure(points[: given.rows], seed=seed)
        described, loops = analyzer.describe(), analyzer.loops()
        betti = {p: reading.betti for p, (reading, *_) in enumerate(loops.survey.readings) if reading}
        true = np.column_stack([phases, phases[:, 0] - phases[:, 1], phases[:, 0] + phases[:, 1]])[given.rows :]
        angles = loops.angles(points[given.rows :])
        best = [max(circular_correlation(a, t) for t in true.T) for a in angles.T]
        print(f"seed {seed}: {described.kind} {described.confidence:.2f}, betti over Z/2 and Z/3 {betti}")
        print(
            f"      each found angle against the nearest of the lattice's: {', '.join(f'{b:.3f}' for b in best)}",
            flush=True,
        )


def angle_table(given: argparse.Namespace) -> None:
    """The ring is found on training rows, without an angle; its angle is compared on rows of images that were held out."""
    import torch
    from safetensors.torch import load_file

    import flows
    from analysis.analyzer import Analyzer, Nothing

    torch.set_num_threads(1)
    kept, flow = load_file(Path(given.folder) / "data.safetensors"), flows.load(given.folder)
    analyzer = Analyzer(flow, kept["train.x"])
    loops = analyzer.loops()
    print(analyzer.describe(), loops, sep="\n")
    if not isinstance(loops, Nothing) and len(loops):
        s, true = flow.encode(kept["held_out.x"]).double().numpy(), kept["held_out.targets"][:, 0].double().numpy()
        best = probed(analyzer.s, kept["train.targets"][:, :1].double().numpy(), s)[:, 0]
        found = max(circular_correlation(angle, true) for angle in loops.angles(s).T)
        print(
            f"held-out rows {len(s)}: circular correlation {found:.3f} (probe {circular_correlation(best, true):.3f})"
        )


def cost_table(given: argparse.Namespace) -> None:
    from analysis import Analyzer

    for draw in (shapes.torus, shapes.trefoil):
        for rows in (2_000, 20_000):
            analyzer = Analyzer.from_structure(shapes.cloud(draw, rows, 0, 0.06))
            started, clock = time.process_time(), time.perf_counter()
            analyzer.describe()
            cpu, wall = time.process_time() - started, time.perf_counter() - clock
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            name = "torus" if draw is shapes.torus else "trefoil"
            print(
                f"{name:8} {rows:6} rows  {cpu:5.1f} s of one core, {wall:5.1f} s by the clock, peak {peak:.0f} MiB",
                flush=True,
            )


def null_table(given: argparse.Namespace) -> None:
    """Location and scale of the Gumbel law of the largest log log(death / birth) of a blob's landmarks."""
    from ripser import ripser

    from flows.geometry.landmarks import maxmin

    rng = np.random.default_rng(0)
    for degree, dims, landmarks, repeats in ((1, 2, 200, 150), (1, 2, 300, 60), (2, 3, 150, 60), (2, 3, 200, 20)):
        largest = []
        for _ in range(repeats):
            rows = rng.normal(size=(int(4 * landmarks / 0.9), dims))
            rows = rows[np.argsort((rows**2).sum(1))[: 4 * landmarks]]
            chosen, _ = maxmin(rows, landmarks, rng)
            bars = ripser(rows[chosen], maxdim=degree)["dgms"][degree]
            bars = bars[np.isfinite(bars[:, 1])]
            largest.append(np.log(np.log(bars[:, 1] / bars[:, 0])).max())
        scale = math.sqrt(6) / math.pi * np.std(largest)
        location = np.mean(largest) - 0.5772 * scale
        print(f"degree {degree}, {landmarks} landmarks: location {location:.2f}, scale {scale:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = {
        "suite": suite,
        "shapes": shape_table,
        "curves": curve_table,
        "cells": cell_table,
        "angle": angle_table,
        "cost": cost_table,
        "null": null_table,
    }
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("folder", nargs="?", help="of the saved planted runs, for suite; of a run, for angle")
    parser.add_argument("--noise-dims", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    if given.verb in ("suite", "angle") and not given.folder:
        parser.error("suite needs the folder that planted.py --save wrote, angle that of a run")
    verbs[given.verb](given)


if __name__ == "__main__":
    main()
