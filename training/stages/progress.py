"""Where a staged run stands: plain data and tensors, so that a checkpoint holds all of it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Progress:
    """Where a run stands and what it has found; see :class:`~training.stages.course.Course`.

    Attributes:
        stage, began: settle, screen, resettle, ramp, debias, narrow or done, and the optimiser step it began at.
        rounds: refits done.
        path: one row per grid point of lambda: step, stage, lam, k, nll (held out, nats, whitened units), gates.
        snapshots: for every k met, its support and the flow's state when it was first met.
        queue: supports (by k) still to debias, the current one first.
        round_J: mean J after each round at the current support.
        later: nats that rounds after the first brought at most at one support.
        debiased: for every k done, held-out rows' J and nll (n, 2) and the flow's state.
        gains: running mean of D (M,) while exits move.
        prices: D of each dimension when it left, in nats; nan while it has not.
        departures: dimensions in the order in which they left.
        is_open: (M,) bool, dimensions that may be open.
        chosen: k, once chosen.
        final: as a row block of ``debiased``, for the flow after it has narrowed.
        notes: what happened on the way, in words.
        retries: times that the run went back because the loss was not finite.
        good: the flow's state and the above where the stage began, to go back to.
    """

    stage: str = "settle"
    began: int = 0
    rounds: int = 0
    path: list[dict] = field(default_factory=list)
    snapshots: dict[int, dict] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    round_J: list[float] = field(default_factory=list)
    later: float = 0.0
    debiased: dict[int, dict] = field(default_factory=dict)
    gains: Tensor = field(default_factory=lambda: torch.zeros(0))
    prices: Tensor = field(default_factory=lambda: torch.zeros(0))
    departures: list[int] = field(default_factory=list)
    is_open: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    chosen: int = -1
    final: Tensor = field(default_factory=lambda: torch.zeros(0, 2))
    notes: list[str] = field(default_factory=list)
    retries: int = 0
    good: dict = field(default_factory=dict)
