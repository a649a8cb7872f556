"""Wide rows: is the structure found where it has not the largest variance, and what does width cost?

    python tests/benchmarks/scale.py start --dims 64 256           # the start of the rotation against FastICA's, minutes
    python tests/benchmarks/scale.py width --dims 64 256           # whole fits: is k right?
    python tests/benchmarks/scale.py steps                         # seconds and memory of a training step, to 4096 dimensions
    python tests/benchmarks/scale.py gpu                           # log-density on CUDA, float32 and bf16 products

Rows: a planted structure of unit variance and Gaussian noise whose standard deviations run from .3 to 3, turned at random, so
that principal directions say nothing of where the structure is. One thread.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from steps import our_step
from torch import Tensor

import training
from flows.front import Front
from training.runtime.memory import keep_freed_memory
from training.stages.pursuit import fast_ica
from training.stages.starting import ica_rotation


def wide(name: str, dims: int, rows: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """Rows (rows, dims), the basis (dims, k) of the structure in them, and its true k."""
    made = training.planted(name, rows, 2, seed, diffeo=False)
    generator = torch.Generator().manual_seed(seed + 1000)
    k = made.structure_dim
    spread = 10 ** torch.linspace(-0.5, 0.5, dims - k)
    x = torch.cat([made.structure, torch.randn(rows, dims - k, generator=generator) * spread], 1)
    turn, _ = torch.linalg.qr(torch.randn(dims, dims, generator=generator))
    return x @ turn.T, turn[:, :k], k


def say(line: str) -> None:
    print(line, flush=True)


def start(names: list[str], dims: list[int], per_dim: list[int], seed: int, slow: bool) -> None:
    say("share of the structure's directions within the k least Gaussian axes of the start (1 is all)")
    for width in dims:
        for each in per_dim:
            for name in names:
                x, truth, k = wide(name, width, each * width, seed)
                front = Front.from_rows(x)
                white = front.whiten(x)
                seen = torch.linalg.qr((front.basis * front.scales).T @ truth)[0]
                ways = {"ours": lambda white=white: ica_rotation(white, seed)}
                if slow:
                    ways["FastICA"] = lambda white=white: fast_ica(white[:: max(1, len(white) // 20_000)], seed)
                cells = ""
                for way, find in ways.items():
                    started = time.perf_counter()
                    turned = torch.linalg.qr(find().float().T)[0].T
                    seconds = time.perf_counter() - started
                    y = white @ turned.T
                    order = (torch.log(torch.cosh(y)).mean(0) - 0.37457).abs().argsort(descending=True)
                    share = float((turned[order[:k]] @ seen).square().sum()) / k
                    cells += f"  {way} {share:4.2f} in {seconds:5.1f} s"
                say(f"  {name:8} D = {width:4}, {len(x):7,} rows ({each} D), seed {seed}:{cells}")


def width(names: list[str], dims: list[int], per_dim: list[int], seeds: list[int]) -> None:
    for wide_by in dims:
        for each in per_dim:
            for name in names:
                for seed in seeds:
                    x, _, k = wide(name, wide_by, each * wide_by, seed)
                    started = time.perf_counter()
                    result = training.fit(x, seed=seed, null_worth=0.03)
                    seconds = time.perf_counter() - started
                    right = "right" if result.structure_dim == k else "WRONG"
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                    say(
                        f"{name:8} D = {wide_by:4}, {len(x):7,} rows, seed {seed}: true {k} found {result.structure_dim} {right}"
                        f", confidence {result.confidence:.2f}, worth {', '.join(f'{w:.3f}' for w in result.worth) or '-'}; "
                        f"{result.steps} steps in {seconds:.0f} s, peak {peak} MiB"
                    )
                    for note in result.notes:
                        say(f"  note: {note}")


def one_width(dims: int) -> None:
    """In a process of its own, so that the peak is this width's."""
    rows = torch.randn(max(512, dims + 64), dims, generator=torch.Generator().manual_seed(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = our_step(dims, 2, False, rows)
    step()
    started, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - started < 3:
        step()
        count += 1
    each = (time.perf_counter() - started) / count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(f"  D = {dims:5}: {1e3 * each:9.1f} ms a step, peak {peak // 1024:6} MiB ({before // 1024} before)")


def steps(dims: list[int]) -> None:
    say("a training step, batch 256, every dimension open, 2 RK4 steps")
    for each in dims:
        subprocess.run([sys.executable, __file__, "one-width", "--dims", str(each)], check=True)


def gpu() -> None:
    if not torch.cuda.is_available():
        say("skipped: no GPU here (torch.cuda.is_available() is False); CUDA and bf16 products are not measured")
        return
    import flows

    x = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0))
    flow = flows.FunnelFlow.from_rows(x).requires_grad_(False)
    torch.nn.init.normal_(flow.field.W3, 0, 0.1)
    exact = flow.double().log_prob(x.double(), steps=16)
    for device, precision in (("cpu", "highest"), ("cuda", "highest"), ("cuda", "medium")):
        torch.set_float32_matmul_precision(precision)
        there, rows = flow.float().to(device), x.to(device)
        there.log_prob(rows)
        started = time.perf_counter()
        for _ in range(10):
            got = there.log_prob(rows)
        if device == "cuda":
            torch.cuda.synchronize()
        each = (time.perf_counter() - started) / 10
        error = float((got.cpu().double() - exact).abs().max())
        products = "bf16" if precision == "medium" else "float32"
        say(f"  {device:5} {products:8} products: {1e6 * each / 4096:7.2f} us a row, largest error {error:.1e} nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["start", "width", "steps", "gpu", "one-width"])
    parser.add_argument("--names", nargs="+", default=["circle", "torus", "three"])
    parser.add_argument("--dims", type=int, nargs="+")
    parser.add_argument("--rows-per-dim", type=int, nargs="+", default=[200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--without-fastica", action="store_true", help="start: leave out what takes longest")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if given.part == "start":
        for seed in given.seeds:
            start(given.names, given.dims or [64, 256], given.rows_per_dim, seed, not given.without_fastica)
    elif given.part == "width":
        width(given.names, given.dims or [64, 256], given.rows_per_dim, given.seeds)
    elif given.part == "steps":
        steps(given.dims or [64, 256, 1024, 4096])
    elif given.part == "gpu":
        gpu()
    else:
        one_width(given.dims[0])


if __name__ == "__main__":
    main()
