"""Rows of data as examples of a piece, a dimension or a level, and how unusual a row is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class Examples:
    """Rows that show something.

    Attributes:
        of: what they are examples of, in words.
        rows: (n,) their numbers in the data that was fitted.
        index: (n,) their places among the analyzer's rows.
        values: (n,) what they were ranked by; ``meaning`` says what it is.
        labels, sources: (n,) metadata; None where there is none.
        note: what is to be known about this answer; empty if nothing is.
    """

    of: str
    meaning: str
    rows: NDArray[np.int64]
    index: NDArray[np.int64]
    values: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None
    sources: NDArray[np.int64] | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "of": self.of,
            "meaning": self.meaning,
            **{
                name: None if value is None else value.tolist()
                for name in ("rows", "index", "values", "labels", "sources")
                for value in [getattr(self, name)]
            },
            "note": self.note,
        }

    def __repr__(self) -> str:
        lines = [f"{len(self)} examples of {self.of}, by {self.meaning}:"]
        for i, (row, value) in enumerate(zip(self.rows, self.values, strict=True)):
            extra = "" if self.labels is None else f"  label {self.labels[i]}"
            extra += "" if self.sources is None else f"  source {self.sources[i]}"
            lines.append(f"  row {row}  {value:.3f}{extra}")
        return "\n".join([*lines, f"  note: {self.note}"] if self.note else lines)


def of_piece(members: NDArray[np.intp], log_density: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The ``count`` densest of ``members`` (indices), densest first."""
    return members[np.argsort(-log_density[members], kind="stable")[:count]]


def of_dimension(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """``count`` rows spread evenly over the range of ``values`` (n,), at equal steps of rank, smallest first."""
    order = np.argsort(values, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[places]


def of_level(log_density: NDArray[np.float64], mass: float, count: int) -> NDArray[np.intp]:
    """The ``count`` rows nearest to the edge of the set of highest density that holds ``mass`` of the rows."""
    edge = np.quantile(log_density, 1 - mass)
    return np.argsort(np.abs(log_density - edge), kind="stable")[:count]


def tail_mass(log_density: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share in [0, 1] of the ``reference`` rows that are denser: 0 the densest of all, 1 rarer than every one of them."""
    ordered = np.sort(reference)
    return 1 - np.searchsorted(ordered, log_density, side="right") / len(ordered)
