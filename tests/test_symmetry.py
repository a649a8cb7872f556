"""Symmetry groups: names, distances, free directions; and the pieces that the search is made of."""

import numpy as np
import pytest
from scipy.linalg import block_diag

from analysis.alignment.clouds import Cloud
from analysis.alignment.judge import Judge
from analysis.alignment.matching import Members, matched
from analysis.alignment.refine import polished, transported
from analysis.alignment.rigid import Rigid, angle, distinct, polar, random_map, skew_basis, turn
from analysis.alignment.starts import matched_pieces, signs_and_orders
from analysis.alignment.symmetry import Modulo, Symmetry, _order, directions_of, loose
from analysis.alignment.views import FREE, View, holds


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s], [-s, c]])


MIRROR = np.diag([1.0, -1.0])
SPIN = skew_basis(2) / np.linalg.norm(skew_basis(2)[0], 2)


def cyclic(n):
    return [rotation(360 * i / n) for i in range(n)]


def residues():
    """c -> c + 1, of a code of residues mod 59 by frequencies 15 and 25, its powers, and their mirror images."""
    turns = [block_diag(rotation(360 * 15 * i / 59), rotation(360 * 25 * i / 59)) for i in range(59)]
    return [*turns, *(g @ np.diag([1.0, -1.0, 1.0, -1.0]) for g in turns)]


def plane_spins():
    """The two commuting turns of a product of circles."""
    out = np.zeros((2, 4, 4))
    out[0, :2, :2] = out[1, 2:, 2:] = SPIN[0]
    return out


@pytest.mark.parametrize(
    ("elements", "directions", "name", "order"),
    [
        (cyclic(1), None, "trivial", 1),
        (cyclic(2), None, "Z2", 2),
        ([np.eye(2), MIRROR], None, "Z2", 2),
        (cyclic(4), None, "Z4", 4),
        ([*cyclic(2), *(g @ MIRROR for g in cyclic(2))], None, "D2", 4),
        ([*cyclic(3), *(g @ MIRROR for g in cyclic(3))], None, "D3", 6),
        ([*cyclic(6), *(g @ MIRROR for g in cyclic(6))], None, "D6", 12),
        ([*cyclic(13), *(g @ MIRROR for g in cyclic(13))], None, "unresolved", 26),
        (residues(), None, "D59", 118),
        (residues()[:59], None, "Z59", 59),
        (residues()[:-1], None, "unresolved", 117),
        (cyclic(1), SPIN, "SO(2)", None),
        ([np.eye(2), MIRROR], SPIN, "O(2)", None),
        ([np.eye(4)], plane_spins(), "T2", None),
        ([np.eye(3)], skew_basis(3) * np.sqrt(2), "SO(3)", None),
        ([np.eye(3), -np.eye(3)], skew_basis(3) * np.sqrt(2), "O(3)", None),
    ],
)
def test_names(elements, directions, name, order):
    k = len(elements[0])
    group = Symmetry(tuple(elements), np.zeros((0, k, k)) if directions is None else directions, 15.0)
    assert group.name == name and group.order == order and group.is_trivial == (name == "trivial")
    assert name in repr(group) and group.to_dict()["components"] == len(elements)
    assert all(np.allclose(g @ g.T, np.eye(k)) for g in [*group.generators, *group.sample(5)])


def test_an_element_whose_powers_leave_the_set_has_no_order():
    assert _order(rotation(90), np.array(cyclic(4)), 15.0) == 4
    assert _order(rotation(100), np.array([rotation(d) for d in (0, 100, 200)]), 15.0) == 0  # 300 is nearest to 0


def test_too_many_maps_are_called_unresolved_and_told_so():
    from analysis.alignment.words import _called, _of_group

    many = Symmetry(tuple(random_map(3, 3, np.random.default_rng(i)) for i in range(30)), np.zeros((0, 3, 3)), 15.0)
    assert not many.is_resolved and Symmetry((np.eye(2), MIRROR), SPIN, 15.0).is_resolved
    assert _called(many) == "a symmetry that is not resolved (30 maps or more)" and "raise rows" in _of_group(many)


