"""The lift, spectral coordinates, and what they make of tangled structure."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import flows
import training
from analysis import Analyzer
from flows.augment import log_normal
from flows.geometry.landmarks import maxmin
from flows.lift import Lift
from flows.untangled import Untangled
from training.cli import main
from training.untangling.false_neighbours import false_neighbours
from training.untangling.spectral import spectrum
from training.untangling.untangle import Untangling, torn, words

FAST = {"settle": 60, "screen": 40, "steps_per_point": 3, "points_per_decade": 12, "debias": 40, "debias_rounds": 1}
FAST |= {"narrow": 20, "warm_up": 5, "rounds": 1, "null_worth": 0.03}


def cloud(rows, seed=0):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_lift(spread=0.3):
    points = cloud(40)
    return Lift(points, torch.stack([points[:, 0].tanh(), points[:, 1] * points[:, 2]], 1), 0.5, spread, cloud(60, 9))


def whole_block(x):
    """A flow that is its front: every whitened dimension is structure."""
    flow = flows.FunnelFlow.from_rows(x, hidden=8, components=4)
    flow.exits.set_open(torch.ones(flow.front.dims, dtype=torch.bool))
    return flow.requires_grad_(False)


@pytest.fixture(scope="module")
def trefoil():
    return training.planted("trefoil", 4000, 0, 0, diffeo=False)


@pytest.fixture(scope="module")
def untangled(trefoil):
    return training.untangle(whole_block(trefoil.x), trefoil.x, **FAST)


def test_a_lift_is_undone_by_its_inverse():
    lift, s, noise = a_lift(), cloud(30, 1), cloud(30, 2)[:, :2]
    back, draws = lift.inverse(lift(s, noise))
    torch.testing.assert_close(back, s)
    torch.testing.assert_close(draws, noise)


def test_the_weight_of_a_draw_is_the_volume_that_a_lift_changes():
    lift = a_lift()

    def joined(row):
        return lift(row[None, :3], row[None, 3:])[0]

    row = torch.cat([cloud(1, 3)[0], torch.tensor([0.3, -1.0], dtype=torch.float64)])
    volume = torch.linalg.det(torch.autograd.functional.jacobian(joined, row)).abs()
    weight = lift.log_weight(joined(row)[None], row[None, 3:]) + log_normal(row[None, 3:])
    torch.testing.assert_close(weight[0], volume.log())


def test_what_is_explained_is_the_posterior_mean_and_covariance():
    lift, raised = a_lift(), torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    weights = torch.exp(-(lift.above(lift.rows) - raised).square().sum(1) / (2 * 0.3**2))
    weights = weights / weights.sum()
    mean, factor = lift.explained(raised)
    torch.testing.assert_close(mean[0], weights @ lift.rows)
    away = lift.rows - mean
    covariance = (weights[:, None, None] * away[:, :, None] * away[:, None]).sum(0)
    floor = 0.01 * lift.rows.var(0).mean() * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(factor[0] @ factor[0].T, covariance + floor)


def test_no_rows_give_no_rows():
    assert a_lift()(cloud(0), cloud(0)[:, :2]).shape == (0, 5)


@pytest.mark.parametrize(
    ("points", "coordinates", "width", "words"),
    [
        (cloud(1), cloud(1), 1.0, "at least 2"),
        (cloud(5), cloud(4), 1.0, "5 landmarks and 4 rows"),
        (cloud(5), cloud(5), 0.0, "positive"),
        (cloud(5), cloud(5), math.inf, "positive"),
        (cloud(5) * math.nan, cloud(5), 1.0, "NaN"),
    ],
)
def test_a_lift_says_what_is_wrong(points, coordinates, width, words):
    with pytest.raises(ValueError, match=words):
        Lift(points, coordinates, width)


def test_a_lift_comes_back_from_its_file_and_damage_is_seen(tmp_path):
    lift = a_lift()
    lift.save(tmp_path / "lift.safetensors")
    back = Lift.load(tmp_path / "lift.safetensors")
    s, noise = cloud(5), cloud(5, 1)[:, :2]
    assert torch.equal(back(s, noise), lift(s, noise))
    held = load_file(tmp_path / "lift.safetensors")
    save_file({name: held[name] for name in ("points", "coordinates", "rows")}, tmp_path / "short.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "lift.safetensors").read_bytes()[:-9])
    for name in ("short", "cut"):
        with pytest.raises(ValueError, match=f"{name}.safetensors is damaged"):
            Lift.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError, match="unknot untangle RUN"):
        Lift.load(tmp_path / "none.safetensors")


def ring(rows, centre=0.0, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 2 * math.pi, rows)
    return np.c_[np.cos(t) + centre, np.sin(t), np.zeros(rows)] + 0.05 * rng.normal(size=(rows, 3))


def ball(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def segment(rows):
    rng = np.random.default_rng(0)
    return np.c_[rng.uniform(-1, 1, rows), np.zeros((rows, 2))] + 0.02 * rng.normal(size=(rows, 3))


@pytest.mark.parametrize(
    ("points", "pieces", "dims"),
    [
        (ring(3000), 1, 2),
        (np.concatenate([ring(3000), ring(3000, 4.0, 1)]), 2, 2),
        (ball(2000), 1, 3),
        (segment(2000), 1, 1),
    ],
    ids=["ring", "two rings", "sphere", "segment"],
)
def test_a_cloud_has_as_many_spectral_coordinates_as_directions(points, pieces, dims):
    found = spectrum(torch.from_numpy(points))
    assert (found.pieces, found.dims) == (pieces, dims)


def test_draws_are_as_fine_as_a_curve_is_thin():
    x = torch.from_numpy(segment(2000))
    thin, thick = (spectrum(x * torch.tensor([1.0, wide, wide])).spread for wide in (0.2, 3.0))
    assert thin == 0.05 and 0.05 < thick <= 0.1


def test_pieces_lie_side_by_side():
    points = np.concatenate([ring(3000), ring(3000, 4.0, 1)])
    found = spectrum(torch.from_numpy(points))
    right = found.points[:, 0] > 2
    sides = [found.coordinates[side, 0] for side in (right, ~right)]
    assert max(map(np.min, sides)) > min(map(np.max, sides))


def test_a_trefoil_has_two_coordinates_and_they_follow_its_angle(trefoil):
    found = spectrum(trefoil.x)
    assert found.dims == 2
    above = found.lift().above(trefoil.x).numpy()
    turn = np.exp(1j * (np.arctan2(above[:, 1], above[:, 0])))
    planted = np.exp(1j * trefoil.angles[:, 0].numpy())
    assert max(abs((turn * planted).mean()), abs((turn * planted.conj()).mean())) > 0.9


def test_a_trefoil_comes_out_evenly_along_itself():
    """This one is thin at a place, where its coordinates run fast: .21 on the graph as it is."""
    found = spectrum(training.planted("trefoil", 4000, 0, 4, diffeo=False).x)
    evenly = found.coordinates[maxmin(found.points, 400, np.random.default_rng(0))[0]]
    turns, _ = np.histogram(np.arctan2(evenly[:, 1], evenly[:, 0]), 12, (-math.pi, math.pi))
    assert turns.min() > 0.5 * turns.mean()


def test_the_same_seed_gives_the_same_coordinates_and_global_state_stays(trefoil, untouched_rng):
    with untouched_rng():
        one, other = spectrum(trefoil.x, 3), spectrum(trefoil.x, 3)
    assert np.array_equal(one.coordinates, other.coordinates)
    assert torch.equal(one.lift().points, other.lift().points)


def test_too_few_rows_for_a_graph():
    with pytest.raises(ValueError, match="at least 2000 rows, got 1999"):
        spectrum(torch.from_numpy(ring(1999)))


def test_a_trefoil_comes_down_into_the_plane(trefoil, untangled):
    assert untangled.before == 3 and untangled.flow.structure_dim == 2
    assert untangled.verdict().startswith("untangled: k = 3 -> 2")
    s = untangled.flow.encode(trefoil.x).numpy()
    order = np.argsort(trefoil.angles[:, 0].numpy())
    means = np.stack([block.mean(0) for block in np.array_split(s[order], 24)])
    turns = np.diff(np.unwrap(np.arctan2(*(means[np.r_[0:24, 0]]).T)))
    assert abs(turns.sum()) == pytest.approx(2 * math.pi)  # once round, never back
    assert (np.sign(turns) == np.sign(turns.sum())).all()


def test_false_neighbours_are_counted_and_a_tear_is_called_one(trefoil, untangled):
    s, after = untangled.flow.first.encode(trefoil.x), untangled.flow.encode(trefoil.x)
    along = untangled.flow.lift.above(s)
    assert false_neighbours(along, after) < false_neighbours(s, after) < 0.02
    assert untangled.false_neighbours == torn(untangled.flow.lift, s, after) == false_neighbours(s, after)
    flat = trefoil.x[:, :2]  # its shadow: strands that cross are put side by side
    assert false_neighbours(along, flat) > 5 * untangled.false_neighbours
    assert torn(untangled.flow.lift, s, flat) >= false_neighbours(along, flat)
    mixed = trefoil.x[torch.randperm(len(trefoil.x), generator=torch.Generator().manual_seed(0))]
    assert false_neighbours(along, mixed) > 0.5
    assert "-> 0, nothing but noise" in words(untangled.spectrum, 3, 0, math.nan)
    assert words(untangled.spectrum, 3, 2, 0.3).startswith("torn, not untangled: k = 3 -> 2")


def test_what_is_decoded_lies_where_it_was(trefoil, untangled):
    flow = untangled.flow
    error = (flow.project(trefoil.x) - trefoil.x).square().sum(1).mean()
    assert error < 0.1 * trefoil.x.var(0).sum()
    assert flow.spread(trefoil.x[:50], 4).shape == (50, 2)
    assert flow.sample(7, torch.Generator().manual_seed(0)).shape == (7, 3)


def test_the_density_of_what_was_untangled_is_one():
    """A density's integral over x is 1; the importance weights average to it."""
    line = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = whole_block(line)
    lift = Lift(line[:30], line[:30].cos(), 0.3, 0.5)
    raised = lift(line, torch.randn(400, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    flow = Untangled(first, lift, whole_block(raised))
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    mass = torch.trapezoid(flow.log_prob(grid, draws=16).exp(), grid[:, 0])
    assert float(mass) == pytest.approx(1, abs=0.02)


def test_every_verb_of_the_analyzer_works_on_what_was_untangled(trefoil, tmp_path):
    x, lift = trefoil.x[:400], a_lift()
    first = whole_block(trefoil.x)
    second = whole_block(lift(first.encode(trefoil.x).double(), cloud(4000, 2)[:, :2]).float())
    second.exits.set_open(torch.tensor([True, True, False, False, False]))
    own = Untangled(first, lift.float(), second.requires_grad_(False))
    analyzer = Analyzer(Untangling(own, None, None, 3), x)
    z = own.transform(x[:9])
    torch.testing.assert_close(own.join(*own.split(z)), z)
    torch.testing.assert_close(own.inverse(z), x[:9], atol=1e-3, rtol=1e-3)
    assert analyzer.s.shape == (400, own.structure_dim) and analyzer.n.shape == (400, z.shape[1] - own.structure_dim)
    torch.testing.assert_close(torch.from_numpy(analyzer.s).float(), own.second.encode(own.lifted(x)))
    verbs = (
        "dimensions",
        "certificate",
        "levels",
        "tree",
        "groups",
        "hierarchy",
        "tear",
        "loops",
        "describe",
        "arrangement",
    )
    for answer in (getattr(analyzer, verb)() for verb in verbs):
        assert repr(answer) and answer.to_dict()
    assert analyzer.dimensions().structure_dim == own.structure_dim
    assert analyzer.sample(count=4).shape == (4, 3) and analyzer.outlier_score(x[:5]).shape == (5,)
    asked = Analyzer(own, x).faithfulness(head=lambda rows: torch.stack([rows[:, 0], -rows[:, 0]], dim=1))
    assert repr(asked) and analyzer.report(tmp_path / "r.html").is_file()


def test_nothing_to_untangle_is_said():
    x = torch.from_numpy(ball(2000)).float()
    found = training.untangle(whole_block(x), x, **FAST)
    assert found.flow is None and found.result is None
    assert found.verdict().startswith("nothing to untangle: k = 3")
    with pytest.raises(ValueError, match="no untangled flow: nothing to untangle"):
        Analyzer(found, x)


def test_parts_that_do_not_fit_are_refused(trefoil, untangled):
    flow = untangled.flow
    with pytest.raises(ValueError, match="the lift puts out 2 \\+ 3"):
        Untangled(flow.first, flow.lift, flow.first)
    with pytest.raises(ValueError, match="the first flow has k = 2"):
        Untangled(flow.second, flow.lift, flow.second)
    with pytest.raises(ValueError, match="model.augment 0"):
        Untangled(flows.FunnelFlow.from_rows(trefoil.x, augment=1), flow.lift, flow.second)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        flow.encode(trefoil.x[:5], draws=0)
    nothing = flows.FunnelFlow.from_rows(trefoil.x)
    nothing.exits.set_open(torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="k = 0"):
        training.untangle(nothing, trefoil.x)


def test_saved_and_loaded_it_is_the_same(trefoil, untangled, tmp_path):
    untangled.flow.save(tmp_path)
    back = Untangled.load(tmp_path)
    assert torch.equal(back.encode(trefoil.x[:20]), untangled.flow.encode(trefoil.x[:20]))
    assert torch.equal(back.log_prob(trefoil.x[:20]), untangled.flow.log_prob(trefoil.x[:20]))


@pytest.mark.slow
def test_the_command_line_untangles_goes_on_and_refuses(tmp_path, capsys):
    common = ["-c", "fast", "--null-worth", "0.03", "--threads", "1"]
    source = ["--data.planted", "trefoil", "--data.noise-dims", "0", "--data.diffeo", "false", "--data.rows", "2500"]
    run, out = str(tmp_path / "run"), tmp_path / "run-untangled"
    assert main(["fit", *common, *source, "--model.kappa", "100", "--out", run]) == 0
    assert main(["untangle", run, *common]) == 0
    said = capsys.readouterr().out
    assert (
        "untangled: k = 3 -> " in said and "neighbours kept" in said
    )  # of so short a fit expect nothing of its verdict
    assert (out / "untangled.png").stat().st_size > 10_000
    k = Untangled.load(out).structure_dim
    assert f"k = 3 -> {k};" in said
    assert main(["untangle", run, *common]) == 0  # finished: read, not run again
    assert "ramp" not in capsys.readouterr().out
    np.save(tmp_path / "x.npy", np.zeros((3, 3), dtype=np.float32))
    assert main(["encode", str(out), str(tmp_path / "x.npy")]) == 0
    assert np.load(out / "structure.npy").shape == (3, k)
    capsys.readouterr()
    assert main(["encode", str(out), str(tmp_path / "x.npy"), "--what", "noise"]) == 1
    assert "structure, project, log_prob" in capsys.readouterr().err
    assert main(["analyze", str(out)]) == 1
    assert f"its run folder is {out / 'second'}" in capsys.readouterr().err
    flows.FunnelFlow.from_rows(torch.randn(9, 3)).save(out / "first")
    assert main(["untangle", run, *common]) == 1
    assert "was made of another run" in capsys.readouterr().err
    assert main(["untangle", run, "--resume", "x"]) == 1
    assert main(["untangle", run, "--data.planted", "torus"]) == 1
    assert "takes its data from RUN" in capsys.readouterr().err
