"""Bad files: each kind has a message of its own that says what was met, what was expected and what to do.

pytest --collect-only -q tests/test_bad_files.py tests/test_bad_inputs.py        # counts them
"""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flows.io import files
from training.data.activations import read_activations

pytestmark = pytest.mark.quick

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
LABELS = np.arange(40) % 4


def with_nan(row):
    x = X.copy()
    x[row, 1] = np.nan
    return x


class Anything:
    pass


def npy(path, x=X):
    np.save(path / "x.npy", x)
    return path / "x.npy"


def npz(path, **arrays):
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def pt(path, content):
    torch.save(content, path / "x.pt")
    return path / "x.pt"


def safetensors(path, **arrays):
    save_file({name: torch.from_numpy(x) for name, x in arrays.items()}, path / "x.safetensors")
    return path / "x.safetensors"


def raw(path, name, content):
    (path / name).write_bytes(content)
    return path / name


def shards(path, *parts):
    for i, part in enumerate(parts):
        np.save(path / f"x-{i}.npy", part)
    return path / "x-*.npy"


def folder(path):
    (path / "acts.npy").mkdir()
    return path / "acts.npy"


def bfloat16_npy(path):
    return npy(path, X.view("V2"))


FILES = {
    "missing": (
        lambda p: p / "gone.npy",
        {},
        FileNotFoundError,
        r"no file .*gone\.npy \(working directory .*check the path",
    ),
    "a folder": (folder, {}, FileNotFoundError, "a folder; name a file, or all of them by a pattern"),
    "no match": (lambda p: p / "gone-*.npy", {}, FileNotFoundError, "no file matches .*check the pattern"),
    "unknown suffix": (
        lambda p: raw(p, "x.csv", b"1,2"),
        {},
        ValueError,
        r"unknown suffix '\.csv'; valid: \.npy, \.npz",
    ),
    "mistyped suffix": (lambda p: raw(p, "x.npyy", b""), {}, ValueError, r"did you mean '\.npy'"),
    "no suffix": (lambda p: raw(p, "x", b""), {}, ValueError, "unknown suffix ''"),
    "missing, unknown suffix": (lambda p: p / "x.h5", {}, ValueError, r"unknown suffix '\.h5'"),
    "unknown key of npy": (npy, {"key": "y"}, ValueError, "no array 'y' in .*valid: x"),
    "unknown key of npz": (lambda p: npz(p, mlp=X), {"key": "mpl"}, ValueError, "no array 'mpl' .*did you mean 'mlp'"),
    "several arrays": (lambda p: npz(p, a=X, b=X), {}, ValueError, "holds 2 arrays .*pass key=, valid: a, b"),
    "several tensors": (lambda p: safetensors(p, a=X, b=-X), {}, ValueError, "holds 2 arrays .*pass key=, valid: a, b"),
    "no array": (lambda p: npz(p), {}, ValueError, "holds 0 arrays that could be the activations"),
    "no tensor": (lambda p: pt(p, {"epoch": 3}), {}, ValueError, "holds 0 arrays"),
    "a list of tensors": (lambda p: pt(p, [torch.ones(2)]), {}, ValueError, "holds 0 arrays"),
    "empty file": (lambda p: raw(p, "x.npy", b""), {}, ValueError, "cannot be read as .npy: .*truncated or corrupt"),
    "text called npy": (lambda p: raw(p, "x.npy", b"1, 2, 3\n"), {}, ValueError, "cannot be read as .npy"),
    "npy called safetensors": (lambda p: npy(p).rename(p / "x.safetensors"), {}, ValueError, "read as .safetensors"),
    "npy called pt": (lambda p: npy(p).rename(p / "x.pt"), {}, ValueError, "cannot be read as .pt"),
    "pickle in npy": (lambda p: npy(p, np.array([Anything()])), {}, ValueError, "hold Python objects: write it again"),
    "pickle in npz": (
        lambda p: npz(p, x=np.array([Anything()])),
        {},
        ValueError,
        "cannot be read as .npz.*Python objects",
    ),
    "pickle in pt": (
        lambda p: pt(p, {"x": torch.ones(2, 2), "y": Anything()}),
        {},
        ValueError,
        "read as .pt.*Python objects",
    ),
    "NaN": (lambda p: npy(p, with_nan(3)), {}, ValueError, r"activations contain NaN .* \(first: 3\)"),
    "one axis": (lambda p: npy(p, X[0]), {}, ValueError, r"2 axes \(rows, features\), got shape \(3,\)"),
    "three axes": (lambda p: npy(p, X[None]), {}, ValueError, r"got shape \(1, 40, 3\)"),
    "a number": (lambda p: npy(p, np.float32(3)), {}, ValueError, r"got shape \(\)"),
    "no rows": (lambda p: npy(p, X[:0]), {}, ValueError, "at least 1 rows, got 0"),
    "no columns": (lambda p: npy(p, X[:, :0]), {}, ValueError, "at least 1 column"),
    "bool": (lambda p: npy(p, X > 0), {}, TypeError, "got torch.bool"),
    "complex": (lambda p: npy(p, X.astype("c8")), {}, TypeError, "got torch.complex64"),
    "text": (lambda p: npy(p, np.array([["a"]])), {}, TypeError, "an array of dtype <U1"),
    "bfloat16 by numpy": (
        bfloat16_npy,
        {},
        TypeError,
        r"dtype \|V2 .*save bfloat16 as \.pt or \.safetensors, or as float32",
    ),
    "shards of two widths": (
        lambda p: shards(p, X, X[:, :2]),
        {},
        ValueError,
        r"shards disagree: .*x-0\.npy holds float32 of 3 columns, .*x-1\.npy float32 of 2 columns",
    ),
    "shards of two dtypes": (
        lambda p: shards(p, X, X.astype("f8")),
        {},
        ValueError,
        r"float32 of 3 columns, .* float64 of 3 columns; write them alike",
    ),
    "a shard with NaN": (
        lambda p: shards(p, X, with_nan(9)),
        {},
        ValueError,
        r"x-1\.npy contain NaN or inf in 1 of 40 rows \(first: 9\)",
    ),
    "a shard without rows": (lambda p: shards(p, X, X[:0]), {}, ValueError, r"x-1\.npy must have at least 1 rows"),
    "a shard with one axis": (lambda p: shards(p, X, X[0]), {}, ValueError, r"x-1\.npy must have 2 axes"),
    "a shard of bools": (
        lambda p: shards(p, X, X > 0),
        {},
        TypeError,
        r"x-1\.npy must be a dense array of real numbers",
    ),
    "a broken shard": (
        lambda p: raw(shards(p, X).parent, "x-2.npy", b"?") and p / "x-*.npy",
        {},
        ValueError,
        r"x-2\.npy cannot be read",
    ),
    "shards of two formats": (
        lambda p: npy(p) and npz(p, x=X) and p / "x.*",
        {"key": "y"},
        ValueError,
        r"no array 'y' in .*x\.npy",
    ),
    "unknown label": (
        lambda p: npz(p, x=X, label=LABELS),
        {"key": "x", "labels": "labels"},
        ValueError,
        "no array 'labels' .*did you mean 'label'",
    ),
    "label file missing": (npy, {"labels": "gone.npy"}, FileNotFoundError, r"no file gone\.npy"),
    "label shards missing": (npy, {"groups": "gone-*.npy"}, FileNotFoundError, r"no file matches gone-\*\.npy"),
    "too few labels": (
        lambda p: npz(p, x=X, y=LABELS[:3]),
        {"key": "x", "labels": "y"},
        ValueError,
        r"labels must be one integer for each of 40 rows, got shape \(3,\)",
    ),
    "labels of fractions": (
        lambda p: npz(p, x=X, y=X[:, 0]),
        {"key": "x", "labels": "y"},
        TypeError,
        "labels must be integers, got torch.float32",
    ),
    "sources of text": (
        lambda p: npz(p, x=X, y=np.array(["a"] * 40)),
        {"key": "x", "groups": "y"},
        TypeError,
        "sources must be integers, got str_; number them: np.unique",
    ),
    "labels with pickles": (
        lambda p: npz(p, x=X, y=np.array([None] * 40)),
        {"key": "x", "labels": "y"},
        ValueError,
        "Python objects",
    ),
}


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, monkeypatch, name, large):
    monkeypatch.setattr(files, "IN_MEMORY", 0 if large else 10**9)
    write, settings, error, message = FILES[name]
    if large and name == "a shard with NaN":  # numbered through all shards
        message = r"activations contain NaN or inf in 1 of 80 rows \(first: 49\)"
    path = write(tmp_path)
    with pytest.raises(error, match=message):
        read_activations(path, **settings)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".parquet"])
