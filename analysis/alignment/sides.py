"""One of the two models: its structure rows, their pieces, and the way to and from activations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment.rigid import Floats
from analysis.analyzer import Analyzer
from analysis.density import as_points


@dataclass
class Side:
    """A model, or an array of structure coordinates.

    Attributes:
        name: "a" or "b".
        s: (n, k) structure rows.
        rows: (n,) their numbers in what was given.
        analyzer: None for an array.
        seed: of the tree of pieces.
    """

    name: str
    s: Floats
    rows: NDArray[np.intp]
    analyzer: Analyzer | None
    seed: int

    @classmethod
    def of(cls, given: object, name: str, only: ArrayLike | None, seed: int) -> Side:
        """From an analyzer or an array.

        Raises:
            ValueError: k = 0, not (rows, k), NaN or inf, or chosen rows that are not there.
        """
        analyzer = given if isinstance(given, Analyzer) else None
        if analyzer is not None and not analyzer.structure_dim:
            raise ValueError(f"{name} has k = 0: nothing but noise at this regularity, so there is nothing to align")
        s = as_points(analyzer.s if analyzer is not None else given, f"structure rows of {name}")  # type: ignore[arg-type]
        rows = np.arange(len(s)) if only is None else _chosen(only, len(s), name)
        return cls(name, s[rows], rows, analyzer, seed)

    @cached_property
    def pieces(self) -> NDArray[np.intp]:
        """(n,) number of each row's piece, 0 the heaviest."""
        from analysis.tree import MergeTree, tree

        found = self.analyzer.tree() if self.analyzer is not None else tree(self.s, seed=self.seed)
        assert isinstance(found, MergeTree)
        return found.labels_[self.rows] if self.analyzer is not None else found.labels_

    def checked(self, s: ArrayLike) -> Floats:
        """Structure rows of this side."""
        return as_points(s, f"structure rows of {self.name}", width=self.s.shape[1])

    def encode(self, x: Any) -> Floats:
        """Structure rows of activations."""
        if self.analyzer is None:
            return self.checked(x)
        import torch

        with torch.no_grad():
            return self.analyzer.flow.encode(x).double().numpy()

    def decode(self, s: Floats, noise: str, seed: int) -> Any:
        """Activations of structure rows: a tensor, or the rows themselves where an array was aligned."""
        if noise not in ("zero", "draw"):
            raise ValueError(f"noise must be 'zero' or 'draw', got {noise!r}")
        if self.analyzer is None:
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
