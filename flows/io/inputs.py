"""What users hand in: rows of activations checked once, and error messages that offer the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flows.io.rows import EXACT, Rows, chunks


def as_rows(x: Any, *, name: str = "activations", width: int | None = None, min_rows: int = 1) -> Tensor:
    """Returns `x` as a dense, finite, floating tensor of shape (B, D).

    Memory is shared where the dtype allows it, and gradients flow through. Read-only arrays are copied, because torch
    has no read-only tensors: open a large memmap with mode `"c"` to share it.

    Args:
        x: torch tensor, numpy array or memmap, anything else with `__array__`, or nested lists of numbers.
        name: what the rows are called in errors.
        width: the number of columns D expected, where it is known.
        min_rows: the smallest number of rows B that will do.

    Returns:
        (B, D) tensor on the device of `x`: float64 if `x` is, or if it holds whole numbers beyond 2^24; otherwise float32.

    Raises:
        TypeError: `x` does not hold real numbers (bool, object, string, complex, sparse, masked, ragged).
        ValueError: wrong number of axes, wrong width, no columns unless `width=0`, too few rows, NaN or inf, whole numbers
            beyond 2^53.
    """
    rows = as_tensor(x, name)
    check_kind(rows, tuple(rows.shape), name, width, min_rows)
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.to(float_for(rows, name))
    check_finite(rows, name)
    return rows


def float_for(rows: Tensor, name: str = "activations") -> torch.dtype:
    """The floating dtype that keeps all distinct values of `rows`: of whole numbers beyond 2^24 float64, else float32.

    Raises:
        ValueError: whole numbers beyond 2^53.
    """
    if rows.is_floating_point() or rows.dtype.itemsize < 4 or not rows.numel():
        return torch.float32
    low, high = (int(end) for end in rows.double().aminmax())
    largest = max(-low, high)
    if largest > EXACT:
        raise ValueError(
            f"{name} hold whole numbers up to {largest:.3g}, and beyond 2^53 float64 cannot tell neighbours apart; "
            "take an offset off first: x - x.min(axis=0)"
        )
    return torch.float32 if largest <= 2**24 else torch.float64


def centred(rows: Tensor) -> tuple[Tensor, list[int]]:
    """Whole numbers (N, D) beyond 2^53 less the smallest of each column, and these (D); other rows as they are, and [].

    Raises:
        ValueError: a column that spreads over more than 2^53.
    """
    plain = rows.dtype in (torch.int64, torch.uint64) and rows.layout == torch.strided and rows.ndim == 2
    if not plain or not rows.numel():
        return rows, []
    if max(map(abs, rows.double().aminmax())) <= EXACT:
        return rows, []
    zero = 2**63 if rows.dtype == torch.uint64 else 0  # torch compares no uint64: its bits less 2^63 are an int64
    whole = rows.view(torch.int64) ^ -(2**63) if zero else rows
    low = whole.amin(0)
    if float((whole.double() - low.double()).max()) > EXACT:
        raise ValueError(
            "activations hold whole numbers that spread over more than 2^53 in one column, which float64 cannot tell apart; "
            "divide them, or leave that column out (an id is no measurement)"
        )
    return whole - low, [int(least) + zero for least in low]


def check_kind(
    rows: Tensor, shape: tuple[int, ...], name: str = "activations", width: int | None = None, min_rows: int = 1
) -> None:
    """Raises what :func:`as_rows` raises of an array's dtype and shape; ``rows`` may be an excerpt of it."""
    if rows.dtype == torch.bool or rows.is_complex() or rows.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense array of real numbers, got {rows.dtype}, {rows.layout}; convert to float32 first"
        )
    if len(shape) != 2:
        raise ValueError(
            f"{name} must have 2 axes (rows, features), got shape {shape}; "
            "reshape to (rows, features), one row for each token or position"
        )
    count, columns = shape
    if columns == 0 and width != 0:
        raise ValueError(f"{name} must have at least 1 column, got shape {shape}; pass (rows, features)")
    if width is not None and columns != width:
        raise ValueError(
            f"{name} must have {width} columns, got {columns} (shape {shape}); "
            "pass rows of the same layer, without dropping or adding columns"
        )
    if count < min_rows:
        raise ValueError(f"{name} must have at least {min_rows} rows, got {count}; pass more rows")


def check_finite(rows: Tensor | Rows, name: str = "activations") -> None:
    """One pass over the rows, in chunks.

    Raises:
        ValueError: NaN or inf; the message counts the rows and names the first.
    """
    first: list[int] = []
    count = before = 0
    for chunk in chunks(rows):
        bad = (~chunk.isfinite().all(dim=1)).nonzero().flatten()
        count += len(bad)
        first += [before + i for i in bad[: 5 - len(first)].tolist()]
        before += len(chunk)
    if count:
        raise ValueError(
            f"{name} contain NaN or inf in {count} of {len(rows)} rows (first: {', '.join(map(str, first))}); "
            "drop those rows first"
        )


