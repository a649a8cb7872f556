"""Measure the null worths that ship with the package, at default settings: five fits on Gaussian rows per shape.

    python tests/benchmarks/null_table.py --dims 5 12 32 --rows 10200 --jobs 2      # writes training/null_table.json

A shape serves others within a factor 1.5 in rows and 1.25 in dimensions.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def one_cell(shape: tuple[int, int]) -> dict:
    """The table's entry for (rows, dims)."""
    import torch

    from training.runtime.memory import keep_freed_memory
    from training.settings import ModelSettings, PathSettings
    from training.stages.nulls import fingerprint, measure

    torch.set_num_threads(1)
    keep_freed_memory()
    model, path = ModelSettings(), PathSettings()
    started = time.perf_counter()
    worths = [round(w, 5) for w in measure(*shape, model, path)]
    print(f"{shape[0]} rows x {shape[1]} dimensions: {worths} nats, {time.perf_counter() - started:.0f} s", flush=True)
    return {"settings": fingerprint(model, path), "rows": shape[0], "dims": shape[1], "worths": worths}


def main() -> None:
    import training.stages.nulls

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", nargs="+", type=int, default=[5, 12, 32])
    parser.add_argument("--rows", nargs="+", type=int, default=[10_200])
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    shapes = [(rows, dims) for rows in given.rows for dims in sorted(given.dims, reverse=True)]
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        cells = pool.map(one_cell, shapes, chunksize=1)
    table = Path(training.stages.nulls.__file__).with_name("null_table.json")
    table.write_text(json.dumps(sorted(cells, key=lambda c: (c["rows"], c["dims"])), indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
