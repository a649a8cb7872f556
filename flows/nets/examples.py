"""Examples to show a model, some of them at a time: batches of one shape run together, others by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Examples:
    """E examples numbered in the order in which they came, though they differ in length.

    Args:
        inputs: (E, ...) a tensor or a dict of keyword arguments of E each; or a list of such batches. Batches whose inputs have
            the same shape are joined. Nothing but tensors is cut into examples.
    """

    def __init__(self, inputs: Any):
        batches = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        joined: dict[Any, list[Any]] = {}
        group, place = [], []
        for batch in batches:
            own = joined.setdefault(_shape(batch), [])
            number, before = list(joined).index(_shape(batch)), sum(map(_count, own))
            own.append(batch)
            group.append(torch.full((_count(batch),), number))
            place.append(before + torch.arange(_count(batch)))
        self.groups = [_joined(parts) for parts in joined.values()]
        self.group, self.place = torch.cat(group), torch.cat(place)

    def __len__(self) -> int:
        return len(self.group)

    def some(self, numbers: Tensor) -> Iterator[tuple[Tensor, Any]]:
        """Of the examples ``numbers`` (n,), for every shape: where in ``numbers`` they stand, and their inputs."""
        for number, inputs in enumerate(self.groups):
            places = (self.group[numbers] == number).nonzero().squeeze(1)
            if len(places):
                yield places, _picked(inputs, self.place[numbers[places]])


def _count(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        return next(len(value) for value in inputs.values() if isinstance(value, Tensor) and value.ndim)
    return len(inputs)


def _cut(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == count


def _shape(inputs: Any) -> Any:
    """What inputs that run together have in common."""
    if not isinstance(inputs, Mapping):
        return tuple(inputs.shape[1:])
    count = _count(inputs)
    return tuple((k, tuple(v.shape[1:]) if _cut(v, count) else repr(v)) for k, v in sorted(inputs.items()))


def _joined(batches: list[Any]) -> Any:
    first = batches[0]
    if len(batches) == 1:
        return first
    if not isinstance(first, Mapping):
        return torch.cat(batches)
    count = _count(first)
    return {k: torch.cat([b[k] for b in batches]) if _cut(v, count) else v for k, v in first.items()}


def _picked(inputs: Any, rows: Tensor) -> Any:
    if not isinstance(inputs, Mapping):
        return inputs[rows.to(inputs.device)]
    count = _count(inputs)
    return {k: v[rows.to(v.device)] if _cut(v, count) else v for k, v in inputs.items()}
