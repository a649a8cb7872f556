"""Functions of rows: any torch callable, or what a model does between two of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flows.io.inputs import as_rows, as_tensor
from flows.nets.layers import find_layer

RowFunction = Callable[[Tensor, Tensor], Tensor]  # (rows (B, D), which rows they are (B,)) -> (B, E)


@contextmanager
def evaluating(function: object) -> Iterator[None]:
    """Torch modules in eval mode and as they were afterwards; no gradients but those of torch.func."""
    modes = [(m, m.training) for m in function.modules()] if isinstance(function, nn.Module) else []
    try:
        for module, _ in modes:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


class _Reached(Exception):
    """The last layer has answered: the rest of the forward pass is not needed."""


class Between:
    """What a model computes between two layers, as a function of the first one's output, all else being as it was.

    The model runs on its own input; the output of `start` is replaced, the output of `end` is read. So skip connections around
    `start` count as constants of the row.
    """

    def __init__(self, model: nn.Module, start: str | None, end: str | None, inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs
        self.start, self.end = (None if name is None else find_layer(model, name) for name in (start, end))
        self.names = (start, end)
        with evaluating(model):
            self.output = inputs if self.start is None else self._run(inputs, None, self.start)
        self.rows = as_rows(self.output.flatten(1), name=f"outputs of {start!r}")

    def __call__(self, rows: Tensor, index: Tensor) -> Tensor:
        put = rows.reshape(len(rows), *self.output.shape[1:])
        if self.start is None:
            return self._run(put, None, self.end).flatten(1)
        return self._run(self.inputs[index], put, self.end).flatten(1)

    def _run(self, inputs: Tensor, put: Tensor | None, end: nn.Module | None) -> Tensor:
        caught: list[Tensor] = []
        seen: list[None] = []

        def replace(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            _tensor(output, self.names[0])
            seen.append(None)
            return put  # type: ignore[return-value]

        def catch(_module: nn.Module, _inputs: Any, output: Any) -> None:
            caught.append(_tensor(output, self.names[1]))
            raise _Reached

        handles = [] if put is None else [self.start.register_forward_hook(replace)]  # type: ignore[union-attr]
        handles += [] if end is None else [end.register_forward_hook(catch)]
        try:
            whole = _called(self.model, inputs)
        except _Reached:
            whole = caught[0]
        finally:
            for handle in handles:
                handle.remove()
        if end is not None and not caught:
            raise ValueError(f"layer {self.names[1]!r} did not run in the forward pass; name a module that does")
        if put is not None and len(seen) != 1:
            raise ValueError(
                f"layer {self.names[0]!r} ran {len(seen)} times before {self.names[1] or 'the output'!r}, expected once; "
                "name a start that comes before the end and runs once"
            )
        return _tensor(whole, self.names[1])


def row_function(function: Any, x: object, start: str | None, end: str | None) -> tuple[RowFunction, Tensor]:
    """A function of (rows, which rows) and the rows (n, D) that it is looked at on.

    Raises:
        ValueError: unknown layers, or layers of what is no torch module, bad rows.
        TypeError: no callable.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {type(function).__name__}; pass a torch module or a function")
    if isinstance(function, nn.Module) and (start is not None or end is not None):
        between = Between(function, start, end, as_tensor(x, "inputs"))
        return between, between.rows
    if start is not None or end is not None:
        raise ValueError(f"start and end name layers of a torch module, got {type(function).__name__}; leave them out")
    if isinstance(function, nn.Module) and as_tensor(x, "inputs").ndim > 2:
        between = Between(function, None, None, as_tensor(x, "inputs"))
        return between, between.rows

    def of_rows(rows: Tensor, index: Tensor) -> Tensor:
        return outputs_of(function, rows)

    return of_rows, as_rows(x, name="x").detach()


def outputs_of(function: Callable[[Tensor], Any], rows: Tensor) -> Tensor:
    """The function's outputs as (B, E).

    Raises:
        TypeError, ValueError: the function gives something else.
    """
    y = _tensor(_called(function, rows), None)
    if y.ndim == 1 and len(y) == len(rows):
        y = y[:, None]
    if y.ndim < 2 or len(y) != len(rows) or not y[0].numel():
        raise ValueError(
            f"the function gave shape {tuple(y.shape)} for {len(rows)} rows, expected ({len(rows)}, outputs)"
        )
    return y.flatten(1)


def without_slope(count: int) -> ValueError:
    """What to raise of a function whose outputs change while its Jacobians are all zero."""
    return ValueError(
        f"the function's outputs change with its inputs, but it has no slope at any of {count} rows: detach, round or the "
        "like inside cuts the gradients; write it in differentiable torch throughout"
    )


def _called(function: Callable[[Tensor], Any], rows: Tensor) -> Any:
    try:
        return function(rows)
    except _Reached:
        raise
    except Exception as error:
        raise RuntimeError(
            f"the function failed on rows of shape {tuple(rows.shape)}: {type(error).__name__}: {error}; it must take rows "
            "(B, D) of these columns, in torch throughout"
        ) from error


def _tensor(output: Any, layer: str | None) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = output.dtype if isinstance(output, Tensor) else type(output).__name__
        who = "the function" if layer is None else f"layer {layer!r}"
        raise TypeError(f"{who} gave {got}, expected a floating tensor; wrap it so that it returns one")
    return output
