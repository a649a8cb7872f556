"""Rows in order of time: blocks of the recording are the sources, so that held-out rows are no twins of training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from flows.io.rows import CHUNK, Rows
from training.data.activations import Activations
from training.data.oddities import DOUBTFUL, Oddity

_TIMES = 10  # autocorrelation times in a block
_FEWEST = 20  # blocks, so that 15 % of them are three
_DIRECTIONS = 32  # leading principal directions, whose mixtures are looked through for the slowest


@dataclass(frozen=True)
class Series:
    """Rows that follow one another in time.

    Attributes:
        time: rows after which they are forgotten; see :func:`autocorrelation_time`.
        block: rows of a source.
        count: all rows.
    """

    time: int
    block: int
    count: int

    @classmethod
    def of(cls, x: Tensor | Rows) -> Series:
        """Blocks of ten autocorrelation times, shorter where there would be fewer than 20 of them."""
        time, count = autocorrelation_time(x), x.shape[0]
        return cls(time, max(1, min(_TIMES * time, count // _FEWEST)), count)

    @property
    def sources(self) -> Tensor:
        """(N,) number of each row's block."""
        return torch.arange(self.count) // self.block

    def apart(self, train: Tensor, held_out: Tensor) -> Tensor:
        """Those of the training rows (n,) that no held-out row is within one autocorrelation time of; both ascending."""
        at = torch.searchsorted(held_out, train)
        before, after = held_out[(at - 1).clamp_min(0)], held_out[at.clamp_max(len(held_out) - 1)]
        near = torch.minimum((train - before).abs(), (train - after).abs()) <= self.time
        return train if self.time == 1 or bool(near.all()) else train[~near]

    @property
    def oddity(self) -> Oddity:
        """What was done, and whether the recording is too short for it."""
        done = (
            f"rows are in order of time and alike over {self.time} of them: {-(-self.count // self.block)} blocks of "
            f"{self.block} rows are the sources, and training rows within {self.time} rows of held-out ones are left out"
        )
        if self.block >= _TIMES * self.time:
            return Oddity(done)
        return Oddity(
            f"{done}; the recording holds {self.count // self.time} such times, too few for blocks of {_TIMES}: "
            "record longer, or take off the drift",
            DOUBTFUL,
        )


def in_blocks(activations: Activations) -> tuple[Activations, Series | None]:
    """The same rows with blocks of time as sources where they are in order of time."""
    if activations.order is None:
        return activations, None
    series = Series.of(activations.x)
    return replace(activations, sources=series.sources, order=None), series


def autocorrelation_time(x: Tensor | Rows) -> int:
    """The lag, in rows, at which the slowest direction of rows (N, D) has an autocorrelation below 1/e; 1 of independent rows.

    The slowest direction is sought among the mixtures of up to 32 principal directions whose autocorrelations at a lag of one row
    are stationary (Molgedey and Schuster 1994; time-lagged independent components): a slow signal may be a small part of every
    column. Of more than 2^24 numbers a stretch in the middle is looked at.
    """
    size = min(x.shape[0], max(1, CHUNK // x.shape[1]))
    first = (x.shape[0] - size) // 2
    rows = x[first : first + size].detach().cpu().double().numpy()
    rows = rows[:, rows.max(0) > rows.min(0)]
    if not rows.shape[1]:
        return 1
    white = torch.from_numpy(PCA(min(_DIRECTIONS, *rows.shape), whiten=True, random_state=0).fit_transform(rows))
    lagged = white[:-1].T @ white[1:]
    slow = white @ torch.linalg.eigh(lagged + lagged.T)[1]
    return max(_forgotten(column) for column in slow.T)


def _forgotten(y: Tensor) -> int:
    """The first lag at which the autocorrelation of a centred y (N,) is below 1/e."""
    power = torch.fft.rfft(y, 2 * len(y)).abs().square()
    correlation = torch.fft.irfft(power, 2 * len(y))[: len(y)]
    return max(1, int((correlation < correlation[0] / math.e).double().argmax()))
