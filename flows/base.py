"""The base density: a standardised mixture of diagonal Gaussians behind gates."""

import math

import torch
from torch import Tensor, nn

_LOG_2PI = math.log(2 * math.pi)
SMALLEST_SCALE = 0.05
GATE_LAWS = ("bernoulli", "channel")


class GatedMixture(nn.Module):
    r"""K diagonal Gaussians with mean 0 and variance 1 in every dimension under the mixture, behind gates g (M,).

    Where a gate is 0 the factor is N(0, 1) for every component: exact product structure. Two laws for gates between:

    - ``"bernoulli"``: :math:`p(z) = \sum_k \pi_k \prod_i [g_i N(z_i; \mu_{ki}, \sigma_{ki}^2) + (1 - g_i) N(z_i; 0, 1)]`.
      Training draws :math:`b_i \sim` Bernoulli(:math:`g_i`) per row, which makes the gate's gradient conditional nats.
    - ``"channel"``: :math:`p(z) = \sum_k \pi_k \prod_i N(z_i; g_i \mu_{ki}, g_i^2 \sigma_{ki}^2 + 1 - g_i^2)`.

    Args:
        dims: M.
        components: K.
        law: one of ``GATE_LAWS``; the two agree where every gate is 0 or 1.
    """

    def __init__(self, dims: int, components: int = 32, law: str = "bernoulli"):
        super().__init__()
        if law not in GATE_LAWS:
            raise ValueError(f"gate law must be one of {', '.join(GATE_LAWS)}, got {law!r}")
        self.dims, self.components, self.law = dims, components, law
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.zeros(components, dims))
        self.log_scales = nn.Parameter(torch.zeros(components, dims))

    @torch.no_grad()
    def set_components(self, weights: Tensor, means: Tensor, scales: Tensor) -> None:
        """Start from given weights (K,), means (K, M) and standard deviations (K, M), for instance k-means'."""
        self.logits.copy_(weights.clamp_min(1e-4).log())
        self.means.copy_(means)
        self.log_scales.copy_(scales.clamp_min(SMALLEST_SCALE).log())

    def standardised(self) -> tuple[Tensor, Tensor, Tensor]:
        """log pi (K,), mu (K, M) and sigma (K, M) >= 0.05, with mean 0 and variance 1 under the mixture, exactly."""
        log_pi = self.logits.log_softmax(0)
        pi = log_pi.exp()
        variances = (2 * self.log_scales).exp()
        centred = self.means - pi @ self.means
        shrink = (1 - SMALLEST_SCALE**2) / (pi @ (variances + centred.square()))
        return log_pi, centred * shrink.sqrt(), (variances * shrink + SMALLEST_SCALE**2).sqrt()

    def log_prob(self, z: Tensor, gates: Tensor) -> Tensor:
        """Log-density (B,) of ``z`` (B, M) in nats under gates (M,), whatever their values."""
        if self.law == "channel":
            return self._channel_log_prob(z, gates)
        if not bool(((gates == 0) | (gates == 1)).all()):
            return self._bernoulli_log_prob(z, gates)
        kept = gates.nonzero().squeeze(1)
        shut = (gates == 0).nonzero().squeeze(1)
        noise = -0.5 * (z[:, shut].square() + _LOG_2PI).sum(1)
        return noise + self.component_log_probs(z[:, kept], z.new_ones(len(z), len(kept)), kept).logsumexp(1)

    def component_log_probs(self, z: Tensor, is_open: Tensor, kept: Tensor | None = None) -> Tensor:
        """l_k = log pi_k + sum_i b_i log N(z_i; mu_ki, sigma_ki^2) + (1 - b_i) log N(z_i; 0, 1): (B, K).

        Args:
            z: (B, M), or (B, j) where ``kept`` names j dimensions.
            is_open: b, zeros and ones of the shape of ``z``.
            kept: indices (j,) of the dimensions that ``z`` holds.
        """
        log_pi, mu, sigma = self.standardised()
        if kept is not None:
            mu, sigma = mu[:, kept], sigma[:, kept]
        precision = sigma.square().reciprocal()
        constant = -0.5 * mu.square() * precision - sigma.log()
        opened = is_open * z
        features = torch.cat([opened * z, opened, is_open], dim=1)
        weights = torch.cat([-0.5 * precision, mu * precision, constant], dim=1)
        shut = -0.5 * ((1 - is_open) * z.square()).sum(1) - 0.5 * z.shape[1] * _LOG_2PI
        return log_pi + features @ weights.T + shut[:, None]

    @torch.no_grad()
    def gains(self, z: Tensor, is_open: Tensor, kept: Tensor | None = None) -> Tensor:
        """D (M,): mean over rows of log p(z with i open) - log p(z with i shut), given the other draws, in nats.

        Args:
            z: (B, M).
            is_open: b, zeros and ones of the shape of ``z``.
            kept: indices (j,) of the dimensions to ask; the others' gain is 0. Each costs B * K exponentials.
        """
        kept = torch.arange(self.dims, device=z.device) if kept is None else kept
        posterior = self.component_log_probs(z, is_open).log_softmax(1)
        _, mu, sigma = self.standardised()
        z, is_open, mu, sigma = z[:, kept], is_open[:, kept], mu[:, kept], sigma[:, kept]
        open_minus_shut = -0.5 * ((z[:, None] - mu) / sigma).square() - sigma.log() + 0.5 * z[:, None].square()
        sign = 1 - 2 * is_open
        change = torch.logsumexp(posterior[:, :, None] + sign[:, None] * open_minus_shut, dim=1)
        return z.new_zeros(self.dims).index_copy(0, kept, (sign * change).mean(0))

    def _bernoulli_log_prob(self, z: Tensor, gates: Tensor) -> Tensor:
        log_pi, mu, sigma = self.standardised()
        opened = -0.5 * ((z[:, None] - mu) / sigma).square() - sigma.log() + gates.log()
        shut = (-0.5 * z.square() + (1 - gates).log())[:, None]
        factors = torch.logaddexp(opened, shut.expand_as(opened)) - 0.5 * _LOG_2PI
        return (log_pi + factors.sum(2)).logsumexp(1)

    def _channel_log_prob(self, z: Tensor, gates: Tensor) -> Tensor:
        log_pi, mu, sigma = self.standardised()
        variance = gates.square() * sigma.square() + 1 - gates.square()
        squared = (z[:, None] - gates * mu).square() / variance
        return (log_pi - 0.5 * (squared + variance.log() + _LOG_2PI).sum(2)).logsumexp(1)

    def rsample(self, count: int, gates: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw (count, M). Differentiable in means and scales; the draws of components and gates are not."""
        log_pi, mu, sigma = self.standardised()
        k = torch.multinomial(log_pi.detach().exp(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.dims, generator=generator, dtype=mu.dtype, device=mu.device)
        if self.law == "channel":
            return gates * mu[k] + (gates.square() * sigma[k].square() + 1 - gates.square()).sqrt() * noise
        draw = torch.rand(count, self.dims, generator=generator, dtype=mu.dtype, device=mu.device)
        return torch.where(draw < gates, mu[k] + sigma[k] * noise, noise)

    def extra_repr(self) -> str:
        return f"dims={self.dims}, components={self.components}, law={self.law!r}"
