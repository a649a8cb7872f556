"""Hull, worth, intervals and the choice of k, against sums done by hand."""

import numpy as np
import pytest

from training.selection import choose, lower_hull, resampled


def rows(mean: float, spread: float = 0.0, count: int = 400) -> np.ndarray:
    """Held-out rows with exactly this mean and standard deviation."""
    values = np.tile([-1.0, 1.0], count // 2)
    return mean + spread * values


def test_a_block_that_leaves_together_shares_one_worth():
    hull = lower_hull({0: rows(6.0), 1: rows(5.9), 2: rows(5.6)})
    assert [v.k for v in hull] == [0, 2]
    assert hull[1].worth == pytest.approx(0.2)


def test_convex_decline_keeps_every_vertex_with_its_interval():
    hull = lower_hull({0: rows(6.0), 1: rows(5.5), 2: rows(5.2), 3: rows(5.1)})
    assert [v.k for v in hull] == [0, 1, 2, 3]
    assert [v.worth for v in hull[1:]] == pytest.approx([0.5, 0.3, 0.1])
    assert [(v.low, v.high) for v in hull[1:]] == [pytest.approx(pair) for pair in ((0.3, 0.5), (0.1, 0.3), (0.0, 0.1))]
    assert hull[0].high == np.inf


def test_supports_that_do_worse_are_left_out():
    assert [v.k for v in lower_hull({0: rows(6.0), 2: rows(5.0), 3: rows(5.01), 5: rows(5.2)})] == [0, 2]


def test_the_error_of_a_worth_is_paired():
    """Rows whose difficulty is shared by both flows do not blur the difference."""
    shared = np.random.default_rng(0).normal(0, 10, 400)
    worth = lower_hull({0: shared + rows(1.0, 0.2), 2: shared})[1]
    assert worth.worth == pytest.approx(0.5)
    assert worth.worth_se == pytest.approx(0.2 / np.sqrt(399) / 2, rel=1e-6)


def test_the_widest_interval_in_log_lambda_wins():
    J = {0: rows(6.0), 1: rows(5.0), 2: rows(4.5), 3: rows(4.45)}
    choice = choose(J, null_worth=0.01)
    widths = {1: np.log(1 / 0.5), 2: np.log(0.5 / 0.05), 3: np.log(0.05 / 0.01)}
    assert choice.structure_dim == 2
    assert choice.confidence == pytest.approx((widths[2] - widths[3]) / widths[2])


def test_what_lies_below_the_null_does_not_count():
    J = {0: rows(6.0), 2: rows(5.0), 3: rows(4.98)}
    assert choose(J, null_worth=0.03).structure_dim == 2
    assert choose(J, null_worth=0.03).confidence == 1


def test_nothing_above_the_null_is_noise():
    choice = choose({0: rows(6.0), 1: rows(5.99)}, null_worth=0.04)
    assert choice.structure_dim == 0
    assert choice.confidence == pytest.approx(0.75)


def test_only_the_empty_support():
    choice = choose({0: rows(6.0)}, null_worth=0.03)
    assert (choice.structure_dim, choice.confidence) == (0, 1)


def test_resamples_agree_where_rows_do_and_split_where_they_do_not():
    assert resampled({0: rows(6.0, 0.1), 1: rows(5.5, 0.2)}, null_worth=0.03) == {1: 1}
    generator = np.random.default_rng(0)
    shares = resampled({0: rows(6.0), 1: 5.97 + generator.normal(0, 1, 400)}, null_worth=0.03)
    assert set(shares) == {0, 1} and sum(shares.values()) == pytest.approx(1)
    assert 0.2 < shares[1] < 0.8


def test_one_held_out_row_has_no_standard_error():
    vertex = lower_hull({0: np.array([6.0]), 1: np.array([5.5])})[1]
    assert vertex.worth == 0.5 and np.isnan(vertex.worth_se)
