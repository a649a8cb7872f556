"""Good inputs: every container, file format, precision and way to shard, in memory and left on disk, gives the same rows.

pytest --collect-only -q tests/test_inputs_files.py      # counts them
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flows.io import files
from flows.io.rows import Rows
from training.data.activations import Activations, read_activations

pytestmark = pytest.mark.quick

X = np.arange(1, 61).reshape(20, 3)  # exact in every precision, bfloat16 and uint8 too
LABELS = np.arange(20) % 4
GROUPS = np.arange(20) // 2


class Duck:
    """Anything with __array__: a jax or cupy array, a data frame."""

    def __array__(self, dtype=None, copy=None):
        return X.astype("float32")


def read_only(x):
    x.flags.writeable = False
    return x


OBJECTS = {
    "float16": X.astype("float16"),
    "float32": X.astype("float32"),
    "float64": X.astype("float64"),
    "big-endian": X.astype(">f4"),
    "int8": X.astype("int8"),
    "uint8": X.astype("uint8"),
    "int64": X.astype("int64"),
    "column by column": np.asfortranarray(X.astype("float32")),
    "every second column": np.repeat(X, 2, axis=1).astype("float32")[:, ::2],
    "reversed twice": X[::-1].astype("float32")[::-1],
    "read-only": read_only(X.astype("float32")),
    "list of lists": X.tolist(),
    "tuple of tuples": tuple(map(tuple, X.tolist())),
    "anything with __array__": Duck(),
    "tensor": torch.from_numpy(X).float(),
    "bfloat16 tensor": torch.from_numpy(X).bfloat16(),
    "half tensor": torch.from_numpy(X).half(),
    "double tensor": torch.from_numpy(X).double(),
    "integer tensor": torch.from_numpy(X),
    "tensor with gradients": torch.from_numpy(X).float().requires_grad_(),
    "transposed tensor": torch.from_numpy(np.ascontiguousarray(X.T)).float().T,
    "parameter": torch.nn.Parameter(torch.from_numpy(X).float()),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name):
    found = Activations(OBJECTS[name], LABELS, GROUPS)
    assert found.x.tolist() == X.tolist() and not found.x.requires_grad
    wide = str(getattr(OBJECTS[name], "dtype", "")).endswith("float64")
    assert found.x.dtype == (torch.float64 if wide else torch.float32)


@pytest.mark.parametrize("kind", ["int8", "int32", "uint8", "list", "tensor", "big-endian"])
def test_labels_and_sources(kind):
    ids = {"list": LABELS.tolist(), "tensor": torch.from_numpy(LABELS), "big-endian": LABELS.astype(">i4")}
    found = Activations(X, ids[kind] if kind in ids else LABELS.astype(kind))
    assert found.labels.dtype == torch.int64 and found.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("mode", ["r", "c", "r+"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memmaps(tmp_path, monkeypatch, mode, order, large):
    monkeypatch.setattr(files, "IN_MEMORY", 0 if large else 10**9)
    np.save(tmp_path / "x.npy", np.asarray(X, dtype="float32", order=order))
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    found = Activations(mapped)
    assert isinstance(found.x, Rows) == large and np.array_equal(found.x, X)
    assert np.array_equal(Activations(mapped[5:]).x, X[5:]), "a slice of a memmap too"


def npy(path, dtype):
    np.save(path.with_suffix(".npy"), X.astype(dtype))


def npy_by_columns(path, dtype):
    np.save(path.with_suffix(".npy"), np.asfortranarray(X.astype(dtype)))


def npy_version_2(path, dtype):
    with path.with_suffix(".npy").open("wb") as file:
        np.lib.format.write_array(file, X.astype(dtype), version=(2, 0))


def npz(path, dtype):
    np.savez(path.with_suffix(".npz"), state=X.astype(dtype))


def npz_compressed(path, dtype):
    np.savez_compressed(path.with_suffix(".npz"), state=X.astype(dtype))


def tensor(dtype):
    return torch.from_numpy(X).to(getattr(torch, dtype))


def pt(path, dtype):
    torch.save(tensor(dtype), path.with_suffix(".pt"))


def pt_dict(path, dtype):
    torch.save({"state": tensor(dtype), "epoch": 3}, path.with_suffix(".pt"))


def pt_old_format(path, dtype):
    torch.save(tensor(dtype), path.with_suffix(".pt"), _use_new_zipfile_serialization=False)


def safetensors(path, dtype):
    save_file({"state": tensor(dtype)}, path.with_suffix(".safetensors"))


def parquet_columns(path, dtype):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {f"c{i}": pyarrow.array(X[:, i].astype(dtype)) for i in range(3)}
    parquet.write_table(pyarrow.table(table), path.with_suffix(".parquet"), row_group_size=7)


def parquet_lists(path, dtype):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"state": pyarrow.array(list(X.astype(dtype))), "text": pyarrow.array(["a"] * 20)}
    parquet.write_table(pyarrow.table(table), path.with_suffix(".parquet"), row_group_size=7)


def parquet_fixed_lists(path, dtype):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    flat = pyarrow.array(X.astype(dtype).ravel())
    table = pyarrow.table({"state": pyarrow.FixedSizeListArray.from_arrays(flat, 3)})
    parquet.write_table(table, path.with_suffix(".parquet"))


NUMPY = ["float16", "float32", "float64", "int8", "int64", "uint8"]
TORCH = ["bfloat16", "float16", "float32", "float64", "int32", "uint8"]
FILES = [
    *((npy, dtype) for dtype in [*NUMPY, ">f4", ">f8", ">i2", "uint16"]),
    *((npy_by_columns, dtype) for dtype in ("float32", "float64")),
    (npy_version_2, "float32"),
    *((npz, dtype) for dtype in NUMPY),
    (npz_compressed, "float32"),
    *((pt, dtype) for dtype in TORCH),
    *((pt_dict, dtype) for dtype in ("bfloat16", "float32")),
    (pt_old_format, "float32"),
    *((safetensors, dtype) for dtype in TORCH),
    *((parquet_columns, dtype) for dtype in ("float32", "float64", "int64")),
    *((parquet_lists, dtype) for dtype in ("float32", "float64")),
    (parquet_fixed_lists, "float32"),
]


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(("write", "dtype"), FILES, ids=[f"{write.__name__}-{dtype}" for write, dtype in FILES])
def test_files(tmp_path, monkeypatch, write, dtype, large):
    monkeypatch.setattr(files, "IN_MEMORY", 0 if large else 10**9)
    write(tmp_path / "acts", dtype)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    found = read_activations(path)
    assert isinstance(found.x, Rows) == large
    assert np.array_equal(found.x, X) and found.name == "acts"
    is_wide = dtype in ("float64", ">f8") or (
        large and dtype in ("int64", "int32")
    )  # on disk nobody has seen the largest
    assert found.x.dtype == (torch.float64 if is_wide else torch.float32)
    if not large:
        found.x[0] = 99
    assert path.read_bytes() == before, "the file is only read"


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    "write", [npy, npz, pt, pt_dict, safetensors, parquet_columns], ids=lambda write: write.__name__
)
def test_shards(tmp_path, monkeypatch, write, large):
    monkeypatch.setattr(files, "IN_MEMORY", 0 if large else 10**9)
    for i, part in enumerate((slice(0, 8), slice(8, 9), slice(9, 20))):
        monkeypatch.setitem(globals(), "X", np.arange(1, 61).reshape(20, 3)[part])
        write(tmp_path / f"part-{i}", "float32")
    monkeypatch.undo()
    monkeypatch.setattr(files, "IN_MEMORY", 0 if large else 10**9)
    np.save(tmp_path / "classes.npy", LABELS)
    for i, part in enumerate(np.array_split(GROUPS, 4)):
        np.save(tmp_path / f"source-{i}.npy", part)
    found = read_activations(
        tmp_path / "part-*", labels=str(tmp_path / "classes.npy"), groups=str(tmp_path / "source-*.npy")
    )
    assert isinstance(found.x, Rows) == large and np.array_equal(found.x, X)
    assert found.labels.tolist() == LABELS.tolist() and found.sources.tolist() == GROUPS.tolist()


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".parquet"])
def test_labels_and_sources_within_each_shard(tmp_path, suffix):
    for i, part in enumerate((slice(0, 8), slice(8, 20))):
        path = tmp_path / f"part-{i}{suffix}"
        arrays = {"state": X[part].astype("float32"), "label": LABELS[part], "image": GROUPS[part]}
        if suffix == ".npz":
            np.savez(path, **arrays)
        elif suffix == ".parquet":
            pyarrow = pytest.importorskip("pyarrow")
            from pyarrow import parquet

            columns = {f"c{j}": arrays["state"][:, j] for j in range(3)} | {n: arrays[n] for n in ("label", "image")}
            parquet.write_table(pyarrow.table(columns), path)
        else:
            tensors = {name: torch.from_numpy(x).clone() for name, x in arrays.items()}
            torch.save(tensors, path) if suffix == ".pt" else save_file(tensors, path)
    found = read_activations(tmp_path / f"part-*{suffix}", labels="label", groups="image")
    assert np.array_equal(found.x, X)
    assert found.labels.tolist() == LABELS.tolist() and found.sources.tolist() == GROUPS.tolist()


def test_shards_come_in_the_order_of_their_names_and_folders(tmp_path):
    for i, name in enumerate(["b/1", "a/2", "a/1"]):
        (tmp_path / name[0]).mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", np.full((2, 1), i, dtype="float32"))
    assert read_activations(tmp_path / "**" / "*.npy").x.flatten().tolist() == [2, 2, 1, 1, 0, 0]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    np.save(tmp_path / "acts[1].npy", X)
    assert np.array_equal(read_activations(tmp_path / "acts[1].npy").x, X)
