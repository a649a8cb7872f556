"""Naming shapes: ridge, landmarks, angles, branches, cup product, and what the analyzer says of clouds of known shape."""

import json
from dataclasses import replace

import numpy as np
import pytest
import shapes
import torch
from scipy.spatial.distance import cdist

from analysis import Analyzer, fit_density
from analysis.density.em import Mixture
from analysis.topology.branches import loose_ends, shared_way
from analysis.topology.circular import CircularCoordinate, circular_coordinates, shortest_basis
from analysis.topology.curve import closed_curve
from analysis.topology.describe import describe
from analysis.topology.homology import PRIME, diagram, p_value, ratio_at
from analysis.topology.knot import polygon_knot
from analysis.topology.loops import loops
from analysis.topology.naming import kind_of
from analysis.topology.reading import loops_among, loops_of, read_piece
from analysis.topology.ridge import derivatives, is_frequented, thickness, to_ridge
from analysis.topology.survey import survey
from analysis.topology.torus import cup_product_remainder, triangles
from analysis.topology.unions import united
from flows.geometry.landmarks import maxmin

ROWS = 1600


def reading(name, rows=2500, seed=0):
    draw, _, thick = {**shapes.SHAPES, **shapes.CURVES}[name]
    points = shapes.cloud(draw, rows, seed, thick)
    return read_piece(points, fit_density(points, seed, members=3).mixture, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def circle():
    return Analyzer.from_structure(shapes.cloud(shapes.circle, ROWS, 0, 0.15))


@pytest.fixture(scope="module")
def trefoil():
    return Analyzer.from_structure(shapes.cloud(shapes.trefoil, 2 * ROWS, 0, 0.06))


@pytest.mark.parametrize(
    "name",
    ["blob", "arc", "tree", "figure eight", "theta", "sphere", "flat torus in R^4"],
)
def test_one_draw_names_the_shape(name):
    assert kind_of(reading(name))[0] == shapes.SHAPES[name][1]


def test_a_torus_in_space_is_one():
    found = reading("torus", rows=5000)
    assert found.curves == (None, None), "what lies at one angle of a surface is no point of a curve"
    assert kind_of(found)[0] == "torus" and found.cup > 0.3 and len(found.coordinates) == 2


@pytest.mark.slow
def test_a_klein_bottle_closes_over_two_and_not_over_three():
    found = reading("Klein bottle in R^4", rows=6000)
    assert found.betti == {2: (2, 1), 3: (1, 0)} and kind_of(found)[0] == "Klein bottle"


def test_a_bent_lump_of_three_dimensions_is_a_blob_without_a_ridge():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 3))
    points = np.column_stack([x, 0.4 * x[:, 0] ** 2, 0.4 * x[:, 1] * x[:, 2]]) + 0.03 * rng.normal(size=(2500, 5))
    found = read_piece(points, fit_density(points, members=1).mixture, rng)
    assert found.thickness.dimension == 3 and not found.saw_voids
    assert kind_of(found) == ("blob", "thin in 2 of 5 directions")
    assert found.projected(points) is points


def test_a_loop_through_several_pieces_is_one_shape():
    wobbly = Analyzer.from_structure(shapes.cloud(shapes.wobbly, 2500, 2, 0.06), seed=2)
    assert wobbly.tree().count == 3, "its slow stretches are modes of the density"
    described = wobbly.describe()
    assert described.kind == "circle" and described.pieces[0].pieces == (0, 1, 2)
    assert "circle (3 pieces in 1 shape)" in repr(
        described
    ) and "pieces 0, 1 and 2 (100% of the rows) together" in repr(described)
    assert wobbly.knot(0).verdict == "unknotted" and len(wobbly.loops()[0].rows) == 2500


def test_loops_of_their_own_keep_pieces_apart():
    ring = shapes.cloud(shapes.circle, 800, 0, 0.1)
    two = Analyzer.from_structure(np.concatenate([ring, ring + np.array([4, 0])]))
    assert united(two.tree(), two.s, two.density) == ((0,), (1,))


def test_where_the_draws_disagree_lower_masses_are_read(circle, monkeypatch):
    said = {0.9: "unknown", 0.75: "circle", 0.6: "arc"}
    monkeypatch.setattr("analysis.topology.survey.read_piece", lambda rows, density, rng, mass: mass)
    monkeypatch.setattr("analysis.topology.survey.kind_of", lambda mass: (said[mass], ""))
    labels = np.zeros(ROWS, dtype=np.intp)
    found = survey(circle.s, labels, circle.density, draws=3)
    assert found.masses == (0.75,) and found.readings == ((0.75,) * 3,)
    assert found.kind(0) == ("circle", 0.5, ""), "three draws at one of the two masses looked at"
    said.update({0.75: "unknown", 0.6: "unknown"})
    assert survey(circle.s, labels, circle.density, draws=3).masses == (0.9,), "nothing is agreed on anywhere"


