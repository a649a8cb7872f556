"""intervene: shapes, tuples and dicts, what is kept, what an edit does, errors, and hooks that are gone afterwards."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

import flows

pytestmark = pytest.mark.quick

Pair = namedtuple("Pair", "states extra")


class Net(nn.Module):
    """A layer whose output has any wrapping, and a head that unwraps it."""

    def __init__(self, wrap=lambda x: x, unwrap=lambda x: x):
        super().__init__()
        self.layer, self.unwrap = Wrapped(wrap), unwrap

    def forward(self, x):
        return self.unwrap(self.layer(x))


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


@pytest.fixture
def flow(make_flow):
    return make_flow(5)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (2, 5, 3, 4)])
def test_an_edit_that_changes_nothing_changes_nothing(flow, shape):
    x, model = normal(*shape), Net()
    with flows.intervene(model, "layer", flow, lambda s: s, lambda n: n):
        found = model(x)
    assert found.shape == x.shape and torch.allclose(found, x, atol=1e-7)


def test_blocks_have_the_outputs_own_axes(flow):
    seen = []

    def look(block):
        seen.append(tuple(block.shape))
        return block

    k = flow.structure_dim
    for shape in [(7, 5), (3, 4, 5), (2, 5, 3, 4)]:
        model = Net()
        with flows.intervene(model, "layer", flow, look, look):
            model(normal(*shape))
    model = Net()
    with flows.intervene(model, "layer", flow, look, look, channel_axis=0):
        model(normal(5, 6))
    leading = [(7,), (3, 4), (2, 3, 4), (6,)]
    assert seen == [(*axes, dims) for axes in leading for dims in (k, 5 - k)]


def test_an_edit_of_s_moves_s_and_leaves_n(flow):
    x, model = normal(50, 5), Net()
    with flows.intervene(model, "layer", flow, lambda s: s + 0.3):
        after = model(x)
    s, n = flow.split(flow.transform(x))
    new_s, new_n = flow.split(flow.transform(after))
    assert torch.allclose(new_s, s + 0.3, atol=1e-6) and torch.allclose(new_n, n, atol=1e-6)


def test_noise_is_removed_or_edited(flow):
    x, model = normal(50, 5), Net()
    with flows.intervene(model, "layer", flow, noise="zero"):
        assert torch.allclose(model(x), flow.project(x), atol=1e-6)
    with flows.intervene(model, "layer", flow, noise=lambda n: -n):
        s, n = flow.split(flow.transform(model(x)))
    assert torch.allclose(n, -flow.split(flow.transform(x))[1], atol=1e-6)


def test_one_position_alone_can_be_edited(flow):
    x, model = normal(3, 4, 5), Net()

    def last_token(s):
        return torch.cat([s[:, :-1], s[:, -1:] + 0.5], dim=1)

    with flows.intervene(model, "layer", flow, last_token):
        after = model(x)
    assert torch.allclose(after[:, :-1], x[:, :-1], atol=1e-7)
    assert (after[:, -1] - x[:, -1]).abs().amax(1).min() > 0.01


@pytest.mark.parametrize(
    ("wrap", "unwrap", "kind"),
    [
        (lambda x: (x, 1), lambda out: out[0], tuple),
        (lambda x: [None, x], lambda out: out[1], list),
        (lambda x: Pair(x, "extra"), lambda out: out.states, Pair),
        (lambda x: OrderedDict(states=x, extra=2), lambda out: out["states"], OrderedDict),
    ],
)
def test_the_rest_of_a_tuple_or_dict_is_passed_on(flow, wrap, unwrap, kind):
    x, seen = normal(6, 5), []
    model = Net(wrap, lambda out: (seen.append(out), unwrap(out))[1])
    with flows.intervene(model, "layer", flow, lambda s: s + 1):
        after = model(x)
    expected = Net()
    with flows.intervene(expected, "layer", flow, lambda s: s + 1):
        assert torch.equal(after, expected(x))
    assert type(seen[0]) is kind and len(seen[0]) == 2


def test_what_the_flow_does_not_model_is_kept():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 4, generator=generator) * torch.tensor([1.0, 0.5, 1e-5, 0.0])
    with pytest.warns(UserWarning, match="constant columns"):
        flow = flows.FunnelFlow.from_rows(rows)
    model, x = Net(), rows + torch.tensor([0, 0, 1e-3, 7.0])
    with flows.intervene(model, "layer", flow, lambda s: 2 * s):
        after = model(x)
    assert torch.allclose(after[:, 2:], x[:, 2:], atol=1e-5)
    assert torch.allclose(after[:, :2] - rows[:, :2].mean(0), 2 * (x[:, :2] - rows[:, :2].mean(0)), atol=1e-4)


def test_dtype_of_the_model_is_kept_and_gradients_flow(flow):
    model, x = Net(), normal(4, 5).float().requires_grad_()
    with flows.intervene(model, "layer", flow, lambda s: 0.5 * s):
        after = model(x)
    assert after.dtype == torch.float32
    after.sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0


def test_hooks_are_gone_after_the_end_and_after_an_error(flow):
    model, x = Net(), normal(6, 5)

    def fails(s):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), flows.intervene(model, "layer", flow, fails):
        model(x)
    assert not hooks(model) and torch.equal(model(x), x)
    with flows.intervene(model, "layer", flow, lambda s: s + 1):
        assert hooks(model) == 1
        model(x)
    assert not hooks(model) and torch.equal(model(x), x)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"layer": "leyer"}, ValueError, "no layer 'leyer' in Net; did you mean 'layer'"),
        ({"model": 3}, TypeError, "model must be a torch module, got int"),
        ({"structure": 3}, TypeError, "structure must be a function or None"),
        ({"noise": "none"}, TypeError, "noise a function, 'keep' or 'zero', got None and 'none'"),
        ({"structure": lambda s: None}, TypeError, "structure returned NoneType, expected a tensor of shape"),
        ({"noise": lambda n: n[:3]}, ValueError, r"noise returned shape \(3, \d\), expected \(6, \d\)"),
        ({"structure": lambda s: s * torch.nan}, ValueError, "latents contain NaN or inf in 6 of 6 rows"),
        ({"x": normal(6, 4)}, ValueError, r"put out shape \(6, 4\), expected 5 channels along axis -1"),
        ({"wrap": lambda x: {"a": x, "b": x}}, TypeError, r"a dict with tensors \['a', 'b'\], expected exactly 1"),
        ({"wrap": lambda x: None}, TypeError, "put out NoneType without a tensor"),
    ],
)
def test_errors_say_what_to_do(flow, given, error, message):
    model = given.get("model", Net(given.get("wrap", lambda x: x)))
    edits = {name: given[name] for name in ("structure", "noise") if name in given}
    with pytest.raises(error, match=message), flows.intervene(model, given.get("layer", "layer"), flow, **edits):
        model(given.get("x", normal(6, 5)))
    if isinstance(model, nn.Module):
        assert not hooks(model)


def test_a_layer_that_did_not_run_is_an_error(flow):
    expected = pytest.raises(RuntimeError, match="layer 'layer' did not run, so nothing was edited")
    with expected, flows.intervene(Net(), "layer", flow, lambda s: s):
        pass