def test_distance_is_the_error_up_to_the_group():
    circle = Symmetry((np.eye(2), MIRROR), SPIN, 15.0)
    assert circle.distance(rotation(77.3) @ MIRROR) < 1e-3
    square = Symmetry(tuple(cyclic(4)), np.zeros((0, 2, 2)), 15.0)
    assert square.distance(rotation(95)) == pytest.approx(5) and square.distance(MIRROR) == pytest.approx(180)
    torus = Symmetry((np.eye(4),), plane_spins(), 15.0)
    inside = turn(np.einsum("r,rij->ij", [1.234, -2.5], plane_spins()), 1.0)
    assert torus.distance(inside) < 0.5 and torus.distance(random_map(4, 4, np.random.default_rng(0))) > 30


def test_components_are_counted_up_to_free_turns():
    turns = [rotation(d) for d in (0, 50, 100)]
    modulo = Modulo(SPIN, 15.0)
    assert len(modulo.components([*turns, *(t @ MIRROR for t in turns)])) == 2
    assert len(Modulo(np.zeros((0, 2, 2)), 15.0).components(turns)) == 3


def test_the_loosest_direction_of_a_ring_around_an_axis_is_its_turn():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, 2000)
    s = np.c_[np.cos(t), np.sin(t), 0.8 * rng.uniform(-1, 1, size=2000)]
    s -= s.mean(0)
    first, second = directions_of(loose(s, np.zeros((2000, 0))), 3)[:2]
    assert np.linalg.norm(first, 2) == pytest.approx(1) and abs(first[0, 1]) == pytest.approx(1, abs=0.01)
    along = directions_of(loose(s, s[:, :1]), 3)[0]  # the first coordinate is known: only turns around it are free
    assert abs(along[1, 2]) == pytest.approx(1, abs=0.02) and abs(second[0, 1]) < 0.1


def test_rigid_maps():
    matrix = random_map(2, 4, np.random.default_rng(0))
    there = Rigid(matrix, np.arange(4.0))
    s = np.random.default_rng(1).normal(size=(5, 2))
    assert np.allclose(matrix @ matrix.T, np.eye(2)) and np.allclose(there.inverse(there(s)), s)
    assert angle(rotation(20), rotation(50)) == pytest.approx(30) and angle(np.eye(2), MIRROR) == pytest.approx(180)
    noisy = polar(rotation(30) + 0.01)
    assert np.allclose(noisy @ noisy.T, np.eye(2))
    assert distinct([rotation(d) for d in (0, 10, 40)], [2.0, 1.0, 3.0], 15) == [1, 2]


def clouds(rows=120):
    """Two samples of an L of two bars of different lengths."""
    rng = np.random.default_rng(0)
    u, side = rng.uniform(0, 1, (2, rows)), rng.random((2, rows)) < 0.35
    bars = np.where(side[..., None], np.stack([0 * u, 0.7 * u], 2), np.stack([2 * u, 0 * u], 2))
    bars += 0.03 * rng.normal(size=bars.shape)
    none = np.zeros((rows, 0))
    return Cloud(bars[0], none), Cloud(bars[1], none)


def test_refinement_recovers_the_map_and_ends_cheaper():
    a, b = clouds()
    b = Cloud(b.s @ rotation(25) + 2, b.shared)
    matrix, cost = transported(a, b, np.eye(2))
    assert angle(matrix, rotation(25)) < 10
    map = polished(a, b, matrix)
    assert angle(map.matrix, rotation(25)) < 4
    judge = Judge(a, b)
    best, worse = judge.between(map), judge.between(Rigid(rotation(180) @ map.matrix, map.shift))
    assert judge.allows(best) and not judge.allows(worse) and judge.badness(best) < judge.badness(worse)
    assert cost < 0.2 and not judge.differs
    judge.forgive(worse)
    assert judge.differs and judge.allows(worse)


def test_a_model_against_itself_costs_what_chance_does():
    judge = Judge(*clouds())
    assert judge.null.shape[0] == 2 and judge.usual <= judge.most
    rest = Rigid(np.eye(2), np.zeros(2))
    assert judge.allows(judge.within(0, rest)) and abs(judge.within(0, rest).gap) < 1e-12
    assert not judge.allows(judge.within(0, Rigid(MIRROR, np.zeros(2))))


