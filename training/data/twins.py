"""Rows that are exactly alike: examples repeated in the data share a source, so that none is on both sides of the split."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flows.io.rows import Rows, chunks
from training.data.activations import Activations
from training.data.oddities import Oddity

LEAST = 0.01  # share of the sources: fewer twins change nothing that is measured


def twins_joined(activations: Activations) -> tuple[Activations, Oddity | None]:
    """The same rows where sources that hold exactly the same rows are one source, and what to say where there are such.

    Without sources each row is one. Sources that share only some of their rows (the first tokens of all sentences, say) stay
    apart, and so do twins that are fewer than 1 % of all.
    """
    keys = row_keys(activations.x)
    owner = (
        torch.arange(len(keys)) if activations.sources is None else activations.sources.unique(return_inverse=True)[1]
    )
    count = int(owner.max()) + 1
    held = torch.zeros(count, dtype=torch.int64).index_add_(
        0, owner, _mixed(keys)
    )  # whatever the order of a source's rows
    distinct, place = held.unique(return_inverse=True)
    alike = int((place.bincount() > 1)[place].sum())
    if alike < LEAST * count or len(distinct) < 2:
        return activations, None
    first = torch.full((len(distinct),), count).scatter_reduce_(0, place, torch.arange(count), "amin")
    what = "rows" if activations.sources is None else "sources"
    return replace(activations, sources=first[place][owner]), Oddity(
        f"{alike} of {count} {what} are identical to others ({len(distinct)} are distinct): identical {what} share a source, "
        "so that none is on both sides of the split"
    )


def row_keys(x: Tensor | Rows) -> Tensor:
    """(N,) int64 of rows (N, D): equal where rows are exactly alike; where they differ, equal by chance once in 2^60 or so."""
    weights = torch.randint(-(2**63), 2**63 - 1, (x.shape[1],), generator=torch.Generator().manual_seed(0)) | 1
    return torch.cat([(_bits(chunk) * weights).sum(1) for chunk in chunks(x)])


def _bits(x: Tensor) -> Tensor:
    """The bits of every number as int64, the high ones spread over the low; 0 and -0 are alike."""
    bits = (x.detach().cpu() + 0.0).view(torch.int32 if x.dtype == torch.float32 else torch.int64).long()
    bits = bits ^ (bits >> 32)
    return bits ^ (bits >> 16)


def _mixed(keys: Tensor) -> Tensor:
    """Keys whose sums tell sets of rows apart (splitmix64's finaliser; Steele, Lea, Flood 2014)."""
    keys = (keys ^ (keys >> 30)) * -0x40A7B892E31B1A47
    keys = (keys ^ (keys >> 27)) * -0x6B2FB644ECCEEE15
    return keys ^ (keys >> 31)
