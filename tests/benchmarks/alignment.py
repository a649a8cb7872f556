"""Alignment without pairs against known answers. Every seed is printed, none is picked.

    python tests/benchmarks/alignment.py groups --seeds 0 1 2 3 4 5 6 7 8 9 --rows 100 300 1000

*groups*: planted arrays (whitened, independent rows on either side, one of them turned by a random orthogonal map) whose symmetry
group is known. Right: the group's name; the true map within 15 degrees of the returned set; "unique" said only where it is.
"""

import argparse
import json
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from analysis import Aligner
from analysis.alignment.rigid import random_map

THICK = 0.08


def o2(rng, n):
    t = rng.uniform(0, 2 * np.pi, n)
    return np.c_[np.cos(t), np.sin(t)]


def t2(rng, n):
    return np.hstack([o2(rng, n), o2(rng, n)])


def z2(rng, n):
    u = rng.uniform(-1, 1, n)
    return np.c_[u, 0.8 * np.sin(np.pi * u)]


def d2(rng, n):
    t = rng.uniform(0, 2 * np.pi, n)
    return np.c_[np.sin(t), np.sin(t) * np.cos(t)]


def d3(rng, n):
    corner = 2 * np.pi / 3 * rng.integers(0, 3, n)
    return 2 / np.sqrt(3) * np.c_[np.cos(corner), np.sin(corner)] + 0.24 * rng.standard_normal((n, 2))


def none(rng, n):
    """An F: no map but the identity keeps it."""
    starts, steps = np.array([[0, 0], [0, 2], [0, 1.0]]), np.array([[0, 2], [1.2, 0], [0.7, 0]])
    bar = rng.choice(3, n, p=[2 / 3.9, 1.2 / 3.9, 0.7 / 3.9])
    return starts[bar] + rng.uniform(0, 1, (n, 1)) * steps[bar]


GROUPS = {"O(2)": o2, "Z2": z2, "D2": d2, "D3": d3, "T2": t2, "trivial": none}


def white(rows):
    """Rows in whitened units, by the covariance of many."""
    rows = rows - rows.mean(0)
    values, axes = np.linalg.eigh(np.cov(rows.T))
    return rows @ (axes / np.sqrt(values)) @ axes.T


def planted_pair(name, n, seed):
    """Two arrays of one shape, and the map between them."""
    rng = np.random.default_rng([seed, n])
    shape = GROUPS[name]
    many = shape(rng, 20_000)
    many = white(many + THICK * rng.standard_normal(many.shape))
    truth = random_map(many.shape[1], many.shape[1], rng)
    return many[:n], many[n : 2 * n] @ truth + rng.standard_normal(many.shape[1]), truth


def off(aligner, truth):
    """Degrees from the truth to the nearest map of the returned set."""
    return min(aligner.symmetry_.distance(truth @ m.matrix.T) for m in aligner.alternatives_)


def groups(given):
    rows = []
    for n in given.rows:
        for name in given.names:
            for seed in given.seeds:
                a, b, truth = planted_pair(name, n, seed)
                started = time.process_time()
                found = Aligner(seed=seed).fit(a, b)
                row = {
                    "name": name,
                    "n": n,
                    "seed": seed,
                    "found": found.symmetry_.name,
                    "own": [g.name for g in found.own_symmetries_],
                    "alternatives": len(found.alternatives_),
                    "off": round(off(found, truth), 1),
                    "unique": found.is_unique_,
                    "score": round(found.score_, 3),
                    "seconds": round(time.process_time() - started, 1),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    print(f"\n{'group':8} " + " ".join(f"{f'n = {n}: named, true map in set, unique':>42}" for n in given.rows))
    for name in given.names:
        cells = []
        for n in given.rows:
            some = [r for r in rows if r["name"] == name and r["n"] == n]
            named, inside = sum(r["found"] == name for r in some), sum(r["off"] <= 15 for r in some)
            cells.append(f"{f'{named}/{len(some)}, {inside}/{len(some)}, ' + str(sum(r['unique'] for r in some)):>42}")
        print(f"{name:8} " + " ".join(cells))
    said = [r for r in rows if r["unique"]]
    right = sum(r["name"] == "trivial" and r["off"] <= 15 for r in said)
    print(
        f"unique said {len(said)} times, right {right}; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("groups")
    one.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    one.add_argument("--rows", nargs="+", type=int, default=[100, 300, 1000])
    one.add_argument("--names", nargs="+", default=list(GROUPS))
    given = parser.parse_args()
    {"groups": groups}[given.verb](given)


if __name__ == "__main__":
    main()
