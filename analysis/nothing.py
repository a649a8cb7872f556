"""What a verb about structure answers where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.dimension.dimensions import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Nothing:
    """The answer of a verb about structure where k = 0: nothing but noise at this regularity."""

    verb: str

    def to_dict(self) -> dict[str, Any]:
        return {"verb": self.verb, "answer": NOTHING}

    def __repr__(self) -> str:
        return f"{self.verb}: k = 0, {NOTHING}"

    def plot(self, ax: Axes | None = None) -> Axes:
        from analysis.drawing import nothing

        return nothing(repr(self), ax)
