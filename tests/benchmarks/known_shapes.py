"""Clouds that the field knows by heart, and calendars of language models.

    python tests/benchmarks/known_shapes.py clouds --seeds 0 1 2   three public clouds, and ripser on them
    python tests/benchmarks/known_shapes.py calendars            how the centres of days and months lie
    python tests/benchmarks/known_shapes.py planes               separability and mixture indices of GPT-2's calendars
    python tests/benchmarks/known_shapes.py null                 constants of analysis/topology/homology.py for support

Data: ../shared/real, see its README.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

REAL = Path(os.environ.get("UNKNOT_REAL", Path(__file__).parents[3] / "shared" / "real"))
KNOWN = {"X(300, 30)": (1, 1, 0), "X(15, 30)": (1, 5, 0), "cyclo-octane": (1, 1, 2)}


def clouds() -> Iterator[tuple[str, np.ndarray]]:
    """The three public clouds, 15 000 x 8 twice and 6040 x 24."""
    patches, octane = np.load(REAL / "image_patches.npz"), np.load(REAL / "cyclo_octane.npz")
    yield "X(300, 30)", patches["k300"].astype(float)
    yield "X(15, 30)", patches["k15"].astype(float)
    yield "cyclo-octane", octane["points"].astype(float)


def cloud_table(given: argparse.Namespace) -> None:
    """What describe() says, seed by seed, with time; then what ripser says."""
    from analysis import Analyzer

    for name, rows in clouds():
        for seed in given.seeds:
            started = time.perf_counter()
            found = Analyzer.from_structure(rows, seed=seed).describe()
            seconds = time.perf_counter() - started
            right = "right" if found.betti[2] == KNOWN[name] else "WRONG"
            print(f"{name:13} seed {seed} {right} {seconds:5.0f} s  {found.kind}; {found.support!r}", flush=True)
            print("{:13} ripser {} in {:.0f} s".format("", *ripser_count(rows, seed)), flush=True)


def null_table(given: argparse.Namespace) -> None:
    """Gumbel laws of the largest log log(death / birth) without a loop, ten rows a landmark, and of its height above q75."""
    from ripser import ripser

    from analysis.topology.reading import largest_scale
    from analysis.topology.support import MASS, NEIGHBOURS, ROWS_A_LANDMARK, densest
    from flows.geometry.landmarks import maxmin

    rng = np.random.default_rng(0)
    blob = {dims: np.eye(dims) for dims in (2, 3, 8)}
    blob["sheet in 8"] = np.diag([1, 1, *[0.1] * 6])
    settings = [(1, name, count, 16 if count == 250 else 6) for name in blob for count in (250, 500)]
    for degree, name, count, repeats in [*settings, (2, 3, 500, 15)]:
        highest, above = [], []
        for _ in range(repeats):
            rows = rng.normal(size=(round(ROWS_A_LANDMARK * count / MASS), len(blob[name]))) @ blob[name]
            rows = rows[densest(rows, MASS, NEIGHBOURS)]
            chosen, cover = maxmin(rows, count, rng)
            largest = math.inf if degree == 1 else largest_scale(rows[chosen], cover)
            bars = ripser(rows[chosen], maxdim=degree, thresh=largest)["dgms"][degree]
            heights = np.log(np.log(np.minimum(bars[:, 1], largest) / bars[:, 0]))
            highest.append(heights.max())
            above.append(heights.max() - np.quantile(heights, 0.75))
        laws = ", ".join(f"{_gumbel(np.array(values))}" for values in (highest, above))
        print(f"degree {degree}, {name}, {count} landmarks, {repeats} clouds: location / scale {laws}", flush=True)


def _gumbel(values: np.ndarray) -> str:
    scale = math.sqrt(6) / math.pi * float(values.std())
    return f"{values.mean() - 0.5772 * scale:.2f} / {scale:.3f}"


def ripser_count(rows: np.ndarray, seed: int) -> tuple[tuple[int, ...], float]:
    """Bars down to the widest relative gap (at least 1.5) of 400 well-spread landmarks, degrees 0 to 2; seconds."""
    from ripser import ripser

    from flows.geometry.landmarks import maxmin

    started = time.perf_counter()
    chosen, cover = maxmin(rows, 400, np.random.default_rng(seed))
    bars = ripser(rows[chosen], maxdim=2, thresh=4 * cover if rows.shape[1] > 8 else 2.5 * cover)["dgms"]
    loops = bars[1] if rows.shape[1] > 8 else ripser(rows[chosen], maxdim=1)["dgms"][1]
    return (1, _gap(loops, 4 * cover), _gap(bars[2], 4 * cover)), time.perf_counter() - started


def _gap(bars: np.ndarray, largest: float) -> int:
    lengths = np.sort(np.minimum(bars[:, 1], largest) - bars[:, 0])[::-1][:12]
    ratios = lengths[:-1] / np.maximum(lengths[1:], 1e-9)
    return int(ratios.argmax()) + 1 if len(ratios) and ratios.max() >= 1.5 else 0


def calendar_table(given: argparse.Namespace) -> None:
    """Days and months of two language models, raw and with template means off; GPT-2's days, months and years."""
    data, gpt2 = np.load(REAL / "calendars.npz"), np.load(REAL / "gpt2_clusters.npz")
    for name in (key for key in data if "layer" in key):
        rows, which = data[name].astype(float), name.rsplit("_", 1)[0]
        for how, used in (("raw", rows), ("off", _without_means(rows, data[f"{which}_template"]))):
            labels = data[f"{which}_label"]
            print(f"{name:24} {how}: {_compared(used, labels)}", flush=True)
    for name in ("days", "months", "years"):
        labels = gpt2[f"{name}_label"]
        print(f"gpt2 {name:19} raw: {_compared(gpt2[name], labels)}", flush=True)


