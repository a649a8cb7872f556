"""How what a layer puts out becomes rows: channels, positions, masks; and tensors that other libraries captured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flows.io.inputs import as_tensor, nearest, way_in
from training.data.activations import Activations, one_integer_each

ROWS = ("token", "mean", "last")


class ShapeWarning(UserWarning):
    """An output whose axes can be read in two ways; the message says how it was read."""


RowRule = str | Callable[[Any], Tensor]


def as_activations(
    x: Any,
    rows: RowRule = "token",
    *,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    groups: Any = None,
    name: str = "",
) -> Activations | dict[str, Activations]:
    """Activations of tensors that another hooking library captured, by the same rules as :func:`training.capture`.

    An example is one item along axis 0.

    Args:
        x: (B, C), (B, T, C), (B, C, H, W) or anything with `channel_axis`, as a tensor or array; a tuple, of which the
            first tensor is taken; a list of batches of these; or a mapping of these by layer (an `ActivationCache`, a
            dict of saved tensors), which gives a dict.
        rows: "token", "mean", "last" or a function of the raw tensor; see :func:`training.capture`.
        channel_axis: which axis holds the channels; by default the last, of four axes the second.
        mask: (B, T), zero where a position is padding; a list of these together with a list of batches.
        labels: one integer an example.
        groups: the source of each example; by default each is its own.
        name: what to call the cloud; of a mapping the layer's name is used.

    Raises:
        TypeError, ValueError: what does not become rows; the message says which shape was met.
    """
    check_rule(rows)
    if hasattr(x, "keys") and hasattr(x, "__getitem__") and not hasattr(x, "to_numpy"):  # a table is one cloud
        return {str(key): _cloud(x[key], rows, channel_axis, mask, labels, groups, str(key)) for key in x.keys()}  # noqa: SIM118
    return _cloud(x, rows, channel_axis, mask, labels, groups, name)


def _cloud(
    x: Any, rows: RowRule, channel_axis: int | None, mask: Any, labels: Any, groups: Any, name: str
) -> Activations:
    batches = x if isinstance(x, list) else [x]
    masks = mask if isinstance(mask, list) else [mask] * len(batches)
    if not batches or len(masks) != len(batches):
        raise ValueError(f"got {len(batches)} batches and {len(masks)} masks, expected at least 1 and as many of each")
    what, found = repr(name) if name else "the tensor", []
    for batch, own in zip(batches, masks, strict=True):
        raw = batch.value if isinstance(getattr(batch, "value", None), Tensor) else batch  # a saved proxy
        found.append(to_rows(raw, rows, channel_axis, own, what, len(only_tensor(raw, what)))[:2])
    each = torch.cat([counts for _, counts in found])
    _check_layer([rows for rows, _ in found], name)
    sources = one_integer_each(torch.arange(len(each)) if groups is None else groups, len(each), "groups")
    labels = one_integer_each(labels, len(each), "labels")
    return Activations(
        joined([x for x, _ in found]),
        None if labels is None else labels.repeat_interleave(each),
        None if sources is None else sources.repeat_interleave(each),
        name,
        {"rows": rows if isinstance(rows, str) else "function"},
    )


def _check_layer(batches: list[Tensor], name: str) -> None:
    """Raises ValueError: a layer of a cache that is not finite, as masked attention scores are."""
    bad = sum(int((~rows.isfinite().all(1)).sum()) for rows in batches)
    if name and bad:
        raise ValueError(
            f"layer {name!r} contains NaN or inf in {bad} of {sum(map(len, batches))} rows (masked attention scores are -inf); "
            "pass the layers that you want: as_activations({name: cache[name] for name in (...)})"
        )


def check_rule(rows: RowRule) -> None:
    """Raises ValueError unless `rows` is a function or one of ``ROWS``."""
    if not callable(rows) and rows not in ROWS:
        raise ValueError(f"unknown rows={rows!r}; pass a function of the output, or {nearest(str(rows), ROWS)}")


def joined(parts: Sequence[Tensor]) -> Tensor:
    """One matrix of the rows of all batches.

    Raises:
        ValueError: they differ in width.
    """
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise ValueError(
            f"batches differ in width: {', '.join(map(str, widths))} channels; capture one layer at a time"
        )
    return torch.cat(list(parts))


def to_rows(
    output: Any,
    rows: RowRule,
    channel_axis: int | None,
    mask: Any,
    what: str,
    count: int,
    at: int | Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows (n, C) of an output of `count` examples, how many each example has (count,), and where each row stands.

    Args:
        what: the layer, in errors.
        at: the position of each example that is its row, in place of `rows`; see :func:`located`.

    Returns:
        Rows, counts, and places (n,), all axes but the examples' and the channels' run together; None of a mean or function.
    """
    if callable(rows):
        found = only_tensor(rows(output), what)
        if found.ndim != 2 or not len(found) or len(found) % count:
            raise ValueError(
                f"rows gave shape {tuple(found.shape)} for {count} examples, expected (n, C) with as many rows for "
                "each; change the function, or pass one example a batch"
            )
        return found, torch.full((count,), len(found) // count), None
    positions = _positions(only_tensor(output, what), rows, channel_axis, what, count)
    kept = _kept(mask, positions, what)
    if rows == "token" and at is None:
        return positions[kept], kept.sum(1).cpu(), kept.nonzero()[:, 1].cpu()
    empty = (~kept.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"the mask leaves no position of examples {empty[:5]}, rows={rows!r} needs one; drop empty examples"
        )
    ones = torch.ones(count, dtype=torch.int64)
    if rows == "last" or at is not None:
        place = located(-1 if at is None else at, kept.cpu(), what)
        return positions[torch.arange(count), place.to(positions.device)], ones, place
    if kept.all():
        return positions.mean(1), ones, None
    return positions.masked_fill(~kept[..., None], 0).sum(1) / kept.sum(1, keepdim=True), ones, None


def located(at: int | Tensor, kept: Tensor, what: str) -> Tensor:
    """(B,) positions that `at` names, an integer or (B,) of them; negative ones count back from the last that is kept.

    Args:
        kept: (B, T) bool, positions that are no padding.

    Raises:
        ValueError: no such position, or padding.
    """
    width = kept.shape[1]
    last = width - 1 - kept.flip(1).int().argmax(1)
    given = torch.as_tensor(at).cpu().expand(len(kept))
    place = torch.where(given < 0, last + 1 + given, given)
    inside = (place >= 0) & (place < width)
    wrong = (~(inside & kept[torch.arange(len(kept)), place.clamp(0, width - 1)])).nonzero().flatten().tolist()
    if wrong:
        i = wrong[0]
        raise ValueError(
            f"example {i} of its batch has no position {int(given[i])}: {what} has {width} positions there, "
            f"{int(kept[i].sum())} of them no padding; name one of those, numbered from 0, or from -1 backwards"
        )
    return place


def only_tensor(output: Any, what: str) -> Tensor:
    """The tensor that `output` is, the first of a tuple, the only one of a dict.

    Raises:
        TypeError: none, several, or no floating one.
    """
    hint = "pass rows=a function of the output that returns (n, C)"
    if isinstance(output, Mapping):
        names = [name for name, x in output.items() if isinstance(x, Tensor)]
        if len(names) != 1:
            raise TypeError(f"{what} put out a dict with tensors {names}, expected exactly 1; {hint}")
        output = output[names[0]]
    elif isinstance(output, Sequence):
        none = None if isinstance(output, (tuple, list)) else output
        output = next((x for x in output if isinstance(x, Tensor)), none)
    if isinstance(output, Tensor) and output.is_nested:
        raise TypeError(f"{what} put out a nested tensor, expected a padded one; {hint}, as lambda x: x.values()")
    if hasattr(output, "__array__") and not isinstance(output, Tensor):
        output = as_tensor(output, what)
    if not isinstance(output, Tensor) or not output.is_floating_point():
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{what} put out {type(output).__name__}, expected a floating tensor; {way_in(output)}; or {hint}"
            )
        raise TypeError(f"{what} put out {output.dtype}, expected a floating tensor; {hint}")
    return output


