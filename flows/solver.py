"""Solvers: fixed-step RK4 and torchdiffeq's dopri5 behind one call, and the inverse of the discretised map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flows.exits import Exits
from flows.field import Field
from flows.fused import Folded, fused_rk4, stage_weights, velocity


@dataclass
class Solution:
    """What one pass through the flow leaves behind.

    Attributes:
        z: the state at the other end (B, M).
        ladj: log |det dz(1)/dz(0)| (B,).
        kinetic: the integral of |v L|^2 over depth (B,), in squared whitened units; L = I but where a root is given.
        activation: the integral of m_i(t) E|z_i(t)| over depth (M,); E|z_i| is detached.
        evaluations: number of field evaluations.
    """

    z: Tensor
    ladj: Tensor
    kinetic: Tensor
    activation: Tensor
    evaluations: int


def _grid(field: Field, exits: Exits, steps: int) -> tuple[Folded, Tensor, Tensor | None]:
    """Folded weights and masks (T, M) at RK4's 2 * steps + 1 depths, and the dimensions that enter the flow."""
    times = torch.linspace(0, 1, 2 * steps + 1, dtype=exits.tau.dtype, device=exits.tau.device)
    masks = exits.masks(times)
    enters = masks.detach()[0] > 0
    kept = None if bool(enters.all()) else enters.nonzero().squeeze(1)
    return field.folded(times, masks, kept), masks, kept


def rk4(field: Field, exits: Exits, z: Tensor, steps: int, root: Tensor | None = None) -> Solution:
    """Integrate from data to latent with ``steps`` classical Runge-Kutta steps: 4 * steps field evaluations.

    Divergence, kinetic energy h/6 (|k1|^2 + 2|k2|^2 + 2|k3|^2 + |k4|^2) and L1 activation share the stages.
    Dimensions that never enter the flow are not carried. ``root`` is L (M, j) of the kinetic energy.
    """
    weights, masks, kept = _grid(field, exits, steps)
    if kept is None:
        end, ladj, kinetic, magnitudes = fused_rk4(z, weights, steps, root)
        carried = masks
    else:
        own = None if root is None else root[kept]
        moved, ladj, kinetic, magnitudes = fused_rk4(z[:, kept], weights, steps, own)
        end, carried = z.index_copy(1, kept, moved), masks[:, kept]
    by_stage = torch.cat([carried[[2 * n, 2 * n + 1, 2 * n + 1, 2 * n + 2]] for n in range(steps)])
    activation = stage_weights(steps, z) @ (by_stage * magnitudes)
    if kept is not None:
        activation = torch.zeros_like(masks[0]).index_copy(0, kept, activation)
    return Solution(end, ladj, kinetic, activation, 4 * steps)


def _mean_velocity(weights: Folded, n: int, z: Tensor, h: float) -> Tensor:
    """RK4's psi over step n, from its start (h > 0) or from its end (h < 0)."""
    start, end = (2 * n, 2 * n + 2) if h > 0 else (2 * n + 2, 2 * n)
    k1 = velocity(weights, start, z)
    k2 = velocity(weights, 2 * n + 1, z + h / 2 * k1)
    k3 = velocity(weights, 2 * n + 1, z + h / 2 * k2)
    k4 = velocity(weights, end, z + h * k3)
    return (k1 + 2 * (k2 + k3) + k4) / 6


def rk4_states(field: Field, exits: Exits, z: Tensor, steps: int) -> Tensor:
    """States (steps + 1, B, M) at the ends of the steps of :func:`rk4`, depth 0 first."""
    weights, _, kept = _grid(field, exits, steps)
    states = [z]
    for n in range(steps):
        if kept is None:
            states.append(states[-1] + _mean_velocity(weights, n, states[-1], 1 / steps) / steps)
        else:
            inner = states[-1][:, kept]
            states.append(states[-1].index_copy(1, kept, inner + _mean_velocity(weights, n, inner, 1 / steps) / steps))
    return torch.stack(states)


