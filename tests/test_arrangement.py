"""How centres lie: rings, arcs, lines and simplices with a known order, and none where there is none."""

import json

import numpy as np
import pytest

from analysis import Analyzer
from analysis.pieces.arrangement import arrangement
from analysis.pieces.neighbourhoods import family, relative_neighbours
from analysis.pieces.ordering import gap_p_value, random_centres, shortest_tours, squared_distances


def along(turns, count, noise=0.02, seed=0, dims=6):
    """One row a class on an arc of so many turns."""
    rng = np.random.default_rng(seed)
    t = 2 * np.pi * np.linspace(0, turns, count, endpoint=turns < 1)
    return np.stack([np.cos(t), np.sin(t)], axis=1) @ np.linalg.qr(rng.normal(size=(dims, 2)))[
        0
    ].T + noise * rng.normal(size=(count, dims))


def neighbours(order):
    return {frozenset(pair) for pair in zip(order, order[1:] + order[:1], strict=True)}


def test_a_ring_is_one_in_its_order():
    shuffled = np.random.default_rng(1).permutation(10)
    found = arrangement(along(1, 10)[shuffled], shuffled)
    assert found.kind == "ring" and found.p_value < 0.01 and found.statistic > 0.95
    assert neighbours(found.order) == neighbours(tuple(range(10)))


def test_an_arc_has_a_gap_and_begins_after_it():
    found = arrangement(along(0.7, 12), np.arange(12))
    assert found.kind == "arc" and found.gap > 2 and found.order in (tuple(range(12)), tuple(range(11, -1, -1)))


def test_an_even_line_is_one_in_its_order():
    rows = np.linspace(0, 1, 8)[:, None] * np.ones((1, 4)) + 0.02 * np.random.default_rng(0).normal(size=(8, 4))
    found = arrangement(rows, list("abcdefgh"))
    assert found.kind == "line" and found.order in (tuple("abcdefgh"), tuple("hgfedcba"))


def test_centres_as_far_from_one_another_are_a_simplex():
    found = arrangement(np.eye(9) + 0.05 * np.random.default_rng(0).normal(size=(9, 9)), np.arange(9))
    assert found.kind == "simplex" and found.p_value > 0.05


def test_means_without_order_are_seldom_a_ring():
    rng = np.random.default_rng(0)
    said = [arrangement(rng.normal(size=(9, 12)) / np.arange(1, 13), np.arange(9), seed=i).p_value for i in range(40)]
    assert np.mean(np.array(said) <= 0.05) <= 0.15 and np.mean(np.array(said) <= 0.5) < 0.75


def test_an_order_that_is_given_has_a_permutation_p_value():
    rows = along(1, 8)
    right, wrong = (
        arrangement(rows, np.arange(8), order=order).agreement for order in (range(8), [0, 4, 1, 5, 2, 6, 3, 7])
    )
    assert (right.shared, right.possible) == (8, 8) and right.cyclic < 0.01
    assert wrong.shared <= 2 and wrong.cyclic > 0.05
    line = arrangement(along(0.5, 8), np.arange(8), order=range(8)).agreement
    assert line.linear < 0.001


def test_the_analyzer_asks_its_pieces_and_its_labels(tmp_path):
    rng = np.random.default_rng(0)
    which = rng.integers(6, size=1800)
    t = which * np.pi / 3
    rows = 5 * np.stack([np.cos(t), np.sin(t)], axis=1) + 0.4 * rng.normal(size=(1800, 2))
    analyzer = Analyzer.from_structure(rows)
    pieces, classes = analyzer.arrangement(), analyzer.arrangement(which, order=range(6))
    assert analyzer.tree().count == 6 and pieces.kind == classes.kind == "ring"
    assert "6 of 6 neighbours found" in repr(classes) and "found order" in repr(pieces)
    json.dumps(classes.to_dict(), allow_nan=False)
    assert len(classes.plot().texts) >= 6
    assert "Arrangement of pieces" in analyzer.report(tmp_path / "r.html").read_text()


