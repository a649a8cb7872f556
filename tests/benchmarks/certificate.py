"""The certificate on exact products, on couplings of a kind that is not among its controls, and on fewer rows.

    python tests/benchmarks/certificate.py --seeds 0 1 2 --jobs 2       # everything: an estimated half hour on two free cores
    python tests/benchmarks/certificate.py --names two torus --rows 20000 --size 0

Planted clouds x = (structure, noise), not bent. One row a cloud and number of rows: verdict, bound, detection limit; then the
same structure with .1 nats planted in the noise block, of four kinds, with the bound and the critic that gave it:

- scale        n_1 has the standard deviation e^(c tanh h)
- correlation  n_1 and n_2 have the correlation r tanh 2h
- wave         n_1 has the mean c sin 4h
- skew         n_1 is a mixture of two Gaussians, mean 0 and variance 1, mirrored where h < 0

h is a random linear form of s (of the last noise column where there is no s), rank-Gaussianised; c, r and the mixture's
distance are solved for, so that the KL divergence from s x N(0, I), by quadrature or over the rows, is .1 nats.

Targets, at 20 000 rows: certified at delta <= .1 nats in 90 %; couplings rejected in 80 %. Last comes the share of true
products that are rejected ("size", without controls, 3 and 10 noise dimensions in turn).
"""

import argparse
import math
import multiprocessing
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

COUPLINGS = ("scale", "correlation", "wave", "skew")


def couple(kind: str, s: np.ndarray, noise: np.ndarray, nats: float, seed: int) -> np.ndarray:
    """Noise (rows, m) with one dimension made to depend on s so that the KL divergence from s x N(0, I) is ``nats``."""
    generator = np.random.default_rng(seed)
    n, source = noise.copy(), s if s.shape[1] else noise[:, -1:]
    h = source @ generator.normal(size=source.shape[1])
    h = ndtri((rankdata(h) - 0.5) / len(h))
    if kind == "scale":
        log_sd = np.tanh(h) * brentq(lambda c: scale_nats(c * np.tanh(h)) - nats, 0, 3)
        n[:, 0] *= np.exp(log_sd)
    elif kind == "correlation":
        r = np.tanh(2 * h)
        r *= brentq(lambda c: -0.5 * np.log1p(-((c * r) ** 2)).mean() - nats, 0, 1 - 1e-9)
        n[:, 1] = r * n[:, 0] + np.sqrt(1 - r**2) * n[:, 1]
    elif kind == "wave":
        wave = np.sin(4 * h)
        n[:, 0] += wave * math.sqrt(2 * nats / np.mean(wave**2))
    else:
        n[:, 0] = np.sign(h) * skewed(len(h), nats, generator)
    return n


def scale_nats(log_sd: np.ndarray) -> float:
    """Mean KL(N(0, e^(2 log_sd)) || N(0, 1))."""
    return float(np.mean(np.expm1(2 * log_sd) / 2 - log_sd))


