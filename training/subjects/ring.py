"""Ring: a recurrent net that integrates angular velocity; its state carries a circle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.data.activations import Activations
from training.subjects.common import Subject, angle_errors, weights_from

STEPS = 30  # of a trial
WIDTH = 12
NOISE = 0.1  # sd of the state's own noise, at every step
COST = 0.01  # of activity, per squared unit


class Integrator(nn.Module):
    """h' = tanh(W h + v A h) + noise: a multiplicative recurrent net (Sutskever et al. 2011), velocity v as its gate.

    Inputs are (B, T, 3 + WIDTH): velocity in radians a step, (cos, sin) of the angle at the start, and the noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start, self.head = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 2)
        self.keep, self.turn = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.orthogonal_(self.keep.weight)
        nn.init.normal_(self.turn.weight, std=0.1)
        self.state = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        velocity, start, noise = inputs[..., :1], inputs[:, 0, 1:3], inputs[..., 3:]
        state, states = self.start(start), []
        for t in range(inputs.shape[1]):
            state = torch.tanh(self.keep(state) + velocity[:, t] * self.turn(state)) + noise[:, t]
            states.append(state)
        return self.head(self.state(torch.stack(states, dim=1)))


def train(seed: int = 0, rows: int = 12_000, step: int | None = None) -> Subject:
    """Trains an `Integrator` to answer (cos, sin) of the angle after every step; sources are trials of 30 steps.

    The state is noisy and activity has a cost, both usual for models of head-direction cells. About 10 seconds on one
    core.

    Raises:
        ValueError: rows for fewer than two trials.
    """
    if rows < 2 * STEPS:
        raise ValueError(f"rows must be at least {2 * STEPS}, two trials of {STEPS} steps, got {rows}; try rows=12000")
    generator = torch.Generator().manual_seed(seed)
    inputs, angle = _trials(rows // STEPS, generator)
    sources = torch.arange(len(inputs)).repeat_interleave(STEPS)
    _, held = Activations(inputs.flatten(0, 1), sources=sources).split(seed=seed)
    with weights_from(seed):
        model = Integrator()
    _train(model, generator, step)
    with torch.no_grad():
        error = angle_errors(model(inputs), angle).flatten()[held].median().item()
    scores = {"median_error_degrees": error}
    return Subject(
        "ring", model, "state", inputs, sources, targets=angle.reshape(-1, 1), scores=scores, answer="cosine"
    )


def _trials(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs (B, T, 3 + WIDTH) with smooth random velocities, and angles (B, T) in [0, 2 pi)."""
    start = 2 * math.pi * torch.rand(count, 1, generator=generator)
    rough = 0.5 * torch.randn(count, 1, STEPS + 4, generator=generator)
    velocity = nn.functional.avg_pool1d(rough, 5, 1)[:, 0]
    noise = NOISE * torch.randn(count, STEPS, WIDTH, generator=generator)
    first = torch.cat([start.cos(), start.sin()], dim=1)[:, None].expand(-1, STEPS, -1)
    inputs = torch.cat([velocity[..., None], first, noise], dim=2)
    return inputs, torch.remainder(start + velocity.cumsum(1), 2 * math.pi)


def _train(model: Integrator, generator: torch.Generator, step: int | None, steps: int = 400, batch: int = 100) -> None:
    """Every step sees fresh trials, so no held-out trial was trained on."""
    states: list[Tensor] = []
    handle = model.state.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(steps if step is None else min(step, steps)):
        inputs, angle = _trials(batch, generator)
        answer = model(inputs)
        error = (answer - torch.stack([angle.cos(), angle.sin()], dim=2)).square().sum(2).mean()
        optimizer.zero_grad()
        (error + COST * states.pop().square().sum(2).mean()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    handle.remove()
    model.eval()
