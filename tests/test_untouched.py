"""Every public name leaves the global random state alone, and gives the same bits whatever that state is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import analysis
import flows
import training
from analysis import Analyzer
from training.data.source import DataSettings, read_data

QUICK = {"settle": 3, "screen": 2, "steps_per_point": 1, "points_per_decade": 2, "debias": 2, "debias_rounds": 1}
QUICK |= {"narrow": 2, "warm_up": 1, "rounds": 1, "components": 4, "hidden": 8, "null_worth": 0.03, "largest_lam": 1.0}


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the calls below are made with."""
    folder = tmp_path_factory.mktemp("saved")
    rows = training.planted("circle", 200, noise_dims=1, seed=0).x
    flow = flows.FunnelFlow.from_rows(rows, hidden=8, components=3)
    flow.exits.set_open(torch.tensor([True, True, False]))
    flow.requires_grad_(False).save(folder)
    np.save(folder / "acts.npy", rows)
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    return SimpleNamespace(folder=folder, rows=rows, flow=flow, model=model, s=flow.encode(rows).numpy())


def intervened(g):
    with flows.intervene(g.model, "0", g.flow, structure=lambda s: s + 1):
        return g.model(g.rows)


def untangled(g):
    s = torch.from_numpy(g.s).float()
    lift = flows.Lift(s, s[:, :1].sin(), 0.5)
    second = flows.FunnelFlow.from_rows(lift(s, s[:, 1:]), hidden=8)
    return flows.Untangled(g.flow, lift, second.requires_grad_(False))