def test_a_lower_mass_is_said(circle):
    lower = replace(circle.loops().survey, masses=(0.6,))
    assert "by its densest 60%, for on its densest 90% the draws do not agree" in repr(describe(loops(lower)))


def test_betti_numbers_alone_do_not_make_a_torus():
    found = reading("sphere with two loops")
    assert found.betti[2] == (2, 1) and found.cup is not None and found.cup < 1e-3
    assert kind_of(found)[0] == "unknown" and "span no surface" in kind_of(found)[1]


def test_a_circle_is_a_circle_with_the_planted_angle(circle):
    described, loops = circle.describe(), circle.loops()
    assert described.kind == "circle" and described.confidence == 1 and len(loops) == 1
    assert loops[0].p_value < 0.001 and loops[0].seen == 1 and len(loops[0].rows) == ROWS
    fresh = shapes.cloud(shapes.circle, 1000, 1, 0.15)
    truth = np.arctan2(fresh[:, 1], fresh[:, 0])
    found = loops[0].angle(fresh)
    straight, mirrored = (abs(np.exp(1j * (found + side * truth)).mean()) for side in (-1, 1))
    assert max(straight, mirrored) > 0.99 and min(straight, mirrored) < 0.1
    assert abs(np.exp(1j * loops[0].angle(circle.s)).mean()) < 0.02, "by mass the angle runs evenly over the rows"
    assert abs(np.exp(1j * (loops[0].angle(fresh, by_mass=False) - found)).mean()) > 0.97


def test_a_trefoil_is_a_knot_and_its_curve_runs_through_the_middle(trefoil):
    described = trefoil.describe()
    assert described.kind == "knot" and "trefoil (3_1)" in repr(described)
    assert trefoil.knot(0).polynomial == (1, -1, 1)
    bare = shapes.trefoil(4000, np.random.default_rng(0))
    from scipy.spatial.transform import Rotation

    bare = (bare - bare.mean(0)) / bare.std() @ Rotation.random(random_state=0).as_matrix()
    assert cdist(trefoil.knot(0).curve, bare).min(1).max() < 0.15


def test_everything_is_json_and_drawn(circle, trefoil, tmp_path):
    for analyzer in (circle, trefoil):
        for answer in (analyzer.describe(), analyzer.loops()):
            json.dumps(answer.to_dict(), allow_nan=False)
            assert answer.plot().get_xlabel()
        assert analyzer.loops().plot_diagram().get_ylabel()
    html = circle.report(tmp_path / "r.html").read_text()
    assert "one closed loop" in html and html.count("<img") >= 5


def test_verbs_that_need_a_flow_say_so(circle):
    for ask in (circle.dimensions, circle.certificate, circle.hierarchy, circle.tear, circle.sample, lambda: circle.n):
        with pytest.raises(ValueError, match="needs a flow, and the analyzer was made by from_structure"):
            ask()
    assert "no flow" in repr(circle) and circle.levels().betti(0.9) == (1, 1) and circle.tree().count == 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.loops()[3], "no loop 3; there are 1, numbered from 0"),
        (lambda c: c.knot(0), "in 3 dimensions only, these rows have 2"),
        (lambda c: c.linking(0, 0), "two loops, got loop 0 twice"),
        (lambda c: c.loops()[0].angle(np.zeros((3, 3))), "must have 2 columns, got 3"),
        (lambda c: Analyzer.from_structure(np.zeros((4, 0))), "k = 0 columns"),
        (lambda c: Analyzer.from_structure([[np.nan, 1.0]]), "NaN or inf in 1 of 1 rows"),
        (lambda c: Analyzer.from_structure(c.s, labels=[1]), "one entry per row"),
    ],
)
def test_refused(circle, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(circle)


def test_few_rows_and_one_dimension_claim_nothing():
    few = Analyzer.from_structure(np.random.default_rng(0).normal(size=(40, 2)))
    assert few.describe().kind == "unknown" and "too few rows: 40" in repr(few.describe()) and len(few.loops()) == 0
    one = Analyzer.from_structure([[0.5, 1.0]])
    assert "too few rows: 1" in repr(one.describe()) and len(one.loops()) == 0
    assert "too few rows for a claim: 1" in repr(one.examples(piece=0)) and list(one.examples(level=0.5)) == [0]
    line = Analyzer.from_structure(np.random.default_rng(0).normal(size=(400, 1)))
    assert line.describe().kind == "blob" and line.loops().plot().texts and line.describe().plot().get_xlabel()


def test_the_same_seed_gives_the_same_answer_and_global_random_state_stays(untouched_rng):
    points = shapes.cloud(shapes.circle, 500, 3, 0.1)
    with untouched_rng():
        one, other = (repr(Analyzer.from_structure(points, seed=5).loops()) for _ in range(2))
    assert one == other


def mixture(seed=0, dims=3):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(4, dims, dims))
    return Mixture(np.full(4, 0.25), rng.normal(size=(4, dims)), roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(dims))


