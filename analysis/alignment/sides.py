"""One of the two models: its structure rows, their pieces and loops, and the way to and from activations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment.matching import Members
from analysis.alignment.rigid import Floats
from analysis.analyzer import Analyzer
from analysis.density import as_points

MOSTLY = 0.5  # share of a loop's rows that have to be among the chosen ones


@dataclass
class Side:
    """A model, or an array of structure coordinates.

    Attributes:
        name: "a" or "b".
        analyzer: of all that was given.
        rows: (n,) numbers of the rows that are aligned.
    """

    name: str
    analyzer: Analyzer
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, given: object, name: str, part: tuple[str, Any] | None, seed: int) -> Side:
        """From an analyzer or an array, or a part of it: ("only", rows), ("piece", number) or ("loop", number).

        Raises:
            ValueError: k = 0, not (rows, k), NaN or inf, or a part that is not there.
        """
        if isinstance(given, Analyzer):
            analyzer = given
        else:
            analyzer = Analyzer.from_structure(as_points(given, f"structure rows of {name}"), seed=seed)  # type: ignore[arg-type]
        if not analyzer.structure_dim:
            raise ValueError(f"{name} has k = 0: nothing but noise at this regularity, so there is nothing to align")
        side = cls(name, analyzer, np.arange(len(analyzer.x)))
        return side if part is None else cls(name, analyzer, side._part(*part))

    def _part(self, kind: str, which: Any) -> NDArray[np.intp]:
        if kind == "only":
            return _chosen(which, len(self.rows), self.name)
        found = self.analyzer.loops() if kind == "loop" else np.unique(self.pieces)
        if which not in range(len(found)):  # type: ignore[arg-type]
            raise ValueError(f"no {kind} {which} in {self.name}; it has {len(found)}, numbered from 0")  # type: ignore[arg-type]
        return found[which].rows if kind == "loop" else np.flatnonzero(self.pieces == which)  # type: ignore[index]

    @cached_property
    def s(self) -> Floats:
        """(n, k) structure rows."""
        return np.asarray(self.analyzer.s[self.rows], dtype=np.float64)

    @cached_property
    def pieces(self) -> NDArray[np.intp]:
        """(n,) number of each row's piece, 0 the heaviest."""
        labels: NDArray[np.intp] = self.analyzer.tree().labels_[self.rows]  # type: ignore[union-attr]
        return labels

    def loops(self, rows: NDArray[np.intp]) -> Members:
        """The loops that run through the aligned rows, with their angles at some of these."""
        loops = [x for x in self.analyzer.loops() if np.isin(x.rows, self.rows).mean() >= MOSTLY]  # type: ignore[union-attr]
        on = np.array([np.isin(self.rows[rows], x.rows) for x in loops]).reshape(len(loops), len(rows)).T
        angles = np.array([x.angle(self.s[rows]) for x in loops]).reshape(len(loops), len(rows)).T
        return Members(tuple(x.number for x in loops), on * np.exp(1j * angles))

    def checked(self, s: ArrayLike) -> Floats:
        """Structure rows of this side."""
        return as_points(s, f"structure rows of {self.name}", width=self.s.shape[1])

    def encode(self, x: Any) -> Floats:
        """Structure rows of activations."""
        if not self.analyzer.has_flow:
            return self.checked(x)
        import torch

        with torch.no_grad():
            return self.analyzer.flow.encode(x).double().numpy()

    def decode(self, s: Floats, noise: str, seed: int) -> Any:
        """Activations of structure rows: a tensor, or the rows themselves where an array was aligned."""
        if noise not in ("zero", "draw"):
            raise ValueError(f"noise must be 'zero' or 'draw', got {noise!r}")
        if not self.analyzer.has_flow:
            return s
        import torch

        flow = self.analyzer.flow
        rows = torch.from_numpy(s).to(flow.exits.tau)
        with torch.no_grad():
            return flow.decode(rows, noise, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


def _chosen(only: ArrayLike, count: int, name: str) -> NDArray[np.intp]:
    chosen = np.asarray(only)
    if chosen.dtype == bool and chosen.shape == (count,):
        return np.flatnonzero(chosen)
    fits = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
    if not fits or (chosen < 0).any() or (chosen >= count).any():
        raise ValueError(f"only= must be row numbers below {count} or a mask of {count} for {name}, got {chosen.shape}")
    return chosen.astype(np.intp)
