"""How fast, against the peers: every figure is a ratio within one run.

    pip install -c constraints.txt -e '.[benchmarks]'      # zuko and normflows; torchdyn without the torchvision it asks for:
    pip install -c constraints.txt --no-deps torchdyn torchsde torchcde trampoline
    python tests/benchmarks/speed.py log_prob              # ten minutes on one core
    python tests/benchmarks/speed.py log_prob --dims 2 32  # two
    python tests/benchmarks/speed.py train                 # a training step on torchcfm's two-dimensional task, one minute
    python tests/benchmarks/speed.py width                 # time against the dimensions that enter the flow
    python tests/benchmarks/speed.py profile               # what one training step is made of
    python tests/benchmarks/speed.py likelihood            # nll against seconds (time_to_likelihood.py), ten minutes

Contenders are called in turn, so that all see the same machine; figures are medians. Errors are root mean squares over 16 rows
against dopri5 in float64 at a tolerance of 1e-8.
"""

import argparse
import copy
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from unittest.mock import patch

import torch
from engines import Engine, engines, probe_rows
from levers import medians
from steps import contenders, our_step
from time_to_likelihood import SETS, races
from torch import Tensor

import flows
from flows import solver
from flows.augment import log_normal
from flows.base import GatedMixture
from flows.field import Field
from flows.front import Front
from flows.fused import _FusedRK4
from training.runtime.memory import keep_freed_memory

TARGET = 1e-3  # nats, what every engine's solver must reach
BUDGET = 2.0  # seconds that one call may take; else fewer rows are timed, for every engine's time is linear in rows


