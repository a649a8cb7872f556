"""Rows that a run does not copy because they are many: where they lie, and the hashes that say they are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from flows.io.files import arrays_in, load, load_rows, sha256_of
from flows.io.inputs import as_rows
from flows.io.rows import Rows

_REMEDY = "restore it from a copy, or look at other rows: Analyzer.load(run, x) or --data x.npy"


def reference(files: Mapping[str, str], besides: Sequence[str] = ()) -> str:
    """JSON that :func:`follow` reads.

    Args:
        files: the key of the array in each file, in the order of the rows.
        besides: columns of .parquet tables that are no activations.
    """
    paths = {str(Path(file).resolve()): key for file, key in files.items()}
    listed = [{"path": path, "key": key, "sha256": sha256_of(Path(path))} for path, key in paths.items()]
    return json.dumps({"files": listed, "besides": list(besides)})


def follow(text: str) -> Tensor | Rows:
    """The rows that :func:`reference` described, all files read once to see that they are the same.

    Raises:
        FileNotFoundError: a file is not where it was.
        ValueError: a file has changed.
    """
    about = json.loads(text)
    for file in about["files"]:
        path = Path(file["path"])
        if not path.is_file():
            raise FileNotFoundError(f"the run's rows lie in {path}, which is not there any more; {_REMEDY}")
        found = sha256_of(path)
        if found != file["sha256"]:
            raise ValueError(
                f"the run's rows lie in {path}, which has changed since: sha256 {found[:12]}..., "
                f"expected {file['sha256'][:12]}...; {_REMEDY}"
            )
    paths = [Path(file["path"]) for file in about["files"]]
    arrays = [load(arrays_in(p, about["besides"]), f["key"], p) for p, f in zip(paths, about["files"], strict=True)]
    rows = load_rows(paths, arrays)
    return rows if isinstance(rows, Rows) else as_rows(rows)
