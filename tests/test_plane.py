"""Separability and mixture indices: their values where they are known, and what they do not tell apart."""

import json

import numpy as np
import pytest

from analysis import irreducibility

N = 4000


def drawn(seed=0):
    return np.random.default_rng(seed)


def ring(count=N):
    t = drawn().uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(t), np.sin(t)], 1) + 0.05 * drawn(1).normal(size=(count, 2))


def test_two_independent_coordinates_are_separable_however_they_are_turned():
    square = drawn().uniform(-1, 1, (N, 2))
    turn = np.radians(30)
    rows = square @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    found = irreducibility(rows)
    assert found.separability < 0.02 and found.angle == pytest.approx(30, abs=3)
    assert max(found.curve) > 0.1  # 45 degrees away they depend on one another


def test_a_gaussian_has_the_values_of_the_closed_forms():
    found = irreducibility(drawn().normal(size=(20_000, 2)))
    assert found.separability < 0.01
    assert found.mixture == pytest.approx(0.0797, abs=0.01)  # 2 Phi(.1) - 1


def test_two_features_that_do_not_occur_together_are_a_mixture():
    rows = np.zeros((N, 2))
    rows[np.arange(N), drawn().integers(0, 2, N)] = drawn(1).exponential(size=N)
    assert irreducibility(rows).mixture > 0.45 > 2 * irreducibility(ring()).mixture


def test_neither_index_tells_clusters_on_a_ring_from_a_ring():
    corners = 2 * np.pi / 7 * drawn().integers(0, 7, N)
    clusters = np.stack([np.cos(corners), np.sin(corners)], 1) + 0.1 * drawn(1).normal(size=(N, 2))
    one, other = irreducibility(ring()), irreducibility(clusters)
    assert one.separability > 0.3 and other.separability > 0.3
    assert "clusters score as high" in repr(other)


def test_plain_data_and_plot():
    found = irreducibility(ring(500))
    assert json.loads(json.dumps(found.to_dict()))["rows"] == 500
    assert "nats" in found.plot().get_ylabel()


@pytest.mark.parametrize(
    ("points", "epsilon", "message"),
    [
        (np.zeros((100, 3)), 0.1, r"points must have shape \(n >= 50, 2\), got \(100, 3\)"),
        (np.ones((20, 2)), 0.1, "got \\(20, 2\\)"),
        (np.outer(np.arange(60.0), [1, 2]), 0.1, "lie on a line"),
        (drawn().normal(size=(60, 2)), 1.5, "epsilon must be in"),
    ],
)
def test_wrong_input(points, epsilon, message):
    with pytest.raises(ValueError, match=message):
        irreducibility(points, epsilon)
