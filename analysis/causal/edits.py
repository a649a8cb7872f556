"""What is done to rows: a part (a flow's block, a plain subspace) or the rest is put to its mean, drawn, or taken from others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from flows.flow import FunnelFlow
    from flows.front import Front

WAYS = ("mean", "redrawn", "exchanged")
SUBSPACES = 20  # random ones that share the rows
_CHUNK = 1024


class Edits(Protocol):
    """Rows with a part of k dimensions and a rest; every method returns edited rows (B, D)."""

    def rest(self, way: str) -> Tensor:
        """The rest put to its mean, redrawn from N(0, I), or exchanged between rows."""

    def swapped(self) -> Tensor:
        """The part taken from the partner, the rest kept."""

    def first(self, j: int) -> Tensor:
        """The first ``j`` dimensions of the part kept, everything else taken from the partner."""


class OfFlow:
    """The part is the structure block s; the rest is the noise block n and the front's idle coordinates.

    What the front does not model is kept: columns set aside, directions below the noise floor, what lies beyond few rows' span.

    Args:
        flow: a trained flow.
        x: rows (B, D) in its units.
        partner: (B,) the row that each exchanges with.
        generator: draws the rest.
    """

    def __init__(self, flow: FunnelFlow, x: Tensor, partner: Tensor, generator: torch.Generator):
        self.flow, self.x, self.partner, self.generator = flow, x, partner, generator
        self.s, self.n = flow.split(flow.transform(x))
        self.idle = flow.front.coordinates(x)[:, flow.front.kept : entering(flow.front)]
        self.beyond = x - flow.front.inverse(flow.front(x))

    @property
    def rest_dim(self) -> int:
        """Directions of the rest."""
        return self.n.shape[1] + self.idle.shape[1]

    def rest(self, way: str) -> Tensor:
        return self._built(self.s, self._other(self.n, way), self._other(self.idle, way))

    def swapped(self) -> Tensor:
        return self._built(self.s[self.partner], self.n, self.idle)

    def one(self, i: int) -> Tensor:
        """Rows with s_i alone taken from the partner."""
        s = self.s.clone()
        s[:, i] = s[self.partner, i]
        return self._built(s, self.n, self.idle)

    def first(self, j: int) -> Tensor:
        s = torch.cat([self.s[:, :j], self.s[self.partner, j:]], dim=1)
        return self._built(s, self.n[self.partner], self.idle[self.partner])

    def _other(self, block: Tensor, way: str) -> Tensor:
        return _other(block, way, self.partner, self.generator)

    def _built(self, s: Tensor, n: Tensor, idle: Tensor) -> Tensor:
        unchanged = s is self.s and (n is self.n or not n.shape[1])
        x = self.x
        if not unchanged:
            x = torch.cat([self.flow.inverse(z) for z in self.flow.join(s, n).split(_CHUNK)]) + self.beyond
        return x + self.flow.front.displacement(idle - self.idle, self.flow.front.kept) if idle.shape[1] else x


class OfDirections:
    """The part is a plain subspace of the front's white coordinates y; the rest is the directions at right angles to it.

    Args:
        front: of a trained flow.
        x: rows (B, D) in its units.
        partner: (B,) the row that each exchanges with.
        generator: draws the rest.
        bases: (g, S, k) orthonormal columns; every basis is used for one of g equal shares of the rows.
    """

    def __init__(self, front: Front, x: Tensor, partner: Tensor, generator: torch.Generator, bases: Tensor):
        self.front, self.x, self.partner, self.generator = front, x, partner, generator
        self.bases = bases.to(x)
        self.y = front.coordinates(x)[:, : bases.shape[1]]

    def rest(self, way: str) -> Tensor:
        other = _other(self.y, way, self.partner, self.generator)
        return self._built(other + self._inside(self.y - other))

    def swapped(self) -> Tensor:
        return self._built(self.y + self._inside(self.y[self.partner] - self.y))

    def first(self, j: int) -> Tensor:
        other = self.y[self.partner]
        return self._built(other + self._inside(self.y - other, j))

    def _inside(self, y: Tensor, j: int | None = None) -> Tensor:
        """What of ``y`` (B, S) lies in the first ``j`` directions of the part."""
        shares = zip(y.tensor_split(len(self.bases)), self.bases, strict=True)
        return torch.cat([some @ basis[:, :j] @ basis[:, :j].T for some, basis in shares])

    def _built(self, y: Tensor) -> Tensor:
        return self.x + self.front.displacement(y - self.y)


def _other(block: Tensor, way: str, partner: Tensor, generator: torch.Generator) -> Tensor:
    if way == "exchanged":
        return block[partner]
    if way == "redrawn":
        return torch.randn(block.shape, generator=generator, dtype=block.dtype).to(block)
    return torch.zeros_like(block)


def entering(front: Front) -> int:
    """S, coordinates that can be edited: all that have an sd of their own, of a whitening front those above the noise floor."""
    return front.kept if front.kind == "whiten" else front.stored


def subspaces(front: Front, k: int, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Names and bases (g, S, k) of what the flow's block is measured against."""
    size = entering(front)
    eye = torch.eye(size, dtype=torch.float64)
    if front.kind == "relevance":
        yield "relevant", eye[None, :, :k]
        yield "principal", front.mix.double()[:k].T[None]
    else:
        yield "principal", eye[None, :, :k]
    drawn = torch.randn(SUBSPACES, size, k, generator=generator, dtype=torch.float64)
    yield "random", torch.linalg.qr(drawn)[0]
