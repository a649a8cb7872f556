"""The aligner on blocks whose symmetry is known: every optimum, what is called unique, evidence, and what it refuses."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from test_analyzer import exact_flow, write_run

from analysis import Aligner, Analyzer
from analysis.alignment import foscttm, label_transfer
from analysis.alignment.bends import affine, small_flow
from analysis.alignment.clouds import Cloud, squared_distances
from analysis.alignment.correction import correct
from analysis.alignment.nulls import p_value
from analysis.alignment.rigid import Rigid, angle, are_apart, polar, random_map

ROWS = 150


def letter(seed, rows=ROWS):
    """An F: no map but the identity keeps it."""
    generator = np.random.default_rng(seed)
    starts, steps = np.array([[0, 0], [0, 2], [0, 1.0]]), np.array([[0, 2], [1.2, 0], [0.7, 0]])
    bar = generator.choice(3, rows, p=[0.5, 0.3, 0.2])
    return 2 * (starts[bar] + generator.uniform(0, 1, (rows, 1)) * steps[bar]) + 0.1 * generator.normal(size=(rows, 2))


def triangle(seed, rows=ROWS):
    """Three equal clusters, and which one each row is of."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, rows)
    corner = 2 * np.pi / 3 * labels
    return 2 * np.c_[np.cos(corner), np.sin(corner)] + 0.2 * generator.normal(size=(rows, 2)), labels


TURN = random_map(2, 2, np.random.default_rng(5))


@pytest.fixture(scope="module")
def unique():
    return Aligner().fit(letter(0), letter(1) @ TURN + 3)


@pytest.fixture(scope="module")
def ambiguous():
    return Aligner().fit(triangle(0)[0], triangle(1)[0] @ TURN)


def test_a_shape_without_symmetry_has_one_map_and_it_is_the_true_one(unique):
    assert unique.is_unique_ and unique.symmetry_.name == "trivial" and len(unique.alternatives_) == 1
    assert angle(unique.map_.matrix, TURN) < 5 and np.allclose(unique.map_.shift, 3, atol=0.2)
    assert unique.score_ > 0.9 and not unique.differs_


def test_every_map_of_a_triangle_is_returned(ambiguous):
    assert not ambiguous.is_unique_ and ambiguous.symmetry_.name == "D3" and ambiguous.symmetry_.order == 6
    assert len(ambiguous.alternatives_) == 6
    assert min(angle(m.matrix, TURN) for m in ambiguous.alternatives_) < 8
    assert {m.score > 0.8 for m in ambiguous.matches_} == {True} and len(ambiguous.matches_) == 3


@pytest.mark.slow
def test_a_map_is_not_called_unique_where_few_starts_lead_to_it(unique):
    """59 residues by three frequencies, 118 maps of the code to itself: the search sees one of them and has to say so."""
    generator = np.random.default_rng([2, 3])
    residues, noise = generator.integers(0, 59, (2, 600)), 0.08 * generator.normal(size=(2, 600, 6))
    turns = 2 * np.pi / 59 * residues[..., None] * [8, 10, 26]
    a, b = np.concatenate([np.cos(turns), np.sin(turns)], 2) + noise
    found = Aligner().fit(a, b @ random_map(6, 6, generator))
    assert not found.is_unique_ and found.reached_[0] < 6 <= unique.reached_[0]
    assert "too few to say that there is no other" in found.verdict() and "too few" not in unique.verdict()


def test_a_circle_keeps_its_phase_to_itself():
    t = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, ROWS))
    circles = np.stack([np.cos(t), np.sin(t)], 2) + 0.08 * np.random.default_rng(1).normal(size=(2, ROWS, 2))
    found = Aligner().fit(*circles)
    assert found.symmetry_.name == "O(2)" and found.symmetry_.continuous == 1 and found.symmetry_.order is None
    assert not found.is_unique_ and len(found.alternatives_) == 2
    assert {round(float(np.linalg.det(m.matrix))) for m in found.alternatives_} == {-1, 1}
    assert "may turn freely" in found.verdict()


