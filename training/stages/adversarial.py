"""The adversarial loss of one batch: a critic's KL divergence from a product in the place of the likelihood."""

import math

import torch
from torch import Tensor

from flows.base import GatedMixture
from flows.flow import FunnelFlow
from training.stages.critic import Critic
from training.stages.objective import Charges, Terms, passed

OTHERS = 3  # times the batch: rows that only the critic sees
SLOWER = 0.3  # step size of debiasing, against the likelihood's: the critic must keep up
FLOW_BETAS = (0.5, 0.999)  # Adam's, against (0.9, 0.999)
_CRITIC_STEPS = 6
_SPARED = 0.1
_LARGEST_LOGIT = 8.0
_FITTING = 400  # steps of fit_density


def adversarial(
    flow: FunnelFlow,
    critic: Critic,
    white: Tensor,
    others: Tensor,
    charges: Charges,
    generator: torch.Generator,
    steps: int,
    proposes: bool,
) -> Terms:
    r"""KL(q(s, n) | q(s) N(n)) + lambda [L1 of the exits] + kappa \int E|v|^2 dt, the first as the critic T sees it.

    T learns first, on these rows, others and fresh noise: from one that lags behind the flow only runs away. The flow then
    descends the NWJ bound :math:`E[T(z, b)] - E[e^{T(z', b)}] + 1`, where z' has fresh noise in the dimensions with b_i = 0; at
    the optimal critic it is the KL divergence, and so is its slope. Gates feel lambda - D_i with the critic's D_i.
    No density of s is in it: the base mixture is fitted to z as well, which moves nothing else (:func:`fit_density`).

    Args:
        others: more whitened rows (R, M - A) for the critic, which on one batch alone learns that batch by heart. Not rows of
            earlier steps: those lag behind.
        proposes: before the debiasing: every tenth draw of an open gate is shut all the same. At gates of 1 nothing
            tells the flow which dimensions it could spare, and the rotation, which costs no energy, never turns into
            the structure.
        flow, white, charges, generator, steps: as in :func:`~training.stages.objective.objective`.
    """
    spared = _SPARED if proposes else 0.0
    pass_ = passed(flow, white, generator, steps, spared=spared)
    z, b = pass_.solution.z, pass_.is_open
    with torch.no_grad():
        fresh = passed(flow, others, generator, steps, spared=spared)
    seen, supports = torch.cat([z.detach(), fresh.solution.z]), torch.cat([b, fresh.is_open])
    for _ in range(_CRITIC_STEPS):
        critic.learn(seen, supports, generator)
    product = torch.where(b > 0, z, torch.randn(z.shape, generator=generator).to(z))
    kl = critic(z, b).mean() - critic(product, b).clamp(max=_LARGEST_LOGIT).exp().mean() + 1
    log_base = flow.base.component_log_probs(z.detach(), b).logsumexp(1)
    nll = -(log_base + (pass_.solution.ladj - pass_.log_noise).detach()).mean()
    gains = None if charges.gate_lam is None else critic.gains(z.detach(), b, pass_.left_in)
    loss = charges.added(kl + nll, pass_, 0.0 if gains is None else gains)
    return Terms(loss, nll.detach(), pass_.solution.kinetic.mean().detach(), gains, kl.detach())


def fit_density(base: GatedMixture, z: Tensor, is_open: Tensor, seed: int, batch: int = 512) -> None:
    """Fit the mixture to latent rows z (N, M) at the support ``is_open`` (M,) by maximum likelihood, for ``log_prob``."""
    generator = torch.Generator().manual_seed(seed)
    b = is_open.to(z)
    optimizer = torch.optim.Adam(base.parameters(), fused=True)
    for step in range(_FITTING):
        rows = z[torch.randint(len(z), (batch,), generator=generator).to(z.device)]
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 + math.cos(math.pi * step / _FITTING))
        optimizer.zero_grad()
        (-base.component_log_probs(rows, b.expand_as(rows)).logsumexp(1).mean()).backward()
        optimizer.step()
    optimizer.zero_grad()
