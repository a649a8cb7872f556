"""A finished run, read back from its folder: flow, verdict, path and the rows that were kept."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from flows.flow import FunnelFlow
from flows.io.checksums import check_checksums
from flows.io.external import follow
from flows.io.store import load
from flows.nets.relevance import Relevance
from flows.untangled import LIFT, SECOND


@dataclass(frozen=True, repr=False)
class SavedRun:
    """What a run folder holds.

    Attributes:
        folder: where it lies.
        flow: the flow at the chosen k.
        result: ``result.json`` as plain data.
        config: ``config.yaml`` as text; of a fit in memory, which has none, the settings in result.json.
        path: rows of ``path.csv``; numbers, except for the stage.
        held_out, train: the rows kept of each side, (n, D); the training rows are at most 20 000.
        held_out_rows, train_rows: their numbers in the data that was fitted.
        labels, sources: of the held-out rows and then the training rows; None where there were none.
    """

    folder: Path
    flow: FunnelFlow
    result: dict[str, Any]
    config: str
    path: list[dict[str, Any]]
    held_out: torch.Tensor
    train: torch.Tensor
    held_out_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    train_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    labels: NDArray[np.int64] | None = None
    sources: NDArray[np.int64] | None = None

    @classmethod
    def load(cls, folder: str | Path, with_rows: bool = True) -> "SavedRun":
        """Read a run folder; without its rows where others will be looked at.

        Raises:
            FileNotFoundError: no such folder, or not a run's.
            ValueError: the run did not finish, or one of its files, or of those that its rows lie in, is damaged or
                changed; the message names it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"no run folder {folder}; unknot fit writes one under runs/")
        if (folder / LIFT).is_file():
            raise ValueError(f"{folder} is of unknot untangle: its run folder is {folder / SECOND}")
        if not (folder / "result.json").is_file() and (folder / "checkpoints").is_dir():
            raise ValueError(f"the run in {folder} is not finished; go on with: unknot fit --resume {folder}")
        flow = load(folder)
        check_checksums(folder, "result.json", "path.csv", *["data.safetensors"] * with_rows)
        data = _data(folder / "data.safetensors", flow.front.features) if with_rows else _NO_ROWS
        result = _result(folder / "result.json")
        return cls(
            folder=folder,
            flow=flow,
            result=result,
            config=_text(folder / "config.yaml") or _settings(result),
            path=_path(folder / "path.csv"),
            held_out=data["held_out.x"],
            train=data["train.x"],
            held_out_rows=data["held_out.rows"].numpy(),
            train_rows=data["train.rows"].numpy(),
            labels=_both(data, "labels"),
            sources=_both(data, "sources"),
        )

    @property
    def relevance(self) -> Relevance | None:
        """What the net uses of the layer, where the run measured it.

        Raises:
            ValueError: the file is damaged.
        """
        file = self.folder / "relevance.safetensors"
        data = self.result.get("relevance")
        if data is None or not file.is_file():
            return None
        check_checksums(self.folder, file.name)
        with safe_open(file, framework="pt") as tensors:
            return Relevance.restored({name: tensors.get_tensor(name) for name in tensors.keys()}, data)  # noqa: SIM118

    @property
    def x(self) -> torch.Tensor:
        """Held-out rows, then training rows."""
        return torch.cat([self.held_out, self.train])

    @property
    def rows(self) -> NDArray[np.int64]:
        """Their numbers in the data that was fitted."""
        return np.concatenate([self.held_out_rows, self.train_rows])

    def __repr__(self) -> str:
        return (
            f"SavedRun({str(self.folder)!r}, k={self.flow.structure_dim} of {self.flow.front.dims}, "
            f"{len(self.held_out)} held-out and {len(self.train)} training rows)"
        )


_NO_ROWS = {
    "held_out.x": torch.zeros(0, 0),
    "train.x": torch.zeros(0, 0),
    "held_out.rows": torch.zeros(0, dtype=torch.int64),
    "train.rows": torch.zeros(0, dtype=torch.int64),
}


def _settings(result: dict[str, Any]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in result.get("settings", {}).items())


def _text(file: Path) -> str:
    return file.read_text(encoding="utf8") if file.is_file() else ""


def _result(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file.name} in {file.parent}; a flow alone is read with flows.load and Analyzer(flow, x)"
        )
    try:
        return json.loads(file.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); restore it from a copy or run the fit again") from None


def _path(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf8") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return [{key: value if key == "stage" else float(value) for key, value in row.items()} for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); restore it from a copy or run the fit again") from None


def _data(file: Path, features: int) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file.name} in {file.parent}: the run keeps no rows; give some, Analyzer.load(run, x) or --data x.npy"
        )
    try:
        with safe_open(file, framework="pt") as tensors:
            data = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
            metadata = tensors.metadata() or {}
            external = metadata.get("external") or metadata.get("elsewhere")  # as runs before 0.5.0 call it
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged ({error}); restore it from a copy or run the fit again") from None
    if external and {"held_out.rows", "train.rows"} <= set(data):
        rows = follow(external)
        data |= {f"{side}.x": rows[data[f"{side}.rows"]] for side in ("held_out", "train")}
    missing = {"held_out.x", "train.x", "held_out.rows", "train.rows"} - set(data)
    if missing:
        raise ValueError(f"{file} holds no {', '.join(sorted(missing))}; restore it from a copy or run the fit again")
    width = data["held_out.x"].shape[1]
    if width != features:
        raise ValueError(f"{file} holds rows of {width} columns, the flow has {features}: the files are of two runs")
    return data


def _both(data: dict[str, torch.Tensor], name: str) -> NDArray[np.int64] | None:
    if f"held_out.{name}" not in data:
        return None
    return torch.cat([data[f"held_out.{name}"], data[f"train.{name}"]]).numpy()
