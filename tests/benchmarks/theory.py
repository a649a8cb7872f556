"""Runs whose answer is known on paper, and what the ramp's speed changes.

    python tests/benchmarks/theory.py --jobs 2
    python tests/benchmarks/theory.py --only two --rows 48000

- two clusters at +-1, sd .25, kappa 1: the dimension leaves at D = .72 nats, its worth is .13 +- .03
- a circle at kappa -> large (100): the block is worth .77 nats a dimension
- a Gaussian in 13 dimensions: held-out log-density within .02 nats of the exact maximum-likelihood Gaussian
- half the ramp's speed: same k, same worth within the standard error
"""

import argparse
import math
import multiprocessing
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")


def run(job: tuple[str, str, int, bool, int, dict, int]) -> str:
    title, name, noise_dims, diffeo, seed, settings, rows = job
    import torch

    import training
    from training.runtime.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    made = training.planted(name, rows, noise_dims, seed, diffeo)
    result = training.fit(made.x, seed=seed, null_worth=0.03, **settings)
    structure = result.flow.structure.numpy()
    line = (
        f"{title:36} k {result.structure_dim}  left at D = {', '.join(f'{p:.2f}' for p in result.prices[structure])}  worth "
        f"{', '.join(f'{w:.3f} +- {e:.3f}' for w, e in zip(result.worth, result.worth_se, strict=True))}"
    )
    if name == "gaussian":
        held_out, train = made.x[result.held_out].double(), made.x[result.train].double()
        exact = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T, correction=0))
        difference = result.nll + float(exact.log_prob(held_out).mean())
        line += (
            f"nll {result.nll:.3f}, exact Gaussian's {result.nll - difference:.3f}, difference {difference:+.4f} nats"
        )
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--only", default="", help="run the lines whose title holds this")
    given = parser.parse_args()
    jobs = [
        *[(f"two clusters, kappa 1, seed {seed}", "two", 3, False, seed, {}) for seed in (0, 1, 2)],
        ("circle, kappa 100", "circle", 3, False, 0, {"kappa": 100.0}),
        ("gaussian, D = 13, no diffeo", "gaussian", 11, False, 0, {}),
        ("circle x 3", "circle", 3, True, 0, {}),
        ("circle x 3, half the ramp's speed", "circle", 3, True, 0, {"steps_per_point": 32}),
    ]
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        for line in pool.imap(run, [(*job, given.rows) for job in jobs if given.only in job[0]]):
            print(line, flush=True)
    print(f"paper: a whitened ring of thickness .08 is worth {ring_worth():.3f} nats a dimension when nothing may move")


def ring_worth(thickness: float = 0.08) -> float:
    """Half the KL from N(0, I) of a unit ring whitened to unit variance: entropies of angle and radius, minus the scale."""
    variance = (1 + thickness**2) / 2
    entropy = math.log(2 * math.pi) + 0.5 * math.log(2 * math.pi * math.e * thickness**2) - math.log(variance)
    return (math.log(2 * math.pi * math.e) - entropy) / 2


if __name__ == "__main__":
    main()
