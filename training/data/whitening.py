"""Rows in the coordinates that training sees, all at once or, where they stay on disk, as they are asked for."""

import copy

import torch
from torch import Tensor

from flows.front import Front
from flows.io.rows import Rows

_MOST_JITTER = 1 << 16


class White(Rows):
    """Whitened rows (N, M); columns full of exact ties get jitter at the noise floor, the same at every call.

    Args:
        front: fitted to the rows.
        rows: (N, D) in original units.
        generator: draws the jitter of the first 65 536 rows; later rows get it again.
    """

    def __init__(self, front: Front, rows: Tensor | Rows, generator: torch.Generator):
        self.front = copy.deepcopy(front).cpu()  # the flow's own moves to the accelerator
        self.rows = rows
        self.shape, self.dtype = (len(rows), front.kept), rows.dtype
        self.jitter = torch.zeros(0)
        if bool(front.jittered.any()):
            self.jitter = torch.randn(min(len(rows), _MOST_JITTER), rows.shape[1], generator=generator) * front.floor

    def take(self, numbers: Tensor) -> Tensor:
        x = self.rows[numbers]
        if len(self.jitter):
            x = x + self.jitter[numbers % len(self.jitter)].to(x) * self.front.jittered
        return self.front.whiten(x)


def whitened(front: Front, rows: Tensor | Rows, generator: torch.Generator) -> Tensor | White:
    """A tensor where ``rows`` is one, else rows that are read and whitened batch by batch."""
    white = White(front, rows, generator)
    return white[:] if isinstance(rows, Tensor) else white
