"""Structure x noise: fraction of rows closer than the true match (FOSCTTM) after our alignment of two models, and after others'.

    python tests/benchmarks/alignment_noise.py run --cache FOLDER --out rows.jsonl --seeds 0 1 2 --aligner-seeds 0 1 2
    python tests/benchmarks/alignment_noise.py run --saved suite --noise-dims 3 10 --out rows.jsonl --aligner-seeds 0 1 2
    python tests/benchmarks/alignment_noise.py table --out rows.jsonl

Every model has its own noise, thickness and diffeomorphism, and a flow fitted to 12 000 rows that the other model never saw (see
alignment_pairs.py). 1000 more rows exist in both; each method gets them without the pairing (Procrustes: with 500 others'), b's
shuffled, the slow ones the first 500. FOSCTTM is the least over the planted group (three D3, circle O(2), torus O(2) x Z2), both
directions, ties 1/2, for every method alike. "planted": the planted structure coordinates, thickness and all, in place of
the flows' (the oracle block). "block": the flows' blocks. Seconds are of one thread, MiB what the method added to the process.
Target: at most 1.5 times the oracle's, or .01 more. Beside it the same against Procrustes with 500 pairs on our block: what a
rigid map can do there.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import alignment_peers as peers
import numpy as np
import torch
from alignment_pairs import SCORED, SETTINGS, SHAPES, Pair, Saved
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

FEW = 500
PAIRS = (2, 3, 5, 8, 12, 20, 35, 60, 100, 200, 500)
DRAWS = 5
PEERS = {
    "Gromov-Wasserstein": (peers.gromov_wasserstein, FEW),
    "SCOT": (peers.scot, FEW),
    "Wasserstein-Procrustes": (peers.wasserstein_procrustes, FEW),
    "k-means + QAP + Procrustes": (peers.quadratic, SCORED),
}


def least(mapped, target, partners):
    """FOSCTTM, the least over the group; equals analysis.alignment.foscttm where the group has but the identity."""
    apart, rows = cdist(mapped, target), np.arange(len(mapped))
    there, back = ((rankdata(apart, axis=axis) - 1) / (len(mapped) - 1) for axis in (1, 0))
    return float(min((there[rows, to].mean() + back[back_to, rows].mean()) / 2 for to, back_to in partners))


def measured(job):
    """One method on one pair, in a process of its own."""
    method, a, b, partners, seed = job
    rng = np.random.default_rng(seed)
    shuffle = rng.permutation(len(b))
    began, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    mapped, target = method(a, b[shuffle], rng)
    seconds = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began
    return {"score": least(mapped, target[np.argsort(shuffle)], partners), "seconds": seconds, "mib": grown / 1024}


def jobs(pair, given):
    """(method, space, rows, seed, call) of all that one pair is put through."""
    sides = pair.shared(given.cache)
    dims = sides[0][2].shape[1]
    x, block, planted = ([side[i] for side in sides] for i in range(3))
    for space, rows in (("block", block), ("planted", planted)):
        for seed in given.aligner_seeds:
            yield "ours", space, rows, SCORED, seed, peers.ours
    for space, rows in (("full", x), ("block", block)):
        for name, (method, count) in PEERS.items():
            yield name, space, rows, count, 0, method
    yield "PCA + our aligner", "full", x, SCORED, 0, lambda a, b, rng: peers.pca_then_aligner(a, b, rng, dims)
    yield "ICA + our aligner", "full", x, SCORED, 0, lambda a, b, rng: peers.ica_then_aligner(a, b, rng, dims)


def told(pair, given):
    """Rows of Procrustes with known pairs, in the full space and on our block."""
    sides, partners = pair.shared(given.cache), pair.partners(SCORED)
    rng = np.random.default_rng(0)
    for space, which in (("full", 0), ("block", 1), ("planted", 2)):
        (a, told_a), (b, told_b) = ((side[which][:SCORED], side[which][SCORED:]) for side in sides)
        for count in PAIRS:
            draws = [rng.permutation(len(told_a))[:count] for _ in range(DRAWS if count < len(told_a) else 1)]
            found = [least(*peers.procrustes(a, b, told_a[d], told_b[d]), partners) for d in draws]
            yield {"method": f"Procrustes, {count} pairs", "space": space, "seed": 0, "score": float(np.mean(found))}


def run(given):
    if given.saved:
        settings, ours = [(1.0, dims) for dims in given.noise_dims], itertools.combinations(given.seeds, 2)
    else:
        settings, ours = [SETTINGS[i] for i in given.settings], given.seeds
    for seed, (ratio, dims), name in itertools.product(ours, settings, given.names):
        pair = Saved(name, dims, seed, given.saved) if given.saved else Pair(name, ratio, dims, seed)
        (x, *_), *_ = sides = pair.shared(given.cache)
        about = {"name": name, "ratio": ratio, "dims": x.shape[1], "pair": seed}
        about["k"] = [block.shape[1] for _, block, _ in sides]
        if min(about["k"]):
            one_pair(pair, about, given)
        else:
            _keep(given.out, {**about, "method": "ours", "space": "block", "seed": 0, "score": 0.5})


def one_pair(pair, about, given):
    fork = multiprocessing.get_context("fork")
    for method, space, rows, count, chance, call in jobs(pair, given):
        if given.methods and method not in given.methods:
            continue
        _call[:] = [(call, *(side[:count] for side in rows), pair.partners(count), chance)]
        with fork.Pool(1) as pool:
            found = pool.apply(_measured)
        _keep(given.out, {**about, "method": method, "space": space, "seed": chance, **found})
    for row in told(pair, given) if not given.methods or "Procrustes" in given.methods else ():
        _keep(given.out, {**about, **row})


_call = []  # what the forked process is to do: a function does not travel


def _measured():
    return measured(_call[0])


def _keep(path, row):
    print(json.dumps(row), flush=True)
    with open(path, "a", encoding="utf8") as file:
        file.write(json.dumps(row) + "\n")


def table(given):
    """Means over the seeds of a pair, then over pairs, so that a pair without a block (k = 0) counts as much as another."""
    rows = [json.loads(line) for line in Path(given.out).read_text(encoding="utf8").splitlines()]
    columns = list(dict.fromkeys((r["name"], r["ratio"], r["dims"]) for r in sorted(rows, key=lambda r: r["dims"])))
    kinds = dict.fromkeys((r["method"], r["space"]) for r in rows)
    print(
        f"{'FOSCTTM, mean over pairs and seeds':45}" + "".join(f"{f'{name} {dims}':>12}" for name, _, dims in columns)
    )
    print(f"{'noise sd / structure sd':45}" + "".join(f"{ratio:12}" for _, ratio, _ in columns))
    means: dict[tuple[str, str, tuple], float] = {}
    for method, space in kinds:
        if space == "planted" and method != "ours":
            continue
        some = [r for r in rows if (r["method"], r["space"]) == (method, space)]
        cells = []
        for column in columns:
            here = [r for r in some if (r["name"], r["ratio"], r["dims"]) == column]
            pairs = {str(r["pair"]): [] for r in here}
            for r in here:
                pairs[str(r["pair"])].append(r["score"])
            if here:
                means[method, space, column] = float(np.mean([np.mean(scores) for scores in pairs.values()]))
            cells.append(f"{means[method, space, column]:12.3f}" if here else f"{'-':>12}")
        timed = [r for r in some if "seconds" in r]
        cost = [f"{np.mean([r[key] for r in timed]):.0f} {unit}" for key, unit in _UNITS if timed]
        print(f"{f'{method} ({space})':45}" + "".join(cells) + "  " + ", ".join(cost))
    for space in ("full", "block"):
        cells = []
        for column in columns:
            ours = means.get(("ours", "block", column), np.nan)
            enough = [n for n in PAIRS if means.get((f"Procrustes, {n} pairs", space, column), 1) <= 1.02 * ours]
            known = (f"Procrustes, {PAIRS[-1]} pairs", space, column) in means and not np.isnan(ours)
            cells.append(f"{(enough[0] if enough else f'> {PAIRS[-1]}') if known else '-':>12}")
        print(f"{f'worth so many pairs ({space})':45}" + "".join(cells))
    for oracle in (("ours", "planted"), (f"Procrustes, {PAIRS[-1]} pairs", "block")):
        least = [means.get((*oracle, c), np.nan) for c in columns]
        ours = [means.get(("ours", "block", c), np.nan) for c in columns]
        met = [
            "-" if np.isnan(o + m) else "met" if o <= max(1.5 * m, m + 0.01) else "missed"
            for o, m in zip(ours, least, strict=True)
        ]
        print(f"{f'target, by {oracle[0]} ({oracle[1]})':45}" + "".join(f"{m:>12}" for m in met))


_UNITS = (("seconds", "s"), ("mib", "MiB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one, other = verbs.add_parser("run"), verbs.add_parser("table")
    one.add_argument("--cache", help="folder of the fitted flows")
    one.add_argument(
        "--saved", help="or a folder of tests/benchmarks/planted.py --save; every two of --seeds are a pair"
    )
    one.add_argument("--noise-dims", nargs="+", type=int, default=[10], help="of --saved")
    one.add_argument("--names", nargs="+", default=list(SHAPES))
    one.add_argument("--settings", nargs="+", type=int, default=range(len(SETTINGS)))
    one.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    one.add_argument("--aligner-seeds", nargs="+", type=int, default=list(range(10)))
    one.add_argument("--methods", nargs="+", help="some of them, for instance ours SCOT Procrustes")
    for verb in (one, other):
        verb.add_argument("--out", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"run": run, "table": table}[given.verb](given)


if __name__ == "__main__":
    main()
