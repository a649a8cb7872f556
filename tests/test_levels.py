"""Level sets by mass: structures whose Betti numbers are known, noise, ratios, and what is refused."""

import json

import gudhi
import numpy as np
import pytest

import training
from analysis.density.bag import fit_density
from analysis.density.levels import levels
from analysis.density.persistence import Bars, bottleneck, cubical_bars


def structure(name, rows=3000):
    return training.planted(name, rows, 1, 0).structure.numpy()


@pytest.mark.parametrize(
    ("name", "betti"), [("two", (2,)), ("three", (3,)), ("circle", (1, 1)), ("figure_eight", (1, 2))]
)
def test_planted_structures(name, betti):
    assert levels(structure(name)).betti(0.9) == betti


@pytest.mark.parametrize("dims", [1, 2])
def test_noise_has_one_piece_and_no_loop(dims):
    found = levels(np.random.default_rng(dims).normal(size=(2000, dims)))
    assert all(found.betti(mass) == (1,) for mass in (0.5, 0.8, 0.9, 0.95, 0.99))


@pytest.mark.parametrize("construction", ["vertices", "top_dimensional_cells"])
def test_bars_of_a_ring_by_hand(construction):
    """A square ring of height 1 about a pit of depth 3, with a gap of height 0.5: one piece, one loop from .5 to -2."""
    values = np.full((7, 7), -5.0)
    values[1:6, 1:6] = 1.0
    values[2:5, 2:5] = -2.0
    values[1, 3] = 0.5
    bars = cubical_bars(values, -5.0, construction)
    pieces, loops = bars.degree == 0, bars.degree == 1
    assert pieces.sum() == 1 and bars.birth[pieces][0] == 1.0
    assert loops.sum() == 1 and (bars.birth[loops][0], bars.death[loops][0]) == (0.5, -2.0)


def test_levels_hold_their_mass():
    rows = np.random.default_rng(0).normal(size=(4000, 2))
    density = fit_density(rows)
    truth = -0.5 * (rows**2).sum(1) - np.log(2 * np.pi)
    assert np.abs(density.log_prob(rows) - truth).mean() < 0.1
    drawn = density.sample(4000, seed=1)
    assert drawn.mean(0) == pytest.approx([0, 0], abs=0.1) and drawn.std(0) == pytest.approx([1, 1], abs=0.1)


def test_the_score_is_the_gradient():
    density = fit_density(structure("circle", 1500), members=2)
    points, step = np.random.default_rng(0).normal(size=(5, 2)), 1e-3
    for axis in range(2):
        shift = step * np.eye(2)[axis]
        slope = (density.log_prob(points + shift) - density.log_prob(points - shift)) / (2 * step)
        assert density.score(points)[:, axis] == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_a_ratio_says_that_it_is_invariant():
    rows = structure("two", 2000)
    found = levels(rows, reference=np.random.default_rng(0).normal(size=(2000, 1)))
    assert "invariant" in repr(found) and "belongs to these coordinates" in repr(levels(rows))


def test_pieces_that_join_are_named():
    """Two clusters 4 sd apart and a third far off, by itself at every mass."""
    generator = np.random.default_rng(0)
    rows = np.repeat([0.0, 4.0, 30.0], 700)[:, None] + generator.normal(size=(2100, 1))
    found = levels(rows, (0.5, 0.95))
    assert (found.betti(0.5), found.betti(0.95)) == ((3,), (2,))
    outer = [piece for piece in found.pieces if piece.mass == 0.95]
    holds = [[p.index for p in found.pieces if p.mass == 0.5 and p.inside == piece.index] for piece in outer]
    assert [len(inner) for inner in holds] == [2, 1] and outer[0].share == pytest.approx(0.63, abs=0.04)
    names = ", ".join(map(str, holds[0]))
    assert f"pieces of mass 0.95, and those of mass 0.5 in them: 0 ({outer[0].share:.0%}) holds {names}; " in repr(
        found
    )
    assert "the same 2 pieces at every mass" in repr(levels(rows[:1400] * [3.0], (0.5, 0.8)))


def test_too_few_rows_claim_nothing():
    assert "few" in repr(levels(np.random.default_rng(0).normal(size=(5, 2))))


def test_plain_data_and_a_picture():
    found = levels(structure("two", 2000))
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().has_data()


@pytest.mark.parametrize("masses", [(0.0,), (0.5, 1.0), (-1.0,)])
def test_masses_out_of_range_are_refused(masses):
    with pytest.raises(ValueError, match="mass"):
        levels(structure("two", 500), masses)


@pytest.mark.parametrize("spoilt", [np.full((900, 2), np.nan), np.zeros((900, 0)), np.zeros(9)])
def test_spoilt_rows_are_refused(spoilt):
    with pytest.raises(ValueError):
        levels(spoilt)


def test_global_random_state_stays(untouched_rng):
    with untouched_rng():
        levels(structure("two", 800))


def random_bars(rng, count):
    """Bars of degrees 0 and 1, births above deaths."""
    birth = rng.normal(size=count)
    zeros = np.zeros(count, dtype=np.intp)
    return Bars(rng.integers(2, size=count), birth, birth - rng.exponential(0.3, size=count), zeros, zeros > 0)


@pytest.mark.parametrize("sizes", [(0, 0), (0, 4), (3, 3), (3, 60), (40, 50)])
def test_the_bottleneck_distance_is_gudhis(sizes):
    rng = np.random.default_rng(0)
    for _ in range(20):
        bars = [random_bars(rng, size) for size in sizes]

        def diagram(of, degree):
            return np.stack([of.death, of.birth], axis=1)[of.degree == degree]

        expected = max(gudhi.bottleneck_distance(*(diagram(of, degree) for of in bars)) for degree in (0, 1))
        assert bottleneck(*bars) == pytest.approx(expected, abs=1e-12)