def rings(rows: int, dims: int, seed: int = 0) -> Tensor:
    """Every two dimensions a ring of radius 1.4 and thickness .2: no dimension is Gaussian, none is free."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(rows, (dims + 1) // 2, generator=generator)
    x = 1.4 * torch.stack([angle.cos(), angle.sin()], 2).flatten(1)[:, :dims]
    return x + 0.2 * torch.randn(rows, dims, generator=generator)


def trained(dims: int, steps: int = 200) -> flows.FunnelFlow:
    """A flow, every exit open, trained for a while on rings towards N(0, I)."""
    x = rings(max(4000, 3 * dims), dims)
    flow = flows.FunnelFlow.from_rows(x)
    white = flow.front.whiten(x)
    optimizer = torch.optim.Adam(flow.field.parameters(), 1e-2)
    for step in range(steps):
        solution = flow.solve(white[torch.randint(len(x), (256,), generator=torch.Generator().manual_seed(step))])
        loss = -(log_normal(solution.z) + solution.ladj).mean() / dims
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return flow.requires_grad_(False).eval()


def trained_zuko(flow: flows.FunnelFlow, steps: int = 100):  # type: ignore[no-untyped-def]
    """zuko's CNF with two hidden layers of 64, trained on the same rows with Hutchinson's estimator, then made exact."""
    if find_spec("zuko") is None:
        return None
    import zuko

    torch.manual_seed(0)
    dims = flow.features
    own = zuko.flows.CNF(dims, hidden_features=(64, 64), exact=False, atol=1e-3, rtol=1e-3)
    white = flow.front(rings(max(4000, 3 * dims), dims))
    optimizer = torch.optim.Adam(own.parameters(), 3e-3)
    for step in range(steps):
        batch = white[torch.randint(len(white), (256,), generator=torch.Generator().manual_seed(step))]
        loss = -own().log_prob(batch).mean() / dims
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    own.transform.exact = True
    return own.requires_grad_(False).eval()


def products(flow: flows.FunnelFlow, rows: int, steps: int) -> Callable[[], None]:
    """The matrix products of one log-density and nothing else: front, four a stage, base."""
    dims, hidden, base = flow.front.dims, flow.field.hidden, flow.base.components
    z, s = torch.randn(rows, dims), torch.randn(rows, hidden)
    square, W1, W2, W3 = (torch.randn(n) for n in ((dims, dims), (dims, hidden), (hidden, hidden), (hidden, dims)))
    features, weights = torch.randn(rows, 3 * dims), torch.randn(3 * dims, base)
    out_z, out_s, out_k = torch.empty_like(z), torch.empty_like(s), torch.empty(rows, base)

    def multiply() -> None:
        for _ in range(2):
            torch.mm(z, square, out=out_z)
        for _ in range(4 * steps):
            torch.mm(z, W1, out=out_s)
            torch.mm(s, W2, out=out_s)
            torch.mm(s, W3, out=out_z)
            torch.mm(s, W2, out=out_s)
        torch.mm(features, weights, out=out_k)

    return multiply


def chosen(engine: Engine, rows: Tensor) -> tuple[float, float]:
    """The cheapest setting whose error over ``rows`` is below TARGET, or the best of them; and its error."""
    exact = engine.exact(rows)  # type: ignore[misc]
    tried = {}
    for setting in engine.settings:
        tried[setting] = float((engine.log_prob(rows, setting) - exact).square().mean().sqrt())  # type: ignore[misc]
        if tried[setting] <= TARGET:
            return setting, tried[setting]
    return min(tried.items(), key=lambda item: item[1])


def affordable(function: Callable[[Tensor], object], x: Tensor) -> Tensor:
    """As many rows of ``x`` as take no longer than BUDGET, 64 at least."""
    function(x[:8])
    started = time.perf_counter()
    function(x[:64])
    seconds = time.perf_counter() - started
    return x[: max(64, int(BUDGET / seconds) * 64)]


@torch.no_grad()
def log_density(dims: list[int], batches: list[int], rounds: int) -> None:
    say(f"log-density, us a row; every solver at an error below {TARGET:g} nats where it gets there")
    for d in dims:
        with torch.enable_grad():
            flow = trained(d)
            zuko_flow = trained_zuko(flow)
        probes = probe_rows(flow)
        moved = float(flow.solve(flow.front(probes)).kinetic.mean()) / d
        say(f"\nd = {d}, H = 64; mean squared movement of a dimension {moved:.2f} (whitened units)")
        rows, ready = [], []
        for engine in engines(flow, copy.deepcopy(flow).double(), zuko_flow):
            if engine.log_prob is None:
                say(f"  {engine.name:55} {engine.note}")
                continue
            engine.chosen, error = chosen(engine, probes)
            rows.append((engine, error))
        x = flow.sample(max(batches), torch.Generator().manual_seed(2))
        for batch in batches:
            calls, counts = {}, {}
            for engine, _ in rows:
                given = affordable(lambda x, e=engine: e.log_prob(x, e.chosen), x[:batch])
                counts[engine.name] = len(given)
                calls[engine.name] = lambda e=engine, given=given: e.log_prob(given, e.chosen)
            calls["products"] = products(flow, batch, int(rows[0][0].chosen))
            ready.append((medians(calls, rounds, 1), counts))
        head = "".join(f"{f'batch {b}':>22}" for b in batches)
        say(f"  {'':55} {'setting':>8} {'error':>8}{head}")
        for engine, error in rows:
            cells = ""
            for (ms, counts), batch in zip(ready, batches, strict=True):
                each, ours = ms[engine.name] / counts[engine.name], ms["ours"] / counts["ours"]
                few = f" ({counts[engine.name]})" if counts[engine.name] < batch else ""
                cells += f"{f'{1e3 * each:,.2f}{few}':>14} {each / ours:6,.1f}x"
            say(f"  {engine.name:55} {engine.chosen:8g} {error:8.1e}{cells}  {engine.note}")
        cells = "".join(
            f"{1e3 * ms['products'] / b:14,.2f} {ms['products'] / ms['ours']:6.2f}x"
            for (ms, _), b in zip(ready, batches, strict=True)
        )
        say(f"  {'the matrix products of ours alone':55} {'':8} {'':8}{cells}")


def training_step(rounds: int) -> None:
    say("a training step on moons, batch 256, 64-wide nets")
    ms = medians(contenders(), rounds, 1)
    settling = ms["ours, settling (2 RK4 steps)"]
    for name, each in ms.items():
        say(f"  {name:60} {each:8.2f} ms {each / settling:8.2f}x")


def funnel(rounds: int) -> None:
    for dims, counts in ((64, (64, 32, 16, 8, 4)), (512, (512, 128, 32, 8))):
        with torch.enable_grad():
            flow = trained(dims, steps=20)
        x = flow.sample(4096, torch.Generator().manual_seed(2))
        calls = {}
        for count in counts:
            narrow = copy.deepcopy(flow)
            narrow.exits.tau[count:] = -narrow.exits.width / 2
            calls[str(count)] = lambda narrow=narrow, x=x: narrow.log_prob(x)
        ms = medians(calls, rounds, 1)
        say(f"log-density, 4096 rows x {dims} dimensions, 4 RK4 steps, by dimensions that enter the flow")
        for count, each in ms.items():
            say(f"  {count:>4} enter: {each / 4.096:7.2f} us a row, {ms[str(dims)] / each:4.1f} x faster than all")


def profile(rounds: int) -> None:
    """Where a step's time goes: by part, in the step itself, and what its matrix products take alone."""
    for dims, left, moving, steps in ((13, 13, True, 2), (13, 3, False, 4), (256, 256, True, 2), (256, 3, True, 2)):
        rows = rings(4000, dims)
        step, parts = our_step(dims, steps, moving, rows, left), Counter[str]()
        for _ in range(3):
            step()
        started = time.perf_counter()
        for _ in range(rounds):
            step()
        whole = (time.perf_counter() - started) / rounds
        with clocked(parts):
            for _ in range(rounds):
                step()
        stage = forward_and_backward(dims, 64, 256)
        alone = medians({"products": stage}, rounds, 1)["products"] * 4 * steps
        kind = "exits move" if moving else "exits at rest"
        say(
            f"a training step, {dims} dimensions, {left} of them open, batch 256, {steps} RK4 steps, {kind}: {1e3 * whole:.2f} ms"
        )
        for name, seconds in parts.most_common():
            say(f"  {name:45} {1e3 * seconds / rounds:7.2f} ms  {seconds / rounds / whole:4.0%}")
        say(f"  {'(the solve’s products alone, both ways)':45} {alone:7.2f} ms  {alone / 1e3 / whole:4.0%}")


