"""The field f(t, z): a two-hidden-layer tanh network whose divergence is exact and in closed form."""

import math

import torch
from torch import Tensor, nn

from flows.fused import Folded, fold


class Field(nn.Module):
    r"""Masked velocity :math:`v = m \odot f(t, m \odot z)` with :math:`f = W_3 \tanh(W_2 \tanh(W_1 z + b_1(t)) + b_2(t))`.

    Its divergence is :math:`d_2^\top C d_1` with :math:`d_i = 1 - \tanh^2(a_i)` and
    :math:`C = W_2 \odot (W_1 \mathrm{diag}(m^2) W_3)^\top`: one H x H product per row whatever the dimension.
    Biases are affine in depth. ``W3`` starts at zero, so that the flow starts as the identity.
    Weights are stored with their input axis first: W1 (M, H), W2 (H, H), W3 (H, M).

    Args:
        dims: M, the number of dimensions of the state.
        hidden: H, the width of both hidden layers.
        generator: draws the initial weights.
    """

    def __init__(self, dims: int, hidden: int = 64, generator: torch.Generator | None = None):
        super().__init__()

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * scale)

        self.dims, self.hidden = dims, hidden
        self.W1 = normal(dims, hidden, scale=1 / math.sqrt(dims))
        self.W2 = normal(hidden, hidden, scale=1 / math.sqrt(hidden))
        self.W3 = nn.Parameter(torch.zeros(hidden, dims))
        self.b1 = normal(2, hidden, scale=0.5)
        self.b2 = normal(2, hidden, scale=0.5)

    def biases(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """b1 and b2 at depths ``times`` (T,): each (T, H)."""
        basis = torch.stack([torch.ones_like(times), times - 0.5], dim=1)
        return basis @ self.b1, basis @ self.b2

    def forward(self, t: float | Tensor, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity (B, M) and divergence (B,) at depth ``t`` for z (B, M) under mask (M,): the formula as it stands."""
        b1, b2 = self.biases(torch.as_tensor(t).to(z).reshape(1))
        h1 = torch.tanh((mask * z) @ self.W1 + b1)
        h2 = torch.tanh(h1 @ self.W2 + b2)
        d1, d2 = 1 - h1.square(), 1 - h2.square()
        C = self.W2 * ((self.W3 * mask.square()) @ self.W1).T
        return mask * (h2 @ self.W3), ((d1 @ C) * d2).sum(1)

    def folded(self, times: Tensor, masks: Tensor, kept: Tensor | None = None) -> Folded:
        """The field at depths ``times`` (T,) under ``masks`` (T, M), ready for :mod:`flows.fused`.

        Args:
            kept: the only dimensions to carry, where the others never enter the flow.
        """
        b1, b2 = self.biases(times)
        if kept is None:
            return fold(self.W1, b1, self.W2, b2, self.W3, masks)
        return fold(self.W1[kept], b1, self.W2, b2, self.W3[:, kept], masks[:, kept])

    def extra_repr(self) -> str:
        return f"dims={self.dims}, hidden={self.hidden}"
