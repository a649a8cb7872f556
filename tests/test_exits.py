"""Exits: the masks' formula, exact gates, and clamps that never freeze a dimension."""

import pytest
import torch

from flows.exits import Exits

pytestmark = pytest.mark.quick

WIDTHS = [0.1, 0.2, 0.25, 1 / 3]
DTYPES = [torch.float32, torch.float64]
every_width = pytest.mark.parametrize("width", WIDTHS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def make(dims, width, dtype, *taus):
    exits = Exits(dims, width).to(dtype)
    with torch.no_grad():
        if taus:
            exits.tau.copy_(torch.tensor(taus, dtype=dtype))
    return exits


@every_width
def test_masks_are_clamped_ramps(width):
    exits, times = make(3, width, torch.float64, 1 + width / 2, 0.4, -width / 2), torch.linspace(0, 1, 21).double()
    for mask, t in zip(exits.masks(times), times.tolist(), strict=True):
        expected = [min(max((tau - t) / width + 0.5, 0), 1) for tau in exits.tau.tolist()]
        assert mask.tolist() == pytest.approx(expected, abs=1e-5)


@every_dtype
@every_width
def test_gates_are_exactly_zero_and_one(width, dtype):
    exits = make(4, width, dtype)
    assert exits.gates.tolist() == [1] * 4
    exits.set_open(torch.tensor([True, False, True, False]))
    assert exits.gates[[1, 3]].tolist() == [0, 0]
    assert exits.gates[[0, 2]].tolist() == [1, 1]


@every_dtype
@every_width
def test_gradients_at_the_edges_point_inwards_only(width, dtype):
    for edge in (1 + width / 2, 1 - width / 2):
        top = edge > 1
        for slope in (1.0, -1.0):
            exits = make(1, width, dtype, edge)
            (slope * exits.gates.sum()).backward()
            inwards = (slope > 0) == top
            assert exits.tau.grad.item() == pytest.approx(slope / width if inwards else 0, rel=1e-5)


@every_dtype
@every_width
def test_a_dimension_leaves_and_another_comes_back_by_gradient_steps(width, dtype):
    for slope, start, end in ((1.0, True, 0.0), (-1.0, False, 1.0)):
        exits = make(1, width, dtype)
        exits.set_open(torch.tensor([start]))
        optimizer = torch.optim.SGD([exits.tau], lr=0.03 * width**2)
        for _ in range(40):
            optimizer.zero_grad()
            (slope * exits.gates.sum()).backward()
            optimizer.step()
            exits.clamp_(torch.tensor([True]))
        assert exits.gates.item() == end


def test_gradient_passes_inside_and_vanishes_far_outside():
    exits = make(3, 0.25, torch.float64, 1.05, 0.3, 1.5)
    exits.gates.sum().backward()
    assert exits.tau.grad.tolist() == [4, 0, 0]


def test_clamp_brings_every_exit_into_range():
    exits = make(4, 0.25, torch.float64, 2.0, 0.5, -1.0, 1.0)
    exits.clamp_(torch.tensor([True, True, True, False]))
    assert exits.tau.tolist() == [1.125, 0.5, -0.125, 0.875]
    assert exits.gates[3] == 0


def test_narrow_opens_and_shuts_but_leaves_early_exits_where_they_are():
    exits = make(4, 0.25, torch.float64, 0.5, 0.5, 1.1, -0.5)
    exits.narrow_(torch.tensor([True, False, False, False]))
    assert exits.tau.tolist() == [1.125, 0.5, 0.875, -0.125]
    assert exits.gates.tolist() == [1, 0, 0, 0]


@every_dtype
def test_snap_ends_shut_masks_on_a_step(dtype):
    exits = make(5, 0.25, dtype, 1.125, 1.01, 0.55, 0.86, -0.05)
    exits.snap_(4)
    assert exits.tau.tolist() == pytest.approx([1.125, 1.01, 0.625, 0.875, -0.125], abs=1e-6)
    assert exits.gates[2:].tolist() == [0, 0, 0]
    assert exits.masks(torch.zeros(1, dtype=dtype))[0, 4] == 0


@every_dtype
@every_width
@pytest.mark.parametrize("steps", [3, 4, 5, 6, 7])
def test_snapped_gates_stay_shut(width, dtype, steps):
    exits = make(2, width, dtype, 1 - width / 2, -width / 2)
    exits.snap_(steps)
    assert exits.gates.tolist() == [0, 0]
    assert exits.masks(torch.zeros(1, dtype=dtype))[0, 1] == 0


@pytest.mark.parametrize("width", [0, -0.1, 1.5])
def test_width_out_of_range(width):
    with pytest.raises(ValueError, match=r"\(0, 1\], got .*0.25 is the default"):
        Exits(2, width)
