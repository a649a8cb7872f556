"""Fronts that keep some directions, the idle ones beside them, kinetic energy in the layer's metric, and a nuisance taken off."""

import json
import math

import pytest
import torch
from test_field import TAUS, make, plain_rk4
from torch.distributions import MultivariateNormal

import flows
from flows import FunnelFlow
from flows.front import Front
from flows.fused import _FEW_ROWS
from flows.geometry.directions import shrunk
from flows.geometry.nuisance import Nuisance
from flows.solver import dopri5, rk4


def rows(count=500, dims=5):
    return torch.randn(count, dims).double() @ torch.randn(dims, dims).double() + 2


def metric(dims=5, rank=2):
    slopes = torch.randn(dims, rank).double()
    return slopes @ slopes.T


@pytest.fixture
def used(make_flow):
    """A flow far from the identity behind a front that keeps two of five directions, a duplicate and a constant column."""
    x = rows()
    x = torch.cat([x, torch.full((500, 1), 3.0).double(), x[:, :1]], dim=1)
    G = torch.zeros(7, 7).double()
    G[:5, :5] = metric()
    with pytest.warns(flows.front.ColumnWarning):
        front = Front.from_rows(x, kind="relevance", metric=G, keep=2)
    flow = FunnelFlow.behind(front, hidden=8, components=3)
    with torch.no_grad():
        flow.field.W3.copy_(0.3 * torch.randn_like(flow.field.W3))
        flow.front.turn.copy_(0.3 * torch.randn(2, 2))
        flow.base.means.copy_(torch.randn(3, 2))
        flow.exits.set_open(torch.tensor([True, False]))
    return flow, x


def test_coordinates_are_white_and_sorted_by_the_metric():
    x, G = rows(), metric()
    front = Front.from_rows(x, kind="relevance", metric=G, keep=2)
    y = front.coordinates(x)
    torch.testing.assert_close(y.T @ y / len(x), torch.eye(5).double(), rtol=0, atol=1e-9)
    moves = front.displacement(torch.eye(5).double())
    carried = (moves @ G @ moves.T).diagonal()
    assert carried[0] >= carried[1] > 1e-3 and carried[2:].abs().max() < 1e-9
    torch.testing.assert_close(x, front.mean + front.displacement(y))


def test_log_prob_is_of_all_columns(used):
    flow, x = used
    flow.exits.set_open(torch.zeros(2, dtype=torch.bool))
    with torch.no_grad():
        flow.field.W3.zero_()
    five = x[:, :5]
    gaussian = MultivariateNormal(five.mean(0), five.T.cov(correction=0))
    torch.testing.assert_close(flow.log_prob(x[:20]).detach(), gaussian.log_prob(five[:20]))


def test_draws_reach_the_idle_directions_and_zero_does_not(used):
    flow, x = used
    s = flow.encode(x).detach()
    drawn = flow.decode(s, "draw", torch.Generator().manual_seed(0)).detach()
    still = flow.decode(s).detach()
    idle = flow.front.coordinates(drawn)[:, 2:]
    assert (idle.std(0) - 1).abs().max() < 0.15 and flow.front.coordinates(still)[:, 2:].abs().max() < 1e-9
    torch.testing.assert_close(drawn[:, 6], drawn[:, 0])
    assert (drawn[:, 5] == 3).all()
    sampled = flow.sample(4000, torch.Generator().manual_seed(1))
    assert (flow.front.coordinates(sampled)[:, 2:].std(0) - 1).abs().max() < 0.06


def test_saved_and_loaded(used, tmp_path):
    flow, x = used
    flow.save(tmp_path)
    again = flows.load(tmp_path)
    assert again.config == flow.config and again.front.kind == "relevance"
    torch.testing.assert_close(again.log_prob(x), flow.log_prob(x).detach())
    torch.testing.assert_close(again.project(x), flow.project(x).detach())


