"""Functions without coordinates: planted ranks, relabellings, fibres, nets, speed, and what strong maps leave alone.

    python tests/benchmarks/functions.py ranks controls relabel fibres freedom speed    # each prints its table
    python tests/benchmarks/functions.py nets                                     # subjects: ranks between layers
    python tests/benchmarks/functions.py axes --run RUN                           # neurons, weights and inputs, RUN of digits
    python tests/benchmarks/functions.py digits --maps 3                          # fits, 100 s a map and more

Everything is seeded; seconds are CPU seconds of this process with one thread.
"""

import argparse
import functools
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from analysis.functions.axes import PreferredAxes, preferred_axes
from analysis.functions.factorization import factorize
from analysis.functions.fibres import fibre
from analysis.functions.finite import equivalent, finite_function
from analysis.functions.freedom import View, coordinate_freedom
from analysis.functions.tables import rank_table
from flows import FunnelFlow
from flows.diffeo import StrongDiffeo

WIDE = 512


def planted(
    rank: int, residual: float, seed: int, rows: int, dims: int = WIDE
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """f = g o h + residual, h: R^dims -> R^rank, outputs of unit rms sd, the residual of full rank; and Gaussian rows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    read, write = torch.linalg.qr(normal(dims, rank)).Q, normal(rank, dims)
    phases, waves, bend = 2 * np.pi * torch.rand(64, generator=generator).double(), normal(rank, 64), normal(64, dims)
    mix, out = normal(dims, dims) / dims**0.5, normal(dims, dims) / dims**0.5
    x = normal(rows, dims)

    def g_of_h(x: Tensor) -> Tensor:
        h = x @ read
        h = h + 0.3 * h.tanh()
        return h @ write / rank**0.5 + 0.09 * (h @ waves / rank**0.5 + phases).cos() @ bend

    def rest(x: Tensor) -> Tensor:
        return (x @ mix).tanh() @ out

    some = normal(1000, dims)
    a, b = (float(part(some).var(0).mean().sqrt()) for part in (g_of_h, rest))
    return lambda x: g_of_h(x) / a + residual * rest(x) / b, x


def through_maps(function: Callable[[Tensor], Tensor], x: Tensor, seed: int) -> View:
    phi, psi = StrongDiffeo(x, seed), StrongDiffeo(function(x), seed + 1)
    return View(phi(x), lambda seen: psi(function(phi.inverse(seen))), phi, psi)


def ranks(given: argparse.Namespace) -> None:
    print(f"rank of f = g o h + residual, {WIDE} -> {WIDE}, {given.rows} rows, at an output noise of .1 sd")
    for residual in given.residuals:
        for rank in given.ranks:
            plain, carried = [], []
            for seed in range(given.seeds):
                f, x = planted(rank, residual, seed, given.rows)
                plain.append(factorize(f, x))
                if residual < 0.1:  # with the residual above the scale there is no rank to keep
                    view = through_maps(f, x, 100 + 2 * seed)
                    carried.append(
                        factorize(
                            view.function, view.x, input_noise=view.input_noise(), output_noise=view.output_noise()
                        )
                    )
            told, again = (", ".join(f"{f.rank} ({f.agreement:.0%})" for f in found) for found in (plain, carried))
            steps = ", ".join(f"{f.widest.rank} from {f.scale * f.widest.lowest:.2g} sd" for f in plain)
            print(
                f"  residual {residual:4.0%}, true {rank:2d}: found {told}; through maps on both sides {again or '-'}"
            )
            print(f"    widest step of the spectrum: {steps}", flush=True)


def controls(given: argparse.Namespace) -> None:
    for seed in range(given.seeds):
        turn = torch.linalg.qr(torch.randn(WIDE, WIDE, generator=torch.Generator().manual_seed(seed)).double()).Q
        x = planted(1, 0, seed, 3)[1]
        found = factorize(lambda x, turn=turn: (x @ turn + 0.3 * (x @ turn).tanh()) @ turn, x)
        print(f"  full-rank control, seed {seed}: rank {found.rank}, is_full {found.is_full}", flush=True)


def relabel(given: argparse.Namespace) -> None:
    f, g = (
        finite_function({1: 1, 2: 1, 3: 1, 4: 5, 5: 5}, codomain=5),
        finite_function({1: 1, 2: 1, 3: 1, 4: 1, 5: 5}, codomain=5),
    )
    print(f"the post's pair: {equivalent(f, g)}")
    right = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        shape = ((50,), (7, 6), (3, 4, 5))[seed % 3]
        table = rng.integers(0, 4, shape)
        other = table
        for axis, size in enumerate(shape):
            other = np.take(other, rng.permutation(size), axis)
        other = rng.permutation(4)[other]
        found = equivalent(table, other)
        right += bool(found) and all(
            found.outputs[a] == b
            for a, b in zip(table.ravel().tolist(), other[np.ix_(*found.inputs)].ravel().tolist(), strict=True)
        )
    print(f"1000 random relabellings (one, two, three arguments): {right} found and verified")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 100, 10**7)
    started = time.process_time()
    found = equivalent(values, rng.permutation(100)[values[rng.permutation(10**7)]])
    print(f"10^7 entries: {bool(found)}, {time.process_time() - started:.1f} s")
    table = rng.integers(0, 5, (3162, 3162))
    started = time.process_time()
    found = equivalent(table, table[rng.permutation(3162)][:, rng.permutation(3162)])
    print(f"10^7 entries, two arguments: {bool(found)}, {time.process_time() - started:.1f} s")


def milnor(p: Tensor) -> Tensor:
    """z^2 + w^3 on the three-sphere, seen stereographically: its zeros are a trefoil."""
    q = 1 + p.square().sum(1)
    z, w = torch.complex(2 * p[:, 0] / q, 2 * p[:, 1] / q), torch.complex(2 * p[:, 2] / q, (q - 2) / q)
    v = z**2 + w**3
    return torch.stack([v.real, v.imag], 1)


def two_circles_and_a_line(p: Tensor) -> Tensor:
    left, right = ((p[:, 0] + side) ** 2 + (p[:, 1] - 0.8) ** 2 - 0.5 for side in (1.2, -1.2))
    return torch.stack([left * right * (p[:, 1] + 0.8), p[:, 2]], 1)


FIBRES = {
    "circle": lambda p: torch.stack([p[:, 0] ** 2 + p[:, 1] ** 2 - 1, p[:, 2]], 1),
    "line": lambda p: torch.stack([p[:, 1] - 0.4 * (2 * p[:, 0]).sin(), p[:, 2] - 0.2 * p[:, 0]], 1),
    "circles": two_circles_and_a_line,
    "trefoil": milnor,
    "sphere": lambda p: p.square().sum(1, keepdim=True) - 1,
}
EXPECTED = {"circles": "two circles and a line", "trefoil": "a knot: trefoil"}  # "a circle", ... for the rest


def fibres(given: argparse.Namespace) -> None:
    right = total = 0
    for name in given.fibres:
        f = FIBRES[name]
        for dims in (3, 10):
            told = []
            expected = (
                EXPECTED.get(name, f"a {name}") if (name, dims) != ("trefoil", 10) else "a circle"
            )  # R^10 unties it
            for seed in range(given.seeds):
                generator = torch.Generator().manual_seed(seed)
                x = 1.3 * torch.randn(1000, 3, generator=generator, dtype=torch.float64)
                extra = 0.5 * torch.randn(1000, dims - 3, generator=generator, dtype=torch.float64)
                x, zero = torch.cat([x, extra], 1), f(x[:1])[0] * 0

                def whole(x: Tensor, f: Callable[[Tensor], Tensor] = f) -> Tensor:
                    return torch.cat([f(x[:, :3]), x[:, 3:]], 1)

                value = torch.cat([zero, torch.zeros(dims - 3).double()])
                if dims == 3:
                    found = fibre(whole, value, x, most_seeds=60)
                else:
                    view = through_maps(whole, x, 50 + seed)
                    found = fibre(view.function, view.outputs(value[None])[0], view.x, most_seeds=60)
                told.append(found.describe())
            hits = sum(t == expected for t in told)
            right, total = right + hits, total + len(told)
            wrong = "; ".join(sorted({t for t in told if t != expected}))
            print(f"  {expected:22} in R^{dims:<2d}: {hits} of {len(told)}{wrong and '  wrong: ' + wrong}", flush=True)
    print(f"fibres: {right} of {total}")


def freedom(given: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    a, b = torch.randn(6, 2, generator=generator).double(), torch.randn(2, 6, generator=generator).double()
    f = lambda x: (x @ a).tanh() @ b + 0.01 * x.sin()  # noqa: E731

    def carried(view: View) -> object:
        return factorize(view.function, view.x, input_noise=view.input_noise(), output_noise=view.output_noise())

    print("factorize, noise carried along:", coordinate_freedom(carried, x, 20, function=f), sep="\n")
    cloud = 1.3 * torch.randn(600, 3, generator=generator, dtype=torch.float64)

    def of_fibre(view: View) -> object:
        return fibre(view.function, view.outputs(torch.zeros(1, 2))[0], view.inputs(cloud), most_seeds=30)

    print("fibre:", coordinate_freedom(of_fibre, cloud, 20, function=two_circles_and_a_line), sep="\n")
    sparse = lambda rows: {"rows": len(rows), "sparsity": (rows == 0).double().mean()}  # noqa: E731
    print("activation sparsity:", coordinate_freedom(sparse, x.relu(), 20), sep="\n")


def speed(given: argparse.Namespace) -> None:
    for width, rows in ((512, 1000), (4096, 64)):
        generator = torch.Generator().manual_seed(0)
        layers = [torch.randn(width, width, generator=generator) / width**0.5 for _ in range(2)]
        narrow = torch.randn(width, 22, generator=generator) / width**0.5, torch.randn(22, width, generator=generator)
        f = lambda x, n=narrow, m=layers: ((x @ m[0]).tanh() @ n[0]).tanh() @ n[1]  # noqa: E731
        started, cpu = time.perf_counter(), time.process_time()
        found = factorize(f, torch.randn(rows, width, generator=generator))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"  {width} wide, {rows} rows: rank {found.rank}, {time.process_time() - cpu:.1f} CPU s, "
            f"{time.perf_counter() - started:.1f} s by the clock, peak {peak:.2f} GiB of the process",
            flush=True,
        )


def nets(given: argparse.Namespace) -> None:
    from training.subjects import trained_subject

    for name in ("digits", "modular-addition"):
        subject = trained_subject(name)
        cpu = time.process_time()
        found = rank_table(subject.model, subject.inputs[:100])
        print(f"{name}, 100 inputs, {time.process_time() - cpu:.1f} CPU s\n{found!r}", flush=True)


class Planted(torch.nn.Module):
    """Eight inputs, one of two clusters, turned; the output hangs on that one alone."""

    def __init__(self, turn: Tensor) -> None:
        super().__init__()
        self.hidden, self.head = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 1, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(turn.T)
            self.head.weight.copy_(turn[:1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x).tanh())


def planted_axes(turn: Tensor, seed: int) -> PreferredAxes:
    """Axes of a flow whose one structure coordinate is the clusters, found without training."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(600, 8, generator=generator)
    x[:, 0] = 0.2 * x[:, 0] + (torch.rand(600, generator=generator) - 0.5).sign()
    model = Planted(turn)
    rows = model.hidden(x).detach()
    flow = FunnelFlow.from_rows(rows, hidden=8, components=2).requires_grad_(False)
    flow.front.set_rotation(x.T @ flow.front.whiten(rows) / len(x))
    flow.exits.set_open(torch.arange(8) < 1)
    return preferred_axes(flow, model, "hidden", x, moves=1, rotations=99, rows=20, seed=seed)


def axes(given: argparse.Namespace) -> None:
    from scipy.stats import kstest

    neuron = [planted_axes(torch.eye(8), seed) for seed in range(given.draws // 10)]
    print(f"one neuron, {len(neuron)} draws: largest p {max(a.neurons.p_values[0] for a in neuron):.2f}")
    turned = []
    for seed in range(given.draws):
        turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(10**6 + seed))).Q
        turned.append(planted_axes(turn, seed).neurons.p_values[0])
    shares = ", ".join(f"{np.mean(np.array(turned) <= at):.3f} at {at:g}" for at in (0.01, 0.05, 0.1, 0.5))
    print(
        f"rotated at random, {given.draws} draws: p at most: {shares}; uniform at p {kstest(turned, 'uniform').pvalue:.2f}"
    )
    if given.run:
        of_digits(given)


def of_digits(given: argparse.Namespace) -> None:
    """The net of a finished `unknot fit -c digits` with its flow, and refits where they are asked for."""
    import flows
    import training
    from training.subjects import trained_subject

    subject, flow = trained_subject("digits"), flows.load(given.run).requires_grad_(False)
    refit = functools.partial(training.fit, seed=1, null_worth=0.03, groups=subject.sources)
    fit, moves = (refit, given.refits) if given.refits else (None, 10)
    cpu = time.process_time()
    found = preferred_axes(flow, subject.model, subject.layer, subject.inputs, image=(8, 8), fit=fit, moves=moves)
    print(found, f"{time.process_time() - cpu:.1f} CPU s", sep="\n", flush=True)


def digits(given: argparse.Namespace) -> None:
    import training
    from analysis.analyzer import Analyzer
    from analysis.pieces.clusters import agreement

    data = training.subject("digits")

    def pipeline(x: Tensor) -> dict[str, float]:
        result = training.fit(x, groups=data.sources)
        tree = Analyzer(result.flow, x).tree()
        pieces = len(set(tree.labels_.tolist()))
        match = float(agreement(tree.labels_, data.labels.numpy()))
        print(f"  k {result.structure_dim}, pieces {pieces}, agreement with the classes {match:.2f}", flush=True)
        return {"k": result.structure_dim, "pieces": pieces, "agreement": match}

    print(coordinate_freedom(pipeline, data.x, given.maps))


PARTS = {f.__name__: f for f in (ranks, controls, relabel, fibres, freedom, speed, nets, axes, digits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50, help="for ranks")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 3, 22])
    parser.add_argument("--fibres", nargs="+", default=list(FIBRES), choices=list(FIBRES))
    parser.add_argument("--residuals", type=float, nargs="+", default=[0.01, 0.03, 0.1])
    parser.add_argument("--draws", type=int, default=400, help="for axes")
    parser.add_argument("--run", help="for axes: the folder of an unknot fit -c digits")
    parser.add_argument(
        "--refits", type=int, default=0, help="for axes: with --run, moves of the weights to fit anew after"
    )
    parser.add_argument("--maps", type=int, default=3, help="for digits")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for part in given.parts:
        print(f"-- {part}")
        PARTS[part](given)


if __name__ == "__main__":
    main()
