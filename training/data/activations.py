"""Rows of activations with their labels and sources: the container, its split by source, and reading from files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flows.geometry.nuisance import as_nuisance
from flows.io.files import Arrays, arrays_in, load, load_rows, matching, metadata_of
from flows.io.inputs import as_rows, as_tensor, centred, check_finite, nearest
from flows.io.rows import Rows
from flows.nets.questions import Question
from flows.nets.relevance import Relevance

ORDERS = ("time",)
RELEVANCE = "relevance."  # what arrays of a relevance begin with in a file


@dataclass(frozen=True, eq=False, repr=False)
class Activations:
    """A cloud of activations.

    Attributes:
        x: (N, D) float32 or float64, checked by `flows.io.inputs.as_rows`; `flows.io.rows.Rows` where they stay on disk, as
            they do if a memmap of more than 500 MiB is given.
        labels: (N,) int64 on the CPU, or None.
        sources: (N,) int64 on the CPU, the image, sentence or trial that each row comes from, or None if each row is
            its own.
        targets: (N, j) float32 on the CPU, numbers known of each row (an angle in radians, say), or None.
        name: what to call the cloud.
        about: where it comes from, as plain data; "offset" is what was taken off each column of whole numbers beyond 2^53.
        nuisance: (N, j) class numbers or (N, q) covariates whose linear share a fit takes off first, or None.
        question: what comes after the layer, or None: a fit then measures what the net uses.
        relevance: what the net uses, where it was measured already; or None.
        answers: what the net answered at each row: (N, q) its logits or numbers, or (N,) int64 the likeliest of many; or None.
        order: "time" of rows that follow one another in a recording: a fit then takes blocks of time as sources; or None.

    Raises:
        TypeError, ValueError: `x` is not good rows, or labels or sources are not one integer a row, or targets not
            j finite numbers a row.
    """

    x: Tensor | Rows
    labels: Tensor | None = None
    sources: Tensor | None = None
    name: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    targets: Tensor | None = None
    nuisance: Tensor | None = None
    question: Question | None = None
    relevance: Relevance | None = None
    answers: Tensor | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        x, offset = self._checked(self.x)
        object.__setattr__(self, "x", x)
        if offset:
            object.__setattr__(self, "about", {**self.about, "offset": offset})
        object.__setattr__(self, "labels", one_integer_each(self.labels, len(x), "labels"))
        object.__setattr__(self, "sources", one_integer_each(self.sources, len(x), "sources"))
        if self.targets is not None:
            targets = as_rows(self.targets, name="targets").to("cpu", torch.float32)
            if len(targets) != len(x):
                raise ValueError(f"targets must have one row for each of {len(x)} rows, got {len(targets)}")
            object.__setattr__(self, "targets", targets)
        if self.nuisance is not None:
            object.__setattr__(self, "nuisance", as_nuisance(self.nuisance, len(x)))
        if self.relevance is not None and len(self.relevance.metric) != x.shape[1]:
            raise ValueError(
                f"the relevance is of {len(self.relevance.metric)} columns, the activations have {x.shape[1]}: "
                "measure it on the same layer"
            )
        if self.answers is not None and len(self.answers) != len(x):
            raise ValueError(f"answers must have one row for each of {len(x)} rows, got {len(self.answers)}")
        check_order(self.order, self.sources)

    @staticmethod
    def _checked(x: Any) -> tuple[Tensor | Rows, list[int]]:
        """The rows, and what was taken off each column of whole numbers beyond 2^53."""
        if isinstance(x, np.memmap):
            x = load_rows([Path(x.filename or "")], [x])
        if not isinstance(x, Rows):
            whole, offset = centred(as_tensor(x, "activations"))
            return as_rows(whole).detach(), offset
        check_finite(x)
        return x, []

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        counts = [
            f", {len(ids.unique())} {what}"
            for ids, what in ((self.labels, "labels"), (self.sources, "sources"))
            if ids is not None
        ]
        return f"Activations({self.name!r}, {len(self.x)} rows x {self.x.shape[1]}{''.join(counts)})"

    def split(self, held_out: float = 0.15, seed: int = 0, aside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Splits the rows in two, all the rows of one source on the same side.

        Random through `seed` alone: clouds with the same sources are split alike.

        Args:
            held_out: the share of rows to hold out, in (0, 1); met up to the size of a source.
            seed: of the order in which sources are drawn.
            aside: numbers of rows that are on neither side.

        Returns:
            Indices of the training rows and of the held-out rows, int64, ascending, neither empty.

        Raises:
            ValueError: `held_out` out of range, or fewer than two sources.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must lie strictly between 0 and 1, got {held_out}; try 0.15")
        rows = torch.arange(len(self))
        if aside is not None and len(aside):
            rows = rows[~torch.isin(rows, aside)]
        source, sizes = torch.arange(len(rows)), torch.ones_like(rows)
        if self.sources is not None:
            _, source, sizes = self.sources[rows].unique(return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise ValueError(f"a split needs at least 2 sources, got {len(sizes)}; pass rows of more sources")
        order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
        is_held = fitting(sizes, order, held_out * len(rows))[source]
        return rows[~is_held], rows[is_held]


def check_order(order: str | None, sources: object) -> None:
    """Raises ValueError: an order that is not known, or one that comes with sources."""
    if order not in (None, *ORDERS):
        raise ValueError(f"unknown order {order!r}; {nearest(str(order), ORDERS)}")
    if order is not None and sources is not None:
        raise ValueError(
            "order='time' makes blocks of time the sources, and these rows have sources (groups) already; leave one out"
        )


def fitting(sizes: Tensor, order: Tensor, room: float) -> Tensor:
    """Which sources (S,) fit into `room` rows, each taken in `order` if it still fits; at least the smallest."""
    is_held = torch.zeros(len(sizes), dtype=torch.bool)
    filled = sizes[order].cumsum(0)
    count = int((filled <= room).sum())  # all of these fit; after them only some
    is_held[order[:count]] = True
    room -= int(filled[count - 1]) if count else 0
    smallest = int(sizes.min())
    for i in order[count:].tolist() if room >= smallest else ():
        if sizes[i] <= room:
            is_held[i] = True
            room -= int(sizes[i])
            if room < smallest:
                break
    if not is_held.any():
        is_held[sizes.argmin()] = True
    return is_held


def read_activations(
    path: str | PathLike[str],
    key: str | None = None,
    labels: str | None = None,
    groups: str | None = None,
    nuisance: str | None = None,
    order: str | None = None,
) -> Activations:
    """Reads activations from a .npy, .npz, .pt (weights only), .safetensors or .parquet file, or from many by a pattern.

    Rows of more than 500 MiB stay on disk and are read as they are needed, except those of .npz and .parquet. What
    ``unknot capture --relevance`` found of the net comes back with them.

    Args:
        path: the file, or a pattern (``acts/*.npy``) of shards, taken in the order of their names.
        key: which of a file's arrays; needed only if there are several besides those that `labels` and `groups` name.
            Of a .parquet table without columns of lists all other columns are the activations.
        labels: a name of an array in the same files, or a .npy file or pattern: one integer a row.
        groups: the same for the source of each row; a number means the same source in every shard.
        nuisance: the same for class numbers or covariates to be taken off, (rows,) or (rows, j); several joined by commas.
        order: "time" where the rows follow one another in a recording.

    Raises:
        FileNotFoundError: no such file, or none that matches.
        ModuleNotFoundError: .parquet without pyarrow.
        ValueError: unknown suffix, unreadable file, unknown or missing key, shards that differ in width or dtype, and
            all that `Activations` refuses.
        TypeError: the array does not hold real numbers, or labels or groups no integers.
    """
    path, files = Path(path), matching(Path(path))
    known = [] if nuisance is None else [name.strip() for name in nuisance.split(",")]
    besides = [name for name in (labels, groups, *known) if name is not None]
    shards = [(file, arrays_in(file, besides)) for file in files]
    keys = [_only_key(arrays, besides, file) if key is None else key for file, arrays in shards]
    x = load_rows(files, [load(arrays, name, file) for name, (file, arrays) in zip(keys, shards, strict=True)])
    about = {"path": str(path), "files": dict(zip(map(str, files), keys, strict=True)), "besides": besides}
    columns = [np.atleast_2d(np.asarray(_ids(shards, name)).T).T for name in known]
    given = np.concatenate(columns, axis=1) if columns else None
    told = {} if len(shards) > 1 else _told(files[0], keys[0], shards[0][1])
    sources = _ids(shards, groups)
    return Activations(x, _ids(shards, labels), sources, path.stem, about, nuisance=given, order=order, **told)  # type: ignore[arg-type]


def _told(file: Path, key: str, arrays: Arrays) -> dict[str, Any]:
    """What a file says of the net: its ``answers`` at the rows and its ``relevance``, as far as they are there."""
    found = metadata_of(file)
    for before in (f"{key}.", "") if key == "x" else (f"{key}.",):  # a file of one layer calls its rows x
        start = f"{before}{RELEVANCE}"
        if start in found:
            tensors = {name[len(start) :]: load(arrays, name, file) for name in arrays if name.startswith(start)}
            answers = load(arrays, f"{before}answers", file) if f"{before}answers" in arrays else None
            return {"relevance": Relevance.restored(tensors, json.loads(found[start])), "answers": answers}
    return {}


def _only_key(arrays: Arrays, besides: Sequence[str], path: Path) -> str:
    candidates = [name for name in arrays if name not in besides and RELEVANCE not in name]
    if len(candidates) != 1:
        raise ValueError(
            f"{path} holds {len(candidates)} arrays that could be the activations, expected 1; "
            f"pass key=, {nearest('', candidates)}"
        )
    return candidates[0]


def _ids(shards: Sequence[tuple[Path, Arrays]], name: str | None) -> Any:
    """Labels or sources called `name` in every shard, or in files of their own."""
    if name is None:
        return None
    if Path(name).suffix == ".npy" and name not in shards[0][1]:
        shards = [(file, arrays_in(file)) for file in matching(name)]
        return np.concatenate([load(arrays, file.stem, file) for file, arrays in shards])
    return np.concatenate([load(arrays, name, file) for file, arrays in shards])


def one_integer_each(ids: Any, rows: int, name: str) -> Tensor | None:
    """Returns `ids` as (rows,) int64 on the CPU, None as it is.

    Raises:
        TypeError: `ids`, called `name`, are no integers.
        ValueError: not one for each row.
    """
    if ids is None:
        return None
    first = next(iter(ids), 0) if hasattr(ids, "__iter__") and not isinstance(ids, Tensor) else 0
    if isinstance(first, (str, bytes, np.datetime64)):
        kind = type(first).__name__
        raise TypeError(f"{name} must be integers, got {kind}; number them: np.unique({name}, return_inverse=True)[1]")
    ids = as_tensor(ids, name)
    if ids.is_floating_point() and bool((ids == ids.round()).all()):
        raise TypeError(f"{name} must be integers, got whole numbers as {ids.dtype}; pass them as int64")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {ids.dtype}; number them first, as int64")
    if ids.shape != (rows,):
        raise ValueError(f"{name} must be one integer for each of {rows} rows, got shape {tuple(ids.shape)}")
    return ids.to("cpu", torch.int64)
