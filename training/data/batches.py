"""Batches that are a function of (seed, step): a resumed run sees exactly the rows that an uninterrupted one would."""

from collections.abc import Iterator

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from flows.io.rows import Rows


class StepBatches(IterableDataset):
    """Endless batches (B, M) of ``rows`` (N, M), reshuffled every epoch, starting at optimiser step ``start``."""

    def __init__(self, rows: Tensor | Rows, batch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1):
        self.rows, self.batch, self.seed, self.start = rows, min(batch, len(rows)), seed, start
        self.rank, self.world = rank, world
        if self.batch % world:
            raise ValueError(
                f"path.batch must be a multiple of the {world} processes, got {self.batch}; choose another"
            )

    def __iter__(self) -> Iterator[Tensor]:
        per_epoch = len(self.rows) // self.batch
        epoch, order = -1, torch.empty(0)
        step = self.start
        while True:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
                order = torch.randperm(len(self.rows), generator=generator)
            first = (step % per_epoch) * self.batch
            yield self.rows[order[first : first + self.batch][self.rank :: self.world]]
            step += 1


class WhiteRows(LightningDataModule):
    """Whitened training rows, in memory or not, and held-out rows in memory; the loader starts at the trainer's step."""

    def __init__(self, white: Tensor | Rows, held_out: Tensor, batch: int, seed: int):
        super().__init__()
        self.white, self.held_out, self.batch, self.seed = white, held_out, batch, seed

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        start, rank, world = (trainer.global_step, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        rows = StepBatches(self.white, self.batch, self.seed, start, rank, world)
        # without a generator of its own the loader draws from the global random state
        return DataLoader(rows, batch_size=None, num_workers=0, generator=torch.Generator())
