"""capture: rows, sources and labels of every shape of output, and a model left as it was."""

import contextlib
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from training.data.capturing import capture
from training.data.positions import ShapeWarning

pytestmark = pytest.mark.quick


def net():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            OrderedDict(first=nn.Linear(3, 4), drop=nn.Dropout(0.5), act=nn.ReLU(inplace=True), last=nn.Linear(4, 2))
        )


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Lambda(nn.Module):
    """A module that puts out whatever the function makes of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def identity(function=lambda x: x):
    return nn.Sequential(OrderedDict(layer=Lambda(function)))


def test_rows_are_the_layers_output_before_the_next_works_in_place():
    model, x = net(), normal(10, 3)
    found = capture(model, "first", x.split(4))
    assert torch.allclose(found.x, model.first(x).detach())
    assert found.x.dtype == torch.float32 and not found.x.requires_grad and (found.x < 0).any()
    assert found.sources.tolist() == list(range(10)) and found.labels is None
    assert found.name == "Sequential.first"
    assert found.about == {"model": "Sequential", "layer": "first", "rows": "token"}


def test_runs_in_eval_mode_and_restores_every_mode():
    model = net().train()
    model.act.eval()
    x = normal(50, 3)
    one, two = (capture(model, "drop", [x]).x for _ in range(2))
    assert one.equal(two)
    assert model.training and model.drop.training and not model.act.training


def test_modes_and_hooks_are_restored_after_an_error():
    model = net().train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        capture(model, "act", [normal(5, 3), normal(5, 7)])
    assert model.training and model.drop.training
    assert not any(module._forward_hooks for module in model.modules())
    capture(model, "act", [normal(5, 3)])
    assert not any(module._forward_hooks for module in model.modules())


def test_token_rows_of_sequences_and_images():
    sequences, images = normal(4, 5, 3), normal(4, 3, 2, 6)
    found = capture(identity(), "layer", sequences.split(3))
    assert found.x.equal(sequences.reshape(20, 3))
    assert found.sources.tolist() == [i for i in range(4) for _ in range(5)]
    found = capture(identity(), "layer", images.split(3))
    assert found.x.equal(images.permute(0, 2, 3, 1).reshape(48, 3))
    assert found.sources.tolist() == [i for i in range(4) for _ in range(12)]


def test_mean_and_last_rows():
    sequences, images = normal(4, 5, 3), normal(4, 3, 2, 6)
    assert torch.allclose(capture(identity(), "layer", [sequences], "mean").x, sequences.mean(1))
    assert torch.allclose(capture(identity(), "layer", [images], "mean").x, images.mean((2, 3)))
    assert capture(identity(), "layer", [sequences], "last").x.equal(sequences[:, -1])
    assert capture(identity(), "layer", [sequences[:, 0]], "last").x.equal(sequences[:, 0])
    with pytest.raises(ValueError, match=r"put out shape \(4, 3, 2, 6\), expected .*unless rows='last'"):
        capture(identity(), "layer", [images], "last")


def test_rows_by_a_function():
    x = normal(4, 5, 6, 3, 2)
    found = capture(identity(), "layer", [x], lambda output: output[:, :2, 0, :, 0].flatten(0, 1))
    assert found.x.equal(x[:, :2, 0, :, 0].reshape(8, 3))
    assert found.sources.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and found.about["rows"] == "function"
    with pytest.raises(ValueError, match=r"rows gave shape \(3, 2\) for 4 examples"):
        capture(identity(), "layer", [x], lambda output: output[:3, 0, 0, 0])
    with pytest.raises(ValueError, match=r"rows gave shape \(4, 3, 2\)"):
        capture(identity(), "layer", [x], lambda output: output[:, 0, 0])
    assert capture(identity(), "layer", [x], lambda output: output.flatten(1).numpy()).x.equal(x.flatten(1))
    with pytest.raises(TypeError, match="put out int, expected a floating tensor"):
        capture(identity(), "layer", [x], lambda output: 3)


def test_labels_are_repeated_for_each_row():
    x, labels = normal(5, 2, 3), torch.tensor([4, 3, 2, 1, 0])
    loader = DataLoader(TensorDataset(x, labels), batch_size=2)
    for batches in (zip(x.split(2), labels.split(2), strict=True), loader):
        found = capture(identity(), "layer", batches)
        assert found.labels.tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert capture(identity(), "layer", DataLoader(TensorDataset(x), batch_size=2)).labels is None


def test_dict_batches_are_keyword_arguments():
    model = identity()
    model.forward = lambda left, right, flag: model.layer(left + right)
    found = capture(model, "layer", [({"left": normal(4, 3), "right": normal(4, 3), "flag": None}, [1, 2, 3, 4])])
    assert found.x.equal(2 * normal(4, 3)) and found.labels.tolist() == [1, 2, 3, 4]


def test_tuples_and_dicts_put_out():
    x = normal(4, 3)
    assert capture(identity(lambda x: (None, x, x + 1)), "layer", [x]).x.equal(x)
    assert capture(identity(lambda x: {"state": x, "size": 3}), "layer", [x]).x.equal(x)
    with pytest.raises(TypeError, match=r"a dict with tensors \['a', 'b'\], expected exactly 1; pass rows="):
        capture(identity(lambda x: {"a": x, "b": x}), "layer", [x])
    with pytest.raises(TypeError, match="put out NoneType, expected a floating tensor"):
        capture(identity(lambda x: ()), "layer", [x])
    with pytest.raises(TypeError, match=r"put out torch\.int64"):
        capture(identity(lambda x: x.long()), "layer", [x])


def test_runs_without_gradients():
    enabled = []
    capture(identity(lambda x: enabled.append(torch.is_grad_enabled()) or x), "layer", [normal(4, 3)])
    assert enabled == [False] and torch.is_grad_enabled()


def test_other_precisions_and_the_model_itself():
    x = normal(4, 3)
    assert capture(identity(), "layer", [x.double()]).x.dtype == torch.float32
    found = capture(identity(lambda x: x.bfloat16()), "", [x])
    assert found.x.dtype == torch.float32 and found.x.equal(x.bfloat16().float())


@pytest.mark.parametrize("fails", [False, True])
def test_device_is_used_and_restored(monkeypatch, fails):
    moves, seen = [], []

    def forward(x):
        seen.append(x.device.type)
        return torch.ones(4, 3)

    model = identity(forward)
    model.weight = nn.Parameter(torch.ones(1))
    monkeypatch.setattr(model, "to", lambda device: moves.append(str(device)))
    with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
        capture(model, "layer", [normal(4, 3)], lambda output: 1 // 0 if fails else output, device="meta")
    assert seen == ["meta"] and moves == ["meta", "cpu"]


def test_unknown_layer():
    with pytest.raises(ValueError, match=r"no layer 'frist' in Sequential; did you mean 'first'.* valid: first, drop"):
        capture(net(), "frist", [normal(4, 3)])


def test_a_layer_that_does_not_run_once():
    model, x = net(), normal(4, 3)
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: model.last(model.first(x))
    with pytest.raises(RuntimeError, match="'spare' ran 0 times in one forward pass, expected once; capture the "):
        capture(model, "spare", [x])
    model.forward = lambda x: model.first(model.first(x)[:, :3])
    with pytest.raises(RuntimeError, match="'first' ran 2 times in one forward pass, expected once"):
        capture(model, "first", [x])


def test_an_output_whose_first_axis_is_not_the_batch():
    with pytest.raises(ValueError, match=r"put out shape \(5, 4, 3\), expected B = 4 examples"):
        capture(identity(lambda x: x.transpose(0, 1)), "layer", [normal(4, 5, 3)])
    with pytest.raises(ValueError, match=r"put out shape \(4,\)"):
        capture(identity(lambda x: x[:, 0]), "layer", [normal(4, 3)])


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "batches held no batch"),
        (normal(4, 3), TypeError, r"an iterable of batches, got one Tensor; pass \[batch\]"),
        ({"x": normal(4, 3)}, TypeError, "an iterable of batches, got one dict"),
        ([(normal(4, 3),) * 3], TypeError, r"inputs or \(inputs, labels\), got 3 parts"),
        ([normal(4, 3).numpy()], TypeError, "must be a tensor or a dict, got ndarray"),
        ([normal(0, 3)], ValueError, "at least 1 example"),
        ([(normal(4, 3), [1, 2])], ValueError, r"labels must be one integer for each of 4 rows, got shape \(2,\)"),
        ([(normal(4, 3), [1] * 3), (normal(4, 3), [1] * 5)], ValueError, r"of 4 rows, got shape \(3,\)"),
        ([(normal(4, 3), normal(4))], TypeError, "labels must be integers"),
        ([(normal(4, 3), [1, 2, 3, 4]), normal(4, 3)], ValueError, "labels must be one integer for each of 8 rows"),
        ([normal(4, 3) / 0], ValueError, "NaN or inf in 4 of 4 rows"),
    ],
)
def test_bad_batches(batches, error, message):
    with pytest.raises(error, match=message):
        capture(identity(), "layer", batches)


def test_bad_rows_and_model():
    with pytest.raises(ValueError, match=r"unknown rows='tokens'; .*did you mean 'token'\? valid: token, mean, last"):
        capture(net(), "first", [normal(4, 3)], "tokens")
    with pytest.raises(TypeError, match="model must be a torch module, got function"):
        capture(lambda x: x, "first", [normal(4, 3)])


def test_several_layers_in_one_pass():
    model, x, runs = net(), normal(6, 3), []
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    found = capture(model, ["first", "last", ""], [(x, [5, 4, 3, 2, 1, 0])])
    assert list(found) == ["first", "last", ""] and runs == [1]
    for layer, cloud in found.items():
        alone = capture(model, layer, [(x, [5, 4, 3, 2, 1, 0])])
        assert cloud.x.equal(alone.x) and cloud.labels.equal(alone.labels) and cloud.name == alone.name
    with pytest.raises(ValueError, match="names no layer"):
        capture(model, [], [x])
    with pytest.raises(ValueError, match="no layer 'las' in Sequential; did you mean 'last'"):
        capture(model, ["first", "las"], [x])


def test_the_channel_axis():
    images = normal(4, 2, 6, 3)  # channels last
    found = capture(identity(), "layer", [images], channel_axis=-1)
    assert found.x.equal(images.reshape(48, 3)) and found.sources.tolist() == [i for i in range(4) for _ in range(12)]
    signals = normal(4, 3, 7)  # (B, C, T)
    assert capture(identity(), "layer", [signals], channel_axis=1).x.equal(signals.mT.reshape(28, 3))
    assert capture(identity(), "layer", [signals], "last", channel_axis=1).x.equal(signals[:, :, -1])
    assert capture(identity(), "layer", [normal(4, 3, 2, 2, 2)], "mean", channel_axis=1).x.shape == (4, 3)
    for axis in (0, 4, -4, -5):
        with pytest.raises(ValueError, match=rf"channel_axis must be an axis of shape .* got {axis}; pass 1 to 3"):
            capture(identity(), "layer", [images], channel_axis=axis)


def masked_batch(fill=0.0):
    """Three sentences of 4 tokens, with 4, 2 and 1 kept; the middle one padded on the left."""
    x, mask = normal(3, 4, 2), torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 0]])
    return x.masked_fill((mask == 0)[..., None], fill), mask


def test_padding_leaves():
    model = identity(lambda x: x)
    model.forward = lambda x, attention_mask=None: model.layer(x)
    x, mask = masked_batch(fill=torch.nan)
    batch = ({"x": x, "attention_mask": mask}, [7, 8, 9])
    found = capture(model, "layer", [batch, batch])
    assert found.x.equal(torch.cat([x[mask == 1]] * 2))
    assert found.sources.tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 4, 5]
    assert found.labels.tolist() == [7, 7, 7, 7, 8, 8, 9] * 2
    means = torch.stack([x[0].mean(0), x[1, 2:].mean(0), x[2, 0]])
    torch.testing.assert_close(capture(model, "layer", [batch], "mean").x, means)
    assert capture(model, "layer", [batch], "last").x.equal(torch.stack([x[0, 3], x[1, 3], x[2, 0]]))
    with pytest.raises(ValueError, match="NaN"):
        capture(model, "layer", [batch], mask=None)


def test_masks_by_name_and_by_function():
    model = identity(lambda x: x)
    model.forward = lambda x, kept=None: model.layer(x)
    x, mask = masked_batch(fill=3.0)
    named = capture(model, "layer", [{"x": x, "kept": mask}], mask="kept")
    computed = capture(model, "layer", [x], mask=lambda inputs: inputs[..., 0] != 3)
    assert named.x.equal(x[mask == 1]) and computed.x.equal(x[mask == 1])
    with pytest.raises(ValueError, match="no input 'kep' to take the mask from.* did you mean 'kept'"):
        capture(model, "layer", [{"x": x, "kept": mask}], mask="kep")
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\), layer 'layer' has \(3, 4\) examples and positions"):
        capture(model, "layer", [{"x": x, "kept": mask[:, 1:]}], mask="kept")
    with pytest.raises(ValueError, match=r"leaves no position of examples \[1\], rows='mean' needs one"):
        capture(model, "layer", [x], "mean", mask=lambda inputs: torch.tensor([[1], [0], [1]]).expand(3, 4))
    pooled = capture(identity(lambda x: x.mean(1)), "layer", [x], mask=lambda inputs: mask)
    assert pooled.x.shape == (3, 2), "an output without positions has no padding"


def overflowing(example):
    x = normal(12, 3)
    x[example] = torch.inf
    return identity(), x


def test_rows_that_overflow_are_named_at_their_batch():
    model, x = overflowing(7)
    given = []

    def batches():
        for part in x.split(4):
            given.append(part)
            yield part

    with pytest.raises(
        ValueError, match=r"layer 'layer' put out NaN or inf in 1 of 4 rows of batch 1 \(first: example 7 of all\)"
    ):
        capture(model, "layer", batches())
    assert len(given) == 2, "the third batch was not run"


def test_examples_that_overflow_are_omitted_everywhere():
    x = normal(6, 2, 3)
    model = nn.Sequential(OrderedDict(one=nn.Identity(), two=Lambda(lambda x: torch.where(x > 1e3, torch.nan, x))))
    x[4, 1, 0] = 1e4
    found = capture(model, ["one", "two"], [(part, torch.arange(3)) for part in x.split(3)], nan_policy="omit")
    for cloud in found.values():
        assert cloud.sources.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 5, 5] and cloud.about["omitted"] == [4]
        assert cloud.labels.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 2, 2]
        assert cloud.x.equal(x[[0, 1, 2, 3, 5]].flatten(0, 1))
    with pytest.raises(ValueError, match="unknown nan_policy 'drop'"):
        capture(model, "one", [x], nan_policy="drop")
    with pytest.raises(ValueError, match="does not go with relevance"):
        capture(model, "one", [x], nan_policy="omit", relevance=True)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_a_transformer_with_padding_puts_out_padded_rows():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = identity()
    model.encoder = nn.TransformerEncoder(layer, 2)
    padding = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x, padding):
            return self.encoder(x, src_key_padding_mask=padding)

    x, fast = normal(3, 4, 8), torch.backends.mha.get_fastpath_enabled()
    for name in ("encoder", "encoder.layers.0", "encoder.layers.1"):
        found = capture(Padded(), name, [{"x": x, "padding": padding}], mask=lambda inputs: ~inputs["padding"])
        assert found.x.shape == (9, 8) and found.sources.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_compiled_model_is_named_as_the_cause():
    compiled = torch.compile(net(), backend="eager")
    with pytest.raises(RuntimeError, match=r"a compiled model skips hooks: .*compiled._orig_mod"):
        capture(Skipping(compiled), "inner._orig_mod.first", [normal(4, 3)])


class Skipping(nn.Module):
    """Calls a module past its hooks, as a compiled graph does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        inner = self.inner._orig_mod
        return inner.last(inner.first.forward(x))