def test_labels_break_the_symmetry():
    (a, of_a), (b, of_b) = triangle(0), triangle(1)
    found = Aligner().fit(a, b @ TURN, labels=(of_a, of_b))
    assert found.is_unique_ and angle(found.map_.matrix, TURN) < 5 and found.evidence_ == ("labels",)


def test_a_second_function_breaks_it_up_to_its_own_symmetry():
    a, b = triangle(0)[0], triangle(1)[0]
    found = Aligner().fit(a, b @ TURN, values=(a[:, 1], b[:, 1]))
    assert found.is_unique_ and angle(found.map_.matrix, TURN) < 6
    mirrored = Aligner().fit(a, b @ TURN, values=(a[:, 0], b[:, 0]))  # a mirror image has the same first coordinate
    assert mirrored.symmetry_.name == "Z2"


def test_pairs_break_it():
    (a, labels), b = triangle(0), triangle(1)[0]
    rows = [int(np.flatnonzero(labels == piece)[0]) for piece in (0, 1)]
    b[:2] = a[rows]
    found = Aligner().fit(a, b @ TURN, pairs=[[rows[0], 0], [rows[1], 1]])
    assert found.is_unique_ and angle(found.map_.matrix, TURN) < 6 and found.evidence_ == ("2 pairs",)
    assert found.pairs_apart_ < 0.1 and "leaves the known pairs" in found.verdict()
    one = Aligner().fit(a, b @ TURN, pairs=[[rows[0], 0]])
    assert one.symmetry_.name == "Z2"  # the mirror through that corner is left
    assert "one pair cannot be checked" in one.verdict() and "cannot be checked" not in found.verdict()


def test_the_score_is_of_rows_that_the_search_did_not_see():
    """A map of many dimensions can be bent to the rows it is sought on, and then scores 1 on them."""
    a, b = letter(0, 200), letter(1, 200) @ TURN
    found = Aligner(rows=60).fit(a, b)
    a[found._unseen[0]] = triangle(0, len(found._unseen[0]))[0]
    assert Aligner(rows=60).fit(a, b).score_ < found.score_ - 0.2


def test_the_score_of_other_rows_where_the_larger_block_is_a():
    wide = np.c_[letter(1, 200), 0.05 * np.random.default_rng(3).normal(size=200)]
    assert Aligner(rows=60).fit(wide, letter(0, 200)).score_ > 0.7


def test_distances_in_many_dimensions_are_those_in_few():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(30, 12)) + 100, generator.normal(size=(20, 12)) + 100
    assert np.allclose(squared_distances(a, b), cdist(a, b, "sqeuclidean"))


@pytest.mark.parametrize("k", [2, 5, 20])
def test_maps_are_apart_where_their_angle_says_so(k):
    generator = np.random.default_rng(k)
    start = random_map(k, k, generator)
    sizes = np.geomspace(0.01, 3, 60)
    others = [polar(start + size * generator.normal(size=(k, k)) / np.sqrt(k)) for size in sizes]
    told = [are_apart(start, other, 15) for other in others]
    assert told == [angle(start, other) > 15 for other in others] and len(set(told)) == 2


def test_maps_go_both_ways(unique):
    a = letter(7)
    there = unique.transform_structure(a)
    assert np.allclose(unique.inverse_transform_structure(there), a)
    assert np.allclose(unique.transform(a), there)  # arrays are their own activations
    assert foscttm(there, a @ TURN + 3) < 0.01


def test_blocks_of_different_sizes():
    generator = np.random.default_rng(3)
    wide = np.c_[letter(1), 0.05 * generator.normal(size=ROWS)] @ random_map(3, 3, generator)
    up, down = Aligner().fit(letter(0), wide), Aligner().fit(wide, letter(0))
    assert up.map_.matrix.shape == (2, 3) and down.map_.matrix.shape == (3, 2)
    for found, there, back in ((up, letter(0), wide), (down, wide, letter(0))):
        assert found.score_ > 0.8 and found.transform_structure(there).shape == back.shape
    assert np.allclose(up.inverse_transform_structure(up.transform_structure(letter(2))), letter(2))


