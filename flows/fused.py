"""Velocity, divergence and their backward over a whole RK4 pass, in one autograd function.

One stage is two matrix products per hidden layer and nothing else: tanh(a) = 2 sigmoid(2a) - 1 lets every scale and shift
move into the weights (:func:`fold`), once per pass; divergences and all weight gradients are formed for all
stages together. The plain version, :meth:`flows.field.Field.forward` under autograd, is the oracle (tests/test_field.py).

Shapes: T = 2 steps + 1 depths, S = 4 steps stages, B rows, M dimensions, H hidden units.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_FEW_ROWS = 256  # below, calls cost more than numbers, and they are fewer where all stages end together


class Folded(NamedTuple):
    """The field at T depths, masks, scales and shifts folded in; all but A2 carry T as their first axis."""

    A1: Tensor
    c1: Tensor
    A2: Tensor
    c2: Tensor
    A3: Tensor
    c3: Tensor
    K: Tensor


def fold(W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, masks: Tensor) -> Folded:
    """Fold masks (T, M) and tanh = 2 sigmoid(2 a) - 1 into W1 (M, H), b1 (T, H), W2 (H, H), b2 (T, H), W3 (H, M)."""
    W1, W3 = masks[:, :, None] * W1, W3 * masks[:, None]
    K = 16 * W2 * torch.bmm(W3, W1).mT
    return Folded(2 * W1, 2 * b1, 4 * W2, 2 * (b2 - W2.sum(0)), 2 * W3, -W3.sum(1), K)


def velocity(weights: Folded, depth: int, z: Tensor) -> Tensor:
    """v (B, M) at the ``depth``-th of the T depths, for sampling and inverting."""
    s1 = torch.addmm(weights.c1[depth], z, weights.A1[depth]).sigmoid()
    s2 = torch.addmm(weights.c2[depth], s1, weights.A2).sigmoid()
    return torch.addmm(weights.c3[depth], s2, weights.A3[depth])


def _depths(steps: int) -> list[int]:
    """For each of the 4 * steps stages the index of its depth."""
    return [2 * n + offset for n in range(steps) for offset in (0, 1, 1, 2)]


def stage_weights(steps: int, like: Tensor) -> Tensor:
    """RK4's quadrature weights (S,): h/6 (1, 2, 2, 1) in every step."""
    return like.new_tensor([1.0, 2.0, 2.0, 1.0]).repeat(steps) / (6 * steps)


