"""The support of a cloud: Betti numbers that no cutting into pieces changes, and cores by density."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapes

import analysis
from analysis import Analyzer
from analysis.topology.homology import spread_p_values
from analysis.topology.loops import loops
from analysis.topology.support import support
from analysis.topology.whole import by_support, instead_of

REAL = Path(__file__).parents[2] / "shared" / "real"


def three_circles(count, rng):
    """In space; the second and the third meet the first in two points each, and not one another: five loops."""
    t, which = rng.uniform(0, 2 * np.pi, count), rng.integers(3, size=count)
    first = np.stack([np.cos(t), np.sin(t), 0 * t, 0 * t], axis=1)
    second = np.stack([np.cos(t), 0 * t, np.sin(t), 0 * t], axis=1)
    third = np.stack([0 * t, np.cos(t), 0 * t, np.sin(t)], axis=1)
    return np.choose(which[:, None], [first, second, third])


@pytest.fixture(scope="module")
def bouquet():
    rng = np.random.default_rng(0)
    return three_circles(3000, rng) + 0.03 * rng.normal(size=(3000, 4))


@pytest.mark.parametrize(
    ("name", "even", "odd", "kind"),
    [
        ("arc", (1, 0, 0), (1, 0, 0), "unknown"),
        ("circle", (1, 1, 0), (1, 1, 0), "circle"),
        ("theta", (1, 2, 0), (1, 2, 0), "theta curve"),
        ("sphere", (1, 0, 1), (1, 0, 1), "sphere"),
        ("flat torus in R^4", (1, 2, 1), (1, 2, 1), "torus"),
        ("Klein bottle in R^4", (1, 2, 1), (1, 1, 0), "Klein bottle"),
        ("Hopf link", (2, 2, 0), (2, 2, 0), "unknown"),
    ],
)
def test_betti_numbers_of_known_shapes(name, even, odd, kind):
    draw, _, thick = {**shapes.SHAPES, **shapes.CURVES}[name]
    found = support(shapes.cloud(draw, 6000 if name[0] == "K" else 3000, 1, thick), draws=3)
    assert found.betti == {2: even, 3: odd} and found.kind == kind and found.is_sure


def test_lumps_have_no_loops():
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(400, 2)), rng.normal(size=(1500, 3)), rng.standard_t(2, size=(1000, 3))]
    clouds.append(np.concatenate([rng.normal(size=(700, 2)), rng.normal([4, 0], size=(700, 2))]))
    assert [support(cloud, draws=3).betti[2][1:] for cloud in clouds] == [(0, 0)] * 4


def test_three_circles_that_meet_are_one_bouquet_of_five_loops(bouquet):
    described = Analyzer.from_structure(bouquet).describe()
    assert described.kind == "bouquet" and described.betti == {2: (1, 5, 0), 3: (1, 5, 0)}
    assert "the whole (100% of the rows) is a bouquet" in repr(described) and "5 independent loops" in repr(described)
    assert "the routes disagree: the ridge" in repr(described) and len(described.found) == 5
    assert max(loop.p_value for loop in described.found) < 0.01
    json.dumps(described.to_dict(), allow_nan=False)
    assert described.plot().get_xlabel() and described.found.plot().get_xlabel()


def test_a_ridge_that_says_less_than_the_support_is_reported():
    two = Analyzer.from_structure(shapes.cloud(shapes.circle, 1600, 0, 0.1))
    described = two.describe()
    assert described.disagreement == "" and described.betti[2] == (1, 1, 0)
    read = by_support(two.s, described.support, "2 arc")
    assert read.kind(0)[:2] == ("circle", 1.0) and read.parts == ((),)

    space = np.c_[two.s, np.random.default_rng(1).normal(0, 0.05, len(two.s))]
    lying = loops(by_support(space, support(space, draws=3), "2 arc"))
    assert lying.curves(0) == [None] * 3, "in space a loop of the support has no curve along a ridge"
    with pytest.raises(ValueError, match="no closed curve"):
        lying.knot(0)


def test_a_ring_with_a_thin_quarter_is_a_ring_whose_densest_rows_are_an_arc():
    rng = np.random.default_rng(1)
    t = np.where(rng.random(1500) < 0.025, rng.uniform(0, np.pi / 2, 1500), rng.uniform(np.pi / 2, 2 * np.pi, 1500))
    rows = np.stack([np.cos(t), np.sin(t)], axis=1) + 0.1 * rng.normal(size=(1500, 2))
    described = Analyzer.from_structure(rows).describe()
    named = described.pieces[0]
    assert described.kind == "circle" and 0.01 < named.emptiest < 0.05
    assert "a quarter of it holds" in named.sentence and "its densest 90% is an arc" in named.sentence
    json.dumps(described.to_dict(), allow_nan=False)


def test_a_part_whose_support_straddles_is_undecided():
    analyzer = Analyzer.from_structure(shapes.cloud(shapes.arc, 800, 0, 0.08))
    surveyed, seen = analyzer.loops().survey, analyzer.describe().support
    loop = support(shapes.cloud(shapes.circle, 800, 0, 0.15)).readings[0]
    straddling = replace(seen, readings=(loop, loop, *seen.readings[2:]))
    word, confidence, doubt = instead_of(surveyed, straddling).kind(0)
    assert word == "unknown" and confidence <= 0.5 and "undecided between arc and circle" in doubt
    assert instead_of(surveyed, seen).kind(0)[0] == "arc"


def test_a_ring_in_space_named_by_its_support_has_no_curve_to_knot():
    read = support(shapes.cloud(shapes.ring, 600, 0, 0.1)).readings[0]
    assert read.curves == (None,) and len(read.coordinates) == 1


def test_p_values_of_noise_fall_with_the_ratio_and_its_own_bars():
    noise = np.exp(np.exp(np.random.default_rng(0).normal(-2.2, 0.3, 100)))
    values = spread_p_values(np.append(noise, [2.0, 2.6]), 1)
    assert values[:100].min() > 0.05 and values[-2] < 0.01 and values[-1] < values[-2]
    assert spread_p_values(np.array([2.0]), 1)[0] > 0.05, "with no bars of its own to compare with"


def test_few_rows_and_equal_rows_claim_nothing():
    assert "too few different rows: 40" in repr(support(np.random.default_rng(0).normal(size=(40, 3))))
    assert support(np.ones((500, 3))).betti == {}


def test_the_core_leaves_strays_out():
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.normal(size=(60, 2)) + 40, 0.1 * rng.normal(size=(140, 2)), 9 * rng.normal(size=(100, 2))]
    )
    core = analysis.densest(rows, 0.4, 10)
    assert len(core) == 120 and (np.diff(core) > 0).all() and ((core >= 60) & (core < 200)).mean() > 0.95
    assert len(analysis.densest(rows, 1.0)) == 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0}, "share must be in"),
        ({"share": 1.5}, "share must be in"),
        ({"neighbours": 0}, "from 1 to 8, of 9 rows"),
        ({"neighbours": 9}, "from 1 to 8, of 9 rows"),
    ],
)
def test_a_core_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        analysis.densest(np.eye(9), **settings)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the public clouds are not here: ../shared/real")
@pytest.mark.parametrize(
    ("file", "key", "betti", "kind"),
    [
        ("image_patches", "k300", (1, 1, 0), "circle"),
        ("image_patches", "k15", (1, 5, 0), "bouquet"),
        ("cyclo_octane", "points", (1, 1, 2), "sphere with Klein bottle"),
    ],
)
def test_public_clouds(file, key, betti, kind):
    described = Analyzer.from_structure(np.load(REAL / f"{file}.npz")[key].astype(float)).describe()
    assert described.betti[2] == betti and described.kind == kind
