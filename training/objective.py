"""The loss of one batch: likelihood, L1 activation penalty and kinetic energy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flows.augment import log_normal
from flows.flow import FunnelFlow


@dataclass
class Terms:
    """Loss and its parts for one batch, in nats per row (whitened units).

    Attributes:
        loss: what is minimised.
        nll: negative log-likelihood under the drawn gates.
        kinetic: kinetic energy per row.
        gains: D (M,), nats by which each dimension's structure explains the batch; None where exits are at rest.
    """

    loss: Tensor
    nll: Tensor
    kinetic: Tensor
    gains: Tensor | None


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
    rows, mine = len(white) * world, slice(rank, None, world)
    noise = torch.randn(rows, flow.front.augment, generator=generator)[mine].to(white)
    solution = flow.solve(flow.front.enter(white, noise), steps=steps)
    gates = flow.gates
    draw = torch.rand(rows, flow.front.dims, generator=generator)[mine].to(white) < gates.detach()
    is_open = draw.to(white)
    if flow.base.law == "bernoulli":
        log_base = flow.base.component_log_probs(solution.z, is_open).logsumexp(1)
    else:
        log_base = flow.base.log_prob(solution.z, gates)
    nll = -(log_base + solution.ladj - log_normal(noise)).mean()
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
