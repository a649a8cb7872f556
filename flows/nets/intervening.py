"""Interventions: a layer's output taken apart inside the running model, edited, put together again, passed on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flows.flow import FunnelFlow
from flows.nets.layers import find_layer

Edit = Callable[[Tensor], Tensor]


@contextmanager
def intervene(
    model: nn.Module,
    layer: str,
    flow: FunnelFlow,
    structure: Edit | None = None,
    noise: Edit | Literal["keep", "zero"] = "keep",
    channel_axis: int | None = None,
) -> Iterator[None]:
    """While it is open, every forward pass of `model` goes on from an edited output of `layer`.

    The output x becomes z = (s, n) by the flow, s and n are edited, and the flow's inverse makes the new output.
    What the flow does not model (directions below the noise floor, columns set aside) is kept, so an edit that changes
    nothing changes nothing, up to 1e-6 in whitened units. Nothing is random. One pass of the flow and one inverse for
    each run of the layer; gradients flow through the edit if they are enabled.

    Args:
        model: any torch module; its mode and parameters are left alone.
        layer: a path of `model.named_modules()`; `""` is the model itself. It may run several times in one pass.
        flow: a flow fitted to rows of this layer.
        structure: takes s (..., k), dimension of highest price first, and returns its replacement in the same shape. The leading
            axes are the output's own: (B, k) for (B, C), (B, T, k) for (B, T, C), (B, H, W, k) for (B, C, H, W).
        noise: the same for n (..., M - k); `"keep"` leaves it as it is, `"zero"` removes it.
        channel_axis: the axis of the output that holds the C channels; by default 1 for four axes, else the last.
            Of a tuple the first tensor is edited, of a dict the only one.

    Raises:
        TypeError: no torch module, no callables, an output or an edited block of a wrong kind.
        ValueError: unknown layer, an output or an edited block of a wrong shape, NaN or inf.
        RuntimeError: the layer did not run before the end, or the flow's inverse did not converge there.

    Example:
        >>> import flows
        >>> net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        >>> flow = flows.FunnelFlow.from_rows(net(torch.randn(100, 3, generator=torch.Generator().manual_seed(0))))
        >>> with flows.intervene(net, "1", flow, structure=lambda s: -s):
        ...     net(torch.zeros(2, 3)).shape
        torch.Size([2, 3])
    """
    module = find_layer(model, layer)
    if not (structure is None or callable(structure)) or not (callable(noise) or noise in ("keep", "zero")):
        raise TypeError(
            f"structure must be a function or None, noise a function, 'keep' or 'zero', got {structure!r} and {noise!r}"
        )
    runs = 0

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        nonlocal runs
        runs += 1
        return replaced_output(output, lambda x: _edited(x, flow, structure, noise, channel_axis, layer), layer)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if not runs:
        raise RuntimeError(
            f"layer {layer!r} did not run, so nothing was edited; run the model inside the with-block, and name a "
            "module that it calls (a hook sees neither layer.forward(...) nor functional calls)"
        )


def replaced_output(output: Any, edit: Edit, layer: str) -> Any:
    """`output` with its tensor edited; the other parts of a tuple, list or dict are passed on as they are."""
    if isinstance(output, Tensor):
        return edit(output)
    if isinstance(output, Mapping):
        names = [name for name, x in output.items() if isinstance(x, Tensor)]
        if len(names) == 1:
            replaced: Any = copy.copy(output)
            replaced[names[0]] = edit(output[names[0]])
            return replaced
        raise TypeError(f"layer {layer!r} put out a dict with tensors {names}, expected exactly 1; pass a layer inside")
    if isinstance(output, (tuple, list)):
        parts = list(output)
        place = next((i for i, x in enumerate(parts) if isinstance(x, Tensor)), None)
        if place is not None:
            parts[place] = edit(parts[place])
            return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    raise TypeError(
        f"layer {layer!r} put out {type(output).__name__} without a tensor, expected a tensor, a tuple or a dict; "
        "pass a layer inside"
    )


def _edited(
    x: Tensor, flow: FunnelFlow, structure: Edit | None, noise: Edit | str, channel_axis: int | None, layer: str
) -> Tensor:
    axis = channel_axis if channel_axis is not None else 1 if x.ndim == 4 else -1
    features = flow.front.features
    if not -x.ndim <= axis < x.ndim or x.shape[axis] != features:
        raise ValueError(
            f"layer {layer!r} put out shape {tuple(x.shape)}, expected {features} channels along axis {axis}, as the "
            "flow was fitted to; pass channel_axis, or the flow of this layer"
        )
    last = x.movedim(axis, -1)
    rows = last.reshape(-1, features).to(flow.exits.tau)
    z = flow.transform(rows)
    s, n = (block.unflatten(0, last.shape[:-1]) for block in flow.split(z))
    if structure is not None:
        s = _checked(structure(s), s, "structure")
    if callable(noise):
        n = _checked(noise(n), n, "noise")
    elif noise == "zero":
        n = torch.zeros_like(n)
    beyond = rows - flow.front.inverse(flow.front(rows))  # what the flow does not model
    new = flow.inverse(flow.join(s.flatten(0, -2), n.flatten(0, -2))) + beyond
    return new.to(x).reshape(last.shape).movedim(-1, axis)


def _checked(block: Any, before: Tensor, name: str) -> Tensor:
    if not isinstance(block, Tensor):
        raise TypeError(f"{name} returned {type(block).__name__}, expected a tensor of shape {tuple(before.shape)}")
    if block.shape != before.shape:
        raise ValueError(f"{name} returned shape {tuple(block.shape)}, expected {tuple(before.shape)}, as it was given")
    return block.to(before)
