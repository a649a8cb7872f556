"""Arrays in files: one file or many by a pattern; what is large stays on disk, and pickles are never run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from flows.io.inputs import as_rows, as_tensor, check_kind, nearest
from flows.io.parquet import ColumnError, open_table
from flows.io.rows import Rows, StoredRows

IN_MEMORY = 500 * 2**20  # bytes: what is larger stays on disk

Arrays = dict[str, Callable[[], Any]]  # loaded on demand: a file may hold many layers


def matching(path: str | Path) -> list[Path]:
    """The file at ``path``, or, where it is a pattern (``acts/*.npy``), all that match, sorted by name.

    Raises:
        FileNotFoundError: none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if has_magic(str(path)):
        literal = Path(escape(str(path.parent))) / path.name  # a folder whose own name has brackets
        found = [Path(name) for name in sorted(glob(str(path), recursive=True)) if Path(name).is_file()]
        found = found or [Path(name) for name in sorted(glob(str(literal))) if Path(name).is_file()]
        if not found:
            raise FileNotFoundError(f"no file matches {path} (working directory {Path.cwd()}); check the pattern")
        return found
    _opener(path)
    what = "a folder; name a file, or all of them by a pattern" if path.is_dir() else "check the path"
    raise FileNotFoundError(f"no file {path} (working directory {Path.cwd()}); {what}")


def arrays_in(path: Path, besides: Sequence[str] = ()) -> Arrays:
    """What an array file holds: .npy, .npz, .pt (weights only), .safetensors, and .parquet where pyarrow is installed.

    Args:
        path: the file.
        besides: columns of a .parquet table that are arrays of their own.

    Raises:
        FileNotFoundError, ValueError: no such file, unknown suffix, a file that cannot be read.
        ModuleNotFoundError: .parquet without pyarrow.
    """
    opener = _opener(path)
    if not path.is_file():
        matching(path)
    with _readable(path):
        return opener(path, besides) if opener is open_table else opener(path)


def load(arrays: Arrays, name: str, path: Path) -> Any:
    """The array called ``name`` of those in ``path``.

    Raises:
        ValueError: no such array, or one that cannot be read.
    """
    if name not in arrays:
        raise ValueError(f"no array {name!r} in {path}; {nearest(name, arrays)}")
    with _readable(path):
        return arrays[name]()


def metadata_of(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself; of other files nothing."""
    if path.suffix != ".safetensors":
        return {}
    with _readable(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def load_rows(files: Sequence[Path], arrays: Sequence[Any]) -> Tensor | Rows:
    """One matrix from an array of each file, in their order: a tensor, or what stays on disk if larger than 500 MiB.

    Whole numbers come back as they are: all of them together say which float holds them.

    Raises:
        TypeError, ValueError: what :func:`~flows.io.inputs.as_rows` refuses, or files that differ in width or dtype.
    """
    names = ["activations"] if len(files) == 1 else [str(file) for file in files]
    for name, array in zip(names, arrays, strict=True):
        check_kind(as_tensor(array[:0] if array.ndim else array, name), tuple(array.shape), name)
        if (array.dtype, array.shape[1]) != (arrays[0].dtype, arrays[0].shape[1]):
            first, other = (f"{a.dtype} of {a.shape[1]} columns" for a in (arrays[0], array))
            raise ValueError(f"shards disagree: {names[0]} holds {first}, {name} {other}; write them alike")
    if sum(array.nbytes for array in arrays) > IN_MEMORY:
        return StoredRows(arrays)
    tensors = [as_tensor(array, name) for name, array in zip(names, arrays, strict=True)]
    if not tensors[0].is_floating_point():
        return torch.cat(tensors)
    return torch.cat([as_rows(tensor, name=name) for name, tensor in zip(names, tensors, strict=True)])


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open_npy(path: Path) -> Arrays:
    return {path.stem: partial(np.load, path, mmap_mode="r", allow_pickle=False)}


def _open_npz(path: Path) -> Arrays:
    with path.open("rb") as stream:  # numpy leaves a file that it opened itself open when it is corrupt
        return {name: partial(_load_npz, path, name) for name in np.load(stream, allow_pickle=False).files}


def _load_npz(path: Path, name: str) -> Any:
    with path.open("rb") as stream:
        return np.load(stream, allow_pickle=False)[name]


def _open_pt(path: Path) -> Arrays:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    named = content if isinstance(content, dict) else {path.stem: content}
    return {str(name): partial(torch.as_tensor, x) for name, x in named.items() if isinstance(x, Tensor)}


def _open_safetensors(path: Path) -> Arrays:
    file = safe_open(path, framework="pt")
    return {name: partial(file.get_tensor, name) for name in sorted(file.keys())}


_OPENERS: dict[str, Callable[..., Arrays]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".pt": _open_pt,
    ".safetensors": _open_safetensors,
    ".parquet": open_table,
}


def _opener(path: Path) -> Callable[..., Arrays]:
    if path.suffix not in _OPENERS:
        raise ValueError(f"{path} has an unknown suffix {path.suffix!r}; {nearest(path.suffix, _OPENERS)}")
    return _OPENERS[path.suffix]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ModuleNotFoundError, ColumnError):  # these say what is wrong themselves
        raise
    except Exception as error:  # each format's reader has half a dozen error classes of its own
        cause = str(error).partition(". ")[0]  # torch goes on to advise weights_only=False
        raise ValueError(
            f"{path} cannot be read as {path.suffix}: {type(error).__name__}: {cause}; "
            "it may be truncated or corrupt, or hold Python objects: write it again as plain numeric arrays"
        ) from error
