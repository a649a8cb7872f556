"""Preferred axes: planted nets whose structure is one neuron, or a random rotation of it; robust and fragile coordinates."""

import json

import numpy as np
import pytest
import torch

from analysis.functions.axes import preferred_axes
from analysis.functions.basis import neuron_basis
from analysis.functions.dependence import input_dependence
from flows import FunnelFlow

DIMS = 6


def rotation(dims, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dims, dims, generator=generator))[0]


def inputs(count=600, sides=1, seed=0):
    """The first columns have two clusters each, the rest are Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, DIMS, generator=generator)
    x[:, :sides] = 0.2 * x[:, :sides] + (torch.rand(count, sides, generator=generator) - 0.5).sign()
    return x


class Net(torch.nn.Module):
    """hidden (inputs turned), tanh, and a head that reads the neuron of the first input and no other."""

    def __init__(self, turn):
        super().__init__()
        self.hidden, self.head = torch.nn.Linear(DIMS, DIMS, bias=False), torch.nn.Linear(DIMS, 2, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(turn.T)
            self.head.weight.copy_(torch.stack([turn[0], -2 * turn[0]]))

    def forward(self, x):
        return self.head(self.hidden(x).tanh())


def found_flow(net, x, sides=1):
    """A flow whose structure block is the clusters: its front turns white rows back to the inputs' axes."""
    rows = net.hidden(x).detach()
    flow = FunnelFlow.from_rows(rows, hidden=8, components=3)
    flow.front.set_rotation(x.T @ flow.front.whiten(rows) / len(x))
    flow.exits.set_open(torch.arange(DIMS) < sides)
    return flow.requires_grad_(False)


def test_structure_that_is_one_neuron_is_seen_and_a_rotation_of_it_is_not(untouched_rng):
    x = inputs()
    told = {}
    for name, turn in (("neuron", torch.eye(DIMS)), ("rotated", rotation(DIMS, 3))):
        net = Net(turn)
        flow = found_flow(net, x)
        with untouched_rng():
            told[name] = preferred_axes(flow, net.train(), "hidden", x, moves=2)
        assert net.training
    own, turned = told["neuron"].neurons, told["rotated"].neurons
    assert own.p_values[0] == 1 / 200 and own.block_p_value == 1 / 200
    assert own.neurons_read[0] < 1.2 and own.shares[0].argmax() == 0
    assert turned.p_values[0] > 0.1 and turned.neurons_read[0] > 2
    assert told["neuron"].inputs.shares[0, 0] > 0.9 and told["rotated"].inputs.shares[0, 0] > 0.9


