"""Singular values of a function's Jacobian at many rows, in units of noise: whole where small, sketched where large."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from analysis.functions.layers import RowFunction
from analysis.functions.noise import Noise

FIRST_SKETCH = 32  # directions; doubled until all singular values above 1 are resolved
_SPARE = 6  # of them, too inaccurate to count
_CHUNK_NUMBERS = 2**25  # numbers of a chunk's Jacobians (or sketches): 128 to 256 MiB


class Chart:
    """A function around rows (B, D), from noise sds of the input to noise sds of the output: e -> (B, E), 0 -> 0.

    Its Jacobian at 0 is Sy^(-1/2) J Sx^(1/2), and is had by torch.func alone, also where the noise came through a map.
    """

    def __init__(self, function: RowFunction, rows: Tensor, index: Tensor, into: Noise, out: Noise) -> None:
        self.zero = torch.zeros_like(rows)
        with torch.no_grad():
            around = function(rows, index)

        def chart(e: Tensor) -> Tensor:
            return out.measure(function(into.displace(rows, e), index), around)

        self.function: Callable[[Tensor], Tensor] = chart
        self.count, self.inputs, self.outputs = len(rows), rows.shape[1], around.shape[1]
        self._pull = torch.func.vjp(chart, self.zero)[1]
        self._push: Callable[..., tuple[Tensor]] | None = None

    def pull(self, cotangents: Tensor) -> Tensor:
        """J^T v for v (B, E, m): (B, D, m)."""
        return torch.stack([self._pull(v)[0] for v in cotangents.unbind(2)], 2)

    def push(self, tangents: Tensor) -> Tensor:
        """J v for v (B, D, m): (B, E, m), as the derivative of J^T u by u: no need of forward mode, which few functions of a
        user's own have, and which takes seconds to load."""
        if self._push is None:
            at = self.zero.new_zeros(self.count, self.outputs)
            self._push = torch.func.vjp(lambda u: torch.func.vjp(self.function, self.zero)[1](u)[0], at)[1]
        return torch.stack([self._push(v)[0] for v in tangents.unbind(2)], 2)

    def jacobian(self) -> Tensor:
        """(B, E, D)."""
        if self.outputs <= 4 * self.inputs:
            eye = torch.eye(self.outputs).to(self.zero).expand(self.count, -1, -1)
            return self.pull(eye).mT
        return self.push(torch.eye(self.inputs).to(self.zero).expand(self.count, -1, -1))


def singular_values(
    function: RowFunction, rows: Tensor, into: Noise, out: Noise, outputs: int, sketch_above: int, seed: int
) -> tuple[Tensor, bool]:
    """Singular values (n, q) of the Jacobian in units of noise, falling, float64; and whether they were sketched.

    Up to `sketch_above` of the smaller dimension q is that dimension. Beyond it, randomized subspace iteration (Halko,
    Martinsson and Tropp 2011, section 4.5) finds the largest ones to well below 1, or all of them where more than a
    third exceed 1. Sketched values are lower bounds.
    """
    full = min(rows.shape[1], outputs)
    width = full if full <= sketch_above else FIRST_SKETCH
    order = torch.arange(len(rows), device=rows.device)
    while True:
        sketched = width < full
        size = max(1, _CHUNK_NUMBERS // (max(rows.shape[1], outputs) * (4 * width if sketched else min(full, outputs))))
        found = []
        for index in order.split(size):
            chart = Chart(function, rows[index], index, into, out)
            found.append(_sketch(chart, width, seed) if sketched else _all(chart.jacobian()))
            if sketched and (found[-1][:, -1] >= 1).any():
                break
        else:
            return torch.cat(found), sketched
        width = width * 2 if 6 * width <= full else full


def _all(jacobian: Tensor) -> Tensor:
    """All singular values (B, q), by the eigenvalues of the smaller Gram matrix: exact to 1e-8 of the largest."""
    wide = jacobian.double()
    gram = wide @ wide.mT if wide.shape[1] <= wide.shape[2] else wide.mT @ wide
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(1)


def _sketch(chart: Chart, width: int, seed: int) -> Tensor:
    """The largest singular values (B, width - spare), as lower bounds."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(chart.outputs, width, generator=generator, dtype=torch.float64).to(chart.zero)
    inputs = _orthonormal(chart.pull(start.expand(chart.count, -1, -1)))
    return _all(chart.pull(_orthonormal(chart.push(inputs))))[:, : width - _SPARE]


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the columns' span (B, D, m), by the Gram matrix, several times as fast as QR; zeros beyond it."""
    wide = columns.double()
    for _ in range(2):  # the second round makes good what the Gram matrix squares away
        values, axes = torch.linalg.eigh(wide.mT @ wide)
        kept = values > 1e-12 * values[:, -1:]
        wide = wide @ (axes * torch.where(kept, values.clamp_min(1e-300).rsqrt(), 0)[:, None])
    return wide.to(columns)
