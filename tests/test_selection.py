"""Hull, worth, intervals and the choice of k, against sums done by hand."""

import numpy as np
import pytest

from training.stages.selection import choose, lower_hull, middle, resampled

pytestmark = pytest.mark.quick


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


def test_k_is_best_at_the_middle_of_the_range_of_lambda():
    J = {0: rows(6.0), 1: rows(5.0), 2: rows(4.5), 3: rows(4.45)}
    choice = choose(J, null_worth=0.01)
    assert middle(choice.hull, 0.01) == pytest.approx(0.1)  # between .01 and 1
    assert choice.structure_dim == 2  # best from .05 to .5
    assert choice.confidence == pytest.approx(np.log(2) / np.log(10))  # the nearer end is .05


# worths as they are printed in tests/benchmarks/README.md, nats by dimension, and the k that the widest interval chose
PRINTED = {
    "torus x 3": ([0.077] * 3, 3),
    "circle x 10": ([0.172] * 2, 2),
    "two x 3, whose second dimension the confidence tells": ([0.096, 0.034], 1),
    "ring": ([0.159, 0.159, 0.132, 0.053], 3),
    "digits, relevance front": ([0.189] * 7 + [0.156], 8),
    "rotated digits": ([0.074] * 2, 2),
    "digits before the activation function, seed 3": ([0.17] * 8 + [0.16] * 2 + [0.12], 11),
    "digits, half 0": ([0.21] * 5 + [0.20] * 3 + [0.15], 9),
}


@pytest.mark.parametrize("name", PRINTED)
def test_where_rungs_are_few_the_choice_is_the_widest_interval(name):
    worths, k = PRINTED[name]
    J = dict(enumerate(9 - np.concatenate([[0], np.cumsum(worths)])))
    assert choose({k: rows(mean) for k, mean in J.items()}, null_worth=0.03).structure_dim == k


def ladder_curve(generator):
    """Worths (M,) that fall: rungs, an exponential, or numbers drawn by chance."""
    count = int(generator.integers(12, 40))
    kind = generator.integers(3)
    if kind == 0:
        worths = generator.uniform(0.3, 2) * np.exp(-np.arange(count) / generator.uniform(3, 15))
    elif kind == 1:
        worths = np.repeat(np.exp(generator.uniform(np.log(0.04), np.log(2), 6)), generator.integers(1, 8, 6))
    else:
        worths = np.exp(generator.uniform(np.log(0.005), np.log(2), count))
    return np.sort(worths)[::-1]


def moved(change, trials=300):
    """Share of ladders whose k leaves its neighbours on the hull where ``change`` adds supports to eight of a curve."""
    generator, left = np.random.default_rng(0), 0
    for _ in range(trials):
        curve = 50 - np.concatenate([[0], np.cumsum(ladder_curve(generator))])
        last = len(curve) - 1
        few = sorted({0, last, *generator.choice(np.arange(1, last), 6, replace=False).tolist()})
        before = choose({k: rows(curve[k], 0.01) for k in few}, 0.03)
        ks, J = [v.k for v in before.hull], [v.J for v in before.hull]
        more = {k: change(generator, k, curve, ks, J) for k in range(len(curve)) if k not in few}
        after = choose({k: rows(mean, 0.01) for k, mean in {**{k: curve[k] for k in few}, **more}.items()}, 0.03)
        at = ks.index(before.structure_dim)
        left += not ks[max(at - 1, 0)] <= after.structure_dim <= ks[min(at + 1, len(ks) - 1)]
    return left / trials


def test_supports_added_on_the_hull_move_k_to_a_neighbour_at_most():
    assert moved(lambda generator, k, curve, ks, J: np.interp(k, ks, J) - 1e-9) == 0


def test_supports_added_within_the_error_hardly_ever_move_k_further():
    assert moved(lambda generator, k, curve, ks, J: np.interp(k, ks, J) + generator.normal(0, 0.01)) <= 0.01


def test_the_supports_left_out_move_k_to_a_neighbour_nearly_always():
    assert moved(lambda generator, k, curve, ks, J: curve[k]) <= 0.04  # the widest interval: .2


def test_a_finer_look_at_a_ladder_without_steps_does_not_fall_to_its_first_rung():
    """Digits in the layer's metric: by the widest interval 29 of eight supports, 1 of fourteen."""
    worths = 0.12 + 1.3 * np.exp(-np.arange(29) / 3)
    curve = 30 - np.concatenate([[0], np.cumsum(worths)])
    few, more = ({k: rows(curve[k], 0.01) for k in ks} for ks in ((0, 1, 6, 9, 29), range(30)))
    assert abs(choose(few, 0.03).structure_dim - choose(more, 0.03).structure_dim) <= 3


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