def test_gradient_and_hessian_of_a_mixture_are_its_derivatives():
    density, x = mixture(), torch.randn(3, dtype=torch.float64)
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.from_numpy(density.weights)),
        torch.distributions.MultivariateNormal(torch.from_numpy(density.means), torch.from_numpy(density.covariances)),
    )
    gradient, hessian = derivatives(density, x[None].numpy())
    want = torch.autograd.functional.jacobian(law.log_prob, x), torch.autograd.functional.hessian(law.log_prob, x)
    assert np.allclose(gradient[0], want[0], rtol=1e-3, atol=1e-4)
    assert np.allclose(hessian[0], want[1], rtol=1e-3, atol=1e-3)


def test_the_ridge_of_a_ring_is_its_circle():
    points = shapes.cloud(shapes.circle, 3000, 0, 0.15)
    density = fit_density(points, members=3).mixture
    thick = thickness(points[:800], density)
    assert thick.dimension == 1 and not thick.is_solid and thick.share > 0.9
    radius = np.linalg.norm(to_ridge(points, density, 1, thick.unit), axis=1)
    assert np.std(radius) < 0.03 < 0.1 < np.std(np.linalg.norm(points, axis=1))


def test_a_long_gaussian_is_thin_nowhere():
    points = np.random.default_rng(0).normal(size=(2000, 3)) * [1, 0.3, 0.1]
    assert thickness(points[:500], fit_density(points, members=1).mixture).is_solid


def test_spurs_are_not_frequented():
    ring = shapes.circle(1000, np.random.default_rng(0))
    spur = np.stack([1 + np.linspace(0.6, 1.2, 6), np.zeros(6)], axis=1)
    kept = is_frequented(np.concatenate([ring, spur]), 1)
    assert kept[:1000].mean() > 0.99 and not kept[1000:].any()


def test_landmarks_cover_the_points_and_keep_apart():
    points = np.random.default_rng(0).normal(size=(500, 3))
    chosen, cover = maxmin(points, 40, np.random.default_rng(1))
    assert len(set(chosen.tolist())) == 40
    apart = cdist(points[chosen], points[chosen])[np.triu_indices(40, 1)]
    assert cdist(points, points[chosen]).min(1).max() == pytest.approx(cover) and apart.min() >= cover


def test_blobs_show_no_loop():
    largest = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        chosen, _ = maxmin(points := rng.normal(size=(1600, 2)), 200, rng)
        largest.append(diagram(points[chosen], 1).bars[0].p_value)
    assert min(largest) > 0.001 and np.mean(np.array(largest) < 0.05) <= 0.25 and max(largest) > 0.3


def test_points_that_coincide_but_for_rounding_show_no_loop():
    ring = even_circle()[0]
    assert diagram(ring, 1).count(0.01) == 1
    assert diagram(np.concatenate([1e-9 * ring, [[5.0, 5.0]]]), 1).count(0.5) == 0


def test_a_ridge_of_a_few_points_shows_no_loop():
    rng = np.random.default_rng(0)
    modes = np.array([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]])
    lumps = modes[rng.integers(3, size=2000)] + 0.1 * rng.normal(size=(2000, 2))
    density = fit_density(lumps, members=1).mixture
    thick = thickness(lumps, density)
    assert thick.dimension == 0
    assert loops_of(lumps, density, rng) == 0 and kind_of(read_piece(lumps, density, rng))[0] == "blob"
    assert not loops_among(even_circle()[0], 0.1, thick).bars
    assert loops_among(even_circle()[0], 0.1, replace(thick, dimension=1)).bars


def test_p_values_fall_with_the_ratio():
    assert p_value(1.0, 1) == 1 and p_value(1.2, 1) > 0.9 and p_value(10.0, 1) < 1e-6
    for degree in (1, 2):
        assert p_value(ratio_at(0.03, degree), degree) == pytest.approx(0.03)


def even_circle(count=60):
    t = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(t), np.sin(t)], axis=1), t


def test_the_angle_of_an_even_circle_is_exact():
    landmarks, t = even_circle()
    found = diagram(landmarks, 1)
    (coordinate,), gram = circular_coordinates(landmarks, found.cocycles[:1], PRIME, 0.5)
    for direction in (1, -1):
        offset = coordinate(landmarks) - direction * t
        if abs(np.exp(1j * offset).mean()) > 0.999:
            break
    assert np.allclose(np.exp(1j * (offset - offset[0])), 1, atol=1e-6)
    between = np.stack([np.cos(t + 0.02), np.sin(t + 0.02)], axis=1)
    assert np.allclose(np.exp(1j * (coordinate(between) - direction * (t + 0.02) - offset[0])), 1, atol=0.02)
    assert gram.shape == (1, 1) and coordinate.steepest < 0.1