def test_one_piece_alone():
    a = np.vstack([letter(0), letter(2) + 30])
    mask = np.arange(len(a)) < ROWS
    found = Aligner().fit(a, letter(1) @ TURN, only=(mask, np.arange(ROWS)))
    assert found.is_unique_ and angle(found.map_.matrix, TURN) < 5


def circle(seed, rows=500):
    generator = np.random.default_rng(seed)
    t = generator.uniform(0, 2 * np.pi, rows)
    return np.c_[np.cos(t), np.sin(t)] + 0.08 * generator.normal(size=(rows, 2))


@pytest.fixture(scope="module")
def with_a_loop():
    """A circle and a blob on either side, b's turned."""
    blobs = [0.3 * np.random.default_rng(seed).normal(size=(300, 2)) + [4, 1] for seed in (0, 1)]
    return np.vstack([circle(0), blobs[0]]), np.vstack([circle(1), blobs[1]]) @ TURN


def test_loops_are_matched_and_one_angle_goes_to_the_other(with_a_loop):
    a, b = map(Analyzer.from_structure, with_a_loop)
    found = Aligner(null_draws=19).fit(a, b)
    (match,) = found.loop_matches_
    assert match.score > 0.8 and found.unmatched_loops_ == {"a": [], "b": []}
    assert "loop 0 of a goes once around loop 0 of b" in found.verdict()
    there = a.loops()[0].angle(circle(2))
    gaps = match.winding * there + match.phase - b.loops()[0].angle(found.transform_structure(circle(2)))
    assert np.abs(np.exp(1j * gaps).mean()) > 0.97 and abs(np.angle(np.exp(1j * gaps).mean())) < 0.2


@pytest.mark.parametrize(("kind", "name", "loops"), [("piece", "O(2)", 0), ("loop", "O(2)", 1)])
def test_one_piece_or_loop_by_its_number(with_a_loop, kind, name, loops):
    a, b = map(Analyzer.from_structure, with_a_loop)
    blobs = [int(side.tree().predict(place)[0]) for side, place in ((a, [[4, 1]]), (b, [[4, 1]] @ TURN))]
    found = Aligner(null_draws=19).fit(a, b, **{kind: blobs if kind == "piece" else (0, 0)})
    assert found.symmetry_.name == name and len(found.loop_matches_) == loops and len(found.a_.s) < 600
    assert f"{kind} {0 if kind == 'loop' else blobs[0]} of a and" in found.verdict() and "alone" in found.verdict()


def test_the_null_leaves_out_as_many_pieces_as_the_pair_does():
    """A letter on either side, the other piece a blob here and a triangle there."""
    other = [0.4 * np.random.default_rng(0).normal(size=(130, 2)) + [9, 1], 1.2 * triangle(0)[0][:130] + [5, -6]]
    clouds = [np.vstack([letter(i), piece]) for i, piece in enumerate(other)]
    clouds, pieces = [Cloud(s, np.zeros((len(s), 0))) for s in clouds], [np.repeat([0, 1], [ROWS, 130])] * 2
    assert p_value(clouds, pieces, 19, 15.0, 0) > 0.05 == p_value(clouds, pieces, 19, 15.0, 0, left_out=2)


def test_what_does_not_fit_is_no_alignment(unique):
    assert unique.p_value_ <= 0.05 and unique.is_aligned_
    other = Aligner(null_draws=19).fit(letter(0), triangle(1)[0])
    assert other.p_value_ > 0.05 and "no alignment" in other.verdict()


def test_a_missing_piece_is_named():
    a, labels = triangle(0)
    found = Aligner().fit(a, a[labels < 2] @ TURN)
    assert len(found.unmatched_["a"]) >= 1 and found.differs_


