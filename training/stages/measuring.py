"""What a flow makes of held-out rows: their likelihood and kinetic energy, and where they end up."""

import torch
from torch import Tensor

from flows.augment import log_normal, row_noise
from flows.flow import FunnelFlow

_CHUNK = 512


@torch.no_grad()
def evaluated(flow: FunnelFlow, white: Tensor, kappa: float, steps: int) -> Tensor:
    """NLL + kappa * kinetic energy and NLL (n, 2) of whitened rows (n, M - A), on the CPU, in nats."""
    chunks = []
    for rows in white.split(_CHUNK):
        noise = row_noise(rows, flow.front.augment).to(flow.exits.tau)
        solution = flow.solve(flow.front.enter(rows.to(flow.exits.tau), noise), steps=steps)
        nll = -(flow.base.log_prob(solution.z, flow.gates) + solution.ladj - log_normal(noise))
        chunks.append(torch.stack([nll + kappa * solution.kinetic, nll], dim=1))
    return torch.cat(chunks).cpu()


@torch.no_grad()
def latent(flow: FunnelFlow, white: Tensor, steps: int) -> Tensor:
    """z (n, M) of whitened rows (n, M - A)."""
    entered = (flow.front.enter(rows.to(flow.exits.tau)) for rows in white.split(_CHUNK))
    return torch.cat([flow.solve(rows, steps=steps).z for rows in entered])
