"""What comes after the rows of a captured layer: how to ask the model about them, what it answered, and what it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flows.io.inputs import as_tensor
from flows.nets.questions import Question
from flows.nets.tail import Tail, answers_at, answers_in
from training.data.activations import Activations
from training.data.heads import relevance
from training.data.positions import located

MOST_KEPT = 64  # answers that are kept as they are; of more of them the likeliest

Caught = tuple[Tensor, Tensor, Tensor | None]  # rows, how many each example has, where they stand


@dataclass(frozen=True)
class Asking:
    """How a model is asked about rows of a layer; see :func:`training.capture`, whose arguments these are."""

    answer: str | Callable[[Tensor], Tensor] = "softmax"
    answer_at: str | int | None = None
    answers: Sequence[int] | None = None
    noise: object = None
    read: Callable[[Any], Tensor] | None = None
    rows: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.answer_at not in (None, "same") and not isinstance(self.answer_at, int):
            raise ValueError(
                f"answer_at must be None, 'same' or a position, got {self.answer_at!r}; -1 is the last that is no padding"
            )
        if self.rows < 50:
            raise ValueError(f"relevance_rows must be at least 50, got {self.rows}; 512 is a good start")
        if self.answers is not None and len(self.answers) < 2:
            raise ValueError(f"answers must name at least 2 logits, got {list(self.answers)}; None takes all")


class Asker:
    """Gathers batch by batch, in the passes that capture rows, what it takes to ask about them."""

    def __init__(self, model: nn.Module, rows: object, channel_axis: int | None, asking: Asking):
        if callable(rows) or rows == "mean":
            what = "rows made by a function" if callable(rows) else "rows='mean'"
            raise ValueError(
                f"{what} cannot be put back into the model, so nothing tells what it uses of them; "
                "pass rows='token', rows='last' or positions="
            )
        self.model, self.channel_axis, self.asking = model, channel_axis, asking
        self.inputs: list[Any] = []
        self.most = 0
        self.found: dict[str, list[tuple[Tensor, Tensor | None, Tensor]]] = {}

    def add(self, inputs: Any, mask: Any, returned: Any, caught: Mapping[str, Caught]) -> None:
        """One batch: its inputs and mask (B, T) or None, what the model returned, and the rows of every layer."""
        self.inputs.append(inputs)
        output = (self.asking.read or answers_in)(returned)
        for layer, (_, counts, places) in caught.items():
            assert places is not None
            self.most = max(self.most, len(counts))
            at = self._places(output, mask, counts, places)
            examples = torch.arange(len(counts)).repeat_interleave(counts)
            answered = answers_at(output, at, self.asking.answers, examples)
            self.found.setdefault(layer, []).append((places, at, self._kept(answered)))

    def _places(self, output: Tensor, mask: Any, counts: Tensor, places: Tensor) -> Tensor | None:
        """(n,), where in the model's output (B, T, C) the answer of each row stands; None for one an example."""
        wanted = self.asking.answer_at
        if output.ndim < 3 and wanted is None:
            return None
        if wanted == "same" or (wanted is None and bool((counts > 1).any())):
            return places
        shape = output.shape[:2] if output.ndim > 1 else (len(output), 1)
        kept = torch.ones(shape, dtype=torch.bool)
        if mask is not None and tuple(as_tensor(mask, "mask").shape) == tuple(shape):
            kept = as_tensor(mask, "mask").cpu() != 0
        return located(-1 if wanted is None else int(wanted), kept, "the model's answer").repeat_interleave(counts)

    def _kept(self, answered: Tensor) -> Tensor:
        many = answered.ndim > 1 and answered.shape[-1] > MOST_KEPT and self.asking.answer == "softmax"
        answered = answered.detach().argmax(-1) if many else answered.detach().flatten(1).float()
        return answered.cpu()

    def tail(self, layer: str, cloud: Activations) -> Tail:
        """The rest of the model after the rows of ``layer``."""
        places, at, _ = zip(*self.found[layer], strict=True)
        return Tail(
            self.model,
            layer,
            self.inputs,
            cloud.sources,
            torch.cat(places),
            None if at[0] is None else torch.cat(at),
            self.asking.read,
            self.channel_axis,
            self.asking.answers,
            self.most,
        )

    def asked(self, layer: str, cloud: Activations) -> Activations:
        """``cloud``, the rows of ``layer``, with the question, the net's answers and what the net uses."""
        asking, tail = self.asking, self.tail(layer, cloud)
        found = relevance(
            tail,
            cloud,
            asking.answer,
            noise=asking.noise,
            seed=asking.seed,
            most_rows=(asking.rows, -(-asking.rows // 4)),
        )
        question = Question(tail, asking.answer, asking.noise)
        answers = torch.cat([answers for *_, answers in self.found[layer]])
        return replace(cloud, question=question, relevance=found, answers=answers)
