"""The critic of the adversarial objective: it tells rows (s, n) from (s, n'), n' ~ N(0, I) drawn afresh."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu, softplus

_RATE = 6e-3
_BETAS = (0.5, 0.99)  # with longer memories of slopes the flow and its critic chase one another
_DECAY = 0.3  # a share of the step size; at 0.01 a critic of 13 dimensions learns 10 000 rows by heart
_MEASURING = 600  # steps on a flow that stands still, before its bound is read
_MEASURING_BATCH = 512
_DRAWS = 16


class Critic(nn.Module):
    r"""T(z, b): at its optimum :math:`\log q(s, n) / (q(s) N(n))`, n being the dimensions with b_i = 0 and s the others.

    One critic that is told b serves every support. Two hidden layers of silu units on (z, z², bz, bz², b): squares, for a
    ring is a disc with a hole. Weights and Adam's moments are buffers, no parameters: a checkpoint holds them, and only
    :meth:`learn` moves them.

    Args:
        dims: M.
        hidden: H, units of both layers.
        seed: draws the first weights.
    """

    weights: Tensor
    moments: Tensor
    taken: Tensor

    def __init__(self, dims: int, hidden: int = 32, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dims = dims
        self.shapes = [(5 * dims, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden, 1), (1,)]
        spread = [1 / math.sqrt(5 * dims), 0, 1 / math.sqrt(hidden), 0, 0, 0]
        first = [torch.randn(shape, generator=generator) * sd for shape, sd in zip(self.shapes, spread, strict=True)]
        self.register_buffer("weights", torch.cat([w.flatten() for w in first]))
        self.register_buffer("moments", torch.zeros(2, len(self.weights)))
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor, is_open: Tensor) -> Tensor:
        """Logits T (B,) of z (B, M) at supports b = ``is_open`` (B, M), zeros and ones."""
        return self._logits(self.weights, z, is_open)

    def _logits(self, weights: Tensor, z: Tensor, is_open: Tensor) -> Tensor:
        layers = self._layers(weights)
        return _outer(layers, _first(layers, z, is_open))

    def _layers(self, weights: Tensor) -> list[Tensor]:
        parts = weights.split([math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @torch.no_grad()
    def gains(self, z: Tensor, is_open: Tensor, kept: Tensor) -> Tensor:
        """D (M,): mean over rows of T with i shut - T with i open, given the other draws, in nats.

        At the optimum E[log q(z_i | s) / N(z_i)], by which the KL divergence from a product grows when i is shut.

        Args:
            kept: indices (j,) of the dimensions to ask; the others' gain is 0.
        """
        layers = self._layers(self.weights)
        here, opening = _first(layers, z, is_open), layers[0].view(5, self.dims, -1)[2:, kept]
        asked, sign = z[:, kept, None], 1 - 2 * is_open[:, kept]
        change = asked * opening[0] + asked.square() / 2 * opening[1] + opening[2]
        flipped = _outer(layers, here[:, None] + sign[:, :, None] * change)
        return z.new_zeros(self.dims).index_copy(0, kept, (sign * (_outer(layers, here)[:, None] - flipped)).mean(0))

    def learn(self, z: Tensor, is_open: Tensor, generator: torch.Generator) -> None:
        """One step on latent rows z (B, M) at supports b (B, M), against fresh noise drawn by ``generator``.

        Half of the rows have one bit of b flipped: D_i is a difference of T, which must know both sides.
        """
        flips = torch.rand(len(z), 1, generator=generator) < 0.5
        which = one_hot(torch.randint(self.dims, (len(z),), generator=generator), self.dims).bool()
        b = torch.where((flips & which).to(z.device), 1 - is_open, is_open)
        self._step(z, torch.randn(z.shape, generator=generator).to(z), b, _RATE)

    def _step(self, z: Tensor, fresh: Tensor, is_open: Tensor, rate: float) -> None:
        """Adam on the logistic loss softplus(-T(z)) + softplus(T(z')), z' having ``fresh`` noise where b_i = 0."""
        weights = self.weights.detach().requires_grad_()
        both = torch.cat([z, torch.where(is_open > 0, z, fresh)])
        real, product = self._logits(weights, both, is_open.repeat(2, 1)).chunk(2)
        (slope,) = torch.autograd.grad(softplus(-real).mean() + softplus(product).mean(), weights)
        self.taken += 1
        first, second = self.moments
        first.lerp_(slope, 1 - _BETAS[0])
        second.lerp_(slope.square(), 1 - _BETAS[1])
        mean, square = (1 - beta ** int(self.taken) for beta in _BETAS)
        self.weights.mul_(1 - rate * _DECAY)
        self.weights.addcdiv_(first / mean, (second / square).sqrt() + 1e-8, value=-rate)

    @torch.enable_grad()
    def bounds(self, z: Tensor, held_out: Tensor, is_open: Tensor, seed: int) -> Tensor:
        """Per held-out row (n,) the NWJ bound T(z) - mean exp T(z') + 1 on KL(q(s, n) | q(s) N(n)), in nats.

        A copy trains on latent rows z (N, M) at the support ``is_open`` (M,) first. Whatever it has learned, the mean is in
        expectation a *lower* bound (Nguyen, Wainwright and Jordan 2010): dependence that it cannot see is not in it.
        """
        critic, generator = copy.deepcopy(self), torch.Generator().manual_seed(seed)

        def noise(rows: int) -> Tensor:
            return torch.randn(rows, self.dims, generator=generator).to(z)

        b = is_open.to(z)
        for step in range(_MEASURING):
            chosen = z[torch.randint(len(z), (_MEASURING_BATCH,), generator=generator).to(z.device)]
            rate = _RATE * 0.5 * (1 + math.cos(math.pi * step / _MEASURING))
            critic._step(chosen, noise(len(chosen)), b.expand_as(chosen), rate)
        with torch.no_grad():
            b = b.expand_as(held_out)
            products = (critic(torch.where(b > 0, held_out, noise(len(held_out))), b).exp() for _ in range(_DRAWS))
            return critic(held_out, b) - sum(products) / _DRAWS + 1


def _first(layers: list[Tensor], z: Tensor, is_open: Tensor) -> Tensor:
    square = z.square() / 2
    return torch.cat([z, square, is_open * z, is_open * square, is_open], dim=1) @ layers[0] + layers[1]


def _outer(layers: list[Tensor], first: Tensor) -> Tensor:
    return (silu(silu(first) @ layers[2] + layers[3]) @ layers[4] + layers[5])[..., 0]