def test_principal_directions_of_rows_fewer_than_columns():
    x = torch.randn(60, 3).double() @ torch.randn(3, 200).double() + 0.1 * torch.randn(60, 200).double()
    with pytest.raises(ValueError, match="too few rows: 60 rows for 200 varying columns.*front='principal'"):
        Front.from_rows(x)
    front = Front.from_rows(x, kind="principal", keep=3)
    assert (front.stored, front.dims) == (59, 3)
    flow = FunnelFlow.behind(front, hidden=4, components=2)
    flow.exits.set_open(torch.zeros(3, dtype=torch.bool))
    variances = torch.cat([front.scales.square(), front.rest.square().expand(141)])
    complement = torch.linalg.qr(front.basis, mode="complete")[0][:, 59:]
    covariance = torch.cat([front.basis, complement], 1) @ variances.diag() @ torch.cat([front.basis, complement], 1).T
    gaussian = MultivariateNormal(front.mean, covariance)
    other = torch.cat([x[:5], x[:5] + 0.1 * torch.randn(5, 200).double()])  # the latter lie beyond the rows' span
    torch.testing.assert_close(flow.log_prob(other).detach(), gaussian.log_prob(other), rtol=1e-7, atol=1e-5)


def test_shrinkage_is_oracle_approximating():
    scales, stored, beyond = shrunk(torch.tensor([2.0, 1.0, 1.0, 1.0]).double(), 10)
    trace, squares = 7.0, 19.0
    rho = (0.5 * squares + trace**2) / ((11 - 0.5) * (squares - trace**2 / 4))
    assert rho < 1 and stored == 4
    expected = [math.sqrt((1 - rho) * v + rho * trace / 4) for v in (4.0, 1.0, 1.0, 1.0)]
    assert scales.tolist() == pytest.approx(expected) and float(beyond) == pytest.approx(math.sqrt(rho * trace / 4))


def test_a_front_refuses_what_it_cannot_do():
    x = rows()
    with pytest.raises(ValueError, match=r"metric must be \(5, 5\) .* got \(4, 4\); measure it on the same layer"):
        Front.from_rows(x, kind="relevance", metric=torch.eye(4))
    with pytest.raises(ValueError, match="needs a head or a metric G"):
        Front.from_rows(x, kind="relevance")
    with pytest.raises(ValueError, match="does not depend on this layer"):
        Front.from_rows(x, kind="relevance", metric=torch.zeros(5, 5))
    with pytest.raises(ValueError, match="unknown front 'pca'; valid: whiten, principal, relevance"):
        Front(3, kind="pca")
    with pytest.raises(ValueError, match="can keep 1 to 5, got 6"):
        Front.from_rows(x, kind="principal").keeping(6)
    with pytest.raises(ValueError, match="energy must be one of whitened, layer, got 'x'"):
        FunnelFlow(3, energy="x")


# kinetic energy


@pytest.mark.parametrize("taus", TAUS.values(), ids=TAUS.keys())
def test_energy_by_a_root_fused_equals_plain(taus):
    field, exits = make(taus)
    z = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    root = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    got = rk4(field, exits, z, 3, root).kinetic

    class Measured(torch.nn.Module):  # the plain version sums |v|^2 of what it is given: give it v L
        def forward(self, t, point, mask):
            v, divergence = field(t, point, mask)
            measured.append(v @ root)
            return v, divergence

    measured = []
    plain_rk4(Measured(), exits, z, 3)
    weights = [w / 18 for _ in range(3) for w in (1, 2, 2, 1)]
    expected = sum(w * m.square().sum(1) for w, m in zip(weights, measured, strict=True))
    assert (got - expected).abs().max() <= 1e-10 * expected.abs().max()
    wanted = [z, root, field.W1, field.W2, field.W3, exits.tau]
    mixing = torch.randn_like(got)
    ours, theirs = (torch.autograd.grad((mixing * e).sum(), wanted) for e in (got, expected))
    enters = exits.tau.detach() > -0.125
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert (one - other).abs().max() <= 1e-10 * other.abs().max()
    assert (ours[-1] - theirs[-1])[enters].abs().max() <= 1e-10 * theirs[-1].abs().max()


def test_energy_without_gradients_and_of_the_adaptive_solver():
    field, exits = make(TAUS["closing"])
    z, root = torch.randn(_FEW_ROWS, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    learning = rk4(field, exits, z, 3, root).kinetic
    with torch.no_grad():
        reading = rk4(field, exits, z, 3, root).kinetic
    torch.testing.assert_close(reading, learning.detach())
    fine = rk4(field, exits, z, 64, root).kinetic
    torch.testing.assert_close(dopri5(field, exits, z, 1e-8, root).kinetic, fine, rtol=1e-3, atol=1e-5)
    assert (learning - rk4(field, exits, z, 3).kinetic).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["whiten", "relevance"])
