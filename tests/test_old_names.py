"""What the last release called otherwise: saved files load, attributes work and warn."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from analysis.run import _data
from flows.io.external import reference
from training.untangling.untangle import Untangling


@pytest.mark.parametrize("key", ["external", "elsewhere"])
def test_rows_in_other_files_are_found_under_both_names(tmp_path, key):
    x = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    rows = {"held_out.rows": torch.tensor([1, 4]), "train.rows": torch.tensor([0, 2, 3])}
    save_file(rows, tmp_path / "data.safetensors", {key: reference({str(tmp_path / "x.npy"): "x"})})
    data = _data(tmp_path / "data.safetensors", 3)
    assert np.array_equal(data["held_out.x"], x[[1, 4]]) and np.array_equal(data["train.x"], x[[0, 2, 3]])


def test_strangers_are_false_neighbours_and_warn():
    found = Untangling(None, None, None, 3, 0.25)
    with pytest.warns(DeprecationWarning, match="false_neighbours"):
        assert found.strangers == 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.false_neighbours == 0.25
