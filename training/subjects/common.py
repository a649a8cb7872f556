"""What the subjects share: the record of a trained net, and the noisy bottleneck that two of them have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from flows.nets.questions import Question
from flows.nets.tail import Tail
from training.data.activations import Activations
from training.data.capturing import capture


@dataclass(frozen=True, eq=False, repr=False)
class Subject:
    """A trained net and the inputs to show it.

    Attributes:
        name: what it is called.
        model: the net, in eval mode; a pass is a function of its input, noise comes in as columns of that.
        layer: the path of the module to analyse.
        inputs: (N, ...) what is shown.
        sources: (R,) int64, the datum that each row of the layer was made from, R = N except for sequences.
        labels: (R,) int64 classes, or None.
        targets: (R, j) float32, the angle in radians that the net was to answer, or None.
        scores: what it achieves on inputs whose sources it was not trained on, by name of the measure.
        answer: what the net's output is, "softmax" (logits) or "cosine" (cos and sin of an angle).
    """

    name: str
    model: nn.Module
    layer: str
    inputs: Tensor
    sources: Tensor
    labels: Tensor | None = None
    targets: Tensor | None = None
    scores: Mapping[str, float] | None = None
    answer: str = "softmax"

    def question(self, layer: str | None = None) -> Question:
        """What comes after the layer, or after another one of the same net, at the rows of :meth:`activations`."""
        name, examples = self.layer if layer is None else layer, len(self.inputs)
        steps = len(self.sources) // examples
        if steps == 1:
            return Question(Tail(self.model, name, self.inputs), self.answer)
        of, at = torch.arange(examples).repeat_interleave(steps), torch.arange(steps).repeat(examples)
        return Question(Tail(self.model, name, self.inputs, of, at, answer_at="same"), self.answer)

    def activations(self, layer: str | None = None) -> Activations:
        """The output of the layer, or of another one, a row for each input, or for each step of each input; with its question."""
        found = capture(self.model, self.layer if layer is None else layer, self.inputs.split(4096))
        return replace(
            found,
            question=self.question(layer),
            labels=self.labels,
            sources=self.sources,
            targets=self.targets,
            name=self.name,
            about={**found.about, **(self.scores or {})},
        )


class Bottleneck(nn.Module):
    """encoder -> mean; summary = mean + N(0, I) noise -> head: a deep variational information bottleneck.

    The last `width` columns of the input are the noise. Trained with `beta` / 2 |mean|^2 in the loss (the part of
    KL(N(mean, I), N(0, I)) that is not 0), so what the answer does not need sinks below the noise (Alemi et al. 2017,
    equation 17).
    """

    def __init__(self, encoder: nn.Module, width: int, answers: int):
        super().__init__()
        self.encoder, self.width = encoder, width
        self.summary, self.head = nn.Identity(), nn.Linear(width, answers)

    def forward(self, inputs: Tensor) -> Tensor:
        shown, noise = inputs[:, : -self.width], inputs[:, -self.width :]
        return self.head(self.summary(self.encoder(shown) + noise))


def train_bottleneck(
    model: Bottleneck,
    shown: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
    steps: int,
    step: int | None = None,
    beta: float = 1e-3,
    weight_decay: float = 0.01,
    batch: int = 256,
) -> None:
    """The first ``step`` (default all) of ``steps`` steps of AdamW with one cycle of the step size; batches get fresh noise."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for rows in islice(drawn_batches(len(shown), batch, steps, generator), step):
        mean = model.encoder(shown[rows])
        answer = model.head(mean + torch.randn(mean.shape, generator=generator))
        optimizer.zero_grad()
        (loss(answer, target[rows]) + beta / 2 * mean.square().sum(1).mean()).backward()
        optimizer.step()
        schedule.step()
    model.eval()


def drawn_batches(count: int, batch: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of `steps` batches, every row once in each epoch."""
    left: list[Tensor] = []
    for _ in range(steps):
        left = left or list(torch.randperm(count, generator=generator).split(batch))
        yield left.pop()


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Initial weights inside are a function of `seed`, and torch's global random state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def angle_errors(answer: Tensor, angle: Tensor) -> Tensor:
    """Degrees in [0, 180] between answers (..., 2) as (cos, sin) and angles (...) in radians."""
    turned = torch.atan2(answer[..., 1], answer[..., 0]) - angle
    return torch.rad2deg(torch.remainder(turned + math.pi, 2 * math.pi) - math.pi).abs()