def test_starts():
    assert len(signs_and_orders(np.zeros((9, 2)), np.zeros((9, 2)))) == 8
    rng = np.random.default_rng(0)
    skewed = rng.exponential(size=(400, 4)) ** [1, 2, 3, 4]
    (start,) = signs_and_orders(skewed, -skewed[:, ::-1])
    assert np.array_equal(start, -np.eye(4)[::-1])
    a, _ = clouds()
    pieces = (a.s[:, 1] > 0.3).astype(int) + 2 * (a.s[:, 0] > 1)
    turned = Cloud(a.s @ rotation(70), a.shared)
    found = matched_pieces(a, turned, pieces, pieces, rng)
    assert angle(found[0], rotation(70)) < 1


def test_many_pieces_are_matched_by_the_approximate_solver():
    rng = np.random.default_rng(0)
    centres, pieces = rng.normal(size=(9, 3)), np.repeat(np.arange(9), 6)
    a = Cloud(centres[pieces] + 0.01 * rng.normal(size=(54, 3)), np.zeros((54, 0)))
    truth = random_map(3, 3, rng)
    found = matched_pieces(a, Cloud(a.s @ truth, a.shared), pieces, pieces, rng)
    assert angle(found[0], truth) < 1


def test_matches_are_read_off_the_plan():
    from scipy.sparse import csr_array

    plan = csr_array(np.diag([0.3, 0.3, 0.25, 0.15]))
    found, lonely_a, lonely_b = matched(plan, *map(Members.of_pieces, np.array([[0, 0, 1, 2], [5, 5, 6, 6]])))
    assert [(m.a, m.b, round(m.score, 3)) for m in found] == [(0, 5, 1.0), (1, 6, 0.625)]
    assert lonely_a == [2] and lonely_b == []


def test_loops_are_matched_by_their_angles():
    from scipy.sparse import csr_array

    angles = np.arange(8) * np.pi / 4
    one, alone = np.exp(1j * angles), np.r_[np.ones(4), np.zeros(4)].astype(complex)
    plan = csr_array(np.eye(8) / 8)
    found, _, lonely = matched(
        plan, Members((3,), one[:, None]), Members((0, 1), np.c_[alone, np.exp(1j * (0.5 - angles))])
    )
    assert [(m.a, m.b, m.winding, round(m.phase, 3), round(m.score, 3)) for m in found] == [(3, 1, -1, 0.5, 1.0)]
    assert lonely == [0]  # its rows all have one angle: nothing goes around it


def ring(rows, corners, seed, thick=0.05):
    """Corners evenly spaced around a circle, each a small blob; none: the circle."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 2 * np.pi, rows) if not corners else 2 * np.pi / corners * rng.integers(corners, size=rows)
    return Cloud(np.c_[np.cos(t), np.sin(t)] + thick * rng.normal(size=(rows, 2)), np.zeros((rows, 0)))


@pytest.mark.parametrize(("corners", "free"), [(0, True), (9, False)])
def test_the_corners_of_a_nonagon_do_not_catch_the_steps_of_a_walk(corners, free):
    judge = Judge(ring(150, corners, 0), ring(150, corners, 1))
    view = View(judge, 0, np.eye(2), 15.0, np.random.default_rng(0))
    assert holds([view.walk(SPIN[0])[1]], FREE) is free


def test_a_walk_sets_a_tilted_direction_right():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, (2, 300))
    circles = [np.c_[np.cos(t[i]), np.sin(t[i]), np.zeros(300)] + 0.05 * rng.normal(size=(300, 3)) for i in (0, 1)]
    judge = Judge(*(Cloud(s, np.zeros((300, 0))) for s in circles))
    spin = np.zeros((3, 3))
    spin[:2, :2] = SPIN[0]
    tilted = turn(0.3 * skew_basis(3)[2], 1.0) @ spin @ turn(-0.3 * skew_basis(3)[2], 1.0)
    taken, strains = View(judge, 0, np.eye(3), 15.0, rng).walk(tilted)
    assert holds([strains], FREE) and np.linalg.norm(taken - spin) < 0.3 * np.linalg.norm(tilted - spin)


def test_one_strain_too_high_is_outvoted_unless_it_is_far_too_high():
    assert holds([[0.2], [1.2], [0.1]]) and not holds([[1.2]]) and not holds([[0.0], [1.6], [0.0]])
    assert not holds([[0.0], [np.inf]]) and not holds([[0.6, 0.7], [0.5]], FREE)
