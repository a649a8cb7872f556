"""Rows that do not fit into memory: how fast they are read and what they cost, from the file to a short fit.

    python tests/benchmarks/streaming.py                             # 1 and 10 million rows x 64, float32: 2.4 GiB in /tmp
    python tests/benchmarks/streaming.py --rows 10000000 --dtype float16 --shards 4

The rows are a ring in two of the dimensions and Gaussian noise in the others, mixed. Each size runs in a process of its
own; the files are removed at the end. Peak memory is anonymous memory (see Peak);
"before" is what it held when the libraries were loaded.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

SHORT = {
    "settle": 50,
    "screen": 30,
    "steps_per_point": 2,
    "points_per_decade": 6,
    "debias": 30,
    "debias_rounds": 1,
    "most_supports": 3,
    "narrow": 20,
    "rounds": 1,
}


def write(folder: Path, rows: int, width: int, dtype: str, shards: int) -> str:
    """Shards of one matrix, written 100 000 rows at a time; returns the pattern that finds them."""
    mixing = np.random.default_rng(0).normal(size=(width, width)) / width**0.5
    for i, size in enumerate(np.diff(np.linspace(0, rows, shards + 1).astype(int))):
        shard = np.lib.format.open_memmap(folder / f"shard-{i:03}.npy", "w+", dtype, (int(size), width))
        for first in range(0, size, 100_000):
            rng = np.random.default_rng([i, first])
            part = rng.normal(size=(min(100_000, size - first), width))
            angle = 2 * np.pi * rng.random(len(part))
            part[:, :2] = 0.1 * part[:, :2] + 1.4 * np.stack([np.cos(angle), np.sin(angle)], 1)
            shard[first : first + len(part)] = part @ mixing
        shard.flush()
        del shard
    return str(folder / "shard-*.npy")


def say(line: str) -> None:
    print(line, flush=True)


class Peak(threading.Thread):
    """Largest anonymous memory so far, MiB, looked at every 20 ms: what the machine must give.

    Not the largest resident set: that counts pages of the file too, which the system maps around those that are read while
    it has room, and takes back when it has none.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start()

    def run(self) -> None:
        self.largest = 0.0
        while True:
            self.largest = max(self.largest, anonymous())
            time.sleep(0.02)


def anonymous() -> float:
    """Anonymous memory now, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(pattern: str) -> None:
    """Read, split, take moments, draw batches, fit."""
    import torch

    import training
    from flows import FunnelFlow
    from flows.io.rows import Picked
    from training import fitting
    from training.data.batches import StepBatches
    from training.data.whitening import whitened
    from training.runtime.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    before, peak = anonymous(), Peak()

    @contextmanager
    def timed(what: str, rows: int) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        say(f"  {what:34} {seconds:7.1f} s  {rows / seconds:12,.0f} rows/s  peak {peak.largest:6.0f} MiB")

    count = len(training.read_activations(pattern))
    say(f"{count:,} rows x 64, {'in memory' if count * 256 <= 500 * 2**20 else 'on disk'}; before: {before:.0f} MiB")
    with timed("read and checked", count):
        activations = training.read_activations(pattern)
    with timed("split", count):
        train, _ = activations.split()
    rows = activations.x[train] if isinstance(activations.x, torch.Tensor) else Picked(activations.x, train)
    with timed("moments for the front", len(train)):
        front = FunnelFlow.from_rows(rows).front
    white = whitened(front, rows, torch.Generator().manual_seed(0))
    batches = iter(StepBatches(white, 256, seed=0))
    next(batches)
    with timed("1000 batches, whitened", 256_000):
        for _ in range(1000):
            next(batches)
    del white, batches
    started = time.perf_counter()
    result = fitting.fit(activations, null_worth=0.03, **SHORT)
    seconds = time.perf_counter() - started
    say(
        f"  {'short fit':34} {seconds:7.1f} s  {result.steps} steps, k = {result.structure_dim}, "
        f"held-out {result.nll:.3f} nats  peak {peak.largest:6.0f} MiB"
    )
    for note in result.notes:
        say(f"  note: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--dtype", choices=["float16", "float32", "float64"], default="float32")
    parser.add_argument("--shards", type=int, default=1)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for rows in options.rows:
        folder = Path(tempfile.mkdtemp(prefix="streaming-"))
        try:
            pattern = write(folder, rows, 64, options.dtype, options.shards)
            process = context.Process(target=measure, args=(pattern,))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{rows} rows: the process ended with {process.exitcode}")
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
