"""Activations of layers of any torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor, nn

from flows.io.inputs import nearest
from flows.nets.layers import find_layer
from training.data.activations import Activations, one_integer_each
from training.data.asking import Asker, Asking, Caught
from training.data.omitting import FiniteRows
from training.data.places import Places
from training.data.positions import RowRule, check_rule, joined, to_rows

_MASK = "attention_mask"


@overload
def capture(model: nn.Module, layer: str, *args: Any, **settings: Any) -> Activations: ...
@overload
def capture(model: nn.Module, layer: Sequence[str], *args: Any, **settings: Any) -> dict[str, Activations]: ...
def capture(
    model: nn.Module,
    layer: str | Sequence[str],
    batches: Iterable[Any],
    rows: RowRule = "token",
    device: torch.device | str | None = None,
    *,
    channel_axis: int | None = None,
    mask: str | Callable[[Any], Any] | None = _MASK,
    positions: Any = None,
    relevance: bool = False,
    relevance_rows: int = 1024,
    answer: str | Callable[[Tensor], Tensor] = "softmax",
    answer_at: str | int | None = None,
    answers: Sequence[int] | None = None,
    noise: object = None,
    read: Callable[[Any], Tensor] | None = None,
    seed: int = 0,
    nan_policy: str = "raise",
) -> Activations | dict[str, Activations]:
    """Runs `model` over `batches`, in eval mode and without gradients, and collects what `layer` puts out.

    An example is one item along axis 0 of the inputs. Training modes, hooks and the model's device are as before when
    the call ends, also by an error.

    Args:
        model: any torch module.
        layer: a path of `model.named_modules()`; `""` is the model itself. It must run once in a forward pass. Several
            layers are collected in the same passes.
        batches: an iterable of `inputs` or `(inputs, labels)`: `inputs` is a tensor, or a dict of keyword arguments,
            `labels` one integer an example.
        rows: how an output becomes rows. (B, C) is taken as it is. `"token"`: each position of (B, T, C) or
            (B, C, H, W) is a row; `"mean"`: the mean over positions; `"last"`: the last token of (B, T, C).
            Of a tuple the first tensor is taken, of a dict the only one. Or a function of the raw output that returns
            (n, C), with as many rows for each example, in the order of the examples.
        device: where to run; by default where the model's first parameter lies.
        channel_axis: which axis of the output holds the channels; by default the last, of four axes the second.
        mask: where padding is marked: the name of an input (B, T) that is zero there, or a function of the inputs that
            returns such an array. Masked positions are no rows and count in no mean. By default `attention_mask` where
            there is one; None keeps all. A function as `rows` sees the output as it is.
        positions: one position an example that is its row, in place of `rows`: an integer, (E,) integers for all E examples,
            or the name of an input (B,) that holds them and that the model is not given. Numbered from 0, or from -1
            backwards from the last that is no padding.
        relevance: measure what the net uses of the rows too, each layer by itself (see Cost).
        relevance_rows: how many rows gradients are taken at; a quarter as many exchange coordinates.
        answer, noise: what the model's answer is; see :func:`training.relevance`.
        answer_at: where a row's answer stands in a model's output (B, T, C): "same" position, or one as in `positions`. By
            default the same where a layer has several rows an example, else the last that is no padding.
        answers: numbers of the logits that count (the tokens of the seven days, say); by default all.
        read: from what the model returns to logits or numbers; by default a tensor, `.logits`, or the first of a tuple.
        seed: draws the split, answers, and who exchanges with whom.
        nan_policy: "raise" stops at the batch whose rows hold NaN or inf (float16 that overflows, say) and names layer and
            example; "omit" drops such an example from every layer (`about["omitted"]`); not with `relevance`.

    Returns:
        Float32 rows on the CPU, with the running index of the example as source and its label, if any; of several
        layers a dict of these. With `relevance` each has its `relevance`, its `answers`, and its `question`, which keeps the
        model and all inputs.

    Cost:
        One forward pass over the batches. Relevance adds, for each layer, a forward and a backward pass of an example a row of
        `relevance_rows` (of 2 to 32 possible answers a backward pass each, of more one with a drawn answer), and about
        2 (r + p) forward passes a row of `relevance_rows` / 4, at most 24 + 8 log2(D), where the answer needs r directions, or
        p principal ones. As many examples at once as the largest batch has. Answers of those rows stay in memory:
        `relevance_rows` / 4 x answers numbers.

    Raises:
        TypeError: a model, batches, batch or output of a wrong kind; labels that are no integers.
        ValueError: unknown layer, `rows` or `nan_policy`, no batches, an output, mask or labels that do not fit the examples,
            NaN or inf.
        RuntimeError: a layer did not run exactly once in a forward pass.
    """
    names = [layer] if isinstance(layer, str) else list(layer)
    modules = {name: find_layer(model, name) for name in names}
    if not modules:
        raise ValueError("layer names no layer, expected at least 1; pass a path of model.named_modules()")
    check_rule(rows)
    if isinstance(batches, (Tensor, Mapping)):
        raise TypeError(f"batches must be an iterable of batches, got one {type(batches).__name__}; pass [batch]")
    finite = FiniteRows(nan_policy, relevance)
    asking = Asking(answer, answer_at, answers, noise, read, relevance_rows, seed)
    asker = Asker(model, rows, channel_axis, asking) if relevance else None
    places = Places(positions, rows)
    found: dict[str, list[Caught]] = {name: [] for name in names}
    labels: list[Tensor] = []
    with _evaluating(model, device) as where:
        for batch in batches:
            inputs, target = _parts(batch)
            count = _count(inputs)
            inputs, at = places.of(inputs, count)
            masked = _mask(inputs, mask)
            own = partial(_rows, rows=rows, channel_axis=channel_axis, mask=masked, count=count, at=at)
            caught, returned = _outputs(model, modules, _moved(inputs, where), own)
            caught = finite.of(caught, count)
            for name, part in caught.items():
                found[name].append(part)
            if asker is not None:
                asker.add(inputs, masked, returned, caught)
            label = one_integer_each(target, count, "labels")
            labels += [] if label is None else [label]
        places.all_used()
        if not found[names[0]]:
            raise ValueError(
                "batches held no batch, expected at least 1; pass a list or loader (iterators get used up)"
            )
        about = {"model": type(model).__name__, "rows": places.rule, **finite.about}
        clouds = {name: _cloud(parts, labels, {**about, "layer": name}) for name, parts in found.items()}
        if asker is not None:
            clouds = {name: asker.asked(name, cloud) for name, cloud in clouds.items()}
    return clouds[layer] if isinstance(layer, str) else clouds


def _cloud(parts: list[Caught], labels: list[Tensor], about: dict[str, Any]) -> Activations:
    each = torch.cat([counts for _, counts, _ in parts])
    target = one_integer_each(torch.cat(labels), len(each), "labels") if labels else None
    return Activations(
        joined([x for x, *_ in parts]),
        None if target is None else target.repeat_interleave(each),
        torch.arange(len(each)).repeat_interleave(each),
        f"{about['model']}.{about['layer']}",
        about,
    )


@contextmanager
def _evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    home = next(model.parameters(), torch.empty(0)).device
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # it skips hooks, and drops padding from what layers put out
        if device is not None:
            model.to(device)
        with torch.no_grad():
            yield torch.device(home if device is None else device)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
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


def _mask(inputs: Any, mask: str | Callable[[Any], Any] | None) -> Any:
    """The mask (B, T) of a batch, or None."""
    if mask is None or callable(mask):
        return mask and mask(inputs)
    names = list(inputs) if isinstance(inputs, Mapping) else []
    if mask not in names and mask != _MASK:
        raise ValueError(
            f"no input {mask!r} to take the mask from; {nearest(mask, names)}; or pass a function of the inputs"
        )
    return inputs[mask] if mask in names else None


def _rows(output: Any, layer: str, **how: Any) -> Caught:
    x, counts, places = to_rows(output, what=f"layer {layer!r}", **how)
    return x.detach().to("cpu", torch.float32, copy=True), counts, places  # at once: the next layer may work in place


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _outputs(
    model: nn.Module, modules: Mapping[str, nn.Module], inputs: Any, own: Callable[[Any, str], Caught]
) -> tuple[dict[str, Caught], Any]:
    """Runs one batch and returns what `own` makes of each module's output, and what the model returns."""
    caught: dict[str, list[Caught]] = {name: [] for name in modules}

    def watch(name: str, module: nn.Module) -> Any:
        return module.register_forward_hook(lambda _module, _inputs, output: caught[name].append(own(output, name)))

    handles = [watch(name, module) for name, module in modules.items()]
    try:
        returned = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, runs in caught.items():
        if len(runs) != 1:
            compiled = not runs and any(map(_is_compiled, model.modules()))
            remedy = (
                "a compiled model skips hooks: capture the module that was given to torch.compile (compiled._orig_mod)"
                if compiled
                else "capture the module around it (a hook sees neither layer.forward(...) nor functional calls)"
            )
            raise RuntimeError(f"layer {name!r} ran {len(runs)} times in one forward pass, expected once; {remedy}")
    return {name: runs[0] for name, runs in caught.items()}, returned
