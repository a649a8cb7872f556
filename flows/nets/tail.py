"""The rest of a net after one of its layers, as a function of rows of that layer, each row in its own context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flows.nets.examples import Examples
from flows.nets.intervening import replaced_output
from flows.nets.layers import find_layer

Read = Callable[[Any], Tensor]


class Tail:
    """What a model answers where one position of a layer's output is replaced by a given row and all else is as it was.

    ``tail(x)`` takes all N rows (N, D) and returns their answers (N, ...); ``tail.at(numbers)`` is the same for some of them. One
    forward pass of the model on as many examples as there are rows; differentiable in ``x``. The model runs in eval mode and its
    parameters get no gradients.

    Args:
        model: any torch module.
        layer: path of ``model.named_modules()`` that puts out (B, D), (B, T, D), (B, D, H, W) or a tuple that begins with one.
        inputs: (E, ...) examples, a dict of keyword arguments of E each, or a list of batches of these (of any lengths).
        examples: (N,) the example of each row (default row i is of example i).
        positions: (N,) its position, all axes but the examples' and the channels' run together; None where there are none.
        answer_at: where its answer stands: None for models with one answer an example, "same" position, a position's number, or
            one (N,) for each row.
        read: from what the model returns to logits or numbers; by default a tensor, ``.logits``, or the first of a tuple.
        channel_axis: axis of the channels; by default the last, of four axes the second.
        answers: numbers of the logits that count, such as the tokens of the seven days; by default all.
        batch: how many rows to run at once, for those who ask for many; None leaves it to them.

    Inputs and rows are moved to where the model is.

    Raises:
        TypeError, ValueError: no torch module, no such layer, or rows that are no positions of examples.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        inputs: Any,
        examples: Tensor | None = None,
        positions: Tensor | None = None,
        answer_at: str | int | Tensor | None = None,
        read: Read | None = None,
        channel_axis: int | None = None,
        answers: Sequence[int] | None = None,
        batch: int | None = None,
    ):
        self.model, self.layer, self.module = model, layer, find_layer(model, layer)
        self.inputs, self.read = Examples(inputs), read or answers_in
        count = len(self.inputs)
        self.examples = torch.arange(count) if examples is None else examples
        self.positions, self.channel_axis = positions, channel_axis
        self.answers, self.batch = None if answers is None else list(answers), batch
        self.answer_at = answer_at if answer_at is None else self._answer_places(answer_at)
        if len(self.examples) and not 0 <= int(self.examples.min()) <= int(self.examples.max()) < count:
            raise ValueError(
                f"rows name examples up to {int(self.examples.max())}, there are {count}; number them from 0"
            )
        if positions is not None and len(positions) != len(self.examples):
            raise ValueError(f"got {len(positions)} positions for {len(self.examples)} rows, expected one each")

    def _answer_places(self, answer_at: str | int | Tensor) -> Tensor:
        """(N,), where each row's answer stands."""
        if isinstance(answer_at, str):
            if answer_at != "same" or self.positions is None:
                raise ValueError(f"answer_at={answer_at!r} needs positions=, and must be 'same', a number, or one each")
            return self.positions
        places = torch.as_tensor(answer_at).expand(len(self)) if not isinstance(answer_at, Tensor) else answer_at
        if len(places) != len(self):
            raise ValueError(f"answer_at has {len(places)} places for {len(self)} rows, expected one each")
        return places

    def __len__(self) -> int:
        return len(self.examples)

    def __call__(self, x: Tensor) -> Tensor:
        """Answers (N, ...) of rows ``x`` (N, D)."""
        return self.at(torch.arange(len(self)))(x)

    def at(self, numbers: Tensor) -> Callable[[Tensor], Tensor]:
        """The tail of the rows ``numbers`` (n,): from (n, D) to answers (n, ...)."""
        examples, positions, at = (
            None if every is None else every[numbers] for every in (self.examples, self.positions, self.answer_at)
        )

        def answers(x: Tensor) -> Tensor:
            if len(x) != len(numbers):
                raise ValueError(f"got {len(x)} rows for {len(numbers)} places, expected one each")
            parts, order = [], []
            for places, inputs in self.inputs.some(examples):  # type: ignore[arg-type]
                own = (None if every is None else every[places] for every in (positions, at))
                parts.append(self._answers(x[places.to(x.device)], inputs, *own))
                order.append(places)
            return torch.cat(parts)[torch.cat(order).argsort().to(parts[0].device)]

        return answers

    @torch.no_grad()
    def rows(self, numbers: Tensor) -> Tensor:
        """What the layer itself puts out (n, D) at the places of the rows ``numbers`` (n,)."""
        examples = self.examples[numbers]
        parts, order = [], []
        for places, inputs in self.inputs.some(examples):  # type: ignore[arg-type]
            own = None if self.positions is None else self.positions[numbers][places]
            parts.append(self._own_rows(inputs, len(places), own))
            order.append(places)
        return torch.cat(parts)[torch.cat(order).argsort().to(parts[0].device)]

    def _own_rows(self, inputs: Any, count: int, positions: Tensor | None) -> Tensor:
        found: list[Tensor] = []

        def look(output: Tensor) -> Tensor:
            flat, place, _ = self._places(output, count, positions)
            found.append(flat[torch.arange(count), place])
            return output

        self._run(inputs, look)
        return found[0]

    def _answers(self, x: Tensor, inputs: Any, positions: Tensor | None, at: Tensor | None) -> Tensor:
        """Runs the model once; ``at`` (n,) are the places of the answers."""

        def put(output: Tensor) -> Tensor:
            flat, place, back = self._places(output, len(x), positions)
            if x.shape[1] != flat.shape[-1]:
                raise ValueError(f"layer {self.layer!r} puts out {flat.shape[-1]} channels, rows have {x.shape[1]}")
            new = flat.clone()
            new[torch.arange(len(x)), place] = x.to(flat)
            return back(new)

        return answers_at(self._run(inputs, put), at, self.answers)

    def _places(
        self, output: Tensor, count: int, positions: Tensor | None
    ) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """The output as (examples, positions, channels), which position (n,) is meant, and the way back to its shape."""
        axis = (1 if output.ndim == 4 else -1) if self.channel_axis is None else self.channel_axis
        last = output.movedim(axis, -1)
        flat = last.flatten(1, -2) if last.ndim > 2 else last[:, None]
        if positions is None and flat.shape[1] > 1:
            raise ValueError(
                f"layer {self.layer!r} puts out {flat.shape[1]} positions an example; say which with positions="
            )
        place = torch.zeros(count, dtype=torch.long) if positions is None else positions
        return flat, place.to(flat.device), lambda new: new.reshape(last.shape).movedim(-1, axis)

    def _run(self, inputs: Any, edit: Callable[[Tensor], Tensor]) -> Tensor:
        """One forward pass with ``edit`` on the layer's output; what ``read`` makes of the model's."""
        runs, parameter = 0, next(self.model.parameters(), None)
        inputs = inputs if parameter is None else _moved(inputs, parameter.device)

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            nonlocal runs
            runs += 1
            return replaced_output(output, edit, self.layer)

        with _frozen(self.model):
            handle = self.module.register_forward_hook(hook)
            try:
                output = self.read(self.model(**inputs) if isinstance(inputs, Mapping) else self.model(inputs))
            finally:
                handle.remove()
        if runs != 1:
            raise RuntimeError(f"layer {self.layer!r} ran {runs} times in one forward pass, expected once")
        return output