def as_tensor(x: Any, name: str) -> Tensor:
    """Returns `x` as a tensor of any shape; read-only, byte-swapped and reversed arrays are copied first.

    Raises:
        TypeError: `x`, called `name`, is no array of numbers.
    """
    if isinstance(x, Tensor):
        return x
    if hasattr(x, "filled"):  # numpy's masked array: conversion would silently bring back what the mask hides
        raise TypeError(f"{name} must be a plain array, got {type(x).__name__}; drop the masked rows and pass x.data")
    if hasattr(x, "toarray") and not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a dense array, got a sparse {type(x).__name__}; pass x.toarray()")
    got, given = type(x).__name__, x
    try:
        if hasattr(x, "__array__"):
            x = _array_of(x)
            got = f"{got}, an array of dtype {x.dtype}"
            if not (x.flags.writeable and x.dtype.isnative and min(x.strides, default=0) >= 0):
                x = x.astype(x.dtype.newbyteorder("="), order="C")
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        remedy = way_in(given)
        if "|V2" in got:  # what numpy makes of bfloat16
            remedy = "save bfloat16 as .pt or .safetensors, or as float32"
        cause = "" if "dtype object" in got else f" ({error})"
        raise TypeError(f"{name} must be an array of numbers, got {got}{cause}; {remedy}") from None


def _array_of(x: Any) -> np.ndarray:
    """The array that x exposes; a pandas frame of numbers alone that may be missing has NaN there."""
    array = x.__array__()
    if array.dtype == object and hasattr(x, "select_dtypes") and x.select_dtypes("number").shape == x.shape:
        return np.asarray(x.to_numpy(dtype="float64", na_value=np.nan))
    return np.asarray(array)


def way_in(x: Any) -> str:
    """What to pass instead of a container that is no array: the columns of numbers, an entry, what is inside it."""
    for attribute, way in _WAYS.items():
        if hasattr(x, attribute):
            return way
    if hasattr(x, "column_names"):
        return f"pass one of its columns: {_some(x.column_names)}"
    first = _first(x)
    if isinstance(first, Tensor):
        return "pass torch.stack(list(x))"
    if _is_row(first) and getattr(x, "ndim", 1) == 1:
        return "pass np.stack(list(x)), its rows all of one length"
    if hasattr(x, "keys") and hasattr(x, "__getitem__"):
        return f"pass one of its entries by name: {_some(x.keys())}"
    if hasattr(x, "to_numpy"):
        return "choose the columns of numbers and pass their .to_numpy()"
    for attribute, whose in _INSIDE.items():
        if not hasattr(x, "__array__") and hasattr(x, attribute):
            return f"pass its .{attribute}, {whose}"
    return "pass a tensor or numpy array of numbers"


_WAYS = {
    "select_dtypes": 'pass its columns of numbers: x.select_dtypes("number")',
    "collect_schema": "pass its columns of numbers: x.select(polars.selectors.numeric()), with .collect() where it is lazy",
    "next_batch": "pass its next_batch(), or several: torch.cat([x.next_batch() for _ in range(50)])",
    "acquisition": "pass the .data of one of its series: x.acquisition[name].data",
}
_INSIDE = {
    "X": "the matrix of an AnnData",
    "value": "the tensor of a saved proxy",
    "output": "saved within a trace",
    "data": "the array of a series",
}


def _is_row(entry: Any) -> bool:
    return hasattr(entry, "__len__") and not isinstance(entry, dict) and np.asarray(entry).dtype.kind in "fiu"


def _some(names: Iterable[Any] | None, most: int = 5) -> str:
    return ", ".join(str(name) for name in ([] if names is None else list(names))[:most]) or "it has none"


def _first(x: Any) -> Any:
    try:
        return next(iter(x))
    except (TypeError, ValueError, StopIteration, RuntimeError):
        return None


def nearest(word: str, choices: Iterable[str], shown: int = 12) -> str:
    """Returns the end of an error message about an unknown name: `"did you mean 'digits'? valid: circle, digits"`.

    Args:
        word: what the user wrote.
        choices: the valid names, listed in this order.
        shown: how many of them to list at most.
    """
    names = list(choices)
    folded = {name.lower(): name for name in names}
    close = [repr(folded[match]) for match in difflib.get_close_matches(word.lower(), folded)]
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    more = f", ... ({len(names)} in all)" if len(names) > shown else ""
    return f"{guess}valid: {', '.join(names[:shown]) or 'none'}{more}"
