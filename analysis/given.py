"""What an analyzer is given: rows, points, and one entry of metadata for each."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import as_points
from flows.flow import FunnelFlow
from flows.geometry.outlying import RowWarning, named, outlying
from flows.io.inputs import as_rows


def rows_for(flow: FunnelFlow | None, x: object) -> torch.Tensor:
    """Rows (N, D) as the flow takes them; without a flow, points (N, k) in float64."""
    if flow is not None:
        return as_rows(x, width=flow.front.features).to(flow.exits.tau)
    return torch.from_numpy(as_points(x, "structure rows"))  # type: ignore[arg-type]


def near(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Numbers of the points (N, k) that are not outlying; a warning names those."""
    far = outlying(torch.from_numpy(points))
    if len(far):
        warnings.warn(
            named(far, len(points)),
            RowWarning,
            stacklevel=3,
        )
    return np.setdiff1d(np.arange(len(points)), far.numpy())


def each_row(name: str, values: ArrayLike | None, count: int) -> NDArray[Any] | None:
    """Metadata (N,), one entry a row.

    Raises:
        ValueError: another shape.
    """
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (count,):
        raise ValueError(f"{name} must have one entry per row, shape ({count},), got {array.shape}")
    return array