def _positions(output: Tensor, rows: Any, channel_axis: int | None, what: str, count: int) -> Tensor:
    """(B, T, C): the channels last, all other axes but the examples' as positions."""
    shape, axes = tuple(output.shape), output.ndim
    known = axes in (2, 3, 4) if channel_axis is None else axes >= 2
    if not known or len(output) != count or (rows == "last" and axes > 3):
        raise ValueError(
            f"{what} put out shape {shape}, expected B = {count} examples as (B, C), (B, T, C) or, unless rows='last', "
            "(B, C, H, W); pass channel_axis=, or rows=a function of the output that returns (n, C)"
        )
    if axes == 4 and channel_axis is None and shape[1] == shape[2] != shape[3]:
        warnings.warn(
            f"{what} put out shape {shape}, read as (B, C, H, W): {shape[1]} channels; if the channels come last, pass "
            "channel_axis=-1",
            ShapeWarning,
            stacklevel=2,
        )
    axis = (1 if axes == 4 else axes - 1) if channel_axis is None else channel_axis
    if axis not in range(-axes, axes) or axis % axes == 0:
        raise ValueError(
            f"channel_axis must be an axis of shape {shape} but the first, got {channel_axis}; pass 1 to {axes - 1}"
        )
    if axes == 2:
        return output[:, None]
    return output.movedim(axis, -1).flatten(1, -2)


def _kept(mask: Any, positions: Tensor, what: str) -> Tensor:
    """(B, T) bool, the positions that are no padding; an output without positions has none."""
    expected = tuple(positions.shape[:2])
    mask = None if mask is None else as_tensor(mask, "mask")
    if mask is None or (expected[1] == 1 and tuple(mask.shape) != expected):
        return torch.ones(expected, dtype=torch.bool, device=positions.device)
    if tuple(mask.shape) != expected:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}, {what} has {expected} examples and positions; "
            "pass one number a position, or mask=None to keep all"
        )
    return (mask != 0).to(positions.device)
