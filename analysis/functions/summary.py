"""The summary that a function factors through: f = g o h with h: R^D -> R^r, fitted, and judged on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from analysis.functions.layers import RowFunction

_HELD_OUT = 0.25
_FEWEST_ROWS = 40
_MOST_READ = 32  # leading components of x and of f(x) that h reads, and of f(x) that g bends
_HIDDEN = 64
_STEPS = 800
_BATCH = 128


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """A fitted f = g o h.

    Attributes:
        width: r, the dimension of h.
        error: root mean square of f - g o h over held-out rows, as a share of f's own spread there: 0 is exact, 1 no better than
            the mean. It is measured in the output's own coordinates and no invariant.
        largest_error: its .99 quantile over held-out rows, in the same unit.
        linear_error: that of the r leading principal components of f.
        held_out: number of rows that the fit has not seen.
        seed: drew the split, the initial weights and the batches.
    """

    width: int
    error: float
    largest_error: float
    linear_error: float
    held_out: int
    seed: int
    _net: _Net = field(repr=False)
    _function: RowFunction = field(repr=False)

    def h(self, x: Tensor) -> Tensor:
        """The summary (B, r) of rows x (B, D)."""
        x = torch.as_tensor(x)
        with torch.no_grad():
            y = self._function(x, torch.arange(len(x), device=x.device))
            return self._net.encode(x, y)

    def g(self, summary: Tensor) -> Tensor:
        """Outputs (B, E) from summaries (B, r)."""
        with torch.no_grad():
            return self._net.decode(summary)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        names = ("width", "error", "largest_error", "linear_error", "held_out", "seed")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return (
            f"Summary: f = g o h through R^{self.width}, held-out error {self.error:.1%} of f's spread "
            f"(.99 quantile {self.largest_error:.1%}; {self.width} principal components {self.linear_error:.1%}; "
            f"{self.held_out} rows, seed {self.seed})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Bottleneck:
    """The smallest width at which a summary holds.

    Attributes:
        width: that width, or None if no width that was tried did.
        rank: the Jacobian's rank, a lower bound on it.
        tries: the summaries, by width.
        tolerance: held-out error, rms and at its .99 quantile over rows, up to which a summary holds: the rms within it, the
            quantile within three times it, so that no tear is hidden among the rows.
    """

    width: int | None
    rank: int
    tries: tuple[Summary, ...]
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        tries = [one.to_dict() for one in self.tries]
        return {"width": self.width, "rank": self.rank, "tolerance": self.tolerance, "tries": tries}

    def __repr__(self) -> str:
        if self.width is None:
            head = f"Bottleneck: none up to {self.tries[-1].width} holds"
        elif self.width == self.rank:
            head = f"Bottleneck: {self.width}, the Jacobian's rank"
        else:
            head = f"Bottleneck: {self.width}, while the Jacobian's rank is {self.rank}"
        return "\n".join([f"{head} (within {self.tolerance:g} of f's spread)", *(f"  {one}" for one in self.tries)])


def holds(summary: Summary, tolerance: float) -> bool:
    """Whether the error is within the tolerance, and within three times it for 99 percent of the rows."""
    return summary.error <= tolerance and summary.largest_error <= 3 * tolerance


def bottleneck(fit: Callable[[int], Summary], rank: int, most: int, tolerance: float) -> Bottleneck:
    """Try widths from the rank on."""
    tries: list[Summary] = []
    for width in range(rank, most + 1):
        tries.append(fit(width))
        if holds(tries[-1], tolerance):
            return Bottleneck(width, rank, tuple(tries), tolerance)
    return Bottleneck(None, rank, tuple(tries), tolerance)


def fit_summary(function: RowFunction, rows: Tensor, width: int, seed: int = 0) -> Summary:
    """Fit h and g of one width; see :meth:`Factorization.summary`.

    h reads the leading principal components of x and of f(x), which is a smooth function of x too: so it need not
    learn f again. Both h and g are linear maps, started as principal components of f, plus a net of two hidden layers.

    Raises:
        ValueError: too few rows, or a width that is no dimension between 0 and E.
    """
    count = len(rows)
    if count < _FEWEST_ROWS:
        raise ValueError(f"a summary needs at least {_FEWEST_ROWS} rows to be fitted and judged, got {count}")
    with torch.no_grad():
        y = torch.cat([function(rows[i], i) for i in torch.arange(count, device=rows.device).split(4096)])
    if not 0 <= width <= y.shape[1]:
        raise ValueError(f"width must be in 0..{y.shape[1]}, the number of outputs, got {width}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator).to(rows.device)
    held, seen = order[: int(_HELD_OUT * count)], order[int(_HELD_OUT * count) :]
    net = _Net(rows[seen], y[seen], width, seed).to(rows)
    spread = (y[held] - y[seen].mean(0)).square().sum(1).mean().sqrt()
    with torch.no_grad():
        linear = (y[held] - net.reconstruct(rows[held], y[held])).square().sum(1).mean().sqrt() / spread
    if width:
        _train(net, rows[seen], y[seen], generator)
    with torch.no_grad():
        misses = (y[held] - net.reconstruct(rows[held], y[held])).square().sum(1).sqrt() / spread
    error, largest = misses.square().mean().sqrt(), misses.quantile(0.99)
    return Summary(width, float(error), float(largest), float(linear), len(held), seed, net, function)


class _Net(nn.Module):
    """Encoder (x, f(x)) -> R^r and decoder R^r -> R^E."""

    def __init__(self, x: Tensor, y: Tensor, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.of_x, self.of_y = _Components(x), _Components(y)
            read, bent = self.of_x.count + self.of_y.count, self.of_y.count
            self.straight_in, self.straight_out = nn.Linear(read, width), nn.Linear(width, bent)
            self.bent_in, self.bent_out = _mlp(read, width), _mlp(width, bent)
        kept = min(width, bent)
        with torch.no_grad():  # starts as principal components, each at unit sd in the summary
            for linear in (self.straight_in, self.straight_out):
                linear.weight.zero_()
                linear.bias.zero_()
            self.straight_in.weight[:kept, self.of_x.count : self.of_x.count + kept] = torch.eye(kept)
            if width > kept:
                self.straight_in.weight[kept:, : self.of_x.count] = torch.eye(width - kept, self.of_x.count)
            self.straight_out.weight[:kept, :kept] = torch.eye(kept)

    def encode(self, x: Tensor, y: Tensor) -> Tensor:
        read = torch.cat([self.of_x(x), self.of_y(y)], 1)
        return self.straight_in(read) + self.bent_in(read)

    def decode_scores(self, summary: Tensor) -> Tensor:
        return self.straight_out(summary) + self.bent_out(summary)

    def decode(self, summary: Tensor) -> Tensor:
        return self.of_y.back(self.decode_scores(summary))

    def reconstruct(self, x: Tensor, y: Tensor) -> Tensor:
        return self.decode(self.encode(x, y))


class _Components(nn.Module):
    """Leading principal components, each of unit variance."""

    centre: Tensor
    axes: Tensor
    sds: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        wide = rows.double()
        _, s, axes = torch.linalg.svd(wide - wide.mean(0), full_matrices=False)
        sds = s / len(rows) ** 0.5
        self.count = max(1, min(_MOST_READ, int((sds > 1e-6 * sds[0]).sum())))
        self.register_buffer("centre", wide.mean(0).to(rows))
        self.register_buffer("axes", axes[: self.count].to(rows))
        self.register_buffer("sds", sds[: self.count].clamp_min(1e-30).to(rows))

    def forward(self, rows: Tensor) -> Tensor:
        return (rows - self.centre) @ self.axes.T / self.sds

    def back(self, scores: Tensor) -> Tensor:
        return self.centre + (scores * self.sds) @ self.axes


def _mlp(read: int, width: int) -> nn.Module:
    last = nn.Linear(_HIDDEN, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(read, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), last)


def _train(net: _Net, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        of_x, of_y = net.of_x(x), net.of_y(y)
    read, weight = torch.cat([of_x, of_y], 1), net.of_y.sds.square() / net.of_y.sds.square().sum()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=_STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            batch = torch.randint(len(x), (min(_BATCH, len(x)),), generator=generator).to(x.device)
            summary = net.straight_in(read[batch]) + net.bent_in(read[batch])
            loss = ((net.decode_scores(summary) - of_y[batch]).square() * weight).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
