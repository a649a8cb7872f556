"""Starting points: FastICA's axes, k-means components, the test that opens a dimension."""

import pytest
import torch

import training
from flows import FunnelFlow
from flows.front import Front
from training.stages import pursuit
from training.stages.starting import ica_rotation, latent_sample, refit_mixture, reopening_gains


@pytest.fixture
def bimodal():
    """Whitened rows (4000, 3): two clusters along one slanted direction, Gaussian across it; and that direction."""
    generator = torch.Generator().manual_seed(0)
    sign = torch.randint(0, 2, (4000,), generator=generator) * 2.0 - 1
    clusters = 0.95 * sign + 0.3 * torch.randn(4000, generator=generator)
    x = torch.stack([clusters, *torch.randn(2, 4000, generator=generator)], dim=1)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    return x @ turn.T, turn[:, 0]


def started(rows):
    flow = FunnelFlow.from_rows(rows, hidden=8, components=8, steps=1)
    white = flow.front.whiten(rows)
    flow.front.set_rotation(ica_rotation(white, seed=0))
    return flow, white


def test_ica_finds_the_direction(bimodal):
    rows, direction = bimodal
    flow, white = started(rows)
    with torch.no_grad():
        found = torch.corrcoef(torch.cat([flow.front.rotation @ white.T, (rows @ direction)[None]]))[-1, :-1].abs()
    assert found.max() > 0.99


@pytest.mark.parametrize("name, floor", [("circle", 0.97), ("torus", 0.9)])
def test_a_wide_start_finds_what_is_not_gaussian(name, floor, untouched_rng):
    structure = training.planted(name, 12_000, 0, diffeo=False).structure
    k, generator = structure.shape[1], torch.Generator().manual_seed(1)
    x = torch.cat([structure, torch.randn(12_000, 48 - k, generator=generator)], 1)
    turn, _ = torch.linalg.qr(torch.randn(48, 48, generator=generator))
    white = Front.from_rows(x).whiten(x)
    rotation = ica_rotation(white @ turn, seed=0).float()
    assert torch.allclose(rotation @ rotation.T, torch.eye(48), atol=1e-4)
    truth, _ = torch.linalg.qr(turn.T @ white.T @ structure)  # where the structure lies in the whitened rows
    assert (rotation[:k] @ truth).square().sum() > floor * k


def test_one_axis_of_a_circle_tells_of_the_other():
    structure = training.planted("circle", 8000, 0, diffeo=False).structure
    x = torch.cat([structure, torch.randn(8000, 150, generator=torch.Generator().manual_seed(1))], 1)
    company = pursuit._company(x, torch.eye(152)[:1])
    assert company[:, 1].abs().max() > 0.9
    assert pursuit._narrowed(x[:, :64])[:2].square().sum() > 1.7  # of 2, in 40 of 64 dimensions


def test_only_the_structured_dimension_is_worth_opening(bimodal):
    rows, direction = bimodal
    flow, white = started(rows)
    z = latent_sample(flow, white, seed=0, steps=1)
    gains = reopening_gains(flow, z, torch.zeros(3, dtype=torch.bool), seed=0)
    order = gains.argsort(descending=True)
    assert gains[order[0]] > 0.3
    assert gains[order[1:]].abs().max() < 0.02


def test_a_dimension_that_is_gaussian_alone_but_not_given_the_others_is_found():
    """y has a different spread on each side of x: its margin hardly shows it, its law given x does."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (6000,), generator=generator) * 2.0 - 1 + 0.2 * torch.randn(6000, generator=generator)
    y = torch.randn(6000, generator=generator) * torch.where(x > 0, 1.3, 0.55)
    z = torch.stack([x / x.std(), y / y.std(), torch.randn(6000, generator=generator)], dim=1)
    flow = FunnelFlow.from_rows(z, hidden=8, components=8, steps=1)
    is_open = torch.tensor([True, False, False])
    refit_mixture(flow, z, is_open, seed=0)
    gains = reopening_gains(flow, z, is_open, seed=0)
    assert gains[0] == -torch.inf
    assert gains[1] > 0.1
    assert gains[2] < 0.01


def test_k_means_components_describe_the_open_dimensions_only(bimodal):
    rows, _ = bimodal
    flow, white = started(rows)
    z = latent_sample(flow, white, seed=0, steps=1)
    is_open = torch.tensor([True, False, True])
    refit_mixture(flow, z, is_open, seed=0)
    _, mu, sigma = flow.base.standardised()
    torch.testing.assert_close(mu[:, 1], torch.zeros(8))
    torch.testing.assert_close(sigma[:, 1], torch.ones(8))
    assert mu[:, 0].std() > 0.1


def test_the_sample_is_a_function_of_its_seed(bimodal):
    rows, _ = bimodal
    flow, white = started(rows)
    first, again, other = (latent_sample(flow, white, seed, 1, most_rows=50) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, other)
