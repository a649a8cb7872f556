"""Fibres: points, circles, lines, arcs and surfaces, counted and told, whatever the coordinates."""

import json
import math

import numpy as np
import pytest
import torch

from analysis.functions import components
from analysis.functions.fibres import fibre
from analysis.functions.freedom import coordinate_freedom


def cloud(count=800, dims=3, scale=1.3, seed=0):
    return scale * torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circle(p):
    return torch.stack([p[:, 0] ** 2 + p[:, 1] ** 2 - 1, p[:, 2]], 1)


def two_circles_and_a_line(p):
    left = (p[:, 0] + 1.2) ** 2 + (p[:, 1] - 0.8) ** 2 - 0.5
    right = (p[:, 0] - 1.2) ** 2 + (p[:, 1] - 0.8) ** 2 - 0.5
    return torch.stack([left * right * (p[:, 1] + 0.8), p[:, 2]], 1)


def test_a_circle_and_its_length(untouched_rng):
    with untouched_rng():
        found = fibre(circle, [0, 0], cloud(), most_seeds=60)
    assert found.describe() == "a circle" and found.dimension == 1
    assert found.components[0].length == pytest.approx(2 * math.pi, rel=0.01)
    points = found.components[0].points
    assert np.abs(np.hypot(points[:, 0], points[:, 1]) - 1).max() < 1e-6
    assert found.plot().lines
    json.dumps(found.to_dict(), allow_nan=False)


def test_two_circles_and_a_line():
    found = fibre(two_circles_and_a_line, [0, 0], cloud(), most_seeds=60)
    assert found.describe() == "two circles and a line"
    line = next(c for c in found.components if c.kind == "line")
    assert line.ends == ("leaves the data", "leaves the data")
    assert np.abs(line.points[:, 1] + 0.8).max() < 1e-6


def trefoil(p):
    """Milnor's z^2 + w^3 on the three-sphere, seen stereographically."""
    q = 1 + p.square().sum(1)
    v = torch.complex(2 * p[:, 0], 2 * p[:, 1]) ** 2 * q + torch.complex(2 * p[:, 2], q - 2) ** 3
    return torch.stack([v.real, v.imag], 1) / q[:, None] ** 3


