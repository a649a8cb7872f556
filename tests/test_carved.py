"""What the map cannot have made: valleys of the data, valleys that a map alone dug, and log |det| against autograd."""

import json

import numpy as np
import pytest
import torch

import training
from analysis.certification import carved as module
from analysis.certification.carved import carved, log_volume
from analysis.density.bag import fit_density
from analysis.pieces.tree import tree
from flows.flow import FunnelFlow

ROWS = 2000


def pinching(speed, noise_dims=1, steep=2.0):
    """A flow whose field drives the first dimension from 0 outwards, at most at ``speed``: a Gaussian comes out as two heaps."""
    flow = FunnelFlow(1 + noise_dims, hidden=2, steps=16).double()
    small = 1e-2  # where the second tanh is a straight line
    for weights in (flow.field.W1, flow.field.W2, flow.field.b1, flow.field.b2):
        torch.nn.init.zeros_(weights)
    with torch.no_grad():
        flow.field.W1[0, 0], flow.field.W2[0, 0], flow.field.W3[0, 0] = steep, small, speed / small
    flow.exits.set_open(torch.arange(1 + noise_dims) < 1)
    return flow.requires_grad_(False).eval()


def of(flow, x):
    s = flow.encode(x).numpy()
    return carved(flow, s, tree(s), fit_density(s, 0))


def gaussian(rows=ROWS, dims=2):
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_valley_that_the_map_alone_dug_is_not_claimed():
    found = of(pinching(1.5), gaussian())
    (valley,) = found.valleys
    assert valley.depth > 1 and valley.volume >= valley.dug > valley.depth and valley.left == 0
    assert "the map can have dug all of it" in repr(found) and "0 of 1 valleys" in repr(found)


def test_valleys_of_three_clusters_are_in_the_data():
    made = training.planted("three", ROWS, 1, diffeo=False)
    x = made.x.double()
    still = FunnelFlow(3).double()
    still.exits.set_open(torch.tensor([True, True, False]))
    found = of(still.requires_grad_(False), x)
    assert len(found.valleys) == 2
    for valley in found.valleys:
        assert valley.depth > 1 and valley.volume < 1e-9 and valley.left == pytest.approx(valley.depth)
    assert "2 of 2 valleys" in repr(found)


def test_the_map_is_charged_for_what_it_adds_to_a_valley_of_the_data():
    x = gaussian()
    x[:, 0] = 0.4 * x[:, 0] + torch.where(torch.arange(ROWS) % 2 == 0, 1.5, -1.5)
    (valley,) = of(pinching(0.3), x).valleys
    (plain,) = of(pinching(0.0), x).valleys
    assert plain.volume < 1e-6 and valley.dug > 0.3
    assert 0.5 < valley.left < plain.depth + 0.3, "a lower bound of what the data have"


def test_where_the_map_fills_a_valley_it_is_charged_nothing():
    x = gaussian()
    x[:, 0] = 0.4 * x[:, 0] + torch.where(torch.arange(ROWS) % 2 == 0, 3.0, -3.0)
    (valley,) = of(pinching(-0.8, steep=1.0), x).valleys
    assert valley.dug < 0.05 < 0.3 < valley.volume and valley.left > 0.95 * valley.depth


def test_the_range_is_that_of_autograds_determinant():
    flow, s = pinching(0.8, noise_dims=2), np.linspace(-2, 2, 5)[:, None]
    x = flow.decode(torch.from_numpy(s))
    jacobians = [torch.autograd.functional.jacobian(lambda row: flow.transform(row[None])[0], row) for row in x]
    expected = torch.stack([torch.linalg.slogdet(j).logabsdet for j in jacobians]).numpy()
    np.testing.assert_allclose(np.ptp(log_volume(flow, s)), np.ptp(expected), rtol=1e-3)
    assert np.argmax(log_volume(flow, s)) == 2


class Ring:
    """A loop around the origin, as :class:`analysis.topology.loops.Loop` has it."""

    number, rows = 0, np.arange(ROWS)

    def angle(self, points):
        return np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)


def test_the_hole_of_a_ring_is_in_the_data_and_that_of_a_blown_up_gaussian_is_not():
    ring = training.planted("circle", ROWS, 1, diffeo=False).x.double()
    still = FunnelFlow(3).double()
    still.exits.set_open(torch.tensor([True, True, False]))
    s = still.encode(ring).detach().numpy()
    (hole,) = carved(still.requires_grad_(False), s, tree(s), fit_density(s, 0), [Ring()]).valleys[-1:]
    assert hole.of == "loop 0" and hole.depth > 1 and hole.left == pytest.approx(hole.depth)
    blown = FunnelFlow(3, hidden=4, steps=16).double()
    for weights in (blown.field.W1, blown.field.W2, blown.field.b1, blown.field.b2):
        torch.nn.init.zeros_(weights)
    with torch.no_grad():
        for i in (0, 1):
            blown.field.W1[i, i], blown.field.W2[i, i], blown.field.W3[i, i] = 2.0, 1e-2, 150.0
    blown.exits.set_open(torch.tensor([True, True, False]))
    s = blown.requires_grad_(False).encode(gaussian(dims=3)).numpy()
    (dug,) = carved(blown, s, tree(s), fit_density(s, 0), [Ring()]).valleys[-1:]
    assert dug.depth > 0.5 and dug.left == 0


def test_the_way_keeps_to_where_rows_are_dense():
    t = np.linspace(0, np.pi, 200)
    arc = np.c_[np.cos(t), np.sin(t)]
    way = module._over_rows(np.concatenate([arc[[0, -1]], arc[1:-1]]))
    assert np.abs(np.hypot(*way.T) - 1).max() < 0.01
    np.testing.assert_allclose([way[0], way[-1]], [arc[-1], arc[0]])


def test_one_piece_has_no_valley_and_results_are_plain_data():
    found = of(pinching(0.0), gaussian())
    assert found.valleys == () and "no valley" in repr(found) and found.plot().texts
    found = of(pinching(1.5), gaussian())
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["valleys"][0]["left"] == 0 and record["rows"] == ROWS
    assert len(found.plot().patches) == 2


def test_a_flow_that_does_not_invert_is_said(monkeypatch):
    def fails(*_):
        raise RuntimeError("more steps help")

    monkeypatch.setattr("flows.solver.invert_rk4", fails)
    assert "cannot be inverted on the way: more steps help" in repr(of(pinching(1.5), gaussian()))
