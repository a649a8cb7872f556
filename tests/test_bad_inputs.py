"""Bad objects and labels: each kind has a message of its own that says what was met, what was expected, what to do.

pytest --collect-only -q tests/test_bad_files.py tests/test_bad_inputs.py        # counts them
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

import training
from training.data.activations import Activations

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
LABELS = np.arange(40) % 4


def changed(**places):
    """X with numbers put in: row=value."""
    x = X.copy()
    for row, value in places.items():
        x[int(row[1:]), 1] = value
    return x


OBJECTS = {
    "NaN": (
        changed(_3=np.nan, _17=np.nan),
        ValueError,
        r"NaN or inf in 2 of 40 rows \(first: 3, 17\); drop those rows",
    ),
    "inf": (changed(_5=np.inf), ValueError, r"NaN or inf in 1 of 40 rows \(first: 5\)"),
    "minus inf": (changed(_0=-np.inf), ValueError, r"in 1 of 40 rows \(first: 0\)"),
    "all NaN": (X * np.nan, ValueError, r"in 40 of 40 rows \(first: 0, 1, 2, 3, 4\)"),
    "too large for float32": ([[1e300, 1.0]], ValueError, "NaN or inf in 1 of 1 rows"),
    "one axis": (X[:, 0], ValueError, r"2 axes \(rows, features\), got shape \(40,\); reshape"),
    "three axes": (X[None], ValueError, r"got shape \(1, 40, 3\); reshape .* one row for each token"),
    "a number": (3.0, ValueError, r"got shape \(\)"),
    "no rows": (X[:0], ValueError, "at least 1 rows, got 0"),
    "no columns": (X[:, :0], ValueError, r"at least 1 column, got shape \(40, 0\)"),
    "bool": (X > 0, TypeError, r"real numbers, got torch.bool.*; convert to float32"),
    "bool tensor": (torch.ones(4, 2).bool(), TypeError, "got torch.bool"),
    "complex": (X.astype(complex), TypeError, "got torch.complex128"),
    "object": (X.astype(object), TypeError, "an array of dtype object"),
    "text": (np.array([["a", "b"]]), TypeError, "an array of dtype <U1"),
    "list of text": ([["a", "b"]], TypeError, "must be an array of numbers, got list"),
    "dates": (np.zeros((4, 2), dtype="M8[s]"), TypeError, "an array of dtype datetime64"),
    "structured": (np.zeros((4, 2), dtype=[("a", "f4")]), TypeError, "must be an array of numbers"),
    "ragged": ([[1.0, 2.0], [3.0]], TypeError, "must be an array of numbers, got list"),
    "masked": (np.ma.masked_array(X, X > 0), TypeError, "plain array, got MaskedArray; drop the masked rows"),
    "sparse": (torch.from_numpy(X).to_sparse(), TypeError, "dense array .* got torch.float32, torch.sparse_coo"),
    "dict": ({"x": X}, TypeError, "must be an array of numbers, got dict"),
    "None": (None, TypeError, "must be an array of numbers, got NoneType"),
    "a path": ("acts.npy", TypeError, "must be an array of numbers, got str"),
    "a generator": ((row for row in X), TypeError, "must be an array of numbers, got generator"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name):
    x, error, message = OBJECTS[name]
    with pytest.raises(error, match=message):
        Activations(x)


IDS = {
    "too few": (LABELS[:7], ValueError, r"labels must be one integer for each of 40 rows, got shape \(7,\)"),
    "a column": (LABELS[:, None], ValueError, r"got shape \(40, 1\)"),
    "one": (3, ValueError, r"got shape \(\)"),
    "fractions": (LABELS / 2, TypeError, "labels must be integers, got torch.float64; number them first"),
    "bool": (LABELS > 1, TypeError, "labels must be integers, got torch.bool"),
    "names": (["cat"] * 40, TypeError, r"labels must be integers, got str; number them: np.unique\(labels"),
    "names as an array": (
        np.array(["cat"] * 40),
        TypeError,
        r"labels must be integers, got str_; number them: np.unique\(labels",
    ),
}


@pytest.mark.parametrize("what", ["labels", "sources"])
@pytest.mark.parametrize("name", IDS)
def test_labels_and_sources(name, what):
    ids, error, message = IDS[name]
    with pytest.raises(error, match=message.replace("labels", what)):
        Activations(X, **{what: ids})


FIT = {
    "too few rows": (X, {}, ValueError, "too few rows: got 40, expected at least 100"),
    "no source but one": (RNG.normal(size=(200, 3)), {"groups": [1] * 200}, ValueError, "at least 2 sources, got 1"),
    "groups of another length": (
        RNG.normal(size=(200, 3)),
        {"groups": [1] * 20},
        ValueError,
        r"sources must be one integer for each of 200 rows, got shape \(20,\)",
    ),
    "groups twice": (
        Activations(RNG.normal(size=(200, 3))),
        {"groups": [1] * 200},
        ValueError,
        "groups= goes with plain rows",
    ),
    "nothing varies": (np.ones((200, 3)), {}, ValueError, "all 3 columns of the activations are constant"),
    "more columns than rows": (
        RNG.normal(size=(150, 160)),
        {"front": "whiten"},
        ValueError,
        "too few rows: .* rows for 160 varying columns",
    ),
    "odd columns refused": (
        np.c_[RNG.normal(size=(200, 2)), np.ones(200)],
        {"columns": "error"},
        ValueError,
        r"constant columns \[2\]; drop them",
    ),
    "squares overflow": (
        RNG.normal(size=(200, 3)) * 1e200,
        {},
        ValueError,
        "squares leave the range of float64; divide them",
    ),
    "squares vanish": (
        RNG.normal(size=(200, 3)) * 1e-200,
        {},
        ValueError,
        "squares leave the range of float64; divide them",
    ),
}


@pytest.mark.filterwarnings("ignore:set aside")
@pytest.mark.parametrize("name", FIT)
def test_fit(name):
    x, settings, error, message = FIT[name]
    with pytest.raises(error, match=message):
        training.fit(x, null_worth=0.03, **settings)


def test_the_command_line_prints_one_line(tmp_path):
    """Whatever the class of the error, also one from a library that is not installed."""
    (tmp_path / "x.parquet").touch()
    code = "import sys; sys.modules['pyarrow'] = None; from training.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "fit", "--data.file", "x.parquet", "--out", "run"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=1200)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("unknot fit: x.parquet needs pyarrow, which is not installed")
    assert not (tmp_path / "run").exists()
