"""Two wide clouds, no pairs: assignment of pieces, the layer's metric, what is ambiguous, what does not belong together."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from analysis import Aligner, Analyzer
from analysis.alignment import foscttm, label_transfer
from analysis.alignment.assignment import assignments
from analysis.alignment.frame import Frame, outward
from analysis.alignment.geometry import elsewhere
from analysis.alignment.layer import layers
from analysis.alignment.nodes import clearest, cut, silhouette
from analysis.alignment.nuisance import without
from analysis.alignment.permuted import group_of
from analysis.alignment.retrieval import Retrieval
from analysis.alignment.rigid import Rigid, polar, random_map
from analysis.alignment.sides import Side
from flows import FunnelFlow


def gaps(x):
    return cdist(x, x)


@pytest.mark.parametrize(("count", "more"), [(2, 2), (7, 7), (12, 12), (40, 40), (7, 12), (12, 7)])
def test_nodes_are_assigned_by_distances_alone(count, more):
    generator = np.random.default_rng(count)
    few, many = sorted((count, more))
    nodes = generator.normal(size=(many, 6))
    order = generator.permutation(many)[:few]
    small, large = 3 * nodes[order] + 0.05 * generator.normal(size=(few, 6)), nodes
    a, b = (small, large) if count == few else (large, small)
    found = assignments(gaps(a), gaps(b), generator)
    expected = order if count == few else np.array([*order, *[-1] * (many - few)])
    if count == few:
        assert few == 2 or (found.orders[0] == expected).all()
    else:
        assert all(found.orders[0][order[i]] == i for i in range(few)) and (found.orders[0] == -1).sum() == many - few
    assert found.agreement[0] == found.agreement.max() and found.reached.sum() >= found.starts - 4


def test_an_assignment_is_the_best_there_is():
    """Against all orders of six nodes whose distances hardly agree."""
    from itertools import permutations

    generator = np.random.default_rng(0)
    a, b = gaps(generator.normal(size=(6, 5))), gaps(generator.normal(size=(6, 5)))
    upper = np.triu_indices(6, 1)
    best = max(np.corrcoef(a[upper], b[np.ix_(p, p)][upper])[0, 1] for p in map(list, permutations(range(6))))
    assert assignments(a, b, generator).agreement[0] == pytest.approx(best)


def clusters(centres, generator, each=30, spread=0.15):
    labels = np.repeat(np.arange(len(centres)), each)
    return centres[labels] + spread * generator.normal(size=(len(labels), centres.shape[1])), labels


CENTRES = np.c_[np.random.default_rng(3).normal(size=(8, 9)), np.zeros((8, 3))]


def test_pieces_are_cut_where_they_are_clearest():
    x, labels = clusters(CENTRES, np.random.default_rng(0))
    found = clearest(x)
    assert found[0].count == 8 and cut(found, clearest(clusters(CENTRES, np.random.default_rng(1))[0]))[1].count == 8
    # two pieces of two rows: own distance 1, other distance about 10
    assert silhouette(gaps(np.array([[0.0], [1], [10], [11]])), np.array([0, 0, 1, 1])) == pytest.approx(0.9, abs=0.01)
    assert silhouette(gaps(x), np.zeros(len(x), int)) is None


@pytest.fixture(scope="module")
def two():
    """Eight clusters in 12 dimensions, and the same in 20, turned, moved and seven times as large."""
    (a, of_a), (b, of_b) = (clusters(CENTRES, np.random.default_rng(seed)) for seed in (0, 1))
    turn = random_map(12, 20, np.random.default_rng(5))
    return a, of_a, 7 * b @ turn + 3, of_b, turn


@pytest.fixture(scope="module")
def found(two):
    return Aligner(null_draws=19).fit(two[0], two[2])


def test_wide_clouds_of_other_widths_and_units_are_aligned(two, found):
    a, _, b, _, turn = two
    assert found.metric_ == "layer" and found.is_aligned_ and found.map_.scale == pytest.approx(7, rel=0.05)
    assert foscttm(found.transform(a), 7 * a @ turn + 3) < 0.01
    assert len(found.matches_) == 8 and min(m.score for m in found.matches_) > 0.95
    assert found.is_unique_ and found.reached_[0] >= 6 and found.score_ > 0.8
    back = found.inverse_transform(found.transform(a))
    assert ((back - a) ** 2).mean() < 0.02 * a.var()
    assert json.loads(json.dumps(found.to_dict()))["geometry"]["pieces"] == [8, 8]


def test_geometry_says_what_distances_can_tell(two, found):
    told = found.geometry_
    assert told.agreement > 0.9 > told.usual and told.p_value <= 0.05 and told.true_agreement is None
    assert "geometry: 8 and 8 pieces" in found.verdict()
    found._labels = two[1], two[3]
    try:
        labelled = found._wide.geometry(found._labels)
    finally:
        found._labels = None
    assert labelled.true_right == 1 and labelled.true_agreement == labelled.best_agreement
    assert "no other assignment is better" in labelled.lines()[1]


def test_labels_and_heads_are_carried_over(two, found):
    a, of_a, b, of_b, _ = two
    centres = np.array([b[of_b == i].mean(0) for i in range(8)])
    head = 2 * centres, -(centres**2).sum(1)  # the nearest centre
    got = found.stitched(head, labels=of_a)
    assert got.accuracy > 0.98 and got.own is None and got.answers.shape == (len(a),)
    assert found.stitched(lambda rows: rows @ head[0].T + head[1], x=a[:9], labels=of_a[:9]).accuracy == 1
    with pytest.raises(ValueError, match=r"weight must have shape \(classes, 20\)"):
        found.stitched((centres[:, :5], head[1]))
    with pytest.raises(ValueError, match="one answer a row"):
        found.stitched(lambda rows: rows[:2])


def test_runs_with_many_pieces_are_aligned_in_the_layer_s_metric(two):
    """The flow at rest keeps nine of twelve directions; its block is whitened, the layer is not."""
    a, of_a, b, of_b, turn = two
    b = b + 0.05 * np.random.default_rng(9).normal(size=b.shape)
    flows = []
    for rows in (a, b):
        x = torch.tensor(rows, dtype=torch.float32)
        flow = FunnelFlow.from_rows(x)
        flow.exits.set_open(torch.arange(x.shape[1]) < 9)
        flows.append((flow.requires_grad_(False).eval(), x))
    (flow_a, x_a), (flow_b, x_b) = flows
    found = Aligner(null_draws=19).fit(Analyzer(flow_a, x_a, of_a), Analyzer(flow_b, x_b, of_b))
    assert found.metric_ == "layer" and found.map_.matrix.shape == (12, 20) and found.transfer_.accuracy > 0.98
    moved = found.transform(x_a[:50])
    assert moved.shape == (50, 20) and found.inverse_transform(moved).shape == (50, 12)
    s = flow_b.encode(moved).double().numpy()
    assert np.allclose(s, found.transform_structure(flow_a.encode(x_a[:50])), atol=1e-3)
    centres = torch.tensor(np.array([b[of_b == i].mean(0) for i in range(8)]))
    got = found.stitched(lambda rows: torch.cdist(rows.double(), centres).argmin(1))
    assert got.accuracy > 0.98 and got.own > 0.98


def test_a_ring_of_seven_is_aligned_up_to_its_symmetry():
    """Seven clusters on a ring are the same under D7, and no search may call one map unique."""
    turns = 2 * np.pi * np.arange(7) / 7
    ring = np.c_[2 * np.cos(turns), 2 * np.sin(turns), np.zeros((7, 8))]
    a, b = (clusters(ring, np.random.default_rng(seed), 25, 0.3)[0] for seed in (0, 1))
    found = Aligner(null_draws=19).fit(a, b @ random_map(10, 10, np.random.default_rng(2)))
    assert found.symmetry_.name == "D7" and not found.is_unique_ and len(found.alternatives_) > 1


def test_seven_pieces_and_twelve_do_not_belong_together():
    generator = np.random.default_rng(0)
    sides = []
    for count in (7, 12):
        turns = 2 * np.pi * np.arange(count) / count
        ring = np.c_[1.5 * np.cos(turns), 1.5 * np.sin(turns), generator.normal(size=(count, 11))]
        sides.append(clusters(ring, generator, 168 // count)[0])
    found = Aligner(null_draws=19).fit(*sides)
    assert not found.is_aligned_ and "no alignment" in found.verdict()


def test_pieces_that_lie_otherkeep_their_spectrum():
    moved = elsewhere(CENTRES, np.random.default_rng(0))
    spectra = [np.linalg.svd(x - x.mean(0), compute_uv=False) for x in (CENTRES, moved)]
    assert np.allclose(*spectra) and np.allclose(moved.mean(0), CENTRES.mean(0)) and not np.allclose(moved, CENTRES)


def test_the_group_of_assignments():
    seven = np.random.default_rng(0).normal(size=(7, 9))
    step, mirror = np.roll(np.arange(7), 1), np.arange(7)[::-1]
    turns = [np.roll(np.arange(7), i) for i in range(7)]
    group = group_of(seven, [*turns, mirror], 15.0)
    assert group.name == "D7" and group.order == 14
    assert group_of(seven, [step[t] for t in turns[1:5]], 15.0).name == "Z7"  # what counts is by what they differ
    assert group_of(seven, [np.arange(7), step], 15.0).is_trivial  # two of seven are no group
    assert group_of(seven, [np.arange(7)], 15.0).is_trivial
    stray = np.array([1, 0, 2, 4, 3, 5, 6])
    assert group_of(seven, [*turns, mirror, stray], 15.0).name == "D7"  # one more that is none of them
    many = [np.random.default_rng(i).permutation(7) for i in range(6)]
    assert group_of(seven, many, 15.0).is_trivial  # they generate too much to be a group worth a name
    assert group_of(seven, [np.arange(7), np.array([0, 1, 2, 3, 4, 5, -1])], 15.0).is_trivial


def test_a_map_between_frames_is_one_between_activations():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)) * [3, 1, 1, 1, 1] + 4, 9 * generator.normal(size=(60, 7)) - 2
    a, b = Frame.of(x), Frame.of(y)
    map = Rigid(polar(generator.normal(size=(a.axes.shape[1], b.axes.shape[1]))), np.full(b.axes.shape[1], 0.1))
    assert np.allclose(b(outward(map, a, b)(x)), map(a(x)))


def test_a_scale_goes_both_ways():
    map = Rigid(random_map(3, 3, np.random.default_rng(0)), np.ones(3), 4.0)
    x = np.random.default_rng(1).normal(size=(5, 3))
    assert np.allclose(map.inverse(map(x)), x) and np.allclose(
        np.linalg.norm(map(x) - 1, axis=1), 4 * np.linalg.norm(x, axis=1)
    )


def test_a_nuisance_is_taken_off():
    generator = np.random.default_rng(0)
    template, length = generator.integers(0, 5, 80), generator.normal(size=80)
    x = generator.normal(size=(80, 4)) + 9 * np.eye(5, 4)[template] + length[:, None]
    left = without(x, np.array(list(map(str, template))), "a")
    assert np.allclose([left[template == i].mean(0) for i in range(5)], left.mean(0)) and np.allclose(
        left.mean(0), x.mean(0)
    )
    assert abs(np.corrcoef(without(x, length, "a")[:, 0], length)[0, 1]) < 1e-9
    both = without(x, np.c_[template, template % 2], "a")  # columns of classes that overlap
    assert np.allclose(both, left)


X = np.random.default_rng(0).normal(size=(50, 12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Aligner().fit(X, X, nuisance=np.zeros(50)), "nuisance must be a pair, of a and of b"),
        (
            lambda: Aligner().fit(X, X, nuisance=(np.zeros(3), None)),
            "a: nuisance must have one row for each of 50 rows",
        ),
        (lambda: Aligner().fit(X, X, nuisance=(None, np.arange(50))), "b: nuisance column 0 has 50 classes for 50"),
        (lambda: Aligner().fit(X, X, nuisance=(None, X)), "b: the nuisance explains all of the rows"),
        (lambda: Aligner().fit(X, X, nuisance=(np.full(50, np.nan), None)), "a: nuisance contains NaN"),
        (lambda: Aligner().fit(X, np.where(X > 2, np.nan, X)), "structure rows of b contain NaN"),
        (lambda: Aligner().fit(X, np.ones((50, 12))), "all rows of b are equal"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def residues(modulus, dims, each, generator):
    """A code of residues: five frequencies on circles of unlike sizes, seen in fewer directions; and the residues."""
    angles = 2 * np.pi * np.outer(np.arange(modulus), [1, 3, 5, 8, 11]) / modulus
    waves = np.hstack([np.cos(angles), np.sin(angles)]) * np.tile([1.0, 0.9, 0.8, 0.7, 0.6], 2)
    seen = waves @ np.random.default_rng(2).normal(size=(10, dims))
    labels = np.repeat(np.arange(modulus), each)
    return seen[labels] + 0.2 * generator.normal(size=(len(labels), dims)), labels


def test_dozens_of_pieces_are_found_and_matched():
    """31 residues in 9 dimensions, other rows on either side, one side turned; two of 62 pieces may be cut otherwise."""
    (a, of_a), (b, of_b) = (residues(31, 9, 12, np.random.default_rng(seed)) for seed in (0, 1))
    assert 29 <= clearest(a)[0].count <= 33
    turn = random_map(9, 9, np.random.default_rng(5))
    found = Aligner(null_draws=19).fit(a, b @ turn)
    assert found.is_unique_ and found.is_aligned_ and found.reached_[0] >= 6
    assert (
        label_transfer(found.transform(a), of_a, b @ turn, of_b) == 1 and foscttm(found.transform(a), a @ turn) < 1e-3
    )


def test_forty_rows_of_4096_are_aligned_with_few_pieces():
    """Few rows, wider than long, and one side with duplicates: an answer, and not a unique one."""
    x = np.random.default_rng(0).normal(size=(40, 4096))
    found = Aligner().fit(x, np.vstack([x[:20], x[:20]]))
    assert not found.is_unique_ and found.transform(x[:3]).shape == (3, 4096)


@pytest.mark.parametrize(
    "other",
    [X, np.vstack([X[:25]] * 2), np.repeat(X[:3], 17, axis=0)[:50], np.random.default_rng(1).normal(size=(50, 4096))],
    ids=["the same rows", "half of them twice", "three distinct rows", "4096 columns"],
)
def test_odd_clouds_get_an_answer_and_no_certainty(other):
    """Of fifty normal rows; widths 2 and 4096 in the last."""
    found = Aligner(null_draws=19).fit(X[:, :2] if other.shape[1] > 12 else X, other)
    assert not found.is_unique_ and np.isfinite(found.transform(found.a_.s)).all() and "no" in found.verdict()


def test_labels_of_which_only_some_are_shared_are_used(two):
    """Classes 0 to 7 and 2 to 9: those that one side alone has do not disturb the six."""
    a, of_a, b, of_b, _ = two
    there = of_b >= 2
    found = Aligner(null_draws=19).fit(a, b[there], labels=(of_a, np.r_[of_b[there][:-5], [9] * 5]))
    shared = of_a >= 2
    assert label_transfer(found.transform(a)[shared], of_a[shared], b[there][:-5], of_b[there][:-5]) > 0.99


def test_rows_far_out_keep_their_numbers():
    """What an analyzer of points leaves out stays in an alignment: pairs and labels are of the rows as they were given."""
    rows = torch.randn(300, 3).double().numpy()
    rows[7] = 1e4
    assert len(Side.of(rows, "a", None, 0).rows) == 300


def test_rows_of_one_continuum_retrieve_one_another():
    """Rectified features of four skewed latents, turned, into 64 and 80 columns: no pieces, no row in common, no pair."""
    rng = np.random.default_rng(0)
    weights, shift = rng.normal(size=(4, 64)), rng.normal(size=64)

    def drawn(count):
        hidden = rng.gamma(2.0, size=(count, 4)) @ weights / 2 + shift
        return np.maximum(hidden, 0) + 0.1 * rng.normal(size=(count, 64))

    both, left, right = drawn(300), drawn(300), drawn(400)
    a, b = random_map(64, 64, rng), random_map(64, 80, rng)
    frames = Frame.of(left @ a), Frame.of(right @ b)
    rows = Retrieval(frames[0](left @ a), frames[1](right @ b))
    found = rows.found()
    assert foscttm(frames[0](both @ a) @ found, frames[1](both @ b)) < 0.02
    other = random_map(*found.shape, rng)
    assert rows.nearness(found) > rows.nearness(other)


def test_rows_retrieve_one_another_only_where_nothing_is_known_of_them(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 240, 24))
    sides = Side.of(a, "a", None, 0), Side.of(b, "b", None, 0)
    monkeypatch.setattr(Retrieval, "found", lambda rows: np.eye(rows.a.shape[1], rows.b.shape[1]))
    monkeypatch.setattr(Retrieval, "nearness", lambda rows, matrix: float(matrix[0, 0] == 1))
    rival = np.zeros((2, 2))
    pairs, labels = np.arange(5)[:, None] * [1, 1], (np.arange(240) % 2,) * 2
    for known, count in (((None, None), 1), ((pairs, None), 0), ((None, labels), 0)):
        assert len(layers(*sides, *known, None, 0).search._retrieved(rival)) == count
