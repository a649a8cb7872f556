"""A simulated head-direction population: is the ring seen without a flow, and how well is its angle read?

    python tests/benchmarks/cells.py --cells 17 40 --seeds 0 1 2 3 4
    python tests/benchmarks/cells.py --bars --seeds 100   how a loop is lost when every direction adds its noise

Prints one line for each recording and set of coordinates. Unsupervised methods see all rows and no angle; rotation, reflection
and offset (or the probe) are fitted on the first half of the time, the median absolute error is of the other half, in degrees.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

Floats = NDArray[np.float64]

ROWS, BIN = 2000, 0.025  # rows kept, evenly in time; seconds of a bin


def forgetting(count: int, times: float, rng: np.random.Generator, columns: int = 1) -> Floats:
    """An Ornstein-Uhlenbeck process (count, columns) of unit variance that forgets within ``times`` bins."""
    keep = np.exp(-1 / times)
    steps = rng.normal(size=(count, columns)) * np.sqrt(1 - keep**2)
    steps[0] /= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], steps, axis=0)


def recording(cells: int, seed: int) -> tuple[Floats, Floats]:
    """Square roots of smoothed rates (ROWS, cells), in Hz, and the head's direction (ROWS,), in order of time."""
    rng = np.random.default_rng(seed)
    bins = round(rng.uniform(10, 20) * 60 / BIN)
    turn = np.radians(rng.uniform(70, 140)) * forgetting(bins, rng.uniform(0.2, 0.5) / BIN, rng)[:, 0]  # rad / s
    even = np.cumsum(turn) * BIN + rng.uniform(0, 2 * np.pi)
    angle = even + rng.uniform(0.3, 0.8) * np.sin(even)  # fullest over emptiest direction: 1.9 to 9
    width, peak, floor = (np.exp(rng.uniform(*np.log(ends), cells)) for ends in ((1.5, 8), (5, 40), (0.2, 2)))
    tuned = np.exp(width * (np.cos(angle[:, None] - rng.uniform(0, 2 * np.pi, cells)) - 1))
    gain = np.exp(0.2 * forgetting(bins, 300 / BIN, rng, cells))
    counts = rng.poisson(gain * (floor + peak * tuned) * BIN).astype(float)
    rates = gaussian_filter1d(counts / BIN, rng.uniform(0.1, 0.3) / BIN, axis=0)
    kept = np.linspace(0, bins - 1, ROWS).astype(int)
    return np.sqrt(rates[kept]), angle[kept] % (2 * np.pi)


def error(found: Floats, angle: Floats) -> float:
    """Median absolute error on the second half, degrees, after the best turn and reflection on the first."""
    half = len(angle) // 2
    errors = [_turned(way * found, angle, half) for way in (1, -1)]
    return float(np.degrees(np.median(min(errors, key=lambda e: np.median(e[:half]))[half:])))


def _turned(found: Floats, angle: Floats, half: int) -> Floats:
    """Absolute errors (n,) after the turn out of 360 that has the least median error on the first half."""
    apart = angle - found
    offsets = np.radians(np.arange(360))
    off = [np.median(_between(apart[:half] - offset)) for offset in offsets]
    return _between(apart - offsets[int(np.argmin(off))])


def _between(difference: Floats) -> Floats:
    return np.abs((difference + np.pi) % (2 * np.pi) - np.pi)


def plane(points: Floats) -> Floats:
    """The angle in a plane (n, 2) that was whitened."""
    centred = points - points.mean(0)
    scores = np.linalg.svd(centred, full_matrices=False)[0]
    return np.arctan2(scores[:, 1], scores[:, 0])


def probe(rows: Floats, angle: Floats) -> Floats:
    """Ridge regression to cos and sin, trained on the first half; its penalty by leave-one-out there."""
    from sklearn.linear_model import RidgeCV

    half, target = len(rows) // 2, np.stack([np.cos(angle), np.sin(angle)], 1)
    scores = RidgeCV(np.logspace(-2, 4, 13)).fit(rows[:half], target[:half]).predict(rows)
    return np.arctan2(scores[:, 1], scores[:, 0])


def calibrated(found: Floats, angle: Floats) -> Floats:
    """The probe on three harmonics of the angle found: what is wrong beyond how fast it runs."""
    return probe(np.concatenate([[np.cos(n * found), np.sin(n * found)] for n in (1, 2, 3)]).T, angle)


def principal(rows: Floats, count: int) -> Floats:
    """Scores (n, count) of the leading principal components."""
    from sklearn.decomposition import PCA

    return PCA(count, svd_solver="full").fit_transform(rows)


def supported_directions(rows: Floats) -> int:
    """How many principal components a fit's principal front would take: what the rows support and the second half holds up."""
    from flows.front import Front
    from training.data.preparing import holding_up

    x, half = torch.from_numpy(rows).float(), len(rows) // 2
    front = Front.from_rows(x[:half], kind="principal")
    return min(front.kept, holding_up(front, x[half:]))


