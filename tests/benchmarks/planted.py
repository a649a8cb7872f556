"""The planted suite: does `training.fit` find the right number of structure dimensions, with one set of settings?

    python tests/benchmarks/planted.py --noise-dims 3 10 --seeds 0 1 2 --jobs 2
    python tests/benchmarks/planted.py --noise-dims 30 --seeds 0 --jobs 2

One row a run; beside it what PCA's eigenvalue elbow and FastICA with a test for non-Gaussianity say of the same rows.
Any field of ModelSettings or PathSettings can be changed for the whole suite: ``--set law=channel debias=600``.
``--save DIR`` keeps every flow in DIR/NAME-NOISE-SEED, where tests/benchmarks/analyzer.py reads them.
"""

import argparse
import ast
import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def one_run(job: tuple[str, int, int, int, str | float, dict, str | None]) -> dict:
    """Fit one planted set; a row of the table."""
    name, noise_dims, seed, rows, null, settings, folder = job
    sys.path.insert(0, str(Path(__file__).parent))
    import torch
    from baselines import ica_count, pca_elbow

    import training
    from training.runtime.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    made = training.planted(name, rows, noise_dims, seed)
    started = time.perf_counter()
    result = training.fit(made.x, seed=seed, null_worth=null, **settings)
    seconds = time.perf_counter() - started
    row = {
        "name": name,
        "noise_dims": noise_dims,
        "seed": seed,
        "scored": made.scored,
        "true": made.structure_dim,
        "found": result.structure_dim,
        "confidence": round(result.confidence, 2),
        "worth": [round(float(w), 3) for w in result.worth],
        "J": {k: round(v, 3) for k, v in result.J.items()},
        "prices": [round(float(p), 2) for p in result.prices[result.flow.structure.numpy()]],
        "null": round(result.null_worth, 3),
        "seconds": round(seconds),
        "steps": result.steps,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "pca": pca_elbow(made.x.numpy()),
        "ica": ica_count(made.x.numpy(), seed),
        "notes": result.notes,
    }
    if folder:
        run = Path(folder) / f"{name}-{noise_dims}-{seed}"
        result.flow.save(run)
        (run / "row.json").write_text(
            json.dumps({**row, "rows": rows, "held_out": result.held_out.tolist()}), encoding="utf8"
        )
    return row


def show(row: dict) -> str:
    right = "" if not row["scored"] else "right" if row["found"] == row["true"] else "WRONG"
    worth = "/".join(f"{w:.3f}" for w in row["worth"]) or "-"
    return (
        f"{row['name']:15} x {row['noise_dims']:<3} seed {row['seed']}  true {row['true']}  found {row['found']:<2} {right:5}  "
        f"confidence {row['confidence']:.2f}  worth {worth:20}  pca {row['pca']:<3} ica {row['ica']:<3} "
        f"{row['steps']:5d} steps {row['seconds']:4d} s {row['peak_mib']:5d} MiB"
    )


def main() -> None:
    from training.data.planting import PLANTED_NAMES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(PLANTED_NAMES))
    parser.add_argument("--noise-dims", nargs="+", type=int, default=[3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--null", default="auto", help="'auto', 'run' or nats")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of training.fit")
    parser.add_argument("--save", metavar="DIR", help="keep the flows here")
    parser.add_argument("--out", help="append every row to this file as JSON lines")
    given = parser.parse_args()
    null = given.null if given.null in ("auto", "run") else float(given.null)
    settings = {}
    for pair in given.set:
        name, _, value = pair.partition("=")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    jobs = [
        (name, noise_dims, seed, given.rows, null, settings, given.save)
        for noise_dims in given.noise_dims
        for seed in given.seeds
        for name in given.names
    ]
    rows = []
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        for row in pool.imap_unordered(one_run, jobs):
            rows.append(row)
            print(show(row), flush=True)
            if given.out:
                with open(given.out, "a", encoding="utf8") as file:
                    file.write(json.dumps(row) + "\n")
    print()
    for noise_dims in given.noise_dims:
        scored = [r for r in rows if r["scored"] and r["noise_dims"] == noise_dims]
        if scored:
            shares = {
                who: sum(r[key] == r["true"] for r in scored)
                for who, key in (("unknot", "found"), ("PCA elbow", "pca"), ("ICA + test", "ica"))
            }
            text = ", ".join(
                f"{who} {right}/{len(scored)} ({right / len(scored):.0%})" for who, right in shares.items()
            )
            print(f"right at {noise_dims} noise dimensions: {text}")


if __name__ == "__main__":
    main()
