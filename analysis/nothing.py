"""What a verb about structure answers where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from analysis.dimension.dimensions import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Nothing:
    """The answer of a verb about structure where k = 0: nothing but noise at this regularity.

    It has nothing that an answer about structure has. Who asks is told so; to type checkers it is never reached.
    """

    verb: str

    def to_dict(self) -> dict[str, Any]:
        return {"verb": self.verb, "answer": NOTHING}

    def __repr__(self) -> str:
        return f"{self.verb}: k = 0, {NOTHING}"

    def plot(self, ax: Axes | None = None) -> Axes:
        from analysis.drawing import nothing

        return nothing(repr(self), ax)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name == "verb":  # copies and pickles ask before the verb is there
            raise AttributeError(name)
        raise AttributeError(f"{self!r}; there is no {name!r} to ask for, check flow.structure_dim first")

    def __getitem__(self, key: object) -> NoReturn:
        raise IndexError(f"{self!r}; there is no [{key!r}] to ask for, check flow.structure_dim first")
