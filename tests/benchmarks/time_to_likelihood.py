"""Seconds of training to a held-out likelihood, ours and the peers', and what our own levers give.

    python tests/benchmarks/speed.py likelihood --sets moons torus --seconds 15
    python tests/benchmarks/speed.py likelihood --levers

Each contender trains twice, from step sizes 1e-3 and 5e-3 falling to 0 as a cosine over its seconds, batch 256 unless said; the
better run counts. The clock runs while training, not while measuring. Rows are standardised; nll in nats of 1500 held-out rows,
of sources (images) that were not trained on.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from engines import INSTALL, ffjord
from sklearn.datasets import make_moons
from steps import Wide
from torch import Tensor, nn

import flows
import training
from flows.augment import log_normal
from training.data.activations import Activations
from training.stages.objective import Charges, objective
from training.stages.starting import ica_rotation, refit_mixture

RATES, HELD_OUT, GAPS = (1e-3, 5e-3), 1500, (1.0, 0.3, 0.1, 0.03)
FIGURE = Path(__file__).parent / "figures" / "time-to-likelihood.png"


def moons() -> Activations:
    return Activations(torch.from_numpy(make_moons(10_000, noise=0.08, random_state=0)[0]).float())


def eight_gaussians() -> Activations:
    generator = torch.Generator().manual_seed(0)
    angle = torch.randint(8, (10_000,), generator=generator) * torch.pi / 4
    centres = 4 * torch.stack([angle.cos(), angle.sin()], 1)
    return Activations(centres + 0.4 * torch.randn(10_000, 2, generator=generator))


SETS: dict[str, Callable[[], Activations]] = {
    "moons": moons,
    "eight": eight_gaussians,
    "torus": lambda: Activations(training.planted("torus", 12_000, noise_dims=10).x),
    "digits": lambda: training.trained_subject("digits").activations(),
}


@dataclass
class Contender:
    """What can be trained: parameters, the loss of a batch at a share of the run, the log-density of rows."""

    parameters: list[nn.Parameter]
    loss: Callable[[Tensor, float], Tensor]
    log_prob: Callable[[Tensor], Tensor]
    batch: int = 256
    began: float = 0.0  # seconds spent before the first step


def ours(
    x: Tensor, start: str = "mixture", early: int = 2, batch: int = 256, matching: float = 0.0, hidden: int = 64
) -> Contender:
    """A flow with every exit open and no regularity asked for.

    Args:
        start: "mixture" (ICA's rotation, k-means), or "gaussian".
        early: RK4 steps in the first half; 4 in the second.
        matching: share of the run in which the field is regressed on flow-matching velocities towards N(0, I).
    """
    began = time.perf_counter()
    flow = flows.FunnelFlow.from_rows(x, hidden=hidden)
    white, dims = flow.front.whiten(x), flow.front.dims
    if start == "mixture":
        flow.front.set_rotation(ica_rotation(white, 0))
        refit_mixture(flow, flow.front.enter(white).detach(), torch.ones(dims, dtype=torch.bool), 0)
    flow.exits.tau.requires_grad_(False)
    draws = torch.Generator().manual_seed(0)

    def loss(rows: Tensor, share: float) -> Tensor:
        white = flow.front.whiten(rows)
        if share >= matching:
            return objective(flow, white, Charges(0.0), draws, early if share < 0.5 else 4).loss
        z0 = flow.front.enter(white)
        z1, t = torch.randn(z0.shape, generator=draws), torch.rand(len(z0), 1, generator=draws)
        own = flow.field
        b1, b2 = own.biases(t[:, 0])
        point = (1 - t) * z0 + t * z1
        velocity = torch.tanh(torch.tanh(point @ own.W1 + b1) @ own.W2 + b2) @ own.W3
        return (velocity - (z1 - z0)).square().mean()

    parameters = [p for p in flow.parameters() if p.requires_grad]
    return Contender(parameters, loss, lambda x: flow.log_prob(x, steps=8), batch, time.perf_counter() - began)


def zuko_nsf(x: Tensor) -> Contender:
    import zuko

    flow = zuko.flows.NSF(x.shape[1], transforms=3, hidden_features=(64, 64))
    return Contender(
        list(flow.parameters()), lambda rows, _: -flow().log_prob(rows).mean(), lambda x: flow().log_prob(x)
    )


def zuko_cnf(x: Tensor) -> Contender:
    """Trained on the exact trace in two dimensions, on Hutchinson's beyond; measured on the exact one."""
    import zuko

    flow = zuko.flows.CNF(x.shape[1], hidden_features=(64, 64), atol=1e-4, rtol=1e-4)

    def loss(rows: Tensor, _: float) -> Tensor:
        flow.transform.exact = x.shape[1] <= 2
        return -flow().log_prob(rows).mean()

    def log_prob(rows: Tensor) -> Tensor:
        flow.transform.exact = True
        return torch.cat([flow().log_prob(part) for part in rows.split(256)])

    return Contender(list(flow.parameters()), loss, log_prob)


def normflows_realnvp(x: Tensor) -> Contender:
    """The example of its README: affine couplings with MLPs of two hidden layers, halves swapped between; 16 of them."""
    import normflows

    dims = x.shape[1]
    layers: list[nn.Module] = []
    for _ in range(16):
        net = normflows.nets.MLP([dims - dims // 2, 64, 64, 2 * (dims // 2)], init_zeros=True)
        layers += [normflows.flows.AffineCouplingBlock(net), normflows.flows.Permute(dims, mode="swap")]
    flow = normflows.NormalizingFlow(normflows.distributions.base.DiagGaussian(dims), layers)
    return Contender(list(flow.parameters()), lambda rows, _: flow.forward_kld(rows), flow.log_prob)


def ffjord_style(x: Tensor) -> Contender:
    """torchdiffeq dopri5 at 1e-4, a new probe of signs each step; measured with ten probes a row."""
    net = Wide(x.shape[1])

    def log_prob(rows: Tensor) -> Tensor:
        probe = torch.randint(0, 2, rows.shape).to(rows) * 2 - 1
        z, trace = ffjord(net, rows, 1e-4, probe)
        return log_normal(z) + trace

    def measured(rows: Tensor) -> Tensor:
        return torch.stack([log_prob(rows).detach() for _ in range(10)]).mean(0)

    return Contender(list(net.parameters()), lambda rows, _: -log_prob(rows).mean(), measured)


PEERS: dict[str, tuple[str | None, Callable[[Tensor], Contender]]] = {
    "ours": (None, ours),
    "zuko NSF": ("zuko", zuko_nsf),
    "zuko CNF": ("zuko", zuko_cnf),
    "normflows RealNVP": ("normflows", normflows_realnvp),
    "FFJORD style": (None, ffjord_style),
}
LEVERS: dict[str, tuple[str | None, Callable[[Tensor], Contender]]] = {
    "ours: ICA, k-means, 2 then 4 steps": (None, ours),
    "from N(0, I) instead": (None, lambda x: ours(x, "gaussian")),
    "4 steps throughout": (None, lambda x: ours(x, early=4)),
    "1 step early": (None, lambda x: ours(x, early=1)),
    "H = 192": (None, lambda x: ours(x, hidden=192)),
    "batch 1024": (None, lambda x: ours(x, batch=1024)),
    "flow matching for the first tenth, from N(0, I)": (None, lambda x: ours(x, "gaussian", matching=0.1)),
}


Curve = list[tuple[float, float]]


def trained(
    make: Callable[[Tensor], Contender], x: Tensor, held: Tensor, rate: float, seconds: float
) -> list[tuple[float, float]]:
    """(seconds, held-out nll) at times that grow by a quarter."""
    torch.manual_seed(0)
    contender = make(x)
    optimizer = torch.optim.Adam(contender.parameters, rate, fused=True)
    generator, spent, due, curve, step = torch.Generator().manual_seed(0), contender.began, 0.0, [], 0
    while True:
        if spent >= due or spent >= seconds:
            with torch.no_grad():
                curve.append((spent, -float(contender.log_prob(held).mean())))
            due = max(spent * 1.25, 0.2)
            if spent >= seconds:
                return curve
        started = time.perf_counter()
        share = min(spent / seconds, 1.0)
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * share))
        rows = x[torch.randint(len(x), (contender.batch,), generator=generator)]
        optimizer.zero_grad()
        loss = contender.loss(rows, share)
        if loss.isfinite():  # a solver's bad step costs its time, not the run
            loss.backward()
            nn.utils.clip_grad_norm_(contender.parameters, 5.0)
            optimizer.step()
        step += 1
        spent += time.perf_counter() - started


def races(sets: list[str], seconds: float, levers: bool) -> Iterator[str]:
    """The table line by line; the figure of the peers' race is written at the end."""
    drawn: dict[str, dict[str, Curve]] = {}
    for name in sets:
        activations = SETS[name]()
        train, held_out = activations.split()
        x, held = activations.x[train], activations.x[held_out][:HELD_OUT]
        x, held = (x - x.mean(0)) / x.std(0), (held - x.mean(0)) / x.std(0)
        yield f"\n{name}: {len(x)} rows x {x.shape[1]}, {seconds:g} s each"
        curves: dict[str, Curve] = {}
        for who, (package, make) in (LEVERS if levers else PEERS).items():
            if package and find_spec(package) is None:
                yield f"  {who:50} {INSTALL}"
                continue
            runs = [trained(make, x, held, rate, seconds) for rate in RATES]
            curves[who] = min(runs, key=lambda curve: min(nll for _, nll in curve if math.isfinite(nll)))
        best = min(nll for curve in curves.values() for _, nll in curve if math.isfinite(nll))
        yield (
            f"  {'seconds until held-out nll is below':50}"
            + "".join(f"{best + gap:10.3f}" for gap in GAPS)
            + f"{'best':>10}"
        )
        for who, curve in curves.items():
            times = [next((f"{s:.1f}" for s, nll in curve if nll <= best + gap), "-") for gap in GAPS]
            yield f"  {who:50}" + "".join(f"{t:>10}" for t in times) + f"{min(nll for _, nll in curve):10.3f}"
        drawn[name] = curves
    if not levers:
        draw(drawn, seconds)
        yield f"\nfigure: {FIGURE.name}"


def draw(drawn: dict[str, dict[str, Curve]], seconds: float) -> None:
    """One panel a set: held-out nll above the best, against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(drawn), 3.4), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    colours = dict(zip(PEERS, ("#000000", "#0072B2", "#56B4E9", "#D55E00", "#009E73"), strict=True))
    for ax, (name, curves) in zip(axes, drawn.items(), strict=True):
        for who, curve in curves.items():
            ax.plot(*zip(*curve, strict=True), label=who, color=colours[who], lw=2 if who == "ours" else 1.2)
        ends = sorted(min(nll for _, nll in curve) for curve in curves.values())
        ax.set(title=name, xlabel="seconds of training", xscale="log", xlim=(0.1, seconds))
        ax.set_ylim(ends[0] - 0.1, ends[0] + 2 * max(1.0, ends[-1] - ends[0]))
        ax.text(0.98, 0.98, f"n = {HELD_OUT}, seed 0", transform=ax.transAxes, ha="right", va="top", fontsize=7)
    axes[0].set_ylabel("held-out nll (nats a row)")
    axes[0].legend(fontsize=7, frameon=False, loc="upper center")
    figure.savefig(FIGURE, dpi=120)