def invert_rk4(field: Field, exits: Exits, z: Tensor, steps: int, tolerance: float, most: int = 50) -> Tensor:
    """Invert the *discretised* map: a backward RK4 step as the guess, then the fixed point z <- z' - h psi(z).

    Where the fixed point does not contract, Newton's method takes over. Differentiable through the fixed point.

    Args:
        z: latent states (B, M).
        tolerance: largest accepted last move per step, in whitened units.

    Raises:
        RuntimeError: neither iteration converged.
    """
    weights, _, kept = _grid(field, exits, steps)
    if kept is not None:
        inner = z[:, kept]
        return z.index_copy(1, kept, _invert(weights, inner, steps, tolerance, most))
    return _invert(weights, z, steps, tolerance, most)


def _invert(weights: Folded, z: Tensor, steps: int, tolerance: float, most: int) -> Tensor:
    if z.numel() == 0:
        return z
    h = 1 / steps
    for n in reversed(range(steps)):
        guess = z - h * _mean_velocity(weights, n, z, -h)
        previous = float("inf")
        for _ in range(most):
            update = z - h * _mean_velocity(weights, n, guess, h)
            moved = (update - guess).detach().abs().amax(1)
            guess, largest = update, float(moved.amax())
            if largest <= tolerance or not largest < previous:
                break
            previous = largest
        stuck = ~(moved <= tolerance)
        if bool(stuck.any()):
            rows = stuck.nonzero().squeeze(1)
            guess = guess.index_copy(0, rows, _newton(weights, n, z[rows], h, tolerance, most))
        z = guess
    return z


def _newton(weights: Folded, n: int, target: Tensor, h: float, tolerance: float, most: int) -> Tensor:
    """Solve z + h psi(z) = target (B, M) row by row; not differentiable."""
    weights, target = Folded(*(w.detach() for w in weights)), target.detach()
    wanted = tolerance * target.abs().amax(1).clamp_min(1)  # far out, float32 resolves no more

    def image(row: Tensor) -> Tensor:
        return row + h * _mean_velocity(weights, n, row[None], h)[0]

    guess = target - h * _mean_velocity(weights, n, target, -h)
    error = guess
    for _ in range(most):
        error = torch.vmap(image)(guess) - target
        if bool((error.abs().amax(1) <= wanted).all()):
            return guess
        guess = guess - torch.linalg.solve(torch.vmap(torch.func.jacrev(image))(guess), error)
    raise RuntimeError(
        f"inverse did not converge in solver step {n + 1} of {round(1 / h)}: largest residual "
        f"{float(error.abs().amax()):.1e}, wanted {tolerance:.0e}; raise flow.steps (the field is too stiff for this many)"
    )


def dopri5(field: Field, exits: Exits, z: Tensor, tolerance: float, root: Tensor | None = None) -> Solution:
    """Integrate with torchdiffeq's adaptive Dormand-Prince 5(4) at ``tolerance``, relative and absolute; for checks.

    The error norm is the largest over rows: torchdiffeq's default, the RMS over the batch, would make a row's
    result depend on its neighbours. Steps end at the kinks of the masks and at t = 1: across a kink the order is lost,
    and torchdiffeq would interpolate the end.
    """
    from torchdiffeq import odeint

    rows, dims = z.shape
    evaluations = 0

    def derivative(t: Tensor, state: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        mask = exits.masks(t.reshape(1))[0]
        v, divergence = field(t, state[:, :dims], mask)
        activation = mask * state[:, :dims].detach().abs()
        measured = v if root is None else v @ root
        return torch.cat([v, divergence[:, None], measured.square().sum(1, keepdim=True), activation], dim=1)

    def largest_row_norm(state: Tensor) -> Tensor:
        return state.reshape(rows, -1).square().mean(1).sqrt().amax()

    start = torch.cat([z, z.new_zeros(rows, 2 + dims)], dim=1)
    times = z.new_tensor([0.0, 1.0])
    kinks = torch.cat([exits.tau - exits.width / 2, exits.tau + exits.width / 2]).detach()
    stops = torch.cat([kinks[(kinks > 0) & (kinks < 1)], times[1:]]).unique()
    options = {"norm": largest_row_norm, "step_t": stops}
    end = odeint(derivative, start, times, rtol=tolerance, atol=tolerance, method="dopri5", options=options)[-1]
    return Solution(end[:, :dims], end[:, dims], end[:, dims + 1], end[:, dims + 2 :].mean(0), evaluations)