def test_a_module_under_two_names_is_found_by_either():
    model = net()
    model.other = model.first
    model.forward = lambda x: model.first(x)
    x = normal(5, 3)
    assert capture(model, "other", [x]).x.equal(capture(model, "first", [x]).x)


def test_maps_with_the_channels_last_are_warned_of():
    with pytest.warns(
        ShapeWarning, match=r"shape \(2, 7, 7, 5\), read as \(B, C, H, W\): 7 channels; .* channel_axis=-1"
    ):
        capture(identity(), "layer", [normal(2, 7, 7, 5)])
    capture(identity(), "layer", [normal(2, 5, 7, 7)])
    assert capture(identity(), "layer", [normal(2, 7, 7, 5)], channel_axis=-1).x.shape == (98, 5)


def test_gradients_that_a_model_turns_on_are_not_kept():
    model, seen = net(), []
    model.forward = torch.enable_grad()(model.forward)
    model.first.register_forward_hook(lambda module, given, output: seen.append(output.requires_grad))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "training.data.capturing.joined", lambda parts: seen.append(parts[0].requires_grad) or torch.cat(parts)
        )
        capture(model, "first", [normal(4, 3)])
    assert seen == [True, False]


def test_a_compiled_model_has_the_names_of_its_own():
    model, x = net(), normal(5, 3)
    compiled = torch.compile(model, backend="eager")
    for name in ("first", "_orig_mod.first"):
        assert capture(compiled, name, [x]).x.equal(capture(model, "first", [x]).x)
