"""The loss: what the exits feel is lambda - D, what the flow feels is likelihood and kinetic energy."""

import pytest
import torch

from flows import FunnelFlow
from training.stages.objective import Charges, objective, passed

pytestmark = pytest.mark.quick


@pytest.fixture
def flow():
    generator = torch.Generator().manual_seed(0)
    flow = FunnelFlow.from_rows(torch.randn(400, 3, generator=generator), hidden=8, components=3, steps=2).double()
    with torch.no_grad():
        flow.field.W3.normal_(0, 0.1, generator=generator)
        flow.base.means.normal_(0, 1, generator=generator)
        flow.base.log_scales.fill_(-0.7)
        flow.exits.tau.copy_(torch.tensor([1.1, 1.0, 0.9]))
    return flow


def loss(flow, white, gate_lam, depth_lam=0.0, kappa=1.0, seed=1):
    charges = Charges(kappa, 0.02, gate_lam, depth_lam)
    return objective(flow, white, charges, torch.Generator().manual_seed(seed), steps=2)


def white_rows(count=64):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_the_gates_feel_lambda_minus_their_gain(flow):
    """At depth 1 alone: a flow at rest, so that masks on the way change nothing."""
    torch.nn.init.zeros_(flow.field.W3)
    flow.field.requires_grad_(False)
    terms = loss(flow, white_rows(), gate_lam=0.4)
    (slope,) = torch.autograd.grad(terms.loss, flow.exits.tau)
    torch.testing.assert_close(slope, (0.4 - terms.gains) / flow.exits.width)


def test_gains_are_the_gradient_of_the_expected_likelihood(flow):
    """Averaged over many draws, -D_i is d/dg_i of E_b[-log p(z | b)], found here by opening and shutting gate i."""
    torch.nn.init.zeros_(flow.field.W3)
    white = white_rows(2000)
    with torch.no_grad():
        gains = torch.stack([loss(flow, white, 0.0, seed=s).gains for s in range(40)]).mean(0)
        z = white @ flow.front.rotation.T
        expected = torch.zeros(3, dtype=torch.float64)
        gates = flow.gates
        for bits in torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3):
            log_base = flow.base.component_log_probs(z, bits.expand_as(z)).logsumexp(1).mean()
            chance = torch.where(bits == 1, gates, 1 - gates)
            for i in range(3):
                others = chance.prod() / chance[i]
                expected[i] += (2 * bits[i] - 1) * others * log_base
    torch.testing.assert_close(gains, expected, atol=0.01, rtol=0)


def test_kappa_weighs_the_kinetic_energy(flow):
    white = white_rows()
    one, three = (loss(flow, white, None, kappa=k) for k in (1.0, 3.0))
    torch.testing.assert_close(three.loss - one.loss, 2 * one.kinetic)
    assert one.gains is None


def test_the_penalty_over_depth_acts_on_exits_alone(flow):
    white = white_rows()
    parameters = [flow.exits.tau, flow.field.W1, flow.front.turn]
    free = torch.autograd.grad(loss(flow, white, None).loss, parameters, retain_graph=True)
    paid = torch.autograd.grad(loss(flow, white, None, depth_lam=1.0).loss, parameters)
    assert (paid[0] > free[0]).any()
    moved = passed(flow, white, torch.Generator().manual_seed(1), 2).solution.activation.sum()
    difference = loss(flow, white, None, depth_lam=3.0).loss - loss(flow, white, None).loss
    torch.testing.assert_close(difference, 3.0 * 0.02 * moved)
    for a, b in zip(free[1:], paid[1:], strict=True):
        torch.testing.assert_close(a, b)


def test_the_channel_law_trains_gates_through_the_density(flow):
    channel = FunnelFlow(**{**flow.config, "law": "channel"}).double()
    channel.load_state_dict(flow.state_dict())
    terms = loss(channel, white_rows(), gate_lam=0.4)
    (slope,) = torch.autograd.grad(terms.loss, channel.exits.tau)
    assert slope.abs().min() > 0