def skewed(rows: int, nats: float, generator: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """Draws of a two-component mixture with mean 0, variance 1 and KL divergence ``nats`` from N(0, 1)."""
    x = np.linspace(-9, 9, 6001)

    def variance(distance: float) -> float:
        return 1 - share * (1 - share) * distance**2

    def divergence(distance: float) -> float:
        v = variance(distance)
        parts = ((share, (1 - share) * distance), (1 - share, -share * distance))
        q = sum(w * np.exp(-((x - mean) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v) for w, mean in parts)
        return float((q * (np.log(q + 1e-300) + x**2 / 2 + math.log(2 * math.pi) / 2)).sum() * (x[1] - x[0]))

    distance = brentq(lambda d: divergence(d) - nats, 0.1, 2.45)
    mean = np.where(generator.random(rows) < share, (1 - share) * distance, -share * distance)
    return mean + math.sqrt(variance(distance)) * generator.normal(size=rows)


def blocks(name: str, rows: int, noise_dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from training.data.planting import planted

    torch.set_num_threads(1)
    made = planted(name, rows=rows, noise_dims=noise_dims, seed=seed, diffeo=False)
    x = made.x.double().numpy()
    return x[:, : made.structure_dim], x[:, made.structure_dim :]


def one_cloud(job: tuple[str, int, int, int, float]) -> dict:
    name, noise_dims, seed, rows, nats = job
    from analysis.certification.certificate import certify

    s, n = blocks(name, rows, noise_dims, seed)
    started, cpu = time.perf_counter(), time.process_time()
    product = certify(s, n, seed=seed)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    coupled = {kind: certify(s, couple(kind, s, n, nats, seed), seed=seed, draws=0) for kind in COUPLINGS}
    return {
        "job": job,
        "product": product,
        "coupled": {kind: (found.verdict, found.lower_bound, found.critic) for kind, found in coupled.items()},
        "seconds": seconds,
        "cpu": cpu,
    }


def null_run(job: tuple[str, int, int, int]) -> float:
    """The p-value of a true product."""
    from analysis.certification.certificate import certify

    return certify(*blocks(*job), seed=job[3], draws=0).p_value


def show(row: dict) -> str:
    name, noise_dims, seed, rows, _ = row["job"]
    found = row["product"]
    coupled = "  ".join(
        f"{kind} {'seen' if verdict == 'not certified' else 'MISSED'} {bound:+.3f} {critic[:9]:9}"
        for kind, (verdict, bound, critic) in row["coupled"].items()
    )
    return (
        f"{name:15} x {noise_dims:<2} rows {rows:<6} seed {seed}  {found.verdict:18} delta {found.delta:<5g} "
        f"bound {found.lower_bound:+.4f} +- {found.se:.4f} p {found.p_value:.2f}  {row['seconds']:3.0f} s, cpu {row['cpu']:.0f} "
        f"| {coupled}"
    )


def summary(rows: list[dict], sizes: list[int]) -> None:
    print(
        "\nrows    clouds  certified  not certified  delta: median, largest    seen: " + ", ".join(COUPLINGS) + ", all"
    )
    for size in sizes:
        here = [row for row in rows if row["job"][3] == size]
        deltas = [row["product"].delta for row in here]
        verdicts = [row["product"].verdict for row in here]
        seen = [[row["coupled"][kind][0] == "not certified" for row in here] for kind in COUPLINGS]
        print(
            f"{size:<7} {len(here):<7} {verdicts.count('certified at delta') / len(here):<10.0%} "
            f"{verdicts.count('not certified') / len(here):<14.0%} {np.median(deltas):<8g}{max(deltas):<17g} "
            + ", ".join(f"{np.mean(kind):.0%}" for kind in (*seen, seen))
        )


def main() -> None:
    from training.data.planting import PLANTED_NAMES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(PLANTED_NAMES))
    parser.add_argument("--noise-dims", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[3000, 10_000, 20_000])
    parser.add_argument("--nats", type=float, default=0.1, help="of the planted couplings")
    parser.add_argument("--size", type=int, default=100, help="true products for the size of the test; 0 for none")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    jobs = [
        (name, noise_dims, seed, rows, given.nats)
        for rows in given.rows
        for noise_dims in given.noise_dims
        for seed in given.seeds
        for name in given.names
    ]
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        found = []
        for row in pool.imap_unordered(one_cloud, jobs):
            found.append(row)
            print(show(row), flush=True)
        summary(found, given.rows)
        for rows in given.rows if given.size else []:
            nulls = [(given.names[i % len(given.names)], rows, (3, 10)[i % 2], 1000 + i) for i in range(given.size)]
            p = np.array(pool.map(null_run, nulls))
            shares = ", ".join(f"{np.mean(p < level):.3f} at {level}" for level in (0.01, 0.05, 0.1, 0.2, 0.5))
            print(f"size at {rows} rows, {given.size} true products: rejected {shares}", flush=True)


if __name__ == "__main__":
    main()