def test_structures_that_one_model_lacks_are_left_out_and_the_rest_is_aligned():
    places = np.array([[0.0, 0, 0], [6, 1, 0], [0, 7, 2], [-5, -3, 6]])
    generator, sides = np.random.default_rng(2), []
    for which in ((0, 1, 2), (0, 1, 3)):
        pieces = [np.c_[letter(seed + which[-1], 120), np.zeros(120)] if seed == 0 else 0.4 * generator.normal(size=(120, 3))
                  for seed in which]  # fmt: skip
        sides.append(np.vstack([p + places[i] for p, i in zip(pieces, which, strict=True)]))
    turn = random_map(3, 3, generator)
    found = Aligner(null_draws=19).fit(sides[0], sides[1] @ turn)
    shared = [found.a_.pieces[240:], found.b_.pieces[240:]]  # those of the third piece on either side
    assert [set(found.left_out_[side]) for side in "ab"] == [set(map(int, own)) for own in shared]
    assert found.differs_ and min(angle(m.matrix, turn) for m in found.alternatives_) < 5
    assert len(found.matches_) == 2 and "without a's piece" in found.verdict()


def test_the_non_rigid_steps_are_kept_where_they_win_only(unique):
    stretched = Aligner(correction="affine").fit(letter(0, 300), letter(1, 300) * [1, 1.4])
    (step,) = stretched.correction_.steps
    assert stretched.correction_.kept == ("affine",) and step.after < step.before
    s = letter(4)
    assert np.allclose(stretched.inverse_transform_structure(stretched.transform_structure(s)), s)
    assert Aligner(correction=affine).fit(letter(0), letter(1)).correction_.kept == ()
    with pytest.raises(ValueError, match="the bend must give finite rows"):
        Aligner(correction=lambda x, y: lambda s: s[:2]).fit(letter(0), letter(1))


def test_a_small_flow_follows_a_bend_and_comes_back():
    x = letter(0, 300)
    y = x + 0.25 * np.c_[np.zeros(300), (x[:, 0] - x[:, 0].mean()) ** 2]
    flow, straight = small_flow(x, y), affine(x, y)
    assert ((flow(x) - y) ** 2).mean() < 0.5 * ((straight(x) - y) ** 2).mean()
    assert np.allclose(flow.inverse(flow(x)), x, atol=1e-9)
    sides = [letter(0, 800), letter(1, 800)]
    sides[1][:, 1] += 0.5 * (sides[1][:, 0] - 1.2) ** 2
    clouds = [Cloud(s - s.mean(0), np.zeros((800, 0))) for s in sides]
    found = correct(clouds, Rigid(np.eye(2), np.zeros(2)), "flow", 0)
    assert found.kept == ("affine", "small flow") and "small flow kept" in repr(found)
    assert np.allclose(found.inverse(found(x)), x, atol=1e-6) and found.steps[1].after < found.steps[0].after


def test_results_are_the_seed_s_alone(unique, untouched_rng):
    with untouched_rng():
        again = Aligner().fit(letter(0), letter(1) @ TURN + 3)
    assert np.array_equal(again.map_.matrix, unique.map_.matrix)
    assert json.loads(json.dumps(again.to_dict()))["is_unique"] is True
    assert "symmetry trivial, unique" in repr(again) and "not fitted" in repr(Aligner())


def test_foscttm_counts_ties_as_half():
    x = np.arange(4.0)[:, None]
    assert foscttm(x, x) == 0
    assert foscttm(np.zeros((4, 1)), np.zeros((4, 1))) == 0.5  # a joint collapse is chance, not perfect


def test_foscttm_by_hand():
    # distances from 0: 1, 2; from 5: 4, 3: the first is right; columns: 1: 1, 4; 2: 2, 3: the second is wrong
    assert foscttm([[0.0], [5.0]], [[1.0], [2.0]]) == pytest.approx((0 + 0 + 0 + 1) / 4)


def test_label_transfer_votes():
    x = np.repeat([[0.0], [10.0]], 5, axis=0)
    assert label_transfer(x, np.repeat([0, 1], 5), [[1.0], [9.0]], [0, 0]) == 0.5