class _FusedRK4(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, A1, c1, A2, c2, A3, c3, K, root, steps):
        depths, h, (rows, dims), hidden = _depths(steps), 1 / steps, z.shape, A2.shape[0]
        points, velocities = z.new_empty(2, 4 * steps, rows, dims)
        s1, s2 = z.new_empty(2, 4 * steps, rows, hidden)
        stages = zip(depths, points.unbind(), s1.unbind(), s2.unbind(), velocities.unbind(), strict=True)
        layers = list(zip(c1.unbind(), A1.unbind(), c2.unbind(), c3.unbind(), A3.unbind(), strict=True))
        k: list[Tensor] = []
        for s, (j, point, first, second, v) in enumerate(stages):
            bias1, weight1, bias2, bias3, weight3 = layers[j]
            if s % 4:
                torch.add(z, k[-1], alpha=h if s % 4 == 3 else h / 2, out=point)
            else:
                point.copy_(z)
                k = []
            torch.addmm(bias1, point, weight1, out=first).sigmoid_()
            torch.addmm(bias2, first, A2, out=second).sigmoid_()
            k.append(torch.addmm(bias3, second, weight3, out=v))
            if s % 4 == 3:
                z = torch.add(z, (k[1] + k[2]).mul_(2).add_(k[0]).add_(k[3]), alpha=h / 6)
        weights = stage_weights(steps, z)
        d1, d2 = torch.addcmul(s1, s1, s1, value=-1), torch.addcmul(s2, s2, s2, value=-1)
        d1K = torch.bmm(d1, K[depths])
        ladj = weights @ (d1K * d2).sum(2)
        measured = velocities if root is None else velocities @ root
        kinetic = weights @ measured.square().sum(2)
        magnitudes = points.abs().mean(1)
        ctx.save_for_backward(points, velocities, s1, s2, d1, d2, d1K, A1, A2, A3, K, root, measured)
        ctx.steps = steps
        ctx.mark_non_differentiable(magnitudes)
        return z, ladj, kinetic, magnitudes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_z, grad_ladj, grad_kinetic, _):
        points, velocities, s1, s2, d1, d2, d1K, A1, A2, A3, K, root, measured = ctx.saved_tensors
        steps, depths, h = ctx.steps, _depths(ctx.steps), 1 / ctx.steps
        weights = stage_weights(steps, grad_z)
        grad_divergence = (weights[:, None] * grad_ladj)[:, :, None]
        d2_weighted = d2 * grad_divergence
        grad_K = torch.bmm(d1.mT, d2_weighted)
        # what reaches the sigmoids through the divergence; the sweep below adds what reaches them through the velocity
        grad_a1 = torch.bmm(d2_weighted, K[depths].mT)
        grad_a1.addcmul_(grad_a1, s1, value=-2)
        grad_a2 = d1K * grad_divergence
        grad_a2.addcmul_(grad_a2, s2, value=-2)
        grad_v = (2 * weights[:, None] * grad_kinetic)[:, :, None] * measured
        grad_root = None
        if root is not None:
            grad_root = velocities.flatten(0, 1).T @ grad_v.flatten(0, 1)
            grad_v = grad_v @ root.T
        stages = list(zip(*(a.unbind() for a in (grad_v, grad_a2, d2, grad_a1, d1)), strict=True))
        transposed = list(zip(A1.mT.unbind(), A3.mT.unbind(), strict=True))
        grad_point = grad_z
        for s in reversed(range(4 * steps)):
            v, a2, slope2, a1, slope1 = stages[s]
            weight1, weight3 = transposed[depths[s]]
            if s % 4 == 3:
                grad_end = grad_z
            v.add_(grad_end, alpha=h / 6 if s % 4 in (0, 3) else h / 3)
            if s % 4 < 3:
                v.add_(grad_point, alpha=h if s % 4 == 2 else h / 2)
            a2.addmm_(v, weight3).mul_(slope2)
            a1.addmm_(a2, A2.T).mul_(slope1)
            grad_point = a1 @ weight1
            grad_z = grad_z + grad_point

        def by_depth(per_stage: Tensor) -> Tensor:
            total = per_stage.new_zeros(2 * steps + 1, *per_stage.shape[1:])
            return total.index_add_(0, torch.tensor(depths, device=total.device), per_stage)

        return (
            grad_z,
            by_depth(torch.bmm(points.mT, grad_a1)),
            by_depth(grad_a1.sum(1)),
            s1.flatten(0, 1).T @ grad_a2.flatten(0, 1),
            by_depth(grad_a2.sum(1)),
            by_depth(torch.bmm(s2.mT, grad_v)),
            by_depth(grad_v.sum(1)),
            by_depth(grad_K),
            grad_root,
            None,
        )


def _forward_only(z: Tensor, weights: Folded, steps: int, root: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same where nobody asks for gradients: every stage is used up at once, in buffers that stay in the cache."""
    A1, c1, A2, c2, A3, c3, K = weights
    h, k, magnitudes = 1 / steps, [torch.empty_like(z) for _ in range(4)], []
    point, first, second = torch.empty_like(z), *z.new_empty(2, len(z), len(A2))
    ladj, kinetic = z.new_zeros(2, len(z))
    for s, j in enumerate(_depths(steps)):
        i = s % 4
        at = torch.add(z, k[i - 1], alpha=h if i == 3 else h / 2, out=point) if i else z
        magnitudes.append(at.abs().mean(0))
        torch.addmm(c1[j], at, A1[j], out=first).sigmoid_()
        torch.addmm(c2[j], first, A2, out=second).sigmoid_()
        torch.addmm(c3[j], second, A3[j], out=k[i])
        d1, weight = first.addcmul_(first, first, value=-1), h / 6 if i in (0, 3) else h / 3
        d2 = second.addcmul_(second, second, value=-1)
        ladj.add_((d1 @ K[j]).mul_(d2).sum(1), alpha=weight)
        measured = k[i] if root is None else k[i] @ root
        kinetic.add_(measured.square().sum(1), alpha=weight)
        if i == 3:
            z = torch.add(z, (k[1] + k[2]).mul_(2).add_(k[0]).add_(k[3]), alpha=h / 6)
    return z, ladj, kinetic, torch.stack(magnitudes)


def fused_rk4(
    z: Tensor, weights: Folded, steps: int, root: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Integrate z (B, M) over depth: z(1) (B, M), ladj (B,), kinetic (B,), mean |z| per stage (S, M), detached.

    Args:
        root: L (M, j), by which velocities are measured: kinetic energy is the integral of |v L|^2, of |v|^2 by default.
    """
    learns = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (z, *weights, root) if tensor is not None
    )
    if learns or len(z) < _FEW_ROWS:
        return _FusedRK4.apply(z, *weights, root, steps)
    return _forward_only(z, weights, steps, root)
