"""Rows of activations with their labels and sources: the container, its split by source, and reading from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from flows.inputs import as_rows, as_tensor, nearest


@dataclass(frozen=True, eq=False, repr=False)
class Activations:
    """A cloud of activations.

    Attributes:
        x: (N, D) float32 or float64, checked by `flows.inputs.as_rows`.
        labels: (N,) int64 on the CPU, or None.
        sources: (N,) int64 on the CPU, the image, sentence or trial that each row comes from, or None if each row is
            its own.
        name: what to call the cloud.
        about: where it comes from, as plain data.

    Raises:
        TypeError, ValueError: `x` is not good rows, or labels or sources are not one integer a row.
    """

    x: Tensor
    labels: Tensor | None = None
    sources: Tensor | None = None
    name: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x = as_rows(self.x).detach()
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "labels", one_integer_each(self.labels, len(x), "labels"))
        object.__setattr__(self, "sources", one_integer_each(self.sources, len(x), "sources"))

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        counts = [
            f", {len(ids.unique())} {what}"
            for ids, what in ((self.labels, "labels"), (self.sources, "sources"))
            if ids is not None
        ]
        return f"Activations({self.name!r}, {len(self.x)} rows x {self.x.shape[1]}{''.join(counts)})"

    def split(self, held_out: float = 0.15, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Splits the rows in two, all the rows of one source on the same side.

        Random through `seed` alone: clouds with the same sources are split alike.

        Args:
            held_out: the share of rows to hold out, in (0, 1); met up to the size of a source.
            seed: of the order in which sources are drawn.

        Returns:
            Indices of the training rows and of the held-out rows, int64, ascending, neither empty.

        Raises:
            ValueError: `held_out` out of range, or fewer than two sources.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must lie strictly between 0 and 1, got {held_out}; try 0.15")
        rows = torch.arange(len(self))
        sources = rows if self.sources is None else self.sources
        _, source, sizes = sources.unique(return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise ValueError(f"a split needs at least 2 sources, got {len(sizes)}; pass rows of more sources")
        order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
        is_held = torch.zeros(len(sizes), dtype=torch.bool)
        room = held_out * len(self)
        for i, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
            if size <= room:
                is_held[i] = True
                room -= size
        if not is_held.any():
            is_held[sizes.argmin()] = True
        return rows[~is_held[source]], rows[is_held[source]]


def read_activations(
    path: str | PathLike[str], key: str | None = None, labels: str | None = None, groups: str | None = None
) -> Activations:
    """Reads activations from a .npy (memory-mapped, never written), .npz, .pt (weights only) or .safetensors file.

    Args:
        path: the file.
        key: which of its arrays; needed only if there are several besides those that `labels` and `groups` name.
        labels: a name of an array in the same file, or the path of a .npy file: one integer a row.
        groups: the same for the source of each row.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown suffix, unreadable file, unknown or missing key, and all that `Activations` refuses.
        TypeError: the array does not hold real numbers, or labels or groups no integers.
    """
    path = Path(path)
    arrays = _open(path)
    if key is None:
        candidates = [name for name in arrays if name not in (labels, groups)]
        if len(candidates) != 1:
            raise ValueError(
                f"{path} holds {len(candidates)} arrays that could be the activations, expected 1; "
                f"pass key=, {nearest('', candidates)}"
            )
        key = candidates[0]
    x = _load(arrays, key, path)
    about = {"path": str(path), "key": key}
    return Activations(x, _ids(arrays, labels, path), _ids(arrays, groups, path), path.stem, about)


Arrays = dict[str, Callable[[], Any]]  # loaded on demand: a file may hold many layers


def _open_npy(path: Path) -> Arrays:
    # "c" is copy-on-write: torch may share the memory without a warning, and the file stays as it is.
    return {path.stem: partial(np.load, path, mmap_mode="c", allow_pickle=False)}


def _open_npz(path: Path) -> Arrays:
    with path.open("rb") as stream:  # numpy leaves a file that it opened itself open when it is corrupt
        return {name: partial(_load_npz, path, name) for name in np.load(stream, allow_pickle=False).files}


def _load_npz(path: Path, name: str) -> Any:
    with path.open("rb") as stream:
        return np.load(stream, allow_pickle=False)[name]


def _open_pt(path: Path) -> Arrays:
    content = torch.load(path, map_location="cpu", weights_only=True)
    named = content if isinstance(content, dict) else {path.stem: content}
    return {str(name): partial(torch.as_tensor, x) for name, x in named.items() if isinstance(x, Tensor)}


def _open_safetensors(path: Path) -> Arrays:
    file = safe_open(path, framework="pt")
    return {name: partial(file.get_tensor, name) for name in sorted(file.keys())}


_OPENERS = {".npy": _open_npy, ".npz": _open_npz, ".pt": _open_pt, ".safetensors": _open_safetensors}


def _open(path: Path) -> Arrays:
    if path.suffix not in _OPENERS:
        raise ValueError(f"{path} has an unknown suffix {path.suffix!r}; {nearest(path.suffix, _OPENERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (working directory {Path.cwd()}); check the path")
    with _readable(path):
        return _OPENERS[path.suffix](path)


def _load(arrays: Arrays, name: str, path: Path) -> Any:
    if name not in arrays:
        raise ValueError(f"no array {name!r} in {path}; {nearest(name, arrays)}")
    with _readable(path):
        return arrays[name]()


def _ids(arrays: Arrays, name: str | None, path: Path) -> Any:
    if name is None:
        return None
    other = Path(name)
    if name not in arrays and other.suffix == ".npy":
        return _load(_open(other), other.stem, other)
    return _load(arrays, name, path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each format's reader has half a dozen error classes of its own
        cause = str(error).partition(". ")[0]  # torch goes on to advise weights_only=False
        raise ValueError(
            f"{path} cannot be read as {path.suffix}: {type(error).__name__}: {cause}; "
            "it may be truncated or corrupt, or hold Python objects: write it again as plain numeric arrays"
        ) from error


def one_integer_each(ids: Any, rows: int, name: str) -> Tensor | None:
    """Returns `ids` as (rows,) int64 on the CPU, None as it is.

    Raises:
        TypeError: `ids`, called `name`, are no integers.
        ValueError: not one for each row.
    """
    if ids is None:
        return None
    ids = as_tensor(ids, name)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {ids.dtype}; number them first, as int64")
    if ids.shape != (rows,):
        raise ValueError(f"{name} must be one integer for each of {rows} rows, got shape {tuple(ids.shape)}")
    return ids.to("cpu", torch.int64)