def answers_at(
    output: Tensor, at: Tensor | None, answers: Sequence[int] | None = None, examples: Tensor | None = None
) -> Tensor:
    """Of a model's answers those that are asked for, (n, ...), float32 where they were half as precise.

    Args:
        output: (B, ...), or (B, T, C) where ``at`` says which position counts.
        at: (n,) positions, or None.
        answers: numbers of the logits that count; by default all.
        examples: (n,) which of the B; by default each once.

    Raises:
        ValueError: no such positions or logits.
    """
    if at is not None:
        if output.ndim != 3 or int(at.max()) >= output.shape[1]:
            raise ValueError(
                f"the model's answer has shape {tuple(output.shape)}, expected (examples, positions, ...) with at least "
                f"{int(at.max()) + 1} positions; pass answer_at=None where it answers once an example"
            )
        rows = torch.arange(len(at)) if examples is None else examples
        output = output[rows.to(output.device), at.to(output.device)]
    elif examples is not None:
        output = output[examples.to(output.device)]
    if answers is not None:
        if not -1 < min(answers) <= max(answers) < output.shape[-1]:
            raise ValueError(
                f"answers= names logits {min(answers)} to {max(answers)}, the model has {output.shape[-1]}, numbered from 0"
            )
        output = output[..., list(answers)]
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def answers_in(output: Any) -> Tensor:
    """The tensor of a model's output: itself, its ``logits``, or the first of a tuple.

    Raises:
        TypeError: there is none.
    """
    found = getattr(output, "logits", output)
    if isinstance(found, Mapping):
        found = found.get("logits", next(iter(found.values()), None))
    if isinstance(found, (tuple, list)):
        found = next((part for part in found if isinstance(part, Tensor)), None)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the model returned {type(output).__name__} without a tensor of answers; pass read=, a function of it"
        )
    return found


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients of parameters inside; as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    learns = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        for parameter in learns:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in learns.items():
            parameter.requires_grad_(flag)
