"""Augmented dimensions: draws that belong to the row, a log-density that bounds the marginal from below."""

import pytest
import torch
from scipy import stats

from flows import FunnelFlow, load
from flows.augment import log_normal, row_noise


@pytest.fixture
def rows():
    return torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def bent(make_flow):
    """Makes flows of two data dimensions and ``augment`` more, far from the identity, float64."""

    def make(augment, exits="mixed"):
        plain = make_flow(2 + augment, exits)
        flow = FunnelFlow(**plain.config | {"features": 2, "used": 2, "stored": 2, "augment": augment}).double()
        state = {k: v for k, v in plain.state_dict().items() if not k.startswith("front.") or k == "front.turn"}
        flow.load_state_dict(state, strict=False)
        return flow

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_independent_normals(rows, dtype):
    noise = torch.cat([row_noise(rows.to(dtype), 2, draw) for draw in range(3)], dim=1).double()
    assert noise.shape == (4000, 6)
    assert min(stats.kstest(column.numpy(), "norm").pvalue for column in noise.T) > 1e-3
    together = torch.corrcoef(torch.cat([noise, noise.abs(), rows.double()], dim=1).T)
    assert (together - torch.eye(15)).abs().max() < 0.08


def test_draws_belong_to_the_row(rows):
    whole = row_noise(rows, 2)
    assert torch.equal(whole[7:8], row_noise(rows[7:8].clone(), 2))
    assert torch.equal(whole.flip(0), row_noise(rows.flip(0), 2))
    assert torch.equal(row_noise(-torch.zeros(1, 3), 2), row_noise(torch.zeros(1, 3), 2))
    nudged = torch.nextafter(rows, torch.full_like(rows, torch.inf))
    assert (row_noise(nudged, 2) - whole).abs().min(1).values.median() > 0.1
    assert (row_noise(rows.flip(1), 2) - whole).abs().min(1).values.median() > 0.1


def test_no_augmented_dimensions_no_draws(rows):
    assert row_noise(rows, 0).shape == (4000, 0)
    assert torch.equal(log_normal(row_noise(rows, 0)), torch.zeros(4000))


def test_a_gaussian_flow_is_unchanged_by_augmentation(rows):
    plain, lifted = FunnelFlow.from_rows(rows, seed=0), FunnelFlow.from_rows(rows, seed=0, augment=2)
    lifted.front.turn.copy_(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(lifted.log_prob(rows), plain.log_prob(rows), rtol=0, atol=1e-4)


@pytest.mark.parametrize("augment", [1, 2, 4])
def test_inverse_and_single_rows(bent, augment):
    flow, x = bent(augment, "open"), torch.randn(50, 2, dtype=torch.float64)
    z = flow.transform(x)
    assert z.shape == (50, 2 + augment)
    torch.testing.assert_close(flow.inverse(z), x, rtol=0, atol=1e-6)
    torch.testing.assert_close(flow.transform(x[9:10]), z[9:10], rtol=0, atol=1e-10)
    assert flow.sample(5, torch.Generator().manual_seed(0)).shape == (5, 2)


def test_log_prob_bounds_the_marginal_from_below(bent):
    """Against the integral of p(x, a) over a grid of a."""
    flow, x = bent(1), torch.randn(40, 2, dtype=torch.float64)
    grid = torch.linspace(-8, 8, 801, dtype=torch.float64)
    white = flow.front.whiten(x)
    states = flow.front.enter(white.repeat_interleave(801, 0), grid.repeat(40)[:, None])
    solution = flow.solve(states)
    joint = (flow.base.log_prob(solution.z, flow.gates) + solution.ladj + flow.front.ladj).reshape(40, 801)
    truth = joint.logsumexp(1) + (grid[1] - grid[0]).log()
    few, some, many = (flow.log_prob(x, draws=draws).mean() for draws in (1, 8, 512))
    assert few < some < many < truth.mean() + 0.02
    torch.testing.assert_close(flow.log_prob(x, draws=1024), truth, rtol=0, atol=0.25)


def test_encode_is_the_mean_over_draws_and_spread_their_deviation(bent):
    flow, x = bent(2, "open"), torch.randn(20, 2, dtype=torch.float64)
    each = torch.stack([flow.split(flow.transform(x, draw))[0] for draw in range(3)])
    torch.testing.assert_close(flow.encode(x, draws=3), each.mean(0))
    torch.testing.assert_close(flow.spread(x, draws=3), each.std(0, correction=0))
    assert bool((flow.spread(x) > 0).all())


def test_saved_and_loaded(bent, tmp_path):
    flow, x = bent(2), torch.randn(5, 2, dtype=torch.float64)
    flow.save(tmp_path)
    assert torch.equal(load(tmp_path).log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize("call", ["log_prob", "encode", "spread"])
def test_no_draws_is_an_error(bent, call):
    with pytest.raises(ValueError, match=r"draws must be at least 1, got 0; 16"):
        getattr(bent(1), call)(torch.zeros(1, 2), draws=0)


def test_a_negative_number_is_an_error():
    with pytest.raises(ValueError, match="augment must not be negative, got -1"):
        FunnelFlow(2, augment=-1)
