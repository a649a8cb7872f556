"""The gated mixture: exact standardisation, both gate laws against brute force, gains as derivatives, samples."""

import itertools

import pytest
import torch
from torch.distributions import Normal

from flows.base import GATE_LAWS, GatedMixture

pytestmark = pytest.mark.quick

every_law = pytest.mark.parametrize("law", GATE_LAWS)


def make(dims=3, components=4, law="bernoulli", spread=1.0):
    base = GatedMixture(dims, components, law).double()
    with torch.no_grad():
        base.logits.normal_()
        base.means.normal_(2, spread)
        base.log_scales.normal_(-0.5, 0.5)
    return base


def brute_force(base, z, is_open):
    """l_k by torch.distributions, one row, component and dimension at a time."""
    log_pi, mu, sigma = base.standardised()
    rows = []
    for row, b in zip(z, is_open, strict=True):
        opened, shut = Normal(mu, sigma).log_prob(row), Normal(0.0, 1.0).log_prob(row)
        rows.append(log_pi + torch.where(b > 0, opened, shut).sum(1))
    return torch.stack(rows)


@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_mean_0_and_variance_1_exactly(spread):
    base = make(spread=spread)
    log_pi, mu, sigma = base.standardised()
    pi = log_pi.exp()
    assert (pi @ mu).abs().max() <= 1e-12
    assert (pi @ (mu.square() + sigma.square()) - 1).abs().max() <= 1e-12
    assert sigma.min() >= 0.05


def test_an_empty_component_keeps_a_finite_weight():
    base = GatedMixture(1, 2)
    base.set_components(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.ones(2, 1))
    assert base.logits.isfinite().all()


def test_set_components_of_standardised_data_come_back():
    weights = torch.tensor([0.8, 0.2])
    base = GatedMixture(1, 2)
    base.set_components(weights, torch.tensor([[-0.4], [1.6]]), torch.full((2, 1), 0.6))
    log_pi, mu, sigma = base.standardised()
    assert log_pi.exp().tolist() == pytest.approx([0.8, 0.2])
    assert mu.flatten().tolist() == pytest.approx([-0.4, 1.6], abs=3e-3)
    assert sigma.flatten().tolist() == pytest.approx([0.6, 0.6], abs=2e-3)


@every_law
@pytest.mark.parametrize("gates", [[1.0, 1.0], [0.3, 0.8], [1.0, 0.5], [0.0, 0.0]], ids=str)
def test_density_integrates_to_1(law, gates):
    base = make(2, law=law)
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    log_prob = base.log_prob(torch.cartesian_prod(axis, axis), torch.tensor(gates).double())
    total = (log_prob.exp().sum() * (axis[1] - axis[0]) ** 2).item()
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("gates", list(itertools.product([0.0, 1.0], repeat=3)), ids=str)
def test_laws_and_the_definition_agree_where_gates_are_0_or_1(gates):
    base, channel = make(law="bernoulli"), GatedMixture(3, 4, "channel").double()
    channel.load_state_dict(base.state_dict())
    z, g = torch.randn(9, 3, dtype=torch.float64), torch.tensor(gates).double()
    expected = brute_force(base, z, g.expand(9, 3)).logsumexp(1)
    for law in (base, channel):
        torch.testing.assert_close(law.log_prob(z, g), expected, rtol=1e-10, atol=1e-10)


def test_bernoulli_law_is_the_mixture_over_gate_draws():
    base, z, g = make(), torch.randn(9, 3, dtype=torch.float64), torch.tensor([0.2, 0.7, 1.0]).double()
    total = 0
    for draw in itertools.product([0.0, 1.0], repeat=3):
        b = torch.tensor(draw).double()
        chance = torch.where(b > 0, g, 1 - g).prod()
        total = total + chance * brute_force(base, z, b.expand(9, 3)).logsumexp(1).exp()
    torch.testing.assert_close(base.log_prob(z, g), total.log(), rtol=1e-10, atol=1e-10)


