"""Rows that are read when they are asked for, so that there may be more of them than memory holds."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXACT = 2**53  # whole numbers up to here have a float64 of their own
CHUNK = 1 << 24  # numbers worked on at a time: 128 MiB in float64


class Rows:
    """A matrix (N, D) that is not in memory, indexed like a tensor: ``rows[slice or row numbers]`` is (n, D).

    What only measures, slices and indexes a tensor of rows takes these too. ``np.asarray(rows)`` reads all of them.

    Attributes:
        shape: (N, D).
        dtype: of what comes back, float32 or float64.
    """

    shape: tuple[int, int]
    dtype: torch.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """(n, D) rows at a slice or at row numbers (n,) int64.

        Raises:
            IndexError: a number that is no row's.
        """
        numbers = torch.arange(*index.indices(len(self))) if isinstance(index, slice) else index
        if len(numbers) and not (int(numbers.min()) >= 0 and int(numbers.max()) < len(self)):
            raise IndexError(
                f"row numbers must lie in [0, {len(self)}), got {int(numbers.min())} to {int(numbers.max())}"
            )
        return self.take(numbers)

    def take(self, numbers: Tensor) -> Tensor:
        """(n, D) rows at numbers (n,) int64, all in range."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].numpy().astype(dtype or np.dtype(str(self.dtype).removeprefix("torch.")), copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]} rows x {self.shape[1]})"


class StoredRows(Rows):
    """Rows in memory-mapped arrays that follow one another, the shards of one matrix.

    Pages that were read are handed back at once, so memory stays flat; the system's page cache keeps them while it can.

    Args:
        pieces: (n, D) memmaps or mapped tensors of one width and dtype, of real numbers; whole numbers of four bytes or more
            become float64.
    """

    def __init__(self, pieces: Sequence[np.ndarray | Tensor]):
        sizes = [len(piece) for piece in pieces]
        self.pieces, self.ends = list(pieces), torch.tensor(sizes).cumsum(0)
        self.shape = (sum(sizes), pieces[0].shape[1])
        self.dtype = torch.float64 if _is_wide(pieces[0]) else torch.float32

    def take(self, numbers: Tensor) -> Tensor:
        if len(self.pieces) == 1:
            return self._floating(_read(self.pieces[0], numbers))
        rows = torch.empty(len(numbers), self.shape[1], dtype=self.dtype)
        which = torch.searchsorted(self.ends, numbers, right=True)
        for i in which.unique().tolist():
            here = which == i
            first = int(self.ends[i]) - len(self.pieces[i])
            rows[here] = self._floating(_read(self.pieces[i], numbers[here] - first))
        return rows

    def _floating(self, rows: Tensor) -> Tensor:
        found = rows.to(self.dtype)
        if not rows.is_floating_point() and rows.numel() and float(found.abs().max()) > EXACT:
            raise ValueError(
                "activations on disk hold whole numbers beyond 2^53, where float64 cannot tell neighbours apart; write them "
                "again less an offset: x - x.min(axis=0)"
            )
        return found


class Picked(Rows):
    """The rows of ``rows`` whose numbers (n,) are ``picked``, in that order."""

    def __init__(self, rows: Rows, picked: Tensor):
        self.rows, self.picked = rows, picked
        self.shape, self.dtype = (len(picked), rows.shape[1]), rows.dtype

    def take(self, numbers: Tensor) -> Tensor:
        return self.rows.take(self.picked[numbers])


def chunks(rows: Tensor | Rows) -> Iterator[Tensor]:
    """The rows in order, about ``CHUNK`` numbers at a time."""
    size = max(1, CHUNK // max(1, rows.shape[1]))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _is_wide(piece: np.ndarray | Tensor) -> bool:
    """Whether it takes float64 to hold the piece's numbers."""
    floating = piece.is_floating_point() if isinstance(piece, Tensor) else piece.dtype.kind == "f"
    return piece.dtype.itemsize >= (8 if floating else 4)


def _read(piece: np.ndarray | Tensor, numbers: Tensor) -> Tensor:
    if isinstance(piece, Tensor):
        return piece[numbers]
    rows = np.asarray(piece)[numbers.numpy()]  # a copy
    _hand_back(piece)
    return torch.from_numpy(rows.astype(rows.dtype.newbyteorder("="), copy=False))


def _hand_back(piece: np.ndarray) -> None:
    """Give the pages of a read-only memmap back; a private one ("c") may hold the caller's changes."""
    mapping = piece.base
    if getattr(piece, "mode", "") == "r" and isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
