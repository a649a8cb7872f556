"""Angles: of planar rows, their correlation, and a linear probe."""

import numpy as np
import pytest

from analysis import circular_correlation, plane_angle, probed_angle

pytestmark = pytest.mark.quick

ANGLE = np.random.default_rng(0).uniform(-np.pi, np.pi, 4000)


def circle(angle, noise=0.0):
    rows = np.column_stack([np.cos(angle), np.sin(angle)])
    return rows + noise * np.random.default_rng(1).normal(size=rows.shape)


def test_the_angle_about_the_mean():
    found = plane_angle(3 * circle(ANGLE) + [5, -2])
    assert np.abs(np.exp(1j * found) - np.exp(1j * ANGLE)).max() < 0.05


def test_correlation_knows_direction_and_no_origin():
    assert circular_correlation(ANGLE, ANGLE + 2.5) == pytest.approx(1, abs=0.05)
    assert circular_correlation(ANGLE, 1 - ANGLE) == pytest.approx(-1, abs=0.05)
    assert abs(circular_correlation(ANGLE, np.random.default_rng(2).permutation(ANGLE))) < 0.05
    assert 0.5 < circular_correlation(ANGLE, ANGLE + np.random.default_rng(3).normal(0, 0.7, 4000)) < 0.9


def test_a_probe_is_judged_on_rows_it_was_not_fitted_to():
    hidden = circle(ANGLE, 0.05) @ np.random.default_rng(4).normal(size=(2, 6))
    train = np.arange(4000) < 2000
    found = probed_angle(hidden, ANGLE, train)
    assert circular_correlation(found[~train], ANGLE[~train]) > 0.95
    other = np.where(train, ANGLE, 0.0)  # answers outside the training rows are not looked at
    assert np.allclose(found, probed_angle(hidden, other, train))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plane_angle(np.zeros((5, 3))), r"s must have shape \(N, 2\), got \(5, 3\)"),
        (lambda: circular_correlation([1.0], [1.0, 2.0]), r"one length, got shapes \(1,\) and \(2,\)"),
        (lambda: circular_correlation([], []), "one length"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