def _compared(rows: np.ndarray, labels: np.ndarray) -> str:
    """The arrangement, and how many neighbours of the calendar the angles in the class means' first two components have."""
    from analysis.pieces.arrangement import arrangement

    names = np.unique(labels)
    found = arrangement(rows, labels, names.tolist())
    means = np.stack([rows[labels == name].mean(0) for name in names])
    centred = means - means.mean(0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    way = np.argsort(np.arctan2(*plane.T))
    steps = np.abs(way - np.roll(way, -1))
    right = int(np.isin(steps, (1, len(names) - 1)).sum())
    return f"{found.kind:14} p {found.p_value:.3f}, gap {found.gap:.1f}; {found.agreement!r}; PCA-2 {right} of {len(names)}"


def _without_means(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    out = rows.copy()
    for each in np.unique(classes):
        out[classes == each] -= rows[classes == each].mean(0)
    return out + rows.mean(0)


def planes(given: argparse.Namespace) -> None:
    """Indices of Engels et al. in the planes of components 1 and 2, 2 and 3, and of shapes that are known."""
    from analysis import irreducibility

    gpt2, rng = np.load(REAL / "gpt2_clusters.npz"), np.random.default_rng(0)
    at = 2 * np.pi / 7 * rng.integers(0, 7, 2000)
    sets = {
        "ring": rng.uniform(0, 2 * np.pi, 2000),
        "seven clusters on a ring": at,
        "seven clusters anywhere": rng.uniform(0, 2 * np.pi, 7)[rng.integers(0, 7, 2000)],
    }
    for name, t in sets.items():
        rows = np.stack([np.cos(t), np.sin(t)], 1) + 0.1 * rng.normal(size=(2000, 2))
        print(f"{name}: {irreducibility(rows)!r}")
    print(f"Gaussian: {irreducibility(rng.normal(size=(2000, 2)))!r}")
    for name in ("days", "months", "years"):
        rows = gpt2[name] - gpt2[name].mean(0)
        scores = rows @ np.linalg.svd(rows, full_matrices=False)[2].T
        for first in (0, 1):
            print(
                f"GPT-2 {name}, components {first + 1} and {first + 2}: {irreducibility(scores[:, first : first + 2])!r}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = {
        "clouds": cloud_table,
        "null": null_table,
        "calendars": calendar_table,
        "planes": planes,
    }
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    verbs[given.verb](given)


if __name__ == "__main__":
    main()