def grid_of(sides, closed):
    """Centres on the product of two paths, or of two circles."""
    i, j = np.stack(np.meshgrid(*map(np.arange, sides)), axis=-1).reshape(-1, 2).T.astype(float)
    if not closed:
        return np.stack([i, j], axis=1)
    t, p = 2 * np.pi * i / sides[0], 2 * np.pi * j / sides[1]
    return np.stack([np.cos(t), np.sin(t), np.cos(p), np.sin(p)], axis=1)


def binary_tree(nodes=15):
    """Every node a step from its parent in a direction of its own."""
    steps = np.eye(nodes)
    for node in range(1, nodes):
        steps[node] += steps[(node - 1) // 2]
    return steps


@pytest.mark.parametrize(
    ("centres", "name", "sides", "links"),
    [
        (grid_of((3, 4), False), "grid", (3, 4), 17),
        (grid_of((4, 4), True), "torus", (4, 4), 32),
        (binary_tree(), "tree", (), 14),
    ],
)
def test_grids_tori_and_trees_are_told_by_their_links(centres, name, sides, links):
    noisy = centres + 0.03 * np.random.default_rng(0).normal(size=centres.shape)
    found = arrangement(noisy, np.arange(len(centres)))
    assert found.kind == name and found.graph.sides == sides and found.p_value <= 0.05
    assert len(found.graph.links) == links and len(found.plot().lines) == links
    json.dumps(found.to_dict(), allow_nan=False)


def test_graphs_of_other_kinds_have_no_name():
    ring, path = along(1, 9, noise=0), np.arange(9.0)[:, None]
    assert [family(relative_neighbours(squared_distances(x[None])[0]))[0] for x in (ring, path)] == ["", ""]
    linked = np.zeros((9, 9), dtype=bool)  # a ring with three chords has as many links as a grid 3 x 3
    for i, j in [*((i, (i + 1) % 9) for i in range(9)), (0, 4), (2, 6), (3, 7)]:
        linked[i, j] = linked[j, i] = True
    assert family(linked) == ("", ())


def test_a_gap_stands_out_among_even_steps_only():
    rng = np.random.default_rng(0)
    even, uneven = np.append(1 + 0.02 * rng.normal(size=11), 2.0), np.append(rng.exponential(size=11), 2.0)
    assert gap_p_value(even, rng) < 0.01 and gap_p_value(uneven, rng) > 0.2


@pytest.mark.parametrize(("width", "verdict"), [(0.1, "pieces"), (None, "continuous")])
def test_pieces_on_a_ring_are_told_from_a_continuous_one(width, verdict):
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(9), 80)
    spread = rng.uniform(-0.5, 0.5, 720) if width is None else width * rng.normal(size=720)
    t = 2 * np.pi / 9 * (labels + spread)
    rows = np.stack([np.cos(t), np.sin(t)], axis=1) + 0.05 * rng.normal(size=(720, 2))
    found = arrangement(rows, labels)
    assert found.kind == "ring" and found.filling.verdict == verdict and repr(found.filling) in repr(found)


def test_few_pieces_claim_nothing():
    found = arrangement(np.eye(4), np.arange(4))
    assert "too few for an order" in repr(found) and found.plot().get_xlabel()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [([0, 1], None, "one entry per row"), (range(6), range(5), "name each of the 6 classes once")],
)
def test_refused(labels, order, message):
    with pytest.raises(ValueError, match=message):
        arrangement(np.eye(6), list(labels), order)


def test_the_shortest_way_is_as_short_as_the_best_of_all():
    from itertools import permutations

    rng = np.random.default_rng(0)
    apart = squared_distances(rng.normal(size=(20, 7, 3)))
    found = [sum(a[t[i - 1], t[i]] for i in range(7)) for a, t in zip(apart, shortest_tours(apart, rng), strict=True)]
    best = [min(sum(a[(0, *p)[i - 1], (0, *p)[i]] for i in range(7)) for p in permutations(range(1, 7))) for a in apart]
    assert np.mean(np.isclose(found, best)) >= 0.9 and np.mean(np.divide(found, best)) < 1.02


def test_random_centres_keep_the_spectrum():
    drawn = random_centres(9, np.array([3.0, 2.0, 0.5]), 5, np.random.default_rng(0))
    assert np.allclose(drawn.mean(1), 0) and np.allclose(np.linalg.svd(drawn, compute_uv=False), [3, 2, 0.5])
