"""Structure without a flow as people bring it: rounded, repeated, with one point far away."""

import numpy as np
import pytest

from analysis import Analyzer
from analysis.density.lattice import step_of, unrounded
from flows.geometry.outlying import RowWarning


def ring(count=600, seed=0):
    draw = np.random.default_rng(seed)
    angle = draw.random(count) * 2 * np.pi
    return np.c_[np.cos(angle), np.sin(angle)] + 0.05 * draw.normal(size=(count, 2))


def test_a_rounded_ring_is_a_ring():
    with pytest.warns(RowWarning, match=r"columns \[0, 1\] are rounded to steps of 0.1: uniform noise of one step"):
        analyzer = Analyzer.from_structure(ring(1500).round(1))
    assert analyzer.levels(masses=[0.9]).betti(0.9) == (1, 1)


def test_a_gaussian_rounded_to_its_sd_is_one_piece():
    x = np.random.default_rng(0).normal(size=(600, 2)).round()
    with pytest.warns(RowWarning, match="steps of 1:"):
        assert Analyzer.from_structure(x).tree().count == 1


@pytest.mark.parametrize("places", [1, 2])
def test_repeated_places_are_said(places):
    x = np.repeat([[0.0, 0.0], [1.0, 1.0]][:places], 150, axis=0)
    with pytest.raises(ValueError, match=f"only {places} distinct rows among {150 * places}: places, not a cloud"):
        Analyzer.from_structure(x)


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_a_point_far_away_is_named_and_the_ring_read(far):
    x = np.r_[ring(1500), [[far, far]]]
    with pytest.warns(RowWarning, match="1 of 1501 rows set aside: row 1500 lies .* all others; look"):
        analyzer = Analyzer.from_structure(x, labels=np.arange(1501))
    assert analyzer.rows.tolist() == analyzer.labels.tolist() == list(range(1500))
    assert analyzer.levels(masses=[0.9]).betti(0.9) == (1, 1)


def test_clean_points_stay_as_they_are():
    x = ring()
    assert unrounded(x, 0) is x and np.array_equal(Analyzer.from_structure(x).s, x)


def test_steps():
    draw = np.random.default_rng(0)
    column = draw.normal(size=1000)
    assert step_of(column.round(1)) == pytest.approx(0.1) and step_of(draw.poisson(0.5, 1000).astype(float)) == 1
    assert step_of(column) == step_of(column.clip(0)) == step_of(np.ones(5)) == 0
    assert step_of(np.repeat(column[:100], 10)) == 0  # repeated, not rounded


def test_half_precision_and_nearly_constant_columns_are_no_lattice(recwarn):
    """As sentence encoders have them: the rounding of half precision, and one column that rounding alone moves."""
    points = np.random.default_rng(0).normal(size=(3000, 3)) * [1.0, 0.004, 1.0] + [0.0, 0.05, 0.0]
    points = points.astype(np.float16).astype(float)
    points[:, 2] = 0.3 + 6e-8 * (points[:, 2] > 0)
    assert len(np.unique(points[:, 1])) < 1500
    assert (unrounded(points, 0) == points).all() and not recwarn.list