def test_an_angle_beside_a_part_that_is_not_connected():
    landmarks, t = even_circle()
    apart = np.concatenate([landmarks, [[9.0, 9.0], [9.1, 9.0]]])
    (coordinate,), _ = circular_coordinates(apart, diagram(apart, 1).cocycles[:1], PRIME, 0.5)
    angles = coordinate(landmarks)
    assert max(abs(np.exp(1j * (angles - side * t)).mean()) for side in (1, -1)) > 0.999


def test_a_cochain_that_is_none_is_refused():
    landmarks, _ = even_circle()
    wrong = np.array([[0, 1, 1], [5, 6, 3]])
    with pytest.raises(ArithmeticError, match="does not lift"):
        circular_coordinates(landmarks, [wrong], PRIME, 0.5)


def test_a_basis_is_made_short():
    lengths = np.diag([1.0, 4.0])
    skew = np.array([[1, 0], [3, 1]])
    basis = shortest_basis(skew @ lengths @ skew.T)
    assert np.allclose(basis @ skew @ lengths @ skew.T @ basis.T, lengths) and abs(np.linalg.det(basis)) == 1


def test_shared_way_of_figure_eight_and_theta():
    assert shared_way(np.linalg.inv(np.diag([2.0, 3.0]))) == 0
    assert shared_way(np.linalg.inv(np.array([[2.0, 1.0], [1.0, 2.0]]))) == pytest.approx(0.5)


def test_the_shared_way_does_not_depend_on_where_landmarks_lie_close():
    upper, lower = np.linspace(0, np.pi, 150), np.linspace(np.pi, 2 * np.pi, 45)[1:-1]
    arms = [np.stack([np.cos(t), np.sin(t)], axis=1) for t in (upper, lower)]
    diameter = np.stack([np.linspace(-1, 1, 30)[1:-1], np.zeros(28)], axis=1)
    landmarks = np.concatenate([*arms, diameter])
    found = diagram(landmarks, 1)
    _, gram = circular_coordinates(landmarks, found.cocycles[:2], PRIME, 0.25)
    assert shared_way(gram) == pytest.approx(2 / (2 + np.pi), abs=0.08)


@pytest.mark.parametrize(("name", "ends", "loops"), [("arc", 2, 0), ("tree", 3, 0), ("circle", 0, 1), ("theta", 0, 2)])
def test_loose_ends(name, ends, loops):
    rng = np.random.default_rng(0)
    points = shapes.SHAPES[name][0](2000, rng)
    chosen, cover = maxmin(points, 200, rng)
    assert loose_ends(points[chosen], cover, loops) == ends


def test_a_closed_curve_follows_the_angle():
    t = np.random.default_rng(0).uniform(0, 2 * np.pi, 2000)
    points = np.stack([np.cos(t), np.sin(t), np.sin(2 * t)], axis=1)
    curve = closed_curve(points, t)
    assert curve.shape == (72, 3) and np.allclose(np.linalg.norm(curve[:, :2], axis=1), 1, atol=0.02)
    assert closed_curve(points[:40], t[:40]) is None
    assert polygon_knot(curve).verdict == "unknotted"


def product_coordinates(glued):
    """Angles on a grid of the flat torus; or on two circles that share one point (a wedge, filled with no square)."""
    count = 10
    t = 2 * np.pi * np.arange(count) / count
    one, other = (a.ravel() for a in np.meshgrid(t, t, indexing="ij"))
    if not glued:
        kept = (one == 0) | (other == 0)
        one, other = one[kept], other[kept]
    points = np.stack([np.cos(one), np.sin(one), np.cos(other), np.sin(other)], axis=1)
    linked = cdist(points, points) < 0.95
    out = []
    for angle in (one, other):
        steps = (angle[None] - angle[:, None] + np.pi) % (2 * np.pi) - np.pi
        out.append(CircularCoordinate(points, angle / (2 * np.pi), steps / (2 * np.pi) * linked, linked, 0.95))
    return out


def test_the_cup_product_of_a_torus_is_no_coboundary_and_that_of_a_wedge_is():
    assert cup_product_remainder(*product_coordinates(True)) > 0.3
    assert cup_product_remainder(*product_coordinates(False)) < 1e-6
    one, other = product_coordinates(True)
    assert cup_product_remainder(one, one) < 1e-6, "an angle with itself"
    assert len(triangles(one.linked)[0])
    with pytest.raises(ValueError, match="same landmarks"):
        cup_product_remainder(one, product_coordinates(False)[0])
