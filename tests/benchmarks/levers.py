"""Where the time of a training step goes, and what each lever gives.

    python tests/benchmarks/levers.py          # a minute on one core

First the cost of the exact divergence beside the velocity alone (forward pass, batch 256, H = 64); then one likelihood
step (forward, backward) of a 13-dimensional flow, lever by lever. What the funnel saves: speed.py width. Every ratio is of
medians, interleaved in one process.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from flows.exits import Exits
from flows.field import Field
from flows.fused import velocity
from flows.solver import rk4
from training.runtime.memory import keep_freed_memory


def medians(functions: dict[str, Callable[[], object]], rounds: int, repeats: int = 5) -> dict[str, float]:
    """Median milliseconds of each function, called in turn so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(rounds + 2):
        for name, function in functions.items():
            started = time.perf_counter()
            for _ in range(repeats):
                function()
            if i >= 2:
                times[name].append((time.perf_counter() - started) / repeats * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def divergence_cost(rounds: int) -> None:
    print("velocity + exact divergence against velocity alone, forward, batch 256, H = 64")
    for dims in (2, 16, 64, 256):
        field = Field(dims, generator=torch.Generator().manual_seed(0))
        torch.nn.init.normal_(field.W3, 0, 0.1)
        z = torch.randn(256, dims)
        with torch.no_grad():
            weights = field.folded(torch.zeros(1), torch.ones(1, dims))

            def both(w=weights, z=z):
                s1 = torch.addmm(w.c1[0], z, w.A1[0]).sigmoid_()
                s2 = torch.addmm(w.c2[0], s1, w.A2).sigmoid_()
                d1 = torch.addcmul(s1, s1, s1, value=-1)
                d2 = torch.addcmul(s2, s2, s2, value=-1)
                return torch.addmm(w.c3[0], s2, w.A3[0]), ((d1 @ w.K[0]) * d2).sum(1)

            ms = medians({"velocity": lambda w=weights, z=z: velocity(w, 0, z), "both": both}, rounds, 20)
        print(f"  d = {dims:3}: {ms['velocity']:.3f} ms, {ms['both']:.3f} ms, ratio {ms['both'] / ms['velocity']:.2f}")


def plain_rk4(field: Field, exits: Exits, z: torch.Tensor, steps: int) -> torch.Tensor:
    """The formula as it stands, stage by stage under autograd."""
    h, loss = 1 / steps, torch.zeros(())
    times = torch.linspace(0, 1, 2 * steps + 1)
    masks = exits.masks(times)
    for n in range(steps):
        k: list[torch.Tensor] = []
        for j, offset, weight in ((2 * n, 0.0, 1), (2 * n + 1, h / 2, 2), (2 * n + 1, h / 2, 2), (2 * n + 2, h, 1)):
            v, divergence = field(times[j], z + offset * k[-1] if k else z, masks[j])
            k.append(v)
            loss = loss + weight * h / 6 * (v.square().sum(1) - divergence).mean()
        z = z + h / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
    return loss + 0.5 * z.square().sum(1).mean()


def fused_loss(field: Field, exits: Exits, z: torch.Tensor, steps: int) -> torch.Tensor:
    solution = rk4(field, exits, z, steps)
    return (0.5 * solution.z.square().sum(1) - solution.ladj + solution.kinetic).mean()


def step_cost(rounds: int) -> None:
    def step(loss: Callable[..., torch.Tensor], hidden: int, steps: int) -> Callable[[], None]:
        field, exits = Field(13, hidden, torch.Generator().manual_seed(0)), Exits(13)
        torch.nn.init.normal_(field.W3, 0, 0.1)
        exits.tau.requires_grad_(False)
        z = torch.randn(256, 13)
        return lambda: loss(field, exits, z, steps).backward()

    levers = {
        "plain autograd, 4 RK4 steps": step(plain_rk4, 64, 4),
        "fused, 4 RK4 steps": step(fused_loss, 64, 4),
        "fused, 2 RK4 steps": step(fused_loss, 64, 2),
        "fused, 2 RK4 steps, H = 96": step(fused_loss, 96, 2),
        "fused, 2 RK4 steps, H = 128": step(fused_loss, 128, 2),
    }
    print("\nforward + backward of one solve, 256 rows x 13 dimensions")
    before = medians(levers, rounds)
    kept = keep_freed_memory()
    after = medians(levers, rounds)
    base = before["plain autograd, 4 RK4 steps"]
    print(f"  {'':32} {'as it is':>10} {'keeping freed memory' if kept else '(not glibc)':>22}")
    for name in levers:
        print(f"  {name:32} {before[name]:7.2f} ms {after[name]:9.2f} ms ({base / after[name]:.1f} x the first)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    divergence_cost(given.rounds)
    step_cost(given.rounds)


if __name__ == "__main__":
    main()
