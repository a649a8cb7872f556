"""Arrays in .parquet tables, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


class ColumnError(TypeError):
    """A column that is no array of numbers; the message names it."""


def open_table(path: Path, besides: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """Each column of lists by its name, or, without one, all columns but ``besides`` as one matrix; and ``besides``.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet, types
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} needs pyarrow, which is not installed; pip install pyarrow, or write the rows as .npy"
        ) from error
    schema = parquet.ParquetFile(path).schema_arrow
    kinds = {f.name: f.type for f in schema}
    lists = [n for n, kind in kinds.items() if types.is_list(kind) or types.is_fixed_size_list(kind)]
    arrays: dict[str, Callable[[], Any]] = {name: partial(_lists, parquet, path, name) for name in lists}
    own = [name for name in besides if name in kinds]
    if not lists:
        arrays[path.stem] = partial(_matrix, parquet, path, [name for name in kinds if name not in own])
    return arrays | {name: partial(_column, parquet, path, name) for name in own}


def _column(parquet: Any, path: Path, name: str) -> np.ndarray:
    return parquet.read_table(path, columns=[name]).column(0).to_numpy()


def _matrix(parquet: Any, path: Path, names: Sequence[str]) -> np.ndarray:
    table = parquet.read_table(path, columns=list(names))
    columns = [column.to_numpy() for column in table.columns]
    odd = [name for name, column in zip(names, columns, strict=True) if column.dtype.kind not in "iuf"]
    if odd or not columns:
        raise ColumnError(
            f"columns {odd} of {path} are not numbers; drop them, or name those of labels and sources"
            if odd
            else f"{path} has no column of activations; write some"
        )
    return np.stack(columns, axis=1)


def _lists(parquet: Any, path: Path, name: str) -> np.ndarray:
    column = parquet.read_table(path, columns=[name]).column(0).combine_chunks()
    values, count = column.flatten().to_numpy(zero_copy_only=False), len(column)
    width = len(values) // max(1, count)
    lengths = {int(n or 0) for n in column.value_lengths().to_pylist()} if hasattr(column, "value_lengths") else {width}
    if lengths - {width} or len(values) != width * count:
        raise ColumnError(
            f"column {name!r} of {path} holds lists of {sorted(lengths)} numbers; make them of one length"
        )
    return values.reshape(count, width)
