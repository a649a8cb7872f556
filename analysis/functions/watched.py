"""A model watched at one layer: its activations and its outputs, at its own weights or at others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flows.nets.layers import find_layer

Weights = Mapping[str, Tensor]
_CHUNK = 4096


class Watched:
    """Runs a model on inputs (n, ...) and reads a layer's rows (n, D) on the way.

    Args:
        model: in eval mode.
        layer: its path; "" for the model itself.
        inputs: (n, ...).
        width: D. The layer gives (n, D), or (n, T, D), of which the last of T steps is read.

    Raises:
        ValueError: no such layer, one that does not run, or one of another width; no weights.
        TypeError: a layer or a model that gives no floating tensor.
    """

    def __init__(self, model: nn.Module, layer: str, inputs: Tensor, width: int) -> None:
        self.model, self.layer, self.inputs, self.width = model, layer, inputs, width
        self.module = find_layer(model, layer)
        self.weights = {name: p.detach() for name, p in model.named_parameters()}
        if not self.weights:
            raise ValueError(f"{type(model).__name__} has no weights to move; pass the whole model")

    def run(self, inputs: Tensor, weights: Weights | None = None) -> tuple[Tensor, Tensor]:
        """Activations (B, D) and outputs (B, E); differentiable in both arguments."""
        caught: list[Any] = []
        handle = self.module.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            y = torch.func.functional_call(self.model, dict(weights or {}), (inputs,))
        finally:
            handle.remove()
        if len(caught) != 1:
            raise ValueError(
                f"layer {self.layer!r} ran {len(caught)} times in the forward pass, expected once; name another"
            )
        if not (isinstance(y, Tensor) and y.is_floating_point()):
            raise TypeError(
                f"the model gave {type(y).__name__}, expected a floating tensor; wrap it so that it returns one"
            )
        return self._rows(caught[0]), y.flatten(1)

    def whole(self, weights: Weights | None = None, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Activations and outputs of all inputs, or of some, without gradients."""
        inputs = self.inputs if rows is None else self.inputs[rows]
        with torch.no_grad():
            parts = [self.run(chunk, weights) for chunk in inputs.split(_CHUNK)]
        x, y = (torch.cat(part) for part in zip(*parts, strict=True))
        return x, y

    def _rows(self, output: Any) -> Tensor:
        if not (isinstance(output, Tensor) and output.is_floating_point()):
            raise TypeError(
                f"layer {self.layer!r} gave {type(output).__name__}, expected a floating tensor; name another"
            )
        if output.ndim not in (2, 3) or output.shape[-1] != self.width:
            raise ValueError(
                f"layer {self.layer!r} gives shape {tuple(output.shape)}, the flow reads rows of {self.width}; "
                "name the layer that it was trained on"
            )
        return output if output.ndim == 2 else output[:, -1]
