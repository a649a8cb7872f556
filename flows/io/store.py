"""Flows on disk: ``flow.json`` says what was saved, ``flow.safetensors`` holds the weights and the same words again.

The hash in the json guards the weights; the copy of the json inside the weights guards the json.
"""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from flows.flow import FunnelFlow
from flows.io.inputs import nearest
from flows.io.writing import write_whole

FORMAT = 2  # 1 had no front but "whiten": its config lacks front and stored, whose defaults say so
_CLASSES = {"FunnelFlow": FunnelFlow}
_DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
_KEYS = {"format", "class", "unknot", "dtype", "structure_dim", "config", "sha256"}
_REMEDY = "save the flow again or restore the folder from a copy"


class StoreError(ValueError):
    """A saved flow that cannot be trusted; the message says what is wrong with which file."""


def save(flow: FunnelFlow, folder: str | Path) -> None:
    """Write ``flow`` into ``folder``, made where it is missing; a flow already there is replaced.

    Both files are complete on disk under temporary names before either takes its own, the json last.
    """
    folder = Path(folder)
    about: dict[str, Any] = {
        "format": FORMAT,
        "class": "FunnelFlow",
        "unknot": _version(),
        "dtype": str(flow.exits.tau.dtype).removeprefix("torch."),
        "structure_dim": flow.structure_dim,
        "config": flow.config,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in flow.state_dict().items()}
    weights = tensors_to_bytes(tensors, metadata={"flow": json.dumps(about)})
    text = json.dumps(about | {"sha256": hashlib.sha256(weights).hexdigest()}, indent=2) + "\n"
    write_whole({folder / "flow.safetensors": weights, folder / "flow.json": text.encode()})


def load(folder: str | Path, device: str | torch.device = "cpu") -> FunnelFlow:
    """The flow that :func:`save` wrote, in eval mode, its parameters without gradients, in the dtype it was saved in.

    Raises:
        FileNotFoundError: no folder, or one of the two files is missing.
        StoreError: a file is truncated, changed, of another format, or of an unknown class.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; pass the folder that flow.save(folder) wrote")
    about = _described(_read(folder / "flow.json"), folder / "flow.json")
    tensors = _verified(_read(folder / "flow.safetensors"), about, folder)
    flow = _CLASSES[about["class"]](**about["config"]).to(_DTYPES[about["dtype"]])
    _check_tensors(tensors, flow.state_dict(), folder / "flow.safetensors")
    flow.load_state_dict(tensors)
    return flow.requires_grad_(False).eval().to(device)


def _version() -> str:
    try:
        return version("unknot")
    except PackageNotFoundError:
        return "not installed"


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} has no {path.name}; a saved flow is flow.json and flow.safetensors together: "
            "pass the folder that flow.save(folder) wrote"
        )
    return path.read_bytes()


def _described(content: bytes, path: Path) -> dict[str, Any]:
    """The json of a flow, known to have every key, this format and a known class."""
    try:
        about = json.loads(content)
    except ValueError as error:
        raise StoreError(
            f"{path} must hold JSON, got {len(content)} bytes that do not parse ({error}); {_REMEDY}"
        ) from None
    if not isinstance(about, dict) or "format" not in about:
        raise StoreError(
            f"{path} must describe a flow, got JSON without a 'format'; pass a folder written by flow.save"
        )
    found = about["format"]
    if type(found) is not int or found < 1:
        raise StoreError(f"{path} must have format {FORMAT}, got {found!r}; {_REMEDY}")
    if found > FORMAT:
        raise StoreError(
            f"{path} has format {found}, this unknot reads up to {FORMAT}: "
            f"written by a newer unknot ({about.get('unknot', 'version not given')}); upgrade unknot"
        )
    if about.keys() != _KEYS:
        raise StoreError(f"{path} must have the keys {sorted(_KEYS)}, got {sorted(about)}; {_REMEDY}")
    if str(about["class"]) not in _CLASSES:
        raise StoreError(f"{path} names an unknown class {about['class']!r}; {nearest(str(about['class']), _CLASSES)}")
    return about


def _verified(weights: bytes, about: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """The tensors of a weights file that has the hash in the json and agrees with everything else there."""
    found = hashlib.sha256(weights).hexdigest()
    if found != about["sha256"]:
        raise StoreError(
            f"{folder / 'flow.safetensors'} is truncated or changed: sha256 {found[:12]}... of {len(weights)} bytes, "
            f"flow.json expects {str(about['sha256'])[:12]}...; {_REMEDY}"
        )
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    written = json.loads(header["__metadata__"]["flow"])
    changed = [f"{key} (got {about[key]}, saved {written[key]})" for key in written if about[key] != written[key]]
    if changed:
        raise StoreError(f"{folder / 'flow.json'} was changed after saving: {', '.join(changed)}; {_REMEDY}")
    return tensors_from_bytes(weights)


def _check_tensors(found: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    wrong = [f"{name} missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} not expected" for name in found.keys() - expected.keys()]
    wrong += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & found.keys()
        if found[name].shape != expected[name].shape
    ]
    if wrong:
        raise StoreError(f"{path} does not hold this flow's weights: {'; '.join(sorted(wrong))}; {_REMEDY}")
