"""The loss of one batch: likelihood, L1 activation penalty and kinetic energy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flows.augment import log_normal
from flows.flow import FunnelFlow
from flows.solver import Solution


@dataclass
class Terms:
    """Loss and its parts for one batch, in nats per row (whitened units).

    Attributes:
        loss: what is minimised.
        nll: negative log-likelihood under the drawn gates.
        kinetic: kinetic energy per row.
        gains: D (M,), nats by which each dimension's structure explains the batch; None where exits are at rest.
        kl: of the adversarial objective, the critic's KL divergence from a product; else None.
    """

    loss: Tensor
    nll: Tensor
    kinetic: Tensor
    gains: Tensor | None
    kl: Tensor | None = None


@dataclass
class Pass:
    """One batch through the flow.

    Attributes:
        solution: of the flow.
        log_noise: log-density (B,) of the augmented draws.
        gates: (M,).
        is_open: draws of the gates (B, M), zeros and ones.
    """

    solution: Solution
    log_noise: Tensor
    gates: Tensor
    is_open: Tensor

    @property
    def left_in(self) -> Tensor:
        """Indices (j,) of the dimensions whose gain is asked for: what is shut stays shut, whatever it would gain."""
        return (self.gates.detach() > 0).nonzero().squeeze(1)


def passed(
    flow: FunnelFlow,
    white: Tensor,
    generator: torch.Generator,
    steps: int,
    rank: int = 0,
    world: int = 1,
    spared: float = 0.0,
) -> Pass:
    """Take rows through the flow and draw each one's gates; an open gate is drawn shut with chance ``spared`` all the same."""
    rows, mine = len(white) * world, slice(rank, None, world)
    noise = torch.randn(rows, flow.front.augment, generator=generator)[mine].to(white)
    solution = flow.solve(flow.front.enter(white, noise), steps=steps)
    gates = flow.gates
    chances = gates.detach() * (1 - spared)
    draw = torch.rand(rows, flow.front.dims, generator=generator)[mine].to(white) < chances
    return Pass(solution, log_normal(noise), gates, draw.to(white))


@dataclass(frozen=True)
class Charges:
    """What a loss charges in addition to the fit.

    Attributes:
        kappa: of the kinetic energy.
        rho: of the penalty over depth, added to the one at depth 1.
        gate_lam: lambda of the penalty at depth 1; None where gates are at rest.
        depth_lam: lambda of the penalty over depth; 0 where exits are at rest.
    """

    kappa: float
    rho: float = 0.0
    gate_lam: float | None = None
    depth_lam: float = 0.0

    def added(self, fit: Tensor, pass_: Pass, gains: Tensor | float) -> Tensor:
        r"""fit + kappa \int E|v|^2 dt + sum_i g_i (lambda - D_i) + the penalty over depth, D = ``gains``."""
        loss = fit + self.kappa * pass_.solution.kinetic.mean()
        if self.gate_lam is not None:
            loss = loss + (pass_.gates * (self.gate_lam - gains)).sum()
        if self.depth_lam:
            loss = loss + self.depth_lam * self.rho * pass_.solution.activation.sum()
        return loss


def objective(
    flow: FunnelFlow,
    white: Tensor,
    charges: Charges,
    generator: torch.Generator,
    steps: int,
    rank: int = 0,
    world: int = 1,
) -> Terms:
    r"""NLL + lambda [sum_i E|b_i s_i| / E|s_i| + rho \int sum_i m_i(t) E|z_i(t)| dt] + kappa \int E|v|^2 dt.

    The penalty's scales are detached, so that it acts on the exits alone. Under Bernoulli gates
    :math:`b_i \sim` Bernoulli(:math:`g_i`) is drawn per row and the gates' part of the loss is
    :math:`\sum_i g_i (\lambda - D_i)` with :math:`D_i` detached: their exact gradient, for the loss is linear in each.

    Args:
        white: whitened rows (B, M - A), not yet rotated.
        charges: kappa, rho and lambda.
        generator: draws augmented dimensions and gates.
        steps: RK4 steps.
        rank, world: which of how many processes this is: ``white`` are rows rank, rank + world, ... of the joint batch, and
            have the draws that they would have there.
    """
    pass_ = passed(flow, white, generator, steps, rank, world)
    solution, is_open = pass_.solution, pass_.is_open
    if flow.base.law == "bernoulli":
        log_base = flow.base.component_log_probs(solution.z, is_open).logsumexp(1)
    else:
        log_base = flow.base.log_prob(solution.z, pass_.gates)
    nll = -(log_base + solution.ladj - pass_.log_noise).mean()
    gains = None
    if charges.gate_lam is not None:
        gains = flow.base.gains(solution.z.detach(), is_open, pass_.left_in)
    felt = 0.0 if gains is None or flow.base.law == "channel" else gains  # the channel's gates are in its density
    return Terms(charges.added(nll, pass_, felt), nll.detach(), solution.kinetic.mean().detach(), gains)
