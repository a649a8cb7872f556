"""The run folder: everything needed to read a run again, written so that nothing half-done is left behind."""

import csv
import io
import json
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from flows.io import files
from flows.io.checksums import write_checksums
from flows.io.external import reference
from flows.io.writing import whole, write_whole
from training.data.activations import Activations
from training.fitting import FitResult
from training.runtime.stopping import StoppedError

_MOST_TRAINING_ROWS = 20_000
_LIBRARIES = ("unknot", "torch", "torchdiffeq", "lightning", "numpy", "scikit-learn")


class RunFolder:
    """One run on disk: flow, config.yaml, path.csv, result.json, data.safetensors, snapshots, checkpoints, figures."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, out: str | None, name: str) -> "RunFolder":
        """Make the folder ``out``, or a fresh ``runs/<name>-<time>``.

        Raises:
            FileExistsError: ``out`` exists and is not an empty folder.
        """
        if out is None:
            stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
            names = (Path("runs") / (f"{stem}-{tries}" if tries > 1 else stem) for tries in count(1))
            return next(folder for folder in map(cls, names) if folder._claimed())
        folder = cls(Path(out))
        if (folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir()))) or not folder._claimed():
            raise FileExistsError(f"{out} exists and is not an empty folder; name another (--out) or remove it first")
        return folder

    def _claimed(self) -> bool:
        """Make the folder and its checkpoints' folder, which of several runs at once only one can."""
        try:
            self.checkpoint.parent.mkdir(parents=True)
        except FileExistsError:
            return False
        return True

    @classmethod
    def open(cls, run: str) -> "RunFolder":
        """The folder of an unfinished run.

        Raises:
            FileNotFoundError: it holds no configuration or no checkpoint.
        """
        folder = cls(Path(run))
        for file in (folder.config, folder.checkpoint):
            if not file.is_file():
                raise FileNotFoundError(
                    f"cannot resume {run}: no {file.relative_to(run)}; start again with: unknot fit -c {folder.config}"
                )
        return folder

    @property
    def config(self) -> Path:
        """Every setting of the run, as ``-c`` takes it."""
        return self.path / "config.yaml"

    @contextmanager
    def discarded_on_error(self) -> Iterator[None]:
        """Remove the folder if something fails before there is a checkpoint to go on from; say which where a signal did."""
        try:
            yield
        except BaseException as error:
            resumable = self.checkpoint.exists()
            if not resumable:
                shutil.rmtree(self.path, ignore_errors=True)
            if isinstance(error, StoppedError):
                then = (
                    f"go on with: unknot fit --resume {self.path}"
                    if resumable
                    else "before the first step: nothing is kept"
                )
                raise StoppedError(f"{error}; {then}", error.number) from None
            if resumable and isinstance(error, OSError):
                raise OSError(f"{error}; then go on with: unknot fit --resume {self.path}") from error
            raise

    @property
    def checkpoint(self) -> Path:
        """The file that a run resumes from."""
        return self.path / "checkpoints" / "last.ckpt"

    def write(
        self,
        result: FitResult,
        history: list[dict[str, Any]],
        seed: int,
        verdict: Sequence[str] = (),
    ) -> None:
        """Flow, path, data, snapshots, verdict and figures of a finished run; result.json last, it says that all is there."""
        from training.figures.panels import save_panel
        from training.figures.run import save_figures

        activations = result.activations
        result.flow.save(self.path)
        self._write_data(result, activations, seed)
        if result.relevance is not None:
            with whole(self.path / "relevance.safetensors") as file:
                save_file(result.relevance.tensors(), file)
            save_panel(result.relevance.plot(), self.path / "relevance.png")
        for k, flow in result.snapshots.items():
            flow.save(self.path / "snapshots" / f"k{k}")
        rows = torch.from_numpy(result.held_out)
        s, n = result.flow.split(result.flow.transform(activations.x[rows]))
        labels = None if activations.labels is None else activations.labels[rows].numpy()
        save_figures(result, s.numpy(), n.numpy(), labels, history, self.path, seed)
        record = {**result.to_dict(), "seed": seed, "data": activations.name, "versions": _versions()}
        contents = {
            "path.csv": _path_table(result),
            "history.json": json.dumps(history),
            "verdict.txt": "".join(f"{line}\n" for line in verdict),
            "result.json": json.dumps(record, indent=1, allow_nan=False),
        }
        write_whole({self.path / name: text.encode() for name, text in contents.items()})
        write_checksums(self.path, without=("checkpoints", "config.yaml"))

    def _write_data(self, result: FitResult, activations: Activations, seed: int) -> None:
        """Held-out and some training rows; where they exceed 500 MiB and lie in a file, their numbers and its hash."""
        sides = {"held_out": result.held_out, "train": _some(result.train, seed)}
        x, metadata = activations.x, {"name": activations.name}
        size = sum(map(len, sides.values())) * x.shape[1] * x.dtype.itemsize
        copied = size <= files.IN_MEMORY or "files" not in activations.about or "offset" in activations.about
        if not copied:
            metadata["external"] = reference(activations.about["files"], activations.about["besides"])
        tensors = {}
        for side, rows in sides.items():
            index = torch.from_numpy(rows)
            tensors[f"{side}.rows"] = index
            if copied:
                tensors[f"{side}.x"] = x[index].contiguous()
            if activations.labels is not None:
                tensors[f"{side}.labels"] = activations.labels[index]
            if activations.sources is not None:
                tensors[f"{side}.sources"] = activations.sources[index]
            if activations.targets is not None:
                tensors[f"{side}.targets"] = activations.targets[index]
        with whole(self.path / "data.safetensors") as file:
            save_file(tensors, file, metadata=metadata)


def _path_table(result: FitResult) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["step", "stage", "lam", "k", "nll", *(f"gate_{i}" for i in range(result.flow.front.dims))])
    for row in result.path:
        step, stage, lam, k, nll, gates = row.tolist()
        writer.writerow([step, stage, lam, k, nll, *gates])
    return table.getvalue()


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    """At most 20 000 of the rows, drawn by ``seed``, in their order."""
    if len(rows) <= _MOST_TRAINING_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _MOST_TRAINING_ROWS, replace=False))


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