def test_layer_energy_is_how_far_rows_move(kind):
    x = rows()
    front = Front.from_rows(x, kind=kind, metric=metric() if kind == "relevance" else None, keep=3)
    with torch.no_grad():
        front.turn.normal_()
    v = torch.randn(6, 3).double()
    moved = front.inverse(v) - front.inverse(torch.zeros(6, 3).double())
    mean = front.displacement(torch.eye(3).double()).square().sum() / 3
    torch.testing.assert_close((v @ front.energy_root()).square().sum(1), moved.square().sum(1) / mean)


# nuisance


def test_class_means_go_and_come_back():
    classes = torch.arange(300) % 7
    x = torch.randn(300, 4).double() + 5 * torch.randn(7, 4).double()[classes]
    found, residual, share = Nuisance.of(x, classes[:, None])
    left = x - found.effect(classes, 300)
    means = torch.stack([left[classes == c].mean(0) for c in range(7)])
    torch.testing.assert_close(means, means.mean(0).expand(7, 4))
    assert 0.8 < share < 1
    first = classes == 0  # a row's residual is taken from the mean of the others of its class
    others = torch.stack([x[first & (torch.arange(300) != i)].mean(0) for i in first.nonzero().squeeze(1)])
    apart = (residual - x.mean(0))[first] - (x[first] - others)
    assert apart.abs().max() < 0.05


def test_covariates_and_several_columns():
    numbers = torch.randn(400, 2).double()
    slopes = torch.randn(2, 3).double()
    x = 0.01 * torch.randn(400, 3).double() + numbers @ slopes
    found, residual, share = Nuisance.of(x, numbers)
    torch.testing.assert_close(found.slopes, slopes, rtol=0, atol=0.01)
    assert share > 0.99 and (residual - residual.mean(0)).std() < 0.02
    a, b = torch.arange(400) % 3, torch.arange(400) // 3 % 5
    x = torch.randn(3, 2).double()[a] + torch.randn(5, 2).double()[b]
    found, residual, share = Nuisance.of(x, torch.stack([a, b], 1))
    assert share > 0.999 and (residual - residual.mean(0)).abs().max() < 1e-6


def test_a_flow_takes_its_nuisance_off_and_puts_it_back(tmp_path):
    classes = torch.arange(300) % 7
    x = torch.randn(300, 4).double() + 5 * torch.randn(7, 4).double()[classes]
    found, residual, _ = Nuisance.of(x, classes[:, None])
    flow = FunnelFlow.behind(Front.from_rows(residual), nuisance=found, hidden=4, components=2)
    flow.save(tmp_path)
    flow = flows.load(tmp_path)
    left = x - found.effect(classes, 300)
    torch.testing.assert_close(flow.transform(x, nuisance=classes), flow.transform(left))
    torch.testing.assert_close(
        flow.inverse(flow.transform(x, nuisance=classes), nuisance=classes), x, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(flow.project(x, nuisance=classes), flow.project(left) + found.effect(classes, 300))
    assert json.loads((tmp_path / "flow.json").read_text())["config"]["nuisance"] == {"levels": [7], "numbers": 0}
    with pytest.raises(ValueError, match=r"column 0 has classes that the fit has not seen: \[9\]; leave"):
        flow.encode(x[:2], nuisance=torch.tensor([9, 0]))
    with pytest.raises(ValueError, match="fitted with a nuisance of 1 columns of class numbers, got torch.float32"):
        flow.encode(x[:2], nuisance=torch.ones(2))
    with pytest.raises(ValueError, match="one row for each of 2 rows"):
        flow.encode(x[:2], nuisance=[1, 2, 3])
    with pytest.raises(ValueError, match="without a nuisance"):
        FunnelFlow.from_rows(rows()).encode(rows(), nuisance=classes)


@pytest.mark.parametrize(
    "classes", [torch.arange(60), torch.cat([torch.zeros(59), torch.ones(1)]).long()], ids=["all", "one"]
)
def test_a_class_mean_needs_two_rows(classes):
    with pytest.raises(ValueError, match="a class mean needs at least 2 rows"):
        Nuisance.of(torch.randn(60, 3), classes[:, None])
