"""One of the two models: its structure rows, their pieces and loops, and the way to and from activations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment.clouds import MANY
from analysis.alignment.matching import Members
from analysis.alignment.nuisance import without
from analysis.alignment.rigid import Floats
from analysis.analyzer import Analyzer
from analysis.density.bag import as_points

MOSTLY = 0.5  # share of a loop's rows that have to be among the chosen ones


@dataclass
class Side:
    """A model, or an array of structure coordinates or activations.

    Attributes:
        name: "a" or "b".
        analyzer: of all that was given.
        rows: (n,) numbers of the rows that are aligned.
        nuisance: what is taken off the rows of activations, one entry a row; None for nothing.
        in_layer: whether the rows are activations with their noise at zero, in the layer's metric, and not the structure block.
        cut: (n,) pieces found in another way than by the density of the block; None for that.
    """

    name: str
    analyzer: Analyzer
    rows: NDArray[np.intp]
    nuisance: ArrayLike | None = None
    in_layer: bool = False
    cut: NDArray[np.intp] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, given: object, name: str, part: tuple[str, Any] | None, seed: int, nuisance: ArrayLike | None = None
    ) -> Side:
        """From an analyzer or an array, or a part of it: ("only", rows), ("piece", number) or ("loop", number).

        Raises:
            ValueError: k = 0, not (rows, k), NaN or inf, a nuisance that does not fit, or a part that is not there.
        """
        if isinstance(given, Analyzer):
            analyzer = given
        else:
            rows = as_points(given, f"structure rows of {name}")  # type: ignore[arg-type]
            if len(rows) > 1 and not np.ptp(rows, axis=0).any():
                raise ValueError(f"all rows of {name} are equal, so there is nothing to align; check what was captured")
            rows = rows if nuisance is None else without(rows, nuisance, name)
            analyzer = Analyzer(None, rows, seed=seed)  # every row stays: pairs and labels go by their numbers
        if not analyzer.structure_dim:
            raise ValueError(f"{name} has k = 0: nothing but noise at this regularity, so there is nothing to align")
        nuisance = nuisance if analyzer.has_flow else None
        side = cls(name, analyzer, np.arange(len(analyzer.x)), nuisance, nuisance is not None)
        return side if part is None else cls(name, analyzer, side._part(*part), nuisance, side.in_layer)

    def _part(self, kind: str, which: Any) -> NDArray[np.intp]:
        if kind == "only":
            return _chosen(which, len(self.rows), self.name)
        found = self.analyzer.loops() if kind == "loop" else np.unique(self.pieces)
        if which not in range(len(found)):  # type: ignore[arg-type]
            raise ValueError(f"no {kind} {which} in {self.name}; it has {len(found)}, numbered from 0")  # type: ignore[arg-type]
        return found[which].rows if kind == "loop" else np.flatnonzero(self.pieces == which)  # type: ignore[index]

    @property
    def s(self) -> Floats:
        """(n, k) structure rows; (n, D) activations with their noise at zero where those are aligned."""
        return self._projected if self.in_layer else self._block

    @property
    def given(self) -> Any:
        """Activations of the rows: a tensor (n, D) where there is a flow, else the array (n, k) itself."""
        return self.analyzer.x[self.rows] if self.analyzer.has_flow else self._block

    @cached_property
    def _block(self) -> Floats:
        return np.asarray(self.analyzer.s[self.rows], dtype=np.float64)

    @cached_property
    def _projected(self) -> Floats:
        rows = self._decoded(self.analyzer.s, "zero", 0).double().numpy()
        return np.asarray((rows if self.nuisance is None else without(rows, self.nuisance, self.name))[self.rows])

    @property
    def pieces(self) -> NDArray[np.intp]:
        """(n,) number of each row's piece, 0 the heaviest."""
        return self._tree_pieces if self.cut is None else self.cut

    @cached_property
    def _tree_pieces(self) -> NDArray[np.intp]:
        labels: NDArray[np.intp] = self.analyzer.tree().labels_[self.rows]  # type: ignore[union-attr]
        return labels

    def loops(self, rows: NDArray[np.intp]) -> Members:
        """The loops that run through the aligned rows, with their angles at some of these."""
        if not self.analyzer.has_flow and self.s.shape[1] > MANY:
            return Members((), np.zeros((len(rows), 0), dtype=complex))  # a wide cloud's loops take a block to be seen
        loops = [x for x in self.analyzer.loops() if np.isin(x.rows, self.rows).mean() >= MOSTLY]  # type: ignore[union-attr]
        on = np.array([np.isin(self.rows[rows], x.rows) for x in loops]).reshape(len(loops), len(rows)).T
        angles = np.array([x.angle(self._block[rows]) for x in loops]).reshape(len(loops), len(rows)).T
        return Members(tuple(x.number for x in loops), on * np.exp(1j * angles))

    def checked(self, s: ArrayLike) -> Floats:
        """Structure rows of this side."""
        return as_points(s, f"structure rows of {self.name}", width=self._block.shape[1])

    def encode(self, x: Any) -> Floats:
        """Structure rows of activations."""
        if not self.analyzer.has_flow:
            return self.checked(x)
        import torch

        with torch.no_grad():
            return self.analyzer.flow.encode(x).double().numpy()

    def mapped_from(self, s: Floats) -> Floats:
        """What a map acts on, of structure rows: these, or their activations where those are aligned."""
        return self._decoded(s, "zero", 0).double().numpy() if self.in_layer else s

    def mapped_to(self, rows: Floats) -> Floats:
        """Structure rows of what a map gives."""
        if not self.in_layer:
            return rows
        import torch

        return self.encode(torch.from_numpy(rows).to(self.analyzer.flow.exits.tau))

    def decode(self, s: Floats, noise: str, seed: int) -> Any:
        """Activations of structure rows: a tensor, or the rows themselves where an array was aligned."""
        if noise not in ("zero", "draw"):
            raise ValueError(f"noise must be 'zero' or 'draw', got {noise!r}")
        return self._decoded(s, noise, seed) if self.analyzer.has_flow else s

    def _decoded(self, s: Floats, noise: str, seed: int) -> Any:
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
