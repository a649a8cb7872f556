"""Tensors that other libraries captured go in as they are, by the rules of capture."""

import numpy as np
import pytest
import torch
from torch import nn

import training
from training import as_activations, capture

pytestmark = pytest.mark.quick


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Cache:
    """Like TransformerLens' ActivationCache: keys and items, but no Mapping."""

    def __init__(self, **tensors):
        self.cache_dict = tensors

    def keys(self):
        return self.cache_dict.keys()

    def __getitem__(self, key):
        return self.cache_dict[key]


class Saved:
    """Like a proxy that nnsight saved: the tensor is its value."""

    def __init__(self, value):
        self.value = value


X = normal(4, 5, 3)


@pytest.mark.parametrize(
    "given",
    [X, X.numpy(), X.half().float(), (X, None), Saved(X), [X[:3], X[3:]], [X[:1].numpy(), Saved(X[1:])], X.double()],
    ids=["tensor", "array", "float", "tuple", "proxy", "batches", "mixed batches", "double"],
)
@pytest.mark.parametrize("rows", ["token", "mean", "last"])
def test_the_same_rows_as_capture(given, rows):
    layer = nn.Identity()
    expected = capture(layer, "", [X], rows)
    found = as_activations(given, rows, labels=[3, 2, 1, 0], name="state")
    torch.testing.assert_close(found.x.float(), expected.x, rtol=1e-2, atol=1e-2)
    assert found.sources.equal(expected.sources) and found.name == "state"
    assert found.labels.tolist() == [3 - i for i in expected.sources.tolist()]


def test_mappings_give_one_cloud_a_layer(tmp_path):
    np.savez(tmp_path / "saved.npz", resid=X.numpy(), mlp=X[:, :2].numpy())
    for given in ({"resid": X, "mlp": X[:, :2]}, Cache(resid=X, mlp=X[:, :2]), np.load(tmp_path / "saved.npz")):
        found = training.as_activations(given, groups=[9, 9, 8, 8])
        assert list(found) == ["resid", "mlp"] and found["mlp"].name == "mlp"
        assert found["resid"].x.equal(X.reshape(20, 3))
        assert found["mlp"].sources.tolist() == [9] * 4 + [8] * 4


def test_heads_images_and_functions():
    heads = normal(2, 5, 4, 3)  # (B, T, heads, C)
    assert as_activations(heads, channel_axis=-1).x.equal(heads.reshape(40, 3))
    assert as_activations(heads).x.shape == (2 * 4 * 3, 5), "four axes are an image's unless it is said"
    assert as_activations(heads, lambda x: x[:, -1].flatten(1)).x.shape == (2, 12)


def test_masks():
    mask = torch.tensor([[1, 1, 0, 0, 0]] * 3 + [[0, 0, 0, 0, 1]])
    for given, masks in ((X, mask), ([X[:3], X[3:]], [mask[:3], mask[3:]]), (X, mask.numpy().astype(bool))):
        found = as_activations(given, mask=masks)
        assert found.x.equal(X[mask == 1]) and found.sources.tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_bfloat16_becomes_float32():
    assert as_activations(X.bfloat16()).x.equal(X.bfloat16().float().reshape(20, 3))


@pytest.mark.parametrize(
    ("x", "settings", "error", "message"),
    [
        ([], {}, ValueError, "got 0 batches and 0 masks, expected at least 1"),
        ([X], {"mask": [None, None]}, ValueError, "got 1 batches and 2 masks"),
        (X, {"mask": torch.ones(4, 2)}, ValueError, r"mask has shape \(4, 2\), 'cloud' has \(4, 5\)"),
        (X, {"rows": "first"}, ValueError, "unknown rows='first'; .* valid: token, mean, last"),
        (X, {"labels": [1, 2]}, ValueError, r"labels must be one integer for each of 4 rows, got shape \(2,\)"),
        (X, {"groups": [0.5] * 4}, TypeError, "groups must be integers"),
        (X[..., 0, 0], {}, ValueError, r"'cloud' put out shape \(4,\), expected B = 4 examples as"),
        (normal(2, 2, 2, 2, 2), {}, ValueError, "put out shape .* pass channel_axis="),
        (X.long(), {}, TypeError, "'cloud' put out torch.int64, expected a floating tensor"),
        ("text", {}, TypeError, "'cloud' put out str, expected a floating tensor"),
        ({"a": X, "b": None}, {}, TypeError, "'b' put out NoneType, expected a floating tensor"),
        (X / 0, {}, ValueError, "NaN or inf in 20 of 20 rows"),
        ([X, X[..., :2]], {}, ValueError, "batches differ in width: 2, 3 channels"),
    ],
)
def test_what_does_not_become_rows(x, settings, error, message):
    name = {} if isinstance(x, dict) else {"name": "cloud"}
    with pytest.raises(error, match=message):
        as_activations(x, **{**name, **settings})
