"""Activations and arrays in files, written whole or not at all."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from flows.io.writing import whole
from training.data.activations import RELEVANCE, Activations


def suffix_for(path: Path, layers: int) -> str:
    """The suffix of ``path``, one that can hold so many layers.

    Raises:
        ValueError: it cannot.
    """
    if path.suffix not in (".npy", ".safetensors"):
        raise ValueError(f"{path} has suffix {path.suffix!r}, expected .npy or .safetensors")
    if path.suffix == ".npy" and layers > 1:
        raise ValueError(f"{path} can hold one layer, got {layers}; name it .safetensors")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it first")
    return path.suffix


def save_activations(clouds: Mapping[str, Activations], path: Path) -> None:
    """Write the layers' rows; .safetensors keeps labels and sources, each under the layer's name if there are several.

    One layer is ``x, labels, sources``; several are ``NAME, NAME.labels, NAME.sources``. What the net answered and what it uses
    of a layer are ``answers`` and ``relevance.*`` in the same way; of the latter, plain data are in the file's metadata.

    Raises:
        ValueError: .npy, and there is a relevance to keep.
    """
    suffix = suffix_for(path, len(clouds))
    if suffix == ".npy" and any(cloud.relevance is not None for cloud in clouds.values()):
        raise ValueError(f"{path} cannot hold what the net uses of the layer; name it .safetensors")
    if suffix == ".npy":
        (cloud,) = clouds.values()
        return write_npy(path, [cloud.x[:]], tuple(cloud.x.shape), cloud.x[:0].numpy().dtype)
    tensors: dict[str, Tensor] = {}
    metadata = {"names": ", ".join(cloud.name for cloud in clouds.values())}
    for layer, cloud in clouds.items():
        key, before = ("x", "") if len(clouds) == 1 else (layer or "model", f"{layer or 'model'}.")
        named = {"labels": cloud.labels, "sources": cloud.sources, "answers": cloud.answers}
        if cloud.relevance is not None:
            named |= {f"{RELEVANCE}{name}": tensor for name, tensor in cloud.relevance.tensors().items()}
            metadata[f"{before}{RELEVANCE}"] = json.dumps(cloud.relevance.to_dict())
        named = {key: cloud.x[:], **{f"{before}{name}": tensor for name, tensor in named.items()}}
        tensors |= {name: tensor.contiguous() for name, tensor in named.items() if tensor is not None}
    with whole(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def write_npy(path: Path, blocks: Iterable[Tensor], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Write blocks of rows that follow one another as one .npy array of ``shape``, in memory one at a time."""
    with whole(path) as partial, partial.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        rows = 0
        for block in blocks:
            file.write(block.numpy().astype(dtype, copy=False).tobytes())
            rows += len(block)
        if rows != shape[0]:
            raise ValueError(f"{path} needs {shape[0]} rows, got {rows}")