def peers(rows: Floats, angle: Floats, seed: int) -> str:
    """Errors of the probe, of PCA's first plane and of Isomap, and the two longest bars of ripser on 250 landmarks of PCA-6."""
    from sklearn.manifold import Isomap

    errors = error(probe(rows, angle), angle), error(plane(rows @ _axes(rows)), angle)
    isomap = error(plane(Isomap(n_components=2, n_neighbors=15).fit_transform(rows)), angle)
    first, second = np.ptp(longest(principal(rows, 6), seed), axis=1)
    return f"probe {errors[0]:.1f}, PCA-2 {errors[1]:.1f}, Isomap {isomap:.1f}; ripser bars {first:.2f} {second:.2f}"


def longest(points: Floats, seed: int) -> Floats:
    """Birth and death (2, 2) of the two longest bars of degree 1 of 250 landmarks well spread over points (n, k)."""
    from ripser import ripser

    from flows.geometry.landmarks import maxmin

    bars = ripser(points[maxmin(points, 250, np.random.default_rng(seed))[0]], maxdim=1)["dgms"][1]
    return bars[np.argsort(bars[:, 0] - bars[:, 1])[:2]]


def bar_lines(cells: int, seed: int) -> None:
    """Print the ring's radius, the noise around it, and how death / birth of the longest bar falls with more components."""
    rows, angle = recording(cells, seed)
    sector = (angle / (2 * np.pi) * 36).astype(int)
    means = np.stack([rows[sector == each].mean(0) for each in range(36)])
    radius = np.sqrt(((means - means.mean(0)) ** 2).sum(1).mean())
    noise = (rows - means[sector]).std()
    print(f"{cells} cells, seed {seed}: radius {radius:.2f}, noise {noise:.2f} a cell, {noise * cells**0.5:.2f} in all")
    for count in (3, 4, 6, 10, cells):
        bars = longest(principal(rows, count), seed)
        ratio, other = bars[:, 1] / bars[:, 0]
        print(f"{cells} cells, seed {seed}: {count} components, death / birth {ratio:.2f}, second bar {other:.2f}")


def _axes(rows: Floats) -> Floats:
    return np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:2].T


def ours(points: Floats, angle: Floats, seed: int) -> str:
    """describe() of points (n, k), the p-value of its first loop, and the errors of that loop's angle by mass and by length."""
    from analysis import Analyzer

    analyzer = Analyzer.from_structure(points, seed=seed)
    described, loops = analyzer.describe(), analyzer.loops()
    said = f"{described.kind} ({described.confidence:.2f}), support {described.support.kind} {described.betti.get(2)}"
    if not loops:
        return f"{said}; no loop"
    by_mass, by_length = (loops[0].angle(points, by_mass) for by_mass in (True, False))
    errors = [error(found, angle) for found in (by_mass, by_length, calibrated(by_length, angle))]
    many = f"{len(loops)} loop{'s' * (len(loops) > 1)}"
    return f"{said}; {many}, p {loops[0].p_value:.2g}; " + "by mass {:.1f}, by length {:.1f}, calibrated {:.1f}".format(
        *errors
    )


def spectral(rows: Floats, seed: int) -> Floats:
    """Spectral coordinates (n, r) of all rows."""
    from training.untangling.spectral import spectrum

    points = torch.from_numpy(rows).float()
    return spectrum(points, seed).lift().above(points).double().numpy()


def lines(cells: int, seed: int, coordinates: list[str]) -> None:
    """Print what every method makes of one recording."""
    rows, angle = recording(cells, seed)
    head = f"{cells} cells, seed {seed}"
    counts = np.histogram(angle, 4, (0, 2 * np.pi))[0]
    kept = supported_directions(rows)
    print(f"{head}: rows support {kept} components; emptiest quarter {counts.min() / len(rows):.2f}", flush=True)
    print(f"{head}: {peers(rows, angle, seed)}", flush=True)
    made = {
        "rows": lambda: rows,
        "supported": lambda: principal(rows, kept),
        "PCA-6": lambda: principal(rows, 6),
        "spectral": lambda: spectral(rows, seed),
    }
    for name in coordinates:
        if name == "supported" and kept == cells:  # the rows, turned
            continue
        started = time.process_time()
        points = made[name]()
        said = ours(points, angle, seed)
        print(f"{head}, {name} ({points.shape[1]}): {said} ({time.process_time() - started:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", type=int, default=[17, 40])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--coordinates", nargs="+", default=["PCA-6", "supported", "spectral", "rows"])
    parser.add_argument("--bars", action="store_true")
    given = parser.parse_args()
    for seed in given.seeds:
        for cells in given.cells:
            bar_lines(cells, seed) if given.bars else lines(cells, seed, given.coordinates)


if __name__ == "__main__":
    main()
