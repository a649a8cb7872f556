"""Our two-layer field in the engines of others, and their own continuous flows: log-densities of the same rows.

Each engine is a name, a log-density at a setting (steps or tolerance), and the settings from the cheapest to the dearest. A peer
that is not installed is a name with the reason why.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import StringIO

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from flows.augment import log_normal
from flows.flow import FunnelFlow

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # beyond, zuko's solver never ends in float32
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
INSTALL = "not installed: pip install -c constraints.txt -e '.[benchmarks]'"
INSTALL_TORCHDYN = "not installed: pip install -c constraints.txt --no-deps torchdyn torchsde torchcde trampoline"


@dataclass
class Engine:
    """One way to a log-density.

    Attributes:
        name: for the table.
        log_prob: (rows (B, d), setting) -> (B,) nats; None where the peer is not installed.
        settings: steps or tolerances, the cheapest first.
        exact: the same in float64 at a tolerance of 1e-8, on a few rows.
        note: what else the table should say.
    """

    name: str
    log_prob: Callable[[Tensor, float], Tensor] | None = None
    settings: Sequence[float] = TOLERANCES
    exact: Callable[[Tensor], Tensor] | None = None
    note: str = ""
    chosen: float = field(default=0.0, init=False)


class PlainField(nn.Module):
    """v(t, z) of a funnel flow whose exits are all open, as any engine would be given it: no closed form, no masks."""

    def __init__(self, flow: FunnelFlow):
        super().__init__()
        self.field = flow.field

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        own = self.field
        b1, b2 = own.biases(t.reshape(1))
        return torch.tanh(torch.tanh(z @ own.W1 + b1) @ own.W2 + b2) @ own.W3


class DepthAware(nn.Module):
    """torchdyn hands the depth over in an attribute ``t``."""

    def __init__(self, velocity: nn.Module):
        super().__init__()
        self.velocity, self.t = velocity, torch.zeros(())

    def forward(self, z: Tensor) -> Tensor:
        return self.velocity(self.t, z)


def ffjord(velocity: nn.Module, z: Tensor, tolerance: float, probe: Tensor) -> tuple[Tensor, Tensor]:
    """z(1) and the integral of Hutchinson's estimate e^T (dv/dz) e, one probe a row throughout (Grathwohl et al. 2018)."""
    keep = torch.is_grad_enabled()

    def derivative(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = state[0] if keep and state[0].requires_grad else state[0].detach().requires_grad_()
            v = velocity(t, point)
            (pulled,) = torch.autograd.grad(v, point, probe, create_graph=keep)
        return v, (pulled * probe).sum(1)

    start, times = (z, z.new_zeros(len(z))), z.new_tensor([0.0, 1.0])
    states, traces = odeint(derivative, start, times, rtol=tolerance, atol=tolerance, method="dopri5")
    return states[-1], traces[-1]


def rademacher(like: Tensor) -> Tensor:
    """One probe (B, d) of signs, the same for the same shape."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, like.shape, generator=generator).to(like) * 2 - 1


def engines(flow: FunnelFlow, double: FunnelFlow, zuko_flow: nn.Module | None) -> Iterator[Engine]:
    """All of them; rows are those of ``flow``, states for the peers, who are not asked to whiten.

    Args:
        flow: every exit open, base N(0, I).
        double: the same in float64.
        zuko_flow: a trained zuko CNF of its own net, or None where zuko is missing.
    """

    def exact(x: Tensor) -> Tensor:
        solution = double.solve(double.front(x.double()), "dopri5", tolerance=1e-8)
        return log_normal(solution.z) + solution.ladj + double.front.ladj

    net, wide = PlainField(flow), PlainField(double)
    yield Engine("ours", lambda x, steps: flow.log_prob(x, steps=int(steps)), STEPS, exact)

    def closed_form(x: Tensor, tolerance: float) -> Tensor:
        solution = flow.solve(flow.front(x), "dopri5", tolerance=tolerance)
        return log_normal(solution.z) + solution.ladj + flow.front.ladj

    yield Engine("our field and its exact divergence, torchdiffeq dopri5", closed_form, TOLERANCES, exact)

    def hutchinson(of: nn.Module, front: nn.Module, x: Tensor, tolerance: float) -> Tensor:
        z, trace = ffjord(of, front(x), tolerance, rademacher(x))
        return log_normal(z) + trace + front.ladj

    noisy = Engine(
        "same net, torchdiffeq + Hutchinson (FFJORD style)",
        lambda x, tolerance: hutchinson(net, flow.front, x, tolerance),
        TOLERANCES,
        lambda x: hutchinson(wide, double.front, x.double(), 1e-8),
    )
    x = probe_rows(flow)
    off = noisy.exact(x) - exact(x)  # type: ignore[misc]
    noisy.note = f"its probe alone is off by {float(off.square().mean().sqrt()):.2g} nats"
    yield noisy
    yield from _torchdyn(flow, net, exact)
    yield from _zuko(flow, net, exact, zuko_flow)


def probe_rows(flow: FunnelFlow, count: int = 16) -> Tensor:
    """The rows that errors are measured on, drawn from the flow itself."""
    return flow.sample(count, torch.Generator().manual_seed(1))


def _torchdyn(flow: FunnelFlow, net: nn.Module, exact: Callable) -> Iterator[Engine]:
    name = "same net, torchdyn, exact trace"
    if find_spec("torchdyn") is None:
        yield Engine(name, note=INSTALL_TORCHDYN)
        return
    from torchdyn.core import NeuralODE
    from torchdyn.models import CNF

    def log_prob(x: Tensor, tolerance: float) -> Tensor:
        with redirect_stdout(StringIO()):  # it says each time how it reads the arguments
            ode = NeuralODE(CNF(DepthAware(net)), solver="dopri5", atol=tolerance, rtol=tolerance)
        z = flow.front(x)
        end = ode.trajectory(torch.cat([z.new_zeros(len(z), 1), z], 1), torch.linspace(0, 1, 2))[-1].detach()
        return log_normal(end[:, 1:]) - end[:, 0] + flow.front.ladj

    yield Engine(name, log_prob, TOLERANCES, exact)


def _zuko(flow: FunnelFlow, net: nn.Module, exact: Callable, zuko_flow: nn.Module | None) -> Iterator[Engine]:
    if zuko_flow is None:
        yield Engine("same net, zuko, exact trace", note=INSTALL)
        yield Engine("zuko CNF, its own net, exact trace", note=INSTALL)
        return
    from zuko.transforms import FreeFormJacobianTransform

    def log_prob(x: Tensor, tolerance: float) -> Tensor:
        transform = FreeFormJacobianTransform(net, atol=tolerance, rtol=tolerance)
        z, ladj = transform.call_and_ladj(flow.front(x))
        return log_normal(z.detach()) + ladj.detach() + flow.front.ladj

    def own(of: nn.Module, x: Tensor, tolerance: float) -> Tensor:
        of.transform.atol = of.transform.rtol = tolerance
        return of().log_prob(x)

    wide = copy.deepcopy(zuko_flow).double()
    yield Engine("same net, zuko, exact trace", log_prob, TOLERANCES, exact)
    yield Engine(
        "zuko CNF, its own net, exact trace",
        lambda x, tolerance: own(zuko_flow, flow.front(x), tolerance),
        TOLERANCES,
        lambda x: own(wide, flow.front(x).double(), 1e-8),
    )