@pytest.mark.parametrize("tenths", range(10))
def test_truncated_at_each_tenth(tmp_path, suffix, tenths):
    if suffix == ".parquet":
        write_parquet(tmp_path / "x.parquet", {"a": X[:, 0]})
        path = tmp_path / "x.parquet"
    else:
        writers = {".npy": npy, ".npz": lambda p: npz(p, x=X), ".pt": lambda p: pt(p, torch.from_numpy(X))}
        path = writers.get(suffix, lambda p: safetensors(p, x=X))(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenths // 10])
    with pytest.raises(ValueError, match=rf"x\{suffix} cannot be read as \{suffix}: .* truncated or corrupt"):
        read_activations(path)


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


PARQUET = {
    "columns that are no numbers": (
        lambda: {"a": X[:, 0], "word": ["a"] * 40},
        {},
        TypeError,
        r"columns \['word'\] of .* are not numbers; drop them",
    ),
    "no columns left": (lambda: {"label": LABELS}, {"labels": "label"}, TypeError, "has no column of activations"),
    "lists of two lengths": (
        lambda: {"a": [[1.0, 2.0]] * 39 + [[1.0]]},
        {},
        TypeError,
        r"column 'a' of .* holds lists of \[1, 2\] numbers",
    ),
    "a list missing": (lambda: {"a": [[1.0, 2.0]] * 39 + [None]}, {}, TypeError, "column 'a' of .* holds lists of"),
    "a number missing": (
        lambda: {"a": [1.0] * 39 + [None], "b": X[:, 0]},
        {},
        ValueError,
        r"NaN or inf in 1 of 40 rows \(first: 39\)",
    ),
    "several columns of lists": (
        lambda: {"a": [[1.0]] * 40, "b": [[1.0]] * 40},
        {},
        ValueError,
        "holds 2 arrays .*pass key=, valid: a, b",
    ),
    "unknown column": (lambda: {"a": [[1.0]] * 40}, {"key": "b"}, ValueError, "no array 'b'"),
    "unknown label": (lambda: {"a": X[:, 0], "label": LABELS}, {"labels": "lable"}, ValueError, "no array 'lable'"),
    "label missing": (
        lambda: {"a": X[:, 0], "y": [1] * 39 + [None]},
        {"labels": "y"},
        TypeError,
        "labels must be integers, got torch.float64",
    ),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet(tmp_path, name):
    columns, settings, error, message = PARQUET[name]
    write_parquet(tmp_path / "x.parquet", columns())
    with pytest.raises(error, match=message):
        read_activations(tmp_path / "x.parquet", **settings)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").touch()
    with pytest.raises(
        ModuleNotFoundError, match=r"x\.parquet needs pyarrow, which is not installed; pip install pyarrow, or"
    ):
        read_activations(tmp_path / "x.parquet")


def test_a_malicious_pickle_does_not_run(tmp_path):
    touched = tmp_path / "touched"

    class Malicious:
        def __reduce__(self):
            return (touched.touch, ())

    for path in (
        npy(tmp_path, np.array([Malicious()])),
        npz(tmp_path, x=np.array([Malicious()])),
        pt(tmp_path, Malicious()),
    ):
        with pytest.raises(ValueError, match="Python objects"):
            read_activations(path)
    assert not touched.exists()
