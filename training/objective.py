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
    """One batch through the flow: its solution, the log-density (B,) of the augmented draws, gates drawn open (B, M)."""

    solution: Solution
    log_noise: Tensor
    is_open: Tensor


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
    chances = flow.gates.detach() * (1 - spared)
    draw = torch.rand(rows, flow.front.dims, generator=generator)[mine].to(white) < chances
    return Pass(solution, log_normal(noise), draw.to(white))


def objective(
    flow: FunnelFlow,
    white: Tensor,
    kappa: float,
    rho: float,
    gate_lam: float | None,
    depth_lam: float,
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
        gate_lam: lambda of the penalty at depth 1; None where gates are at rest.
        depth_lam: lambda of the penalty over depth; 0 where exits are at rest.
        generator: draws augmented dimensions and gates.
        steps: RK4 steps.
        rank, world: which of how many processes this is: ``white`` are rows rank, rank + world, ... of the joint batch, and
            have the draws that they would have there.
    """
    pass_ = passed(flow, white, generator, steps, rank, world)
    solution, is_open, gates = pass_.solution, pass_.is_open, flow.gates
    if flow.base.law == "bernoulli":
        log_base = flow.base.component_log_probs(solution.z, is_open).logsumexp(1)
    else:
        log_base = flow.base.log_prob(solution.z, gates)
    nll = -(log_base + solution.ladj - pass_.log_noise).mean()
    kinetic = solution.kinetic.mean()
    loss, gains = nll + kappa * kinetic, None
    if gate_lam is not None:
        left_in = (gates.detach() > 0).nonzero().squeeze(1)  # what is shut stays shut, whatever it would gain
        gains = flow.base.gains(solution.z.detach(), is_open, left_in)
        cost = gate_lam - gains if flow.base.law == "bernoulli" else gate_lam
        loss = loss + (gates * cost).sum()
    if depth_lam:
        loss = loss + depth_lam * rho * solution.activation.sum()
    return Terms(loss, nll.detach(), kinetic.detach(), gains)
