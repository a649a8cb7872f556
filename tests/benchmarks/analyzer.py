"""The analyzer over every run of the planted suite, wrong k included: Betti numbers at mass .9, certificate, time.

    python tests/benchmarks/planted.py --noise-dims 3 10 --seeds 0 1 2 --jobs 2 --save suite
    python tests/benchmarks/analyzer.py suite --jobs 2

One row a run; beside it ripser on the raw activations: 300 rows, degrees 0 to 2, bars counted down to the widest relative gap
(at least 1.5; that is kinder than a confidence band, under which nothing is left). The certificate is that of 20 000 fresh rows
of the same cloud through the trained flow. Swiss roll is left out: it has no k to be right about.

(Not analysis.py: a script of that name would shadow the package in every benchmark here.)
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np


def one_run(job: tuple[str, bool]) -> dict:
    """Analyse one saved run; a row of the table."""
    folder, certified = job
    import torch

    import flows
    import training
    from analysis.analyzer import Analyzer, Nothing

    torch.set_num_threads(1)
    fitted = json.loads((Path(folder) / "row.json").read_text(encoding="utf8"))
    name, noise_dims, seed = fitted["name"], fitted["noise_dims"], fitted["seed"]
    made = training.planted(name, fitted["rows"], noise_dims, seed)
    analyzer = Analyzer(flows.load(folder), made.x)
    started = time.perf_counter()
    levels = analyzer.levels()
    seconds = time.perf_counter() - started
    row = {
        "run": f"{name} x {noise_dims} seed {seed}",
        "noise_dims": noise_dims,
        "true_k": made.structure_dim,
        "k": analyzer.structure_dim,
        "true": _trimmed(made.betti),
        "found": (1,) if isinstance(levels, Nothing) else _trimmed(levels.betti(0.9)),
        "seconds": seconds,
        "loopless": name in ("gaussian", "two", "three"),
    }
    started = time.perf_counter()
    row["ripser"] = ripser_betti(made.x.numpy(), seed)
    row["ripser_seconds"] = time.perf_counter() - started
    if certified:
        fresh = Analyzer(analyzer.flow, training.planted(name, 20_000, noise_dims, seed).x, is_held_out=True)
        certificate = fresh.certificate()
        row |= {"verdict": certificate.verdict, "bound": certificate.lower_bound, "delta": certificate.delta}
    return row


def _trimmed(betti: tuple[int, ...]) -> tuple[int, ...]:
    kept = list(betti)
    while len(kept) > 1 and kept[-1] == 0:
        kept.pop()
    return tuple(kept)


def ripser_betti(x: np.ndarray, seed: int, rows: int = 300) -> tuple[int, ...]:
    """Betti numbers of a sample of x by the widest relative gap between bars of each degree."""
    from ripser import ripser

    sample = x[np.random.default_rng(seed).permutation(len(x))[:rows]]
    diagrams = ripser(sample, maxdim=2)["dgms"]
    counts = []
    for degree, diagram in enumerate(diagrams):
        lengths = np.sort(diagram[np.isfinite(diagram).all(1)] @ np.array([-1, 1]))[::-1][:10]
        ratios = lengths[:-1] / np.maximum(lengths[1:], 1e-12)
        kept = int(ratios.argmax()) + 1 if len(ratios) and ratios.max() >= 1.5 else 0
        counts.append(kept + (degree == 0))
    return _trimmed(tuple(counts))


def show(row: dict) -> str:
    right = "right" if row["found"] == row["true"] else "WRONG"
    text = (
        f"{row['run']:28} k {row['k']} of {row['true_k']}  betti at .9 {row['found']!s:12} true {row['true']!s:10} {right}  "
        f"{row['seconds']:3.0f} s   ripser {row['ripser']!s:12} {row['ripser_seconds']:3.0f} s"
    )
    if "verdict" in row:
        text += f"   {row['verdict']}: bound {row['bound']:.3f}, delta {row['delta']:.3f}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="folder that planted.py --save wrote")
    parser.add_argument("--noise-dims", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--no-certificate", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    folders = sorted(
        str(path)
        for path in Path(given.suite).iterdir()
        if not path.name.startswith("swiss_roll") and int(path.name.split("-")[1]) in given.noise_dims
    )
    rows = []
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for row in pool.imap_unordered(one_run, [(folder, not given.no_certificate) for folder in folders]):
            rows.append(row)
            print(show(row), flush=True)
    print()
    for noise_dims in given.noise_dims:
        some = [row for row in rows if row["noise_dims"] == noise_dims]
        shares = {who: sum(row[who] == row["true"] for row in some) for who in ("found", "ripser")}
        print(
            f"betti right at {noise_dims} noise dimensions: {shares['found']}/{len(some)}, ripser {shares['ripser']}/{len(some)}"
        )
    loops = [row["run"] for row in rows if row["loopless"] and len(row["found"]) > 1]
    print(f"false loops on gaussian, two, three: {', '.join(loops) or 'none'}")
    if not given.no_certificate:
        verdicts = [row["verdict"] for row in rows]
        print("certificates: " + ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts))))


if __name__ == "__main__":
    main()