@contextmanager
def clocked(parts: Counter[str]) -> Iterator[None]:
    """Add up the seconds of the step's parts; what they call is theirs."""
    places = {
        "rotation and folding of the weights": [(Front, "enter"), (Field, "folded")],
        "solve, forward": [(solver, "fused_rk4")],
        "of which the solve, backward": [(_FusedRK4, "backward")],
        "base mixture, forward": [(GatedMixture, "component_log_probs")],
        "gates' gains": [(GatedMixture, "gains")],
        "all of backward": [(Tensor, "backward")],
        "clipping": [(torch.nn.utils, "clip_grad_norm_")],
        "Adam": [(torch.optim.Adam, "step")],
    }

    def timed(name: str, function: Callable) -> Callable:
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                parts[name] += time.perf_counter() - started

        return call

    with ExitStack() as stack:
        for name, owners in places.items():
            for owner, attribute in owners:
                whole = timed(name, getattr(owner, attribute))
                is_static = isinstance(vars(owner).get(attribute), staticmethod)
                stack.enter_context(patch.object(owner, attribute, staticmethod(whole) if is_static else whole))
        yield


def forward_and_backward(dims: int, hidden: int, rows: int) -> Callable[[], None]:
    """The matrix products of one stage: four on the way out, eight on the way back."""
    z, s = torch.randn(rows, dims), torch.randn(rows, hidden)
    W1, W2, W3 = torch.randn(dims, hidden), torch.randn(hidden, hidden), torch.randn(hidden, dims)

    def multiply() -> None:
        for left, right in ((z, W1), (s, W2), (s, W3), (s, W2)):
            out = left @ right
            out @ right.T  # towards the input
            left.T @ out  # towards the weights

    return multiply


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["log_prob", "train", "width", "profile", "likelihood"])
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8, 32, 128, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 4096])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="likelihood: rows to race on")
    parser.add_argument("--seconds", type=float, default=15.0, help="likelihood: of training for each contender")
    parser.add_argument("--levers", action="store_true", help="likelihood: ours against itself, lever by lever")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    warnings.filterwarnings("ignore")
    if given.part == "log_prob":
        log_density(given.dims, given.batches, given.rounds)
    elif given.part == "train":
        training_step(2 * given.rounds)
    elif given.part == "width":
        with torch.no_grad():
            funnel(given.rounds)
    elif given.part == "profile":
        profile(10 * given.rounds)
    else:
        for line in races(given.sets, given.seconds, given.levers):
            say(line)


if __name__ == "__main__":
    main()
