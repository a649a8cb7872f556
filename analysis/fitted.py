"""The result of a fit as the analyzer takes it: flow, rows, metadata, and which rows the flow has not seen."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from flows.flow import FunnelFlow
from flows.io.inputs import as_rows
from flows.untangled import Untangled

MOST_TRAINING_ROWS = 20_000


@runtime_checkable
class Fitted(Protocol):
    """What ``training.fit`` returns, as far as an analyzer needs it: the flow, the rows as they were fitted, the split."""

    flow: FunnelFlow
    activations: Any
    held_out: NDArray[np.int64]
    train: NDArray[np.int64]
    worth: NDArray[np.float64]


@runtime_checkable
class Untangling(Protocol):
    """What ``training.untangle`` returns, as far as an analyzer needs it."""

    flow: Untangled | None
    spectrum: Any

    def verdict(self) -> str: ...


def untangled_of(found: Untangling) -> Untangled:
    """The untangled flow.

    Raises:
        ValueError: nothing was untangled.
    """
    if found.flow is None:
        raise ValueError(f"there is no untangled flow: {found.verdict()}; analyse the flow that was given to untangle")
    return found.flow


def rows_of(result: Fitted, x: object = None) -> dict[str, Any]:
    """Arguments of an analyzer: held-out rows, then at most 20 000 training rows, as a run folder keeps them.

    Args:
        x: all N rows that were fitted, where they are to be taken from elsewhere than from the result; a nuisance is off them.

    Raises:
        ValueError: another number of rows than were fitted.
    """
    own = result.activations
    if x is not None and len(x) != len(own):  # type: ignore[arg-type]
        raise ValueError(
            f"the fit was of {len(own)} rows, got {len(x)}; leave x out, or pass Analyzer(result.flow, x) for other rows"  # type: ignore[arg-type]
        )
    train = result.train[:: -(-len(result.train) // MOST_TRAINING_ROWS)]
    numbers = np.concatenate([result.held_out, train])
    index = torch.from_numpy(numbers)
    found = own.x[index] if x is None else as_rows(x)[index]
    return {
        "x": found,
        "labels": None if own.labels is None else own.labels[index].numpy(),
        "sources": None if own.sources is None else own.sources[index].numpy(),
        "is_held_out": np.arange(len(numbers)) < len(result.held_out),
        "rows": numbers,
        "question": own.question,
    }