def test_p_values_are_uniform_for_rotated_structure():
    """Whatever the scales and correlations before a random rotation, which are no preferred basis."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, DIMS, generator=generator).double() * torch.tensor([5, 2, 1, 1, 0.5, 0.1]).double()
    gradients = torch.zeros(1, 1, DIMS).double()
    gradients[0, 0, 3] = 1  # one axis before it is turned
    p_values = []
    for seed in range(300):
        turn = rotation(DIMS, 1000 + seed).double()
        p_values.append(neuron_basis(gradients @ turn, x @ turn, 39, seed).p_values[0])
    places = np.sort(p_values)
    distance = np.abs(places - (np.arange(300) + 1) / 300).max()
    assert distance < 1.63 / 300**0.5 + 1 / 40  # Kolmogorov's 1 % bound, and the p-values' own steps
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.1
    assert neuron_basis(gradients, x, 39, 0).p_values[0] == 1 / 40


def test_neurons_scales_are_no_preference():
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([10.0, 0.1])
    found = neuron_basis(torch.tensor([[[0.1, 10.0]]]), x, 19, 0)  # both neurons alike, sd for sd
    assert found.neurons_read[0] == pytest.approx(2, abs=0.01)


def test_a_layer_that_is_all_structure_says_nothing_as_a_block():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()
    gradients = torch.eye(3).double().expand(5, 3, 3)
    found = neuron_basis(gradients, x, 19, 0)
    assert found.block_p_value == 1 and found.neurons_of_block == pytest.approx(3)
    assert (found.p_values == 1 / 20).all()


def test_what_outputs_need_is_robust_and_what_they_ignore_turns():
    x, net = inputs(sides=2), Net(torch.eye(DIMS))
    found = preferred_axes(found_flow(net, x, 2), net, "hidden", x, moves=5)
    moved = found.weights
    assert moved.is_robust.tolist() == [True, False]
    assert moved.turns[:, 0].max() < 6 and moved.turns[:, 1].min() > 30 and moved.free_turns.min() > 30
    assert (moved.output_changes <= 0.01).all() and (moved.sizes > 0).all()
    assert np.median(moved.free_changes) > 5 * moved.output_changes.max()
    told = repr(found).splitlines()
    assert told[0].endswith("2 aligned with the neurons at p < 0.05 each, 1 robust; 200 inputs, seed 0")
    assert "yes" in told[4] and " no " in told[5] and "x1 (100%)" in told[5]
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().collections and found.inputs.plot().images


def test_refits_are_matched_whatever_their_order_and_sign():
    x, net = inputs(sides=2), Net(torch.eye(DIMS))
    flow, calls = found_flow(net, x, 2), []

    class Result:
        def __init__(self, rows):
            calls.append(rows)
            self.flow = found_flow(net, x, 2)
            self.flow.order.copy_(self.flow.order[[1, 0, 2, 3, 4, 5]])

    found = preferred_axes(flow, net, "hidden", x, moves=2, size=1e-4, fit=Result)
    assert len(calls) == 3 and torch.equal(calls[0], net.hidden(x)) and not torch.equal(calls[1], calls[0])
    assert found.weights.again_turns.max() < 1e-3 and found.weights.refit_turns.max() < 1
    assert found.weights.block_turns.max() < 1 and "unmoved" in repr(found)


def test_a_coordinate_that_a_refit_lacks_has_turned_all_the_way():
    x, net = inputs(sides=2), Net(torch.eye(DIMS))
    found = preferred_axes(found_flow(net, x, 2), net, "hidden", x, moves=1, fit=lambda rows: found_flow(net, x, 1))
    assert found.weights.refit_turns[0, 1] == 90 and found.weights.block_turns[0, 1] > 80
    assert found.weights.is_robust.tolist() == [True, False]


def test_neighbouring_pixels_and_shuffled_ones():
    rng = np.random.default_rng(0)
    across = np.linspace(-1, 1, 8)
    smooth = (across[:, None] + across).ravel()
    shuffled = smooth[rng.permutation(64)]
    rows = rng.normal(size=(100, 65))
    rows[:, 60:64] = 0  # pixels that never vary
    gradients = np.zeros((5, 2, 65))
    gradients[:, 0, :64], gradients[:, 1, :64], gradients[:, :, 64] = smooth, shuffled, 9
    found = input_dependence(gradients, rows, None, (8, 8), 199, 0)
    assert found.neighbourhood[0] > 0.8 and found.p_values[0] == 1 / 200
    assert abs(found.neighbourhood[1]) < 0.3 and found.p_values[1] > 0.02
    assert found.name(9) == "pixel 1, 1" and found.plot().images
    assert found.shares[:, 60:64].max() == 0


def test_images_bring_their_shape_and_sequences_their_last_step():
    class Steps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, self.scale = torch.nn.Identity(), torch.nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.steps(self.scale * x[:, :, 0, :4].cumsum(1))[:, -1]

    x = torch.randn(60, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    flow = FunnelFlow.from_rows(x[:, :, 0, :4].sum(1), hidden=8, components=3)
    found = preferred_axes(flow, Steps(), "steps", x, moves=1).inputs
    assert found.image == (2, 4) and found.shares.shape == (4, 24)
    assert found.shares.reshape(4, 3, 2, 4)[:, 2].sum() > 0.2  # the first step does not see it
    assert found.shares.reshape(4, 3, 2, 4)[:, :, 1].max() == 0 and found.name(13) == "pixel 1, 1"
    with pytest.raises(ValueError, match="Identity has no weights to move"):
        preferred_axes(flow, torch.nn.Identity(), "", x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flow": 3}, TypeError, "flow must be a FunnelFlow, got int"),
        ({"model": 3}, TypeError, "model must be a torch module, got int"),
        ({"layer": "hiden"}, ValueError, "did you mean 'hidden'"),
        ({"layer": "head"}, ValueError, r"gives shape \(600, 2\), the flow reads rows of 6"),
        ({"inputs": torch.arange(12).reshape(4, 3)}, ValueError, "floating numbers"),
        ({"moves": 0}, ValueError, "moves must be above 0, got 0"),
        ({"names": ["a"]}, ValueError, "one entry for each of 6 input features, got 1"),
        ({"image": (3, 3)}, ValueError, r"at most 6 features, got \(3, 3\)"),
        ({"fit": lambda rows: 3}, TypeError, "fit must return a FunnelFlow or a result with one, got int"),
    ],
)
def test_errors_say_what_to_do(change, error, message):
    x, net = inputs(), Net(torch.eye(DIMS))
    given = {"flow": found_flow(net, x), "model": net, "layer": "hidden", "inputs": x, "moves": 1} | change
    with pytest.raises(error, match=message):
        preferred_axes(**given)


def test_no_structure_no_axes():
    x, net = inputs(), Net(torch.eye(DIMS))
    flow = found_flow(net, x)
    flow.exits.set_open(torch.zeros(DIMS, dtype=torch.bool))
    with pytest.raises(ValueError, match="k = 0"):
        preferred_axes(flow, net, "hidden", x)