def test_channel_law_is_the_law_of_its_formula():
    base, z, g = make(law="channel"), torch.randn(9, 3, dtype=torch.float64), torch.tensor([0.2, 0.7, 1.0]).double()
    log_pi, mu, sigma = base.standardised()
    law = Normal(g * mu, (g**2 * sigma**2 + 1 - g**2).sqrt())
    expected = (log_pi + law.log_prob(z[:, None]).sum(2)).logsumexp(1)
    torch.testing.assert_close(base.log_prob(z, g), expected, rtol=1e-10, atol=1e-10)


def test_component_log_probs_against_brute_force():
    base, z = make(), torch.randn(20, 3, dtype=torch.float64)
    b = torch.randint(2, (20, 3)).double()
    torch.testing.assert_close(base.component_log_probs(z, b), brute_force(base, z, b), rtol=1e-10, atol=1e-10)
    kept, part = torch.tensor([2, 0]), make(2)
    with torch.no_grad():
        part.logits.copy_(base.logits)
        part.means.copy_(base.means[:, kept]), part.log_scales.copy_(base.log_scales[:, kept])
    got = base.component_log_probs(z[:, kept], b[:, kept], kept)
    torch.testing.assert_close(got, brute_force(part, z[:, kept], b[:, kept]), rtol=1e-10, atol=1e-10)


def test_gains_by_definition():
    base, z, b = make(), torch.randn(20, 3, dtype=torch.float64), torch.randint(2, (20, 3)).double()
    for i, gain in enumerate(base.gains(z, b)):
        opened, shut = b.clone(), b.clone()
        opened[:, i], shut[:, i] = 1, 0
        change = brute_force(base, z, opened).logsumexp(1) - brute_force(base, z, shut).logsumexp(1)
        assert gain.item() == pytest.approx(change.mean().item(), rel=1e-10)


def test_gains_of_some_dimensions_are_those_and_0():
    base, z, b = make(), torch.randn(20, 3, dtype=torch.float64), torch.ones(20, 3, dtype=torch.float64)
    some = base.gains(z, b, torch.tensor([2, 0]))
    torch.testing.assert_close(some, base.gains(z, b) * torch.tensor([1.0, 0.0, 1.0]).double())
    assert bool((some[[0, 2]] != 0).all())


def test_gains_are_the_derivative_of_the_expected_log_density_in_the_gates():
    base, z = make(), torch.randn(20, 3, dtype=torch.float64)
    g = torch.tensor([0.2, 0.7, 0.5], dtype=torch.float64, requires_grad=True)
    value, mean_gain = 0, 0
    for draw in itertools.product([0.0, 1.0], repeat=3):
        b = torch.tensor(draw).double()
        chance = torch.where(b > 0, g, 1 - g).prod()
        value = value + chance * base.component_log_probs(z, b.expand(20, 3)).logsumexp(1).mean()
        mean_gain = mean_gain + chance.detach() * base.gains(z, b.expand(20, 3))
    torch.testing.assert_close(mean_gain, torch.autograd.grad(value, g)[0], rtol=1e-10, atol=1e-10)


@every_law
def test_samples_have_the_moments_of_the_law(law, untouched_rng):
    base = make(law=law)
    g = torch.tensor([1.0, 0.6, 0.0]).double()
    with untouched_rng():
        z = base.rsample(50_000, g, torch.Generator().manual_seed(1)).detach()
    assert torch.equal(z[:9], base.rsample(50_000, g, torch.Generator().manual_seed(1))[:9])
    log_pi, mu, _ = (value.detach() for value in base.standardised())
    covariance = (mu * log_pi.exp()[:, None]).T @ mu * g[:, None] * g
    covariance.fill_diagonal_(1)
    assert covariance[0, 1].abs() > 0.1
    torch.testing.assert_close(z.mean(0), torch.zeros(3).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(z.T.cov(), covariance, rtol=0, atol=0.03)


@every_law
def test_samples_pass_gradients_to_means_and_scales(law):
    base = make(law=law)
    base.rsample(50, torch.ones(3).double(), torch.Generator().manual_seed(0)).square().sum().backward()
    assert base.means.grad.any() and base.log_scales.grad.any()


def test_unknown_law_and_repr():
    with pytest.raises(ValueError, match="bernoulli, channel, got 'bernouli'"):
        GatedMixture(2, law="bernouli")
    assert repr(GatedMixture(2, 3)) == "GatedMixture(dims=2, components=3, law='bernoulli')"