# one call each; None for what is no more than a record, a protocol or a constant
FLOWS = {
    "FunnelFlow": lambda g: flows.FunnelFlow(3, hidden=8).field.W1,
    "Field": lambda g: flows.Field(3, 8, generator()).W1,
    "Exits": lambda g: flows.Exits(3).gates,
    "GatedMixture": lambda g: flows.GatedMixture(3).rsample(5, torch.ones(3), generator()),
    "Front": lambda g: flows.Front.from_rows(g.rows).basis,
    "Lift": lambda g: flows.Lift(g.rows, g.rows[:, :1].sin(), 0.5)(g.rows, g.rows[:, :1]),
    "Untangled": lambda g: untangled(g).log_prob(g.rows),
    "load": lambda g: flows.load(g.folder).log_prob(g.rows),
    "StrongDiffeo": lambda g: flows.StrongDiffeo(g.rows, seed=0)(g.rows),
    "intervene": intervened,
    "as_rows": lambda g: flows.as_rows(g.rows),
    "Question": None,
    "Relevance": None,  # training.relevance's
    "Tail": lambda g: flows.Tail(g.model, "0", g.rows)(g.rows),
    "Nuisance": lambda g: flows.Nuisance.of(g.rows, torch.arange(len(g.rows))[:, None] % 3)[1],
}
TRAINING = {
    "fit": lambda g: training.fit(g.rows, **QUICK).flow.transform(g.rows),
    "FitResult": None,
    "ModelSettings": None,
    "PathSettings": None,
    "FunnelModule": None,  # fit's
    "untangle": lambda g: repr(training.untangle(g.flow, torch.randn(2000, 3, generator=generator()), **QUICK)),
    "planted": lambda g: training.planted("torus", 50, noise_dims=1).x,
    "PLANTED_NAMES": None,
    "relevance": lambda g: training.relevance(lambda x: x[:, :2], g.rows).metric,
    "capture": lambda g: training.capture(g.model, "0", [g.rows]).x,
    "as_activations": lambda g: training.as_activations(g.rows).x,
    "Activations": lambda g: training.Activations(g.rows).split(seed=1)[0],
    "read_activations": lambda g: training.read_activations(g.folder / "acts.npy").x[:],
    "subject": lambda g: training.subject("digits", rows=1797).x,
    "trained_subject": None,  # subject's
    "FunnelEstimator": lambda g: training.FunnelEstimator(random_state=0, **QUICK).fit(g.rows.numpy()).sample(3),
}
ANALYSIS = {
    "Aligner": lambda g: analysis.Aligner(null_draws=19).fit(g.s, g.s).transform_structure(g.s),
    "Analyzer": lambda g: Analyzer(g.flow, g.rows).s,
    "SavedRun": None,
    "certify": lambda g: analysis.certify(g.s, g.s[:, :1], draws=1).z,
    "fit_density": lambda g: analysis.fit_density(g.s, members=1).log_prob(g.s),
    "intrinsic_dimension": lambda g: analysis.intrinsic_dimension(g.rows, points=20).curve,
    "two_nn": lambda g: analysis.two_nn(g.rows),
    "densest": lambda g: analysis.densest(g.s, neighbours=5),
    "irreducibility": lambda g: analysis.irreducibility(g.rows[:, :2]).curve,
    "find_pieces": lambda g: analysis.find_pieces(g.s).labels_,
    "Pieces": None,
    "plane_angle": lambda g: analysis.plane_angle(g.s),
    "circular_correlation": lambda g: analysis.circular_correlation(g.s[:, 0], g.s[:, 1]),
    "probed_angle": lambda g: analysis.probed_angle(g.s, g.s[:, 0], g.s[:, 1] > 0),
    "factorize": lambda g: repr(analysis.factorize(g.model, g.rows)),
    "rank_table": lambda g: repr(analysis.rank_table(g.model, g.rows)),
    "preferred_axes": lambda g: repr(analysis.preferred_axes(g.flow, g.model, "0", g.rows, moves=1, rotations=9)),
    "agreement": lambda g: analysis.agreement([0, 1, 1], [0, 1, 0]),
    "coordinate_freedom": lambda g: analysis.coordinate_freedom(lambda x: {"n": len(x)}, g.rows, n_maps=2).unexplained,
    "Freedom": None,
    "Noise": lambda g: analysis.Noise(1.0, 3).displace(g.rows.double(), g.rows.double()),
    "finite_function": lambda g: analysis.finite_function({1: 2}).counts,
    "equivalent": lambda g: repr(analysis.equivalent({1: 2}, {3: 4})),
    "fibre": lambda g: (
        analysis.fibre(lambda x: x.square().sum(1, keepdim=True), 2.0, g.rows, most_seeds=5).components[0].points
    ),
}
FLOW_METHODS = {
    "behind": lambda g: flows.FunnelFlow.behind(g.flow.front).field.W1,
    "twin": lambda g: g.flow.twin().field.W1,
    "call_and_ladj": lambda g: g.flow.call_and_ladj(g.rows)[1],
    "decode": lambda g: g.flow.decode(g.s, noise="draw", generator=generator()),
    "encode": lambda g: g.flow.encode(g.rows),
    "from_rows": lambda g: flows.FunnelFlow.from_rows(g.rows).field.W1,
    "inverse": lambda g: g.flow.inverse(g.flow.transform(g.rows)),
    "join": lambda g: g.flow.join(*g.flow.split(g.flow.transform(g.rows))),
    "log_prob": lambda g: g.flow.log_prob(g.rows),
    "project": lambda g: g.flow.project(g.rows),
    "rsample": lambda g: g.flow.rsample(5, generator()),
    "sample": lambda g: g.flow.sample(5, generator()),
    "sample_and_log_prob": lambda g: g.flow.sample_and_log_prob(5, generator())[1],
    "save": lambda g: g.flow.save(g.folder),
    "solve": lambda g: g.flow.solve(g.rows, "dopri5").z,
    "split": lambda g: g.flow.split(g.rows)[0],
    "spread": lambda g: g.flow.spread(g.rows),
    "trajectory": lambda g: g.flow.trajectory(g.rows),
    "transform": lambda g: g.flow.transform(g.rows),
    "width": lambda g: g.flow.width(0.5),
}
CALLS = {
    f"{package}.{name}": call
    for package, calls in (
        ("flows", FLOWS), ("training", TRAINING), ("analysis", ANALYSIS), ("flows.FunnelFlow", FLOW_METHODS),
    )
    for name, call in calls.items()
    if call
}  # fmt: skip


def test_every_public_name_is_in_a_table():
    for package, table in ((flows, FLOWS), (training, TRAINING), (analysis, ANALYSIS)):
        assert set(package.__all__) == set(table), f"say in {__file__} how {package.__name__}'s names are called"
    methods = {name for name, value in vars(flows.FunnelFlow).items() if not name.startswith("_") and callable(value)}
    methods |= {name for name, value in vars(flows.FunnelFlow).items() if isinstance(value, classmethod)}
    assert methods == set(FLOW_METHODS)


@pytest.mark.parametrize("name", CALLS)
def test_the_global_random_state_is_neither_moved_nor_read(name, given, untouched_rng):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        with untouched_rng():
            found.append(CALLS[name](given))
    if isinstance(found[0], torch.Tensor):
        found = [tensor.detach().numpy() for tensor in found]
    np.testing.assert_array_equal(*found, err_msg=f"{name} reads the global random state")


@pytest.mark.parametrize("kind", ["planted", "subject"])
def test_data_by_name_do_too(kind, untouched_rng):
    settings = DataSettings(**{kind: {"planted": "trefoil", "subject": "digits"}[kind]}, rows=1797)
    with untouched_rng():
        assert torch.equal(read_data(settings, 3).x, read_data(settings, 3).x)
