"""Exits: the depth at which each dimension leaves the flow, its mask on the way and its gate at the end."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

_EDGE = 1e-5  # above float32's round-off in u for w >= 0.1, in float64 too: flows change dtype


class _InwardClamp(torch.autograd.Function):
    """clamp(u, 0, 1) that is exact at its edges and open there to gradients that point back inside.

    ``(1 + w/2 - 1)/w + 1/2`` can round above 1, where a plain clamp would freeze the dimension for ever, and
    ``(1 - w/2 - 1)/w + 1/2`` above 0, which would count as structure. Hence within round-off of an edge is at the edge.
    """

    @staticmethod
    def forward(ctx, u: Tensor) -> Tensor:
        at_zero, at_one = u.abs() <= _EDGE, (u - 1).abs() <= _EDGE
        ctx.save_for_backward((u > 0) & (u < 1) & ~at_zero & ~at_one, at_zero, at_one)
        return u.clamp(0, 1).masked_fill(at_zero, 0).masked_fill(at_one, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        inside, at_zero, at_one = ctx.saved_tensors
        joint = _over_processes(grad)
        return grad * (inside | at_zero & (joint < 0) | at_one & (joint > 0))


def _over_processes(grad: Tensor) -> Tensor:
    """The sum over all processes that train together: whether an edge opens is one decision, of the joint batch."""
    if not (dist.is_available() and dist.is_initialized()):
        return grad
    total = grad.clone()
    dist.all_reduce(total)
    return total


class Exits(nn.Module):
    r"""Masks :math:`m_i(t) = \mathrm{clamp}((\tau_i - t)/w + 1/2, 0, 1)` and gates :math:`g_i = m_i(1)`.

    ``tau`` (M,) lies in [-w/2, 1 + w/2]: at the top a dimension is structure (gate 1), at or below ``shut_depth``
    = 1 - w/2 it is noise (gate exactly 0), at -w/2 it never enters the flow.

    Args:
        dims: M, the number of dimensions of the state.
        width: w, the stretch of depth over which one dimension leaves.
    """

    tau: nn.Parameter

    def __init__(self, dims: int, width: float = 0.25):
        super().__init__()
        if not 0 < width <= 1:
            raise ValueError(f"exit width must lie in (0, 1], got {width}; 0.25 is the default")
        self.width = width
        self.tau = nn.Parameter(torch.full((dims,), 1 + width / 2))

    @property
    def open_depth(self) -> float:
        """The exit depth of a dimension that stays: its gate is 1."""
        return 1 + self.width / 2

    @property
    def shut_depth(self) -> float:
        """The deepest exit whose gate is exactly 0: the flow may use such a dimension almost to the end."""
        return 1 - self.width / 2

    def masks(self, times: Tensor) -> Tensor:
        """Masks (T, M) at depths ``times`` (T,)."""
        return _InwardClamp.apply((self.tau - times[:, None]) / self.width + 0.5)

    @property
    def gates(self) -> Tensor:
        """Gates g (M,): 1 structure, exactly 0 noise, between the two while a dimension is leaving."""
        return self.masks(self.tau.new_ones(1))[0]

    @torch.no_grad()
    def clamp_(self, may_open: Tensor) -> None:
        """Bring ``tau`` back into its range; gates stay at 0 where ``may_open`` (M,) bool does not hold."""
        highest = torch.where(may_open.to(self.tau.device), self.open_depth, self.shut_depth)
        self.tau.copy_(torch.minimum(self.tau, highest).clamp_min(-self.width / 2))

    @torch.no_grad()
    def set_open(self, is_open: Tensor) -> None:
        """Set gates to 1 where ``is_open`` (M,) bool holds and to exactly 0 elsewhere (exit at ``shut_depth``)."""
        self.tau.copy_(torch.where(is_open.to(self.tau.device), self.open_depth, self.shut_depth))

    @torch.no_grad()
    def narrow_(self, is_open: Tensor) -> None:
        """Hold gates at 1 where ``is_open`` (M,) holds and at 0 elsewhere, leaving the depth of each exit free."""
        is_open = is_open.to(self.tau.device)
        self.tau.copy_(torch.where(is_open, self.open_depth, self.tau.clamp(-self.width / 2, self.shut_depth)))

    @torch.no_grad()
    def snap_(self, steps: int) -> None:
        """Move the exits of shut dimensions so that their masks end on a step of the solver; a kink inside one costs it
        its order. Masks that would end within half a step of the data never start."""
        end = ((self.tau + self.width / 2) * steps).round() / steps
        snapped = torch.where(end > 0, end - self.width / 2, -self.width / 2)
        self.tau.copy_(torch.where(self.gates > 0, self.tau, snapped))

    def extra_repr(self) -> str:
        return f"dims={self.tau.numel()}, width={self.width}"
