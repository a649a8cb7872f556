"""One training step, ours and the peers', on the task of torchcfm's notebooks: moons from N(0, I), 64-wide nets, batch 256.

torchcfm itself is not installed for this (it needs a torchvision that fits torch): its recipes are a few lines, written here as
its tutorials state them. Maximum likelihood: Euler with 100 steps, exact trace by vmap and jacrev, torchdyn as the engine where
it is there; flow matching: independent pairs, sigma 0.1; each with an Adam at its defaults.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from engines import PlainField
from sklearn.datasets import make_moons
from torch import Tensor, nn

import flows
from flows.augment import log_normal
from training.settings import ModelSettings, PathSettings
from training.stages.objective import Charges, objective
from training.stages.starting import refit_mixture

BATCH, EULER_STEPS = 256, 100


def moons(rows: int, seed: int = 0) -> Tensor:
    """torchcfm's two moons: noise .2, 3 x - 1."""
    return torch.from_numpy(make_moons(rows, noise=0.2, random_state=seed)[0]).float() * 3 - 1


class Wide(nn.Module):
    """torchcfm's MLP: three hidden layers of 64 SELU, the depth a third input."""

    def __init__(self, dims: int = 2, width: int = 64):
        super().__init__()
        sizes = [dims + 1, width, width, width]
        hidden = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.SELU())]
        self.net = nn.Sequential(*hidden, nn.Linear(width, dims))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([z, t.expand(len(z))[:, None]], 1))


class ExactTrace(nn.Module):
    """d/dt of (z, log-determinant), the trace of the Jacobian row by row."""

    def __init__(self, velocity: nn.Module):
        super().__init__()
        self.velocity = velocity

    def forward(self, t: Tensor, state: Tensor, args: object = None) -> Tensor:
        def one(z: Tensor) -> Tensor:
            return self.velocity(t, z[None])[0]

        z = state[:, :-1]
        trace = torch.vmap(lambda row: torch.trace(torch.func.jacrev(one)(row)))(z)
        return torch.cat([self.velocity(t, z), trace[:, None]], 1)


def likelihood_step(velocity: nn.Module) -> Callable[[], None]:
    """Maximum likelihood through an Euler solver."""
    x, derivative = moons(BATCH), ExactTrace(velocity)
    optimizer = torch.optim.Adam(velocity.parameters())
    times = torch.linspace(1, 0, EULER_STEPS + 1)

    def integrated(state: Tensor) -> Tensor:
        if find_spec("torchdyn") is None:
            for t, after in zip(times, times[1:], strict=False):
                state = state + (after - t) * derivative(t, state)
            return state
        from torchdyn.core import NeuralODE

        return NeuralODE(derivative, solver="euler", sensitivity="adjoint").trajectory(state, times)[-1]

    def step() -> None:
        end = integrated(torch.cat([x, x.new_zeros(len(x), 1)], 1))
        loss = -(log_normal(end[:, :2]) + end[:, 2]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def matching_step(velocity: nn.Module) -> Callable[[], None]:
    """Flow matching: regress the velocity on x1 - x0 between independent pairs."""
    x1, optimizer = moons(BATCH), torch.optim.Adam(velocity.parameters())

    def step() -> None:
        x0, t = torch.randn_like(x1), torch.rand(BATCH, 1)
        z = t * x1 + (1 - t) * x0 + 0.1 * torch.randn_like(x1)
        loss = (velocity(t[:, 0], z) - (x1 - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(
    dims: int, steps: int, moving: bool, rows: Tensor | None = None, left: int | None = None
) -> Callable[[], None]:
    """A step of the staged course without Lightning around it: objective, backward, clipping, Adam.

    Args:
        steps: RK4 steps, 2 until debiasing and 4 after.
        moving: whether exits move and gates are drawn, as in screen and ramp.
        left: dimensions still open, the others shut; by default all are.
    """
    x = moons(4000) if rows is None else rows
    flow = flows.FunnelFlow.from_rows(x)
    model, path, white = ModelSettings(), PathSettings(), flow.front.whiten(x)
    is_open = torch.arange(dims) < (dims if left is None else left)
    flow.exits.set_open(is_open)
    refit_mixture(flow, white, is_open, 0)
    tau = flow.exits.tau.requires_grad_(moving)
    others = [p for p in flow.parameters() if p is not tau]
    groups = [{"params": others, "lr": path.lr}, {"params": [tau], "lr": path.exit_lr}]
    optimizer = torch.optim.Adam(groups, fused=True)
    lam, batch = path.screen_lam, white[:BATCH]

    def step() -> None:
        draws = torch.Generator().manual_seed(0)
        charges = Charges(model.kappa, model.rho, lam if moving else None, lam * moving)
        terms = objective(flow, batch, charges, draws, steps)
        optimizer.zero_grad()
        terms.loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), path.clip)
        optimizer.step()
        flow.exits.clamp_(is_open)

    return step


def contenders() -> dict[str, Callable[[], None]]:
    """Names and steps for the table, ours first."""
    torch.manual_seed(0)
    engine = "torchdyn" if find_spec("torchdyn") else "torchdyn not installed, a loop instead"
    own = PlainField(flows.FunnelFlow.from_rows(moons(4000)))
    nn.init.normal_(own.field.W3, 0, 0.1)
    return {
        "ours, settling (2 RK4 steps)": our_step(2, 2, False),
        "ours, ramp (2 RK4 steps, exits move)": our_step(2, 2, True),
        "ours, debiasing (4 RK4 steps)": our_step(2, 4, False),
        f"torchcfm's maximum likelihood ({engine})": likelihood_step(Wide()),
        "the same with our two-layer net": likelihood_step(own),
        "torchcfm's flow matching": matching_step(Wide()),
    }
