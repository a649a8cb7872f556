"""Which position of each example a user asked for: one for all, one each, or an input that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flows.io.inputs import as_tensor, nearest


class Places:
    """Positions (B,) of one batch after another.

    Args:
        positions: None, an integer, (E,) integers for all examples, or the name of an input.
        rows: the rule that they stand in for.

    Raises:
        TypeError, ValueError: another kind, or a rule that was named too.
    """

    def __init__(self, positions: Any, rows: Any):
        if positions is not None and rows != "token":
            raise ValueError(f"positions= names the rows already, got rows={rows!r} too; leave one of them out")
        self.given = positions
        if positions is not None and not isinstance(positions, (str, int)):
            self.given = _integers(positions, "positions")
            if self.given.ndim != 1:
                raise ValueError(f"positions must be one integer an example, got shape {tuple(self.given.shape)}")
        self.used = 0
        self.rule = "position" if positions is not None else rows if isinstance(rows, str) else "function"

    def of(self, inputs: Any, count: int) -> tuple[Any, Any]:
        """The inputs that the model is given, and the positions of the next `count` examples, or None.

        Raises:
            ValueError: fewer positions than examples, or no such input.
        """
        first, self.used = self.used, self.used + count
        if isinstance(self.given, str):
            names = list(inputs) if isinstance(inputs, Mapping) else []
            if self.given not in names:
                raise ValueError(f"no input {self.given!r} to take positions from; {nearest(self.given, names)}")
            own = _integers(inputs[self.given], f"input {self.given!r}")
            if own.shape != (count,):
                raise ValueError(
                    f"input {self.given!r} must be one position for each of {count} examples, got shape {tuple(own.shape)}"
                )
            return {name: x for name, x in inputs.items() if name != self.given}, own
        if not isinstance(self.given, Tensor):
            return inputs, self.given
        if self.used > len(self.given):
            raise ValueError(f"got {len(self.given)} positions for {self.used} examples or more, expected one each")
        return inputs, self.given[first : self.used]

    def all_used(self) -> None:
        """Raises ValueError if there were more positions than examples."""
        if isinstance(self.given, Tensor) and self.used < len(self.given):
            raise ValueError(f"got {len(self.given)} positions for {self.used} examples, expected one each")


def _integers(x: Any, name: str) -> Tensor:
    found = as_tensor(x, name)
    if found.is_floating_point() or found.is_complex() or found.dtype.itemsize < 2:
        raise TypeError(f"{name} must be integers, got {found.dtype}; number positions from 0")
    return found.cpu().long()
