"""Activations of one layer of any torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flows.inputs import nearest
from training.activations import Activations, one_integer_each

ROWS = ("token", "mean", "last")

Rows = str | Callable[[Any], Tensor]


def capture(
    model: nn.Module,
    layer: str,
    batches: Iterable[Any],
    rows: Rows = "token",
    device: torch.device | str | None = None,
) -> Activations:
    """Runs `model` over `batches`, in eval mode and without gradients, and collects what `layer` puts out.

    An example is one item along axis 0 of the inputs. Training modes, hooks and the model's device are as before when
    the call ends, also by an error.

    Args:
        model: any torch module.
        layer: a path of `model.named_modules()`; `""` is the model itself. It must run once in a forward pass.
        batches: an iterable of `inputs` or `(inputs, labels)`: `inputs` is a tensor, or a dict of keyword arguments,
            `labels` one integer an example.
        rows: how an output becomes rows. (B, C) is taken as it is. `"token"`: each position of (B, T, C) or
            (B, C, H, W) is a row; `"mean"`: the mean over positions; `"last"`: the last token of (B, T, C).
            Of a tuple the first tensor is taken, of a dict the only one. Or a function of the raw output that returns
            (n, C), with as many rows for each example, in the order of the examples.
        device: where to run; by default where the model's first parameter lies.

    Returns:
        Float32 rows on the CPU, with the running index of the example as source and its label, if any.

    Raises:
        TypeError: a model, batches, batch or output of a wrong kind; labels that are no integers.
        ValueError: unknown layer or `rows`, no batches, an output or labels that do not fit the examples, NaN or inf.
        RuntimeError: the layer did not run exactly once in a forward pass.
    """
    module = _find(model, layer)
    if not callable(rows) and rows not in ROWS:
        raise ValueError(f"unknown rows={rows!r}; pass a function of the output, or {nearest(str(rows), ROWS)}")
    if isinstance(batches, (Tensor, Mapping)):
        raise TypeError(f"batches must be an iterable of batches, got one {type(batches).__name__}; pass [batch]")
    x: list[Tensor] = []
    labels: list[Tensor] = []
    sources: list[Tensor] = []
    examples = 0
    with _evaluating(model, device) as where:
        for batch in batches:
            inputs, target = _parts(batch)
            count = _count(inputs)
            x.append(_rows_of(model, module, layer, _moved(inputs, where), rows, count))
            repeats = len(x[-1]) // count
            sources.append(torch.arange(examples, examples + count).repeat_interleave(repeats))
            label = one_integer_each(target, count, "labels")
            if label is not None:
                labels.append(label.repeat_interleave(repeats))
            examples += count
    if not x:
        raise ValueError("batches held no batch, expected at least 1; pass a list or loader (iterators get used up)")
    return Activations(
        torch.cat(x),
        torch.cat(labels) if labels else None,
        torch.cat(sources),
        f"{type(model).__name__}.{layer}",
        {"model": type(model).__name__, "layer": layer, "rows": rows if isinstance(rows, str) else "function"},
    )


def _find(model: nn.Module, layer: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}; pass an nn.Module")
    modules = dict(model.named_modules())
    if layer not in modules:
        raise ValueError(f"no layer {layer!r} in {type(model).__name__}; {nearest(layer, filter(None, modules))}")
    return modules[layer]


@contextmanager
def _evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    modes = {module: module.training for module in model.modules()}
    home = next(model.parameters(), torch.empty(0)).device
    try:
        model.eval()
        if device is not None:
            model.to(device)
        with torch.no_grad():
            yield torch.device(home if device is None else device)
    finally:
        for module, mode in modes.items():
            module.training = mode
        if device is not None:
            model.to(home)


def _parts(batch: Any) -> tuple[Any, Any]:
    """Returns the inputs and the labels or None; loaders give lists where data sets give tuples."""
    parts = batch if isinstance(batch, (tuple, list)) else [batch]
    if len(parts) not in (1, 2):
        raise TypeError(f"a batch must be inputs or (inputs, labels), got {len(parts)} parts; pass a dict of inputs")
    inputs, labels = (*parts, None)[:2]
    if not isinstance(inputs, (Tensor, Mapping)):
        raise TypeError(f"a batch's inputs must be a tensor or a dict, got {type(inputs).__name__}; convert them first")
    return inputs, labels


def _count(inputs: Tensor | Mapping[str, Any]) -> int:
    values = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    count = next((len(x) for x in values if isinstance(x, Tensor) and x.ndim), 0)
    if not count:
        raise ValueError("a batch's inputs must hold at least 1 example along axis 0, got none; drop empty batches")
    return count


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _moved(x, device) for name, x in inputs.items()}
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs


def _rows_of(model: nn.Module, module: nn.Module, layer: str, inputs: Any, rows: Rows, count: int) -> Tensor:
    """Runs one batch of `count` examples and returns the rows of `module`, (n, C) float32 on the CPU."""
    caught: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if callable(rows):
            found = _only_tensor(rows(output), layer)
        else:
            found = _flat(_only_tensor(output, layer), rows, layer, count)
        caught.append(found.to("cpu", torch.float32, copy=True))  # at once: the next layer may work in place

    handle = module.register_forward_hook(hook)
    try:
        model(**inputs) if isinstance(inputs, dict) else model(inputs)
    finally:
        handle.remove()
    if len(caught) != 1:
        raise RuntimeError(
            f"layer {layer!r} ran {len(caught)} times in one forward pass, expected once; capture the module around it "
            "(a hook sees neither layer.forward(...) nor functional calls)"
        )
    found = caught[0]
    if found.ndim != 2 or not len(found) or len(found) % count:
        raise ValueError(
            f"rows gave shape {tuple(found.shape)} for {count} examples, expected (n, C) with as many rows for each; "
            "change the function, or pass one example a batch"
        )
    return found


def _only_tensor(output: Any, layer: str) -> Tensor:
    hint = "pass rows=a function of the output that returns (n, C)"
    if isinstance(output, Mapping):
        names = [name for name, x in output.items() if isinstance(x, Tensor)]
        if len(names) != 1:
            raise TypeError(f"layer {layer!r} put out a dict with tensors {names}, expected exactly 1; {hint}")
        output = output[names[0]]
    elif isinstance(output, (tuple, list)):
        output = next((x for x in output if isinstance(x, Tensor)), None)
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"layer {layer!r} put out {got}, expected a floating tensor; {hint}")
    return output


def _flat(output: Tensor, rows: str, layer: str, count: int) -> Tensor:
    shape = tuple(output.shape)
    if output.ndim not in (2, 3, 4) or len(output) != count or (rows == "last" and output.ndim == 4):
        raise ValueError(
            f"layer {layer!r} put out shape {shape}, expected B = {count} examples as (B, C), (B, T, C) or, unless "
            "rows='last', (B, C, H, W); pass rows=a function of the output that returns (n, C)"
        )
    if output.ndim == 2:
        return output
    positions = output.flatten(2).mT if output.ndim == 4 else output  # (B, T, C)
    if rows == "token":
        return positions.flatten(0, 1)
    return positions.mean(1) if rows == "mean" else positions[:, -1]
