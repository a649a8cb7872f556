"""Pieces of a point cloud: their number against clouds with a known one, their rows against the truth."""

import numpy as np
import pytest

import analysis
from analysis import agreement, find_pieces
from analysis.pieces import clusters


def blobs(centres: np.ndarray, rows: int, sd: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(len(centres), size=rows)
    return centres[labels] + sd * generator.normal(size=(rows, centres.shape[1])), labels


@pytest.mark.parametrize("dims", [1, 2, 3, 9])
@pytest.mark.parametrize("rows", [500, 10_000])
def test_a_gaussian_is_one_piece(rows: int, dims: int) -> None:
    for seed in range(8 if rows == 500 else 1):
        assert find_pieces(blobs(np.zeros((1, dims)), rows, 1.0, seed)[0]).count == 1


@pytest.mark.parametrize("dims", [2, 3, 9])
def test_ten_blobs_are_ten_pieces(dims: int) -> None:
    grid = np.mgrid[:2, :5].reshape(2, 10).T
    centres = np.random.default_rng(1).uniform(-9, 9, size=(10, dims)) if dims > 2 else grid
    x, truth = blobs(centres, 3000, 0.3 if dims > 2 else 0.12)
    pieces = find_pieces(x)
    assert pieces.count == 10
    assert agreement(pieces.labels_, truth) > 0.99


def test_two_overlapping_clusters_split_at_their_saddle() -> None:
    x, truth = blobs(np.array([[-1.0], [1.0]]), 3000, 0.4)
    pieces = find_pieces(x)
    assert pieces.count == 2
    assert agreement(pieces.labels_, truth) > 0.9
    # density at the peak over that at the saddle: e^(1 / (2 * .4^2)) / 2
    assert np.sort(pieces.prominence)[0] == pytest.approx(1 / (2 * 0.4**2) - np.log(2), abs=0.6)
    assert np.isinf(pieces.prominence).sum() == 1


def test_a_density_is_counted_in_the_clouds_own_dimension() -> None:
    """In ambient dimension a ring in nine dimensions would have nine times the noise, and fall apart."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 3000)
    ring = np.c_[np.cos(angle), np.sin(angle), np.zeros((3000, 7))]
    assert find_pieces(ring).count == 1
    assert find_pieces(ring).dimension == pytest.approx(1, abs=0.05)


def test_a_thick_circle_is_one_piece() -> None:
    generator = np.random.default_rng(3)
    angle = generator.uniform(0, 2 * np.pi, 4000)
    assert find_pieces(np.c_[np.cos(angle), np.sin(angle)] + 0.08 * generator.normal(size=(4000, 2))).count == 1


def test_a_small_peak_next_to_a_prominent_one_joins_its_own_side() -> None:
    """Peaks 5 and 4 are pieces, 2 touches 4 alone: it joins 4, though 5 is the higher one of that connected part."""
    heights, pairs = np.array([5.0, 4.0, 2.0]), np.array([[0, 1], [1, 2]])
    roots, _ = clusters.merge(heights, pairs, np.array([1.9, 1.8]), 1.0)
    assert roots.tolist() == [0, 1, 1]
    _, prominence = clusters.merge(heights, pairs, np.array([1.9, 1.8]), np.inf)
    assert prominence[1:] == pytest.approx([2.1, 0.2]) and np.isinf(prominence[0])


def test_labels_mass_and_order_agree() -> None:
    x, _ = blobs(np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]]), 600, 1.0)
    pieces = find_pieces(x)
    assert pieces.mass == pytest.approx(np.bincount(pieces.labels_) / 600)
    assert pieces.mass[0] > 0.6 > pieces.mass[1]
    assert pieces.to_dict()["count"] == 2 and "count=2" in repr(pieces)


def test_many_rows_follow_the_subsample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MOST_ROWS", 500)
    x, truth = blobs(np.array([[0.0, 0.0], [9.0, 0.0]]), 5000, 1.0)
    pieces = find_pieces(x)
    assert pieces.neighbours == 22 and len(pieces.labels_) == 5000
    assert agreement(pieces.labels_, truth) > 0.99
    assert (find_pieces(x, seed=0).labels_ == pieces.labels_).all()


@pytest.mark.parametrize(
    "x",
    [np.zeros((40, 0)), np.ones((40, 3)), np.zeros((1, 2)), np.arange(5.0)[:, None]],
    ids=["k=0", "equal", "1", "5"],
)
def test_nothing_to_tell_apart_is_one_piece(x: np.ndarray) -> None:
    pieces = find_pieces(x)
    assert pieces.count == 1 and (pieces.labels_ == 0).all() and pieces.mass.tolist() == [1.0]


def test_heaps_of_duplicates_are_pieces() -> None:
    assert find_pieces(np.repeat([[0.0], [1.0], [5.0]], 100, axis=0)).count == 3


def test_settings_are_obeyed() -> None:
    x, _ = blobs(np.array([[-1.0], [1.0]]), 1000, 0.3)
    assert find_pieces(x, prominence=50.0).count == 1
    assert find_pieces(x, prominence=0.0).count > 2
    assert find_pieces(x, neighbours=50).neighbours == 50


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(3), r"shape \(rows, dims\)"),
        (np.zeros((0, 2)), "at least one row"),
        (np.array([[0.0], [np.nan]]), "1 of 2"),
    ],
)
def test_unusable_points_are_refused(x: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_pieces(x)


def test_unusable_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        find_pieces(np.zeros((5, 1)), neighbours=0)


def test_names_load_on_first_use() -> None:
    assert set(dir(analysis)) == set(analysis.__all__) >= {"Analyzer", "find_pieces"}
    with pytest.raises(AttributeError, match="no attribute 'absent'; it has Aligner, Analyzer"):
        analysis.absent  # noqa: B018