def test_a_knot_is_named_and_proved():
    found = fibre(trefoil, [0, 0], cloud(), most_seeds=8)
    assert found.describe() == "a knot: trefoil" and found.kinds == {"knot: trefoil": 1}
    (only,) = found.components
    assert only.knot.polynomial == (1, -1, 1) and only.ends == ("closed", "closed")
    assert "knot: trefoil" in repr(found) and "knotted: no unknot has that polynomial" in repr(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["components"][0]["knot"]["verdict"] == "knotted"


def test_a_round_circle_is_proved_to_be_none():
    (only,) = fibre(circle, [0, 0], cloud(), most_seeds=8).components
    assert only.kind == "circle" and only.knot.verdict == "unknotted"
    in_the_plane = fibre(lambda p: p.square().sum(1, keepdim=True) - 1, 0.0, cloud(dims=2), most_seeds=8)
    assert in_the_plane.components[0].knot is None


def test_a_search_that_is_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(components, "MOST_CURVES", 2)
    found = fibre(lambda p: (3 * p[:, :1]).sin(), 0.0, cloud(dims=2), most_seeds=40)
    assert found.describe() == "at least two lines" and found.left > 0
    assert f"{found.left} of the points that reached it lie on none" in repr(found)
    assert fibre(lambda p: p[:, :1], 0.0, cloud(dims=2), most_seeds=40).left == 0


def test_several_knots_are_counted():
    from analysis.functions.fibres import _counted

    assert _counted(2, "knot: trefoil") == "two knots: trefoil" and _counted(1, "knot: 5_1") == "a knot: 5_1"


def test_real_ends_are_told_from_ends_of_the_data():
    def root(p):  # y = sqrt(x), with no value left of 0
        return (p[:, 1] - p[:, 0].sqrt())[:, None]

    points = cloud(dims=2)
    points = points[points[:, 0] > 0]
    found = fibre(root, 0.0, points, most_seeds=60)
    assert found.describe() == "a half-line"
    assert sorted(found.components[0].ends) == ["leaves the data", "real end"]
    ends = found.components[0].points[[0, -1]]
    assert min(np.linalg.norm(ends, axis=1)) < 0.05


def test_points_are_counted():
    found = fibre(lambda p: torch.stack([p[:, 0] ** 2 - 1, p[:, 1]], 1), [0, 0], cloud(dims=2), most_seeds=60)
    assert found.dimension == 0 and found.describe() == "two points"
    assert np.allclose(np.sort([c.points[0, 0] for c in found.components]), [-1, 1])


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda p: p.square().sum(1, keepdim=True) - 1, "a sphere"),
        pytest.param(
            lambda p: ((p[:, :2].norm(dim=1) - 1.3) ** 2 + p[:, 2] ** 2 - 0.25)[:, None],
            "a torus",
            marks=pytest.mark.slow,
        ),
        (lambda p: (p[:, 2] - 0.2 * p[:, 0])[:, None], "a sheet"),
    ],
)
def test_surfaces_are_told_by_their_holes(function, kind):
    cube = 4 * torch.rand(800, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 2
    found = fibre(function, 0.0, cube, most_seeds=60)
    assert found.dimension == 2 and found.describe() == kind


def test_above_dimension_two_points_are_untyped():
    found = fibre(lambda p: p.square().sum(1, keepdim=True), 4.0, cloud(dims=4), most_seeds=50)
    assert found.dimension == 3 and found.describe() == "3-dimensional, untyped"
    assert np.allclose(np.linalg.norm(found.components[0].points, axis=1), 2)


def test_no_such_value_near_the_data():
    found = fibre(lambda p: p.square().sum(1, keepdim=True), -1.0, cloud(dims=2), most_seeds=40)
    assert found.dimension is None and found.describe() == "empty near the data"
    far = fibre(lambda p: p[:, :1], 50.0, cloud(dims=2), most_seeds=40)
    assert far.reached == 0 and far.plot().texts


def test_redundant_outputs_and_a_given_rank():
    def twice(p):
        return torch.cat([circle(p), circle(p)[:, :1] * 3], 1)

    assert fibre(twice, [0, 0, 0], cloud(), most_seeds=30).describe() == "a circle"
    noisy = fibre(lambda p: circle(p) + 0 * p[:, 2:], [0, 0], cloud(), rank=2, most_seeds=30)
    assert noisy.describe() == "a circle"


def test_float32_nets_are_followed_too():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).train()
    points = cloud(dims=2).float()
    found = fibre(net, net(points[:1])[0], points, most_seeds=40)
    assert found.dimension == 1 and net.training
    with torch.no_grad():
        values = net(torch.as_tensor(found.components[0].points).float())
        assert float((values - net(points[:1])).abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("function", "expected"), [(circle, "a circle"), (two_circles_and_a_line, "two circles and a line")]
)
def test_kinds_hold_in_strong_coordinates(function, expected):
    def carried(view):
        return fibre(view.function, view.outputs(torch.zeros(1, 2))[0], view.inputs(cloud()), most_seeds=150)

    found = coordinate_freedom(carried, cloud(), 4, function=function)
    assert not found.broken
    assert dict((o.name, o.value) for o in found.outputs)["description"] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "expected"), [(circle, "a circle"), (two_circles_and_a_line, "two circles and a line")]
)
def test_kinds_hold_in_twenty_strong_maps(function, expected):
    def carried(view):
        return fibre(view.function, view.outputs(torch.zeros(1, 2))[0], view.inputs(cloud()), most_seeds=150)

    assert not coordinate_freedom(carried, cloud(), 20, function=function).broken


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fibre(1, 0.0, cloud()), TypeError, "function must be callable, got int"),
        (lambda: fibre(circle, 0.0, cloud()), ValueError, "one entry for each of 2 outputs, got 1"),
        (lambda: fibre(circle, [0, math.nan], cloud()), ValueError, "value contains NaN or inf"),
        (lambda: fibre(circle, [0, 0], cloud(), step=0), ValueError, "step must be above 0, got 0"),
        (lambda: fibre(circle, [0, 0], cloud(), rank=3), ValueError, r"rank must be in 1\.\.2, got 3"),
        (lambda: fibre(circle, [0, 0], torch.ones(9, 3)), ValueError, "the 9 points are all the same"),
        (lambda: fibre(torch.round, [0, 0, 0], cloud()), ValueError, "no slope at any of 400 rows"),
        (lambda: fibre(lambda x: 0 * x, [0, 0, 0], cloud()), ValueError, "the same everywhere"),
        (lambda: fibre(lambda x: x[:, 3:], 0.0, cloud()), ValueError, r"gave shape \(2, 0\)"),
        (lambda: fibre(lambda x: x[:, 3], 0.0, cloud()), RuntimeError, "IndexError"),
        (lambda: fibre(circle, [0, 0], cloud(2)), ValueError, "points must have at least 3 rows, got 2"),
    ],
)
def test_errors_say_what_to_do(make, error, message):
    with pytest.raises(error, match=message):
        make()
