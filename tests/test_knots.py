"""Knots and links: polynomials of known knots, what must not change them, and proofs of unknots."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from analysis.topology.alexander import alexander, determinant, spelt
from analysis.topology.diagram import crossings
from analysis.topology.knot import knot, polygon_knot
from analysis.topology.linking import counted_linking, gauss_linking, linking
from analysis.topology.polygon import on_lattice, simplify, total_curvature, volume


def torus_knot(p, q, corners=96):
    """p times round the axis, q times round the core."""
    t = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 2 + np.cos(q * t)
    return np.stack([radius * np.cos(p * t), radius * np.sin(p * t), np.sin(q * t)], axis=1)


def figure_eight_knot(corners=96):
    t = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 2 + np.cos(2 * t)
    return np.stack([radius * np.cos(3 * t), radius * np.sin(3 * t), np.sin(4 * t)], axis=1)


def wobbly(corners=150, height=0.3):
    """An unknot with many crossings."""
    t = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    bumps = np.stack([np.sin(7 * t), np.cos(11 * t), np.sin(5 * t + 1)], axis=1)
    return np.stack([np.cos(t), np.sin(t), 0 * t], axis=1) + height * bumps


def granny():
    """Two trefoils of the same hand, one after the other."""
    one = torus_knot(2, 3)
    cut = np.roll(one, -int(one[:, 0].argmax()), axis=0)  # opened where it is farthest out
    other = cut * [-1, -1, 1] + [12, 0, 0]  # turned by half a turn
    return np.concatenate([cut[1:], cut[:1] + np.array([0, 0.05, 0]), other[1:], other[:1] - np.array([0, 0.05, 0])])


def seen(curve, seed=0):
    """The diagram of a closed curve as it is, not simplified."""
    return crossings(on_lattice(np.asarray(curve, dtype=float)), np.random.default_rng(seed))


KNOTS = {
    "circle": (torus_knot(1, 0), (1,)),
    "coil": (torus_knot(1, 7), (1,)),
    "wobbly": (wobbly(), (1,)),
    "trefoil": (torus_knot(2, 3), (1, -1, 1)),
    "figure eight": (figure_eight_knot(), (1, -3, 1)),
    "T(2,5)": (torus_knot(2, 5), (1, -1, 1, -1, 1)),
    "T(3,4)": (torus_knot(3, 4), (1, -1, 0, 1, 0, -1, 1)),
    "T(3,5)": (torus_knot(3, 5, 160), (1, -1, 0, 1, -1, 1, 0, -1, 1)),
    "granny": (granny(), (1, -2, 3, -2, 1)),
}


@pytest.mark.parametrize("name", KNOTS)
def test_polynomials_of_known_knots(name):
    curve, polynomial = KNOTS[name]
    assert alexander(seen(curve)) == polynomial, "of the curve as it is"
    found = polygon_knot(curve)
    assert found.polynomial == polynomial and found.verdict == ("unknotted" if polynomial == (1,) else "knotted")


def test_determinants_alone_prove_nothing():
    assert determinant((1, -1, 1)) == 3 and determinant((1, -3, 1)) == 5
    assert determinant(KNOTS["T(3,5)"][1]) == 1, "knotted all the same"


@pytest.mark.parametrize("name", ["trefoil", "figure eight", "wobbly", "granny"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_nothing_that_keeps_the_knot_changes_the_polynomial(name, seed):
    curve, polynomial = KNOTS[name]
    rng = np.random.default_rng(seed)
    turned = curve @ Rotation.random(random_state=seed).as_matrix() * rng.uniform(0.1, 10) + rng.normal(size=3)
    between = np.stack([turned, (turned + np.roll(turned, -1, axis=0)) / 2], axis=1).reshape(-1, 3)
    for same in (turned, turned[::-1], np.roll(turned, seed % 50, axis=0), turned * [1, 1, -1], between):
        assert alexander(seen(same, seed)) == polynomial
        assert alexander(crossings([simplify(on_lattice(same)[0])], rng)) == polynomial, "simplified, not rounded again"


def test_the_trefoils_shadow_with_a_falling_strand_is_no_knot():
    curve = torus_knot(2, 3)
    curve[:, 2] = np.linspace(1, -1, len(curve))  # passes below itself at every crossing: one edge leads back up
    found = polygon_knot(curve)
    assert found.verdict == "unknotted" and found.polynomial == (1,)
    assert polygon_knot(torus_knot(2, 3) * [1, 1, 0.2]).verdict == "knotted"


def test_simplifying_leaves_a_triangle_of_an_unknot_and_six_corners_of_a_trefoil():
    assert len(simplify(on_lattice(wobbly())[0])) == 3
    assert len(simplify(on_lattice(torus_knot(2, 3))[0])) >= 6
    square = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 1], [0, 4, 0]], dtype=np.int64)
    assert len(simplify(square)) == 3


def test_volumes_are_exact_at_the_edge_of_the_lattice():
    far = 2**16
    a, b, c = (np.array(p, dtype=np.int64) for p in ((-far, -far, -far), (far, -far, far), (far, far, -far)))
    d = np.array([far - 1, far, far], dtype=np.int64)
    exact = np.linalg.det(np.array([b - a, c - a, d - a], dtype=float))
    rows = [[int(v) for v in p - a] for p in (b, c, d)]
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = rows
    assert int(volume(a, b, c, d)) == a1 * (b2 * c3 - b3 * c2) - a2 * (b1 * c3 - b3 * c1) + a3 * (b1 * c2 - b2 * c1)
    assert abs(int(volume(a, b, c, d)) - exact) <= abs(exact) * 1e-9


def test_curvature_of_a_circle_is_one_turn_and_a_knot_has_more_than_two():
    assert total_curvature(torus_knot(1, 0)) == pytest.approx(2 * np.pi)
    assert total_curvature(torus_knot(2, 3)) > 4 * np.pi
    assert "total curvature 2.0 pi" in polygon_knot(torus_knot(1, 0)).reason


def test_the_vote_says_when_the_polygons_disagree():
    three = knot([torus_knot(2, 3)] * 4 + [wobbly()])
    assert three.verdict == "knotted" and three.agreeing == 0.8 and three.name == "trefoil (3_1)"
    split = knot([torus_knot(2, 3), wobbly()])
    assert split.verdict == "undecided" and "disagree" in split.reason
    json.dumps(three.to_dict(), allow_nan=False)
    assert "t^2 - t + 1" in repr(three) and three.plot().get_xlabel()


def test_polynomials_are_spelt_as_people_write_them():
    assert spelt((1, -3, 1)) == "t^2 - 3t + 1" and spelt((1,)) == "1" and spelt((2, 0, -1)) == "2t^2 - 1"


def hopf(distance=1.0):
    ring = torus_knot(1, 0, 40) / 3
    return ring, ring @ Rotation.from_euler("x", 90, degrees=True).as_matrix().T + [distance, 0, 0]


def torus_link(times):
    """Two strands on a torus that wind round one another so many times."""
    t = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    out = []
    for phase in (0, np.pi):
        radius = 2 + np.cos(times * t + phase)
        out.append(np.stack([radius * np.cos(t), radius * np.sin(t), np.sin(times * t + phase)], axis=1))
    return out


def test_linking_numbers():
    one, other = hopf()
    assert abs(gauss_linking(one, other)) == pytest.approx(1, abs=1e-9)
    assert gauss_linking(one, other[::-1]) == pytest.approx(-gauss_linking(one, other), abs=1e-9)
    assert gauss_linking(*hopf(3.0)) == pytest.approx(0, abs=1e-9) and counted_linking(*hopf(3.0)) == 0
    down = np.stack([np.zeros(4), [0, 0, 9, 9], [5, -5, -5, 5]], axis=1)
    assert counted_linking(one, down) == -1, "down through a ring run anticlockwise"


@pytest.mark.parametrize("times", [-3, -1, 1, 2, 5])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gauss_integral_is_the_count_of_crossings(times, seed):
    one, other = (c @ Rotation.random(random_state=seed).as_matrix() for c in torus_link(times))
    assert abs(counted_linking(one, other, seed)) == abs(times)
    assert gauss_linking(one, other) == pytest.approx(counted_linking(one, other, seed), abs=1e-8)


def test_the_vote_on_a_link_does_not_mind_the_direction():
    one, other = hopf()
    found = linking([(one, other), (one, other[::-1]), (one, other)])
    assert abs(found.number) == 1 and found.is_decided and "+-1 in 3 of 3" in repr(found)
    assert not linking([hopf(), hopf(3.0)]).is_decided
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: polygon_knot(np.zeros((5, 2))), r"must have shape \(corners, 3\).*got \(5, 2\)"),
        (lambda: polygon_knot(np.zeros((2, 3))), "at least 3 corners"),
        (lambda: polygon_knot(np.full((4, 3), np.nan)), "NaN or inf"),
        (lambda: polygon_knot(np.ones((4, 3))), "all corners of the curve coincide"),
        (lambda: knot([]), "at least one closed curve"),
        (lambda: linking([]), "at least one pair"),
        (lambda: counted_linking(*[torus_knot(1, 0)] * 2), "meets itself or the other|no generic projection"),
        (lambda: alexander(crossings(on_lattice(*hopf()), np.random.default_rng(0))), "one curve"),
    ],
)
def test_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
