"""The tree of pieces: known clouds, the shape of the tree, its density, and what it refuses."""

import json

import numpy as np
import pytest

import training
from analysis.density.bag import fit_density
from analysis.pieces.tree import tree

ROWS = 1500


def three_of_two_scales(rows=ROWS, seed=0):
    """Two clusters near each other, a third far away; 40, 30 and 30 percent of the rows."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, rows, p=[0.4, 0.3, 0.3])
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [30.0, 0.0]])
    return centres[labels] + generator.normal(size=(rows, 2)), labels


@pytest.fixture(scope="module")
def found():
    return tree(three_of_two_scales()[0])


def test_pieces_are_the_clusters_heaviest_first(found):
    labels = three_of_two_scales()[1]
    mass = [found.nodes[p].mass for p in range(found.count)]
    assert found.count == 3 and mass == sorted(mass, reverse=True) and sum(mass) == pytest.approx(1)
    for piece in range(3):
        assert np.bincount(labels[found.labels_ == piece]).max() > 0.97 * (found.labels_ == piece).sum()


def test_the_two_near_ones_join_first(found):
    root = found.nodes[found.root]
    assert root.mass == 1 and len(found.nodes) == 5
    union = next(c for c in root.children if found.nodes[c].children)
    centres = [three_of_two_scales()[0][found.labels_ == p][:, 0].mean() for p in found.leaves(union)]
    assert max(centres) < 10
    near, far = (found.nodes[found.nodes[n].children[0]].prominence for n in (union, found.root))
    assert found.depth < near < far


def test_nodes_hold_the_rows_of_their_children(found):
    for node in found.nodes:
        assert node.mass == pytest.approx(len(node.rows) / ROWS)
        if node.children:
            assert sorted(np.concatenate([found.nodes[c].rows for c in node.children])) == sorted(node.rows)
        else:
            assert (found.labels_[node.rows] == node.number).all()


def test_the_density_integrates_to_one_and_draws_from_a_piece_stay_in_it(found):
    x, y = np.meshgrid(np.linspace(-8, 40, 481), np.linspace(-8, 8, 161))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    assert np.exp(found.log_prob(grid)).sum() * 0.1 * 0.1 == pytest.approx(1, abs=0.01)
    for piece in range(3):
        assert (found.predict(found.sample(piece, 300)) == piece).mean() > 0.97
    whole = np.bincount(found.predict(found.sample(count=6000)), minlength=3) / 6000
    assert whole == pytest.approx(found.weights, abs=0.03)


@pytest.mark.parametrize(
    ("name", "pieces"), [("two", 2), ("three", 3), ("circle", 1), ("sphere", 1), ("linked_circles", 2)]
)
def test_planted_pieces(name, pieces):
    assert tree(training.planted(name, 4000, 2, 0).structure.numpy()).count == pieces


@pytest.mark.parametrize("dims", [1, 2, 12])
def test_noise_is_one_piece(dims):
    assert tree(np.random.default_rng(dims).normal(size=(1500, dims))).count == 1


def test_linear_maps_change_nothing():
    rows, _ = three_of_two_scales()
    turned = tree(rows @ np.array([[3.0, 1.0], [0.0, 0.2]]) + 7)
    assert (turned.labels_ == tree(rows).labels_).mean() > 0.99


def test_few_rows_say_so():
    one = tree([[1.0, 2.0]])
    assert one.count == 1 and "note:" in repr(one)
    json.dumps(one.to_dict(), allow_nan=False)


def test_plain_data_and_a_picture(found):
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(record["nodes"]) == 5
    assert found.plot().has_data()


@pytest.mark.parametrize("spoilt", [np.full((9, 2), np.nan), np.zeros((0, 2)), np.zeros(4)])
def test_refused(spoilt):
    with pytest.raises(ValueError):
        tree(spoilt)


def test_global_random_state_stays(untouched_rng):
    rows = three_of_two_scales(600)[0]
    with untouched_rng():
        first = tree(rows)
    assert repr(first) == repr(tree(rows))


def test_beside_a_flat_density_judged_on_rows_that_neither_has_seen():
    points = three_of_two_scales()[0]
    flat = fit_density(points, members=1)
    found = tree(points, flat=flat)
    beside, judges = found.against_flat, points[flat.held_out]
    assert beside.rows == len(judges) == 300 and beside.flat == pytest.approx(flat.log_prob(judges).mean())
    assert beside.gain == pytest.approx(beside.tree - beside.flat) and abs(beside.gain) < 0.1
    assert np.array_equal(found.labels_, tree(points).labels_), "the tree is the same with and without"
    # the mixtures that were judged have not seen the judges: those fitted to all rows do a little better on them
    assert 0 < found.log_prob(judges).mean() - beside.tree < 0.1
    assert "a flat mixture of" in repr(found) and found.to_dict()["against_flat"]["rows"] == 300
    assert tree(points[:40], flat=fit_density(points[:40])).against_flat is None
    with pytest.raises(ValueError, match="flat must be a density of the same 100 rows, got one of 1500"):
        tree(points[:100], flat=flat)


def test_no_source_is_on_both_sides_of_a_density():
    points, sources = three_of_two_scales(400)[0], np.arange(400) // 4
    fitted = fit_density(points, groups=sources, members=1, most_rows=301)
    held = np.isin(np.arange(400), fitted.held_out)
    assert fitted.fit_rows == 300 == (~held).sum() and not set(sources[held]) & set(sources[~held])
    assert fit_density(points, groups=np.zeros(400), members=1).fit_rows == 320, "one source alone is cut"
    with pytest.raises(ValueError, match="groups must have one entry per row"):
        fit_density(points, groups=sources[:5])
