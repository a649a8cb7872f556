"""Untangled: a flow, the lift of its structure block, and a second flow that narrows what was lifted."""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from flows.augment import log_normal, row_noise
from flows.exits import Exits
from flows.flow import DRAWS, FunnelFlow
from flows.front import Front
from flows.geometry.nuisance import Nuisance
from flows.io.inputs import as_rows
from flows.lift import Lift

FIRST, LIFT, SECOND = "first", "lift.safetensors", "second"


class Untangled(nn.Module):
    """x -> (s, n) -> lift of s -> (s', n'): structure s of k dimensions goes up into k + A and down into s' of k'.

    Args:
        first: a flow with structure (k >= 1) and no augmented dimensions of its own.
        lift: of its structure block.
        second: a flow of the lifted rows (A + k columns).

    Raises:
        ValueError: the three do not fit together.
    """

    def __init__(self, first: FunnelFlow, lift: Lift, second: FunnelFlow):
        super().__init__()
        if first.front.augment:
            raise ValueError("the first flow has augmented dimensions; untangle a flow trained with model.augment 0")
        if first.structure_dim != lift.structure_dim:
            raise ValueError(
                f"the lift is of {lift.structure_dim} dimensions, the first flow has k = {first.structure_dim}"
            )
        if second.front.features != lift.augment + lift.structure_dim:
            raise ValueError(
                f"the second flow takes {second.front.features} columns, the lift puts out {lift.augment} + {lift.structure_dim}"
            )
        self.first, self.lift, self.second = first, lift, second

    @property
    def features(self) -> int:
        """D, columns of the data."""
        return self.first.front.features

    @property
    def structure_dim(self) -> int:
        """k', of the untangled structure."""
        return self.second.structure_dim

    @property
    def structure(self) -> Tensor:
        """(k',) which of the second flow's dimensions are structure, in order of falling price."""
        return self.second.structure

    @property
    def front(self) -> Front:
        """Of the first flow: what stands between the data and it."""
        return self.first.front

    @property
    def exits(self) -> Exits:
        """Of the second flow."""
        return self.second.exits

    @property
    def nuisance(self) -> Nuisance | None:
        """Of the first flow."""
        return self.first.nuisance

    def transform(self, x: object, draw: int = 0) -> Tensor:
        """z (B, M + A) of x (B, D) at one draw: the second flow's latent (A + k), then the first flow's noise (M - k)."""
        s, n = self.first.split(self.first.transform(x))
        return torch.cat([self.second.transform(self.lift(s, row_noise(s, self.lift.augment, draw))), n], dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """x (B, D) of z (B, M + A); the lift's draw is left behind."""
        width = self.second.front.features
        s = self.lift.inverse(self.second.inverse(z[:, :width]))[0]
        return self.first.inverse(self.first.join(s, z[:, width:]))

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(s', n): structure (B, k') and the noise of both flows (B, M + A - k')."""
        width = self.second.front.features
        s, n = self.second.split(z[:, :width])
        return s, torch.cat([n, z[:, width:]], dim=1)

    def join(self, s: Tensor, n: Tensor) -> Tensor:
        """z (B, M + A) of s' (B, k') and noise (B, M + A - k'): the inverse of :meth:`split`."""
        own = self.second.front.features - self.structure_dim
        return torch.cat([self.second.join(s, n[:, :own]), n[:, own:]], dim=1)

    def lifted(self, x: object, draw: int = 0) -> Tensor:
        """(a, r) (B, A + k) of x (B, D), at draw number ``draw`` of each row."""
        s = self.first.encode(x)
        return self.lift(s, row_noise(s, self.lift.augment, draw))

    def encode(self, x: object, draws: int = DRAWS) -> Tensor:
        """s' (B, k') of x (B, D): the mean over the lift's draws."""
        return self._encodings(x, draws).mean(0)

    def spread(self, x: object, draws: int = DRAWS) -> Tensor:
        """Standard deviation (B, k') of s' over a row's draws."""
        return self._encodings(x, draws).std(0, correction=0)

    def _encodings(self, x: object, draws: int) -> Tensor:
        return torch.stack([self.second.encode(self.lifted(x, draw)) for draw in range(_checked(draws))])

    def decode(
        self, s: Tensor, noise: Literal["zero", "draw"] = "zero", generator: torch.Generator | None = None
    ) -> Tensor:
        """x (B, D) of s' (B, k') with the noise of both flows at zero, or drawn from N(0, I)."""
        return self.first.decode(self.lift.inverse(self.second.decode(s, noise, generator))[0], noise, generator)

    def project(self, x: object) -> Tensor:
        """decode(encode(x)): x with its noise put to zero."""
        return self.decode(self.encode(x))

    def log_prob(self, x: object, draws: int = DRAWS) -> Tensor:
        """Log-density (B,) in nats, importance weighted over ``draws``: in expectation a lower bound, tighter with more."""
        rows = as_rows(x, width=self.features).to(self.first.exits.tau)
        z, ladj = self.first.call_and_ladj(rows)
        s, n = self.first.split(z)
        logs = []
        for draw in range(_checked(draws)):
            noise = row_noise(s, self.lift.augment, draw)
            lifted = self.lift(s, noise)
            logs.append(self.second.log_prob(lifted) + self.lift.log_weight(lifted, noise))
        structure = torch.stack(logs).logsumexp(0) - math.log(len(logs))
        return structure + log_normal(n) + ladj + self.first.front.idle_log_prob(rows)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw x (count, D)."""
        s, _ = self.lift.inverse(self.second.sample(count, generator))
        return self.first.decode(s, "draw", generator)

    def save(self, folder: str | Path) -> None:
        """Write ``first/``, ``lift.safetensors`` and ``second/`` into ``folder``."""
        folder = Path(folder)
        self.first.save(folder / FIRST)
        self.second.save(folder / SECOND)
        self.lift.save(folder / LIFT)

    @classmethod
    def load(cls, folder: str | Path) -> "Untangled":
        """What :meth:`save` or ``unknot untangle`` wrote.

        Raises:
            FileNotFoundError: one of the three is missing.
            ValueError: one is damaged, or they do not fit together.
        """
        from flows.io.store import load

        folder = Path(folder)
        lift = Lift.load(folder / LIFT)
        return cls(load(folder / FIRST), lift, load(folder / SECOND))


def _checked(draws: int) -> int:
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}; {DRAWS} is the default")
    return draws
