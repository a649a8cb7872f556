"""Mean, covariance, constant and equal columns of rows, in one pass and in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flows.io.rows import Rows, chunks


@dataclass
class Moments:
    """What a front needs to know of rows (N, D).

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, divided by N.
        constant: (D,) bool, columns of one value.
        twin_of: (D,) for every column the first that equals it exactly (itself where none does).
    """

    mean: Tensor
    covariance: Tensor
    constant: Tensor
    twin_of: Tensor

    @classmethod
    def of(cls, x: Tensor | Rows) -> Moments:
        """One pass; chunks, each centred by itself, are merged as Chan, Golub and LeVeque (1979) do."""
        count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
        low = high = twin_of = torch.zeros(())
        for chunk in chunks(x):
            wide = chunk.double()
            own, new = wide.mean(0), len(chunk)
            centred = wide - own
            if count == 0:
                mean, scatter = own, centred.T @ centred
                low, high, twin_of = chunk.amin(0), chunk.amax(0), _twins(chunk)
            else:
                shift = own - mean
                mean = mean + shift * (new / (count + new))
                scatter += centred.T @ centred + torch.outer(shift, shift) * (count * new / (count + new))
                low, high = torch.minimum(low, chunk.amin(0)), torch.maximum(high, chunk.amax(0))
                twin_of = _still_twins(chunk, twin_of)
            count += new
        return cls(mean, scatter / count, low == high, twin_of)


def _twins(x: Tensor) -> Tensor:
    """For every column the first column that equals it exactly (itself where none does)."""
    twin_of = torch.arange(x.shape[1])
    first: dict[bytes, list[int]] = {}
    probe = x[:: max(1, len(x) // 64)].T.contiguous()
    for j in range(x.shape[1]):
        candidates = first.setdefault(probe[j].numpy().tobytes(), [])
        for i in candidates:
            if torch.equal(x[:, i], x[:, j]):
                twin_of[j] = i
                break
        else:
            candidates.append(j)
    return twin_of


def _still_twins(x: Tensor, twin_of: Tensor) -> Tensor:
    """Of columns that were equal in all rows before, which still are; a group may fall apart into several."""
    now = torch.arange(len(twin_of))
    for first in twin_of[twin_of != now].unique().tolist():
        members = torch.nonzero(twin_of == first).squeeze(1)
        now[members] = members[_twins(x[:, members])]
    return now