def test_analyzers_are_aligned_between_activation_spaces():
    (flow_a, a), (flow_b, b) = exact_flow("three", rows=800), exact_flow("three", noise_dims=4, rows=800, seed=1)
    found = Aligner(rows=200).fit(Analyzer(flow_a, a.x), Analyzer(flow_b, b.x))
    assert found.symmetry_.name == "D3" and len(found.matches_) == 3
    moved = found.transform(a.x[:50])
    assert moved.shape == (50, 6) and found.inverse_transform(moved).shape == (50, 4)
    s = flow_b.encode(moved).double().numpy()
    assert np.allclose(s, found.transform_structure(flow_a.encode(a.x[:50])), atol=1e-3)
    assert not np.allclose(found.transform(a.x[:50], noise="draw"), moved)
    noise, _ = exact_flow("gaussian")
    with pytest.raises(ValueError, match="a has k = 0: nothing but noise"):
        Aligner().fit(Analyzer(noise, np.zeros((60, 4))), Analyzer(flow_b, b.x))


def test_the_command_line_aligns_two_runs(tmp_path, capsys):
    from training.cli import main

    runs = [str(write_run(tmp_path / name)) for name in ("one", "other") if not (tmp_path / name).mkdir()]
    out = tmp_path / "align.html"
    assert main(["align", *runs, "--rows", "100", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "aligned up to Z2" in said and "piece 0 of a" in said
    page = out.read_text(encoding="utf8")
    assert page.count("<img") >= 2 and "What stays ambiguous" in page
    assert main(["align", *runs, "--rows", "100", "--use-labels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evidence"] == ["labels"]
    assert main(["align", *runs, "--rows", "3"]) == 1
    assert "rows must be at least 40" in capsys.readouterr().err


A = np.random.default_rng(0).normal(size=(50, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Aligner(tolerance=0), "tolerance must lie between 0 and 90"),
        (lambda: Aligner(null_draws=5), "null_draws must be at least 19"),
        (lambda: Aligner(correction="spline"), "correction must be None, 'affine', 'flow' or a callable"),
        (lambda: Aligner().fit(A[:10], A), "a has 10 rows, alignment needs at least 40"),
        (lambda: Aligner().fit(A, A * np.nan), "structure rows of b contain NaN"),
        (lambda: Aligner().fit(A, A, pairs=[[0, 50]]), "pairs must lie within 50 rows"),
        (lambda: Aligner().fit(A, A, pairs=[[0.5, 1]]), "pairs must be integers"),
        (lambda: Aligner().fit(A, A, labels=([0] * 50, [1] * 50)), "no class in common"),
        (lambda: Aligner().fit(A, A, labels=([0] * 50, [0] * 4)), "one class per row"),
        (lambda: Aligner().fit(A, A, labels=[0] * 50), "labels must be a pair, of a and of b"),
        (lambda: Aligner().fit(A, A, labels=([0] * 50, None)), "labels are there for a alone"),
        (lambda: Aligner().fit(A, A, values=(None, A)), "values are there for b alone"),
        (lambda: Aligner().fit(A, A, labels=([np.nan] * 50, [1.0] * 50)), "labels contain NaN in 50 of 50 rows"),
        (lambda: Aligner().fit(A, np.ones((50, 2))), "all rows of b are equal"),
        (lambda: Aligner().fit([["one", "two"]] * 50, A), "structure rows of a must be numbers"),
        (lambda: Aligner().fit(A[:, 0], A), r"structure rows of a must have shape \(rows, k\)"),
        (lambda: Aligner().fit(A, A, values=(A, A[:, :1])), "the same functions on both sides"),
        (lambda: Aligner().fit(A, A, only=([99], [0])), "row numbers below 50"),
        (lambda: Aligner().fit(A, A, pairs=[[0, 0]], only=(range(45), range(45))), "pairs number all rows"),
        (lambda: Aligner().fit(A, A, piece=(0, 9)), "no piece 9 in b; it has 1, numbered from 0"),
        (lambda: Aligner().fit(A, A, loop=(0, 0)), "no loop 0 in a; it has 0"),
        (
            lambda: Aligner().fit(A, A, piece=(0, 0), loop=(0, 0)),
            "at most one of only, piece and loop, got piece and loop",
        ),
        (lambda: Aligner().fit(A, A, piece=0), "piece must name one of a and one of b"),
        (lambda: Aligner().transform(A), "not fitted"),
        (lambda: foscttm(A, A[:3]), "two arrays"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
