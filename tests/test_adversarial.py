"""The adversarial objective: a critic that knows KL divergences, exits that feel its differences, a run that finds k."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_fitting import TINY, StopAt, tiny_rows

import training
from training.data.activations import Activations
from training.data.preparing import prepare
from training.fitting import run
from training.runtime.checkpoints import Checkpoint
from training.runtime.stopping import StoppedError
from training.settings import ModelSettings, PathSettings
from training.stages.adversarial import adversarial, fit_density
from training.stages.course import Course
from training.stages.critic import Critic
from training.stages.measuring import latent
from training.stages.module import FunnelModule
from training.stages.objective import Charges, passed

MODEL = ModelSettings(objective="adversarial", components=4, hidden=8)
PATH = PathSettings(**{name: value for name, value in TINY.items() if name not in ("components", "hidden")})
RHO = 0.8
KL = -0.5 * math.log(1 - RHO**2)  # of two standard normals with correlation RHO from independent ones


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(rows, seed=0):
    """(s, n, e): n depends on s, e on nothing."""
    s, own, e = torch.randn(3, rows, generator=generator(seed))
    return torch.stack([s, RHO * s + math.sqrt(1 - RHO**2) * own, e], dim=1)


@pytest.fixture(scope="module")
def critic():
    critic, z, draws = Critic(3), pairs(6000), generator(1)
    supports = torch.tensor([1.0, 0.0, 0.0]).expand(512, 3)
    for _ in range(600):
        critic.learn(z[torch.randint(len(z), (512,), generator=draws)], supports, draws)
    return critic


def test_the_critic_bounds_a_known_divergence_from_below(critic):
    rows = critic.bounds(pairs(6000), pairs(4000, seed=2), torch.tensor([True, False, False]), seed=3)
    error = float(rows.std()) / math.sqrt(len(rows))
    assert KL - 0.06 < float(rows.mean()) < KL + 2 * error


def test_on_a_product_the_bound_is_nothing(critic):
    open_ = torch.tensor([True, True, False])
    assert abs(float(critic.bounds(pairs(6000), pairs(4000, seed=2), open_, seed=3).mean())) < 0.01


def test_an_exit_is_worth_what_the_divergence_grows_by_without_it(critic):
    z = pairs(4000, seed=2)
    supports = torch.tensor([1.0, 0.0, 0.0]).expand_as(z)
    gains = critic.gains(z, supports, torch.arange(3))
    assert gains.tolist() == pytest.approx([0, KL, 0], abs=0.1)  # s alone is normal, n given s is not


def test_gains_are_differences_of_logits():
    critic, z = Critic(4, seed=1), torch.randn(30, 4, generator=generator())
    critic.weights.copy_(torch.randn(critic.weights.shape, generator=generator(1)) / 5)
    b = (torch.rand(30, 4, generator=generator(2)) < 0.5).float()
    expected = []
    for i in range(4):
        shut, opened = b.clone(), b.clone()
        shut[:, i], opened[:, i] = 0, 1
        expected.append((critic(z, shut) - critic(z, opened)).mean())
    gains = critic.gains(z, b, torch.tensor([0, 1, 3]))
    torch.testing.assert_close(gains, torch.stack([*expected[:2], torch.tensor(0.0), expected[3]]))


def parts(make_flow):
    flow = make_flow(3, "open", dtype=torch.float32)
    critic, white = Critic(3, seed=1), torch.randn(64, 3, generator=generator(2))
    critic.weights.copy_(torch.randn(critic.weights.shape, generator=generator(3)) / 5)
    return flow, critic, white


def loss(flow, critic, white, gate_lam=None, proposes=False):
    return adversarial(flow, critic, white, white[:32], Charges(1.0, 0.02, gate_lam), generator(4), 2, proposes)


def test_no_density_is_in_what_the_flow_feels(make_flow):
    slopes = []
    for shift in (0.0, 3.0):
        flow, critic, white = parts(make_flow)
        with torch.no_grad():
            flow.base.means[:, 0] *= 1 + shift
        terms = loss(flow, critic, white)
        slopes.append(torch.autograd.grad(terms.loss, [flow.field.W1, flow.field.W3, flow.front.turn]))
    for first, other in zip(*slopes, strict=True):
        assert first.abs().max() > 0
        torch.testing.assert_close(first, other, rtol=0, atol=0)


def test_the_density_is_fitted_beside(make_flow):
    flow, critic, white = parts(make_flow)
    assert torch.autograd.grad(loss(flow, critic, white).loss, flow.base.means)[0].abs().max() > 0


def test_the_gates_feel_lambda_minus_the_critics_gain(make_flow):
    flow, critic, white = parts(make_flow)
    torch.nn.init.zeros_(flow.field.W3)
    flow.field.requires_grad_(False)
    with torch.no_grad():
        flow.exits.tau.copy_(torch.tensor([1.1, 1.0, 0.95]))
    terms = loss(flow, critic, white, gate_lam=0.4)
    (slope,) = torch.autograd.grad(terms.loss, flow.exits.tau)
    torch.testing.assert_close(slope, (0.4 - terms.gains) / flow.exits.width)


def test_an_open_gate_is_drawn_shut_now_and_then_while_supports_are_proposed(make_flow):
    flow, _, white = parts(make_flow)
    drawn = passed(flow, white.repeat(100, 1), generator(), 1, spared=0.1).is_open
    assert float(drawn.mean()) == pytest.approx(0.9, abs=0.01)
    assert bool(passed(flow, white, generator(), 1).is_open.all())


def test_a_density_is_fitted_to_what_is_left(make_flow):
    flow = make_flow(3, "open", dtype=torch.float32)
    z, b = pairs(4000), torch.tensor([True, True, False])
    fit_density(flow.base, z, b, seed=0)
    with torch.no_grad():
        nats = flow.base.log_prob(pairs(4000, seed=1), b.float()).mean()
    truth = KL - 1.5 * (1 + math.log(2 * math.pi))
    assert truth - 0.1 < float(nats) < truth + 0.02
    assert all(p.grad is None for p in flow.base.parameters())


@pytest.fixture
def few_steps(monkeypatch):
    """Measurements of seconds would make tiny runs long."""
    monkeypatch.setattr("training.stages.critic._MEASURING", 5)
    monkeypatch.setattr("training.stages.adversarial._FITTING", 5)


def tiny_run(callbacks=(), resume=None):
    return run(prepare(Activations(tiny_rows()), MODEL, PATH, 0), MODEL, PATH, 0, 0.03, callbacks, resume)


def test_stopped_and_resumed_it_is_the_same_run(tmp_path, untouched_rng, few_steps):
    with untouched_rng():
        whole = tiny_run()
    assert whole.kl is not None and {"settle", "screen", "ramp"} <= set(whole.path["stage"])
    for step in range(2, whole.steps, 9):
        file = tmp_path / f"{step}.ckpt"
        with pytest.raises(StoppedError):
            tiny_run([Checkpoint(file, every=1), StopAt(step)])
        resumed = tiny_run(resume=file)
        assert np.array_equal(resumed.path, whole.path), step
        for name, tensor in whole.flow.state_dict().items():
            assert torch.equal(resumed.flow.state_dict()[name], tensor), (step, name)
        assert (resumed.J, resumed.kl, resumed.steps) == (whole.J, whole.kl, whole.steps)


def test_its_numbers_are_those_of_its_flow(few_steps):
    result, x = tiny_run(), tiny_rows()
    assert -float(result.flow.log_prob(x[result.held_out]).mean()) == pytest.approx(result.nll, abs=1e-4)
    assert result.to_dict()["kl"] == result.kl
    assert result.kinetic >= 0


def test_latent_rows_are_the_flows(make_flow):
    flow, _, x = parts(make_flow)
    torch.testing.assert_close(latent(flow, flow.front.whiten(x), flow.steps), flow.transform(x).detach())


def test_going_back_takes_the_critic_along(few_steps):
    prepared = prepare(Activations(tiny_rows()), MODEL, PATH, 0)
    critic = Critic(3)
    course = Course(prepared.flow, prepared.data.white, prepared.data.held_out, MODEL, PATH, 0.03, 0, critic)
    course.start()
    before = critic.weights.clone()
    critic.weights.fill_(torch.nan)
    course.go_back(1)
    assert torch.equal(critic.weights, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "gan"}, "objective must be one of likelihood, adversarial, got 'gan'"),
        (
            {"objective": "adversarial", "law": "channel"},
            "the adversarial objective draws its gates, got law 'channel'",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        training.fit(tiny_rows(), null_worth=0.03, **settings)


def test_one_process_only(monkeypatch):
    prepared = prepare(Activations(tiny_rows()), MODEL, PATH, 0)
    module = FunnelModule(prepared.flow, prepared.data, MODEL, PATH, 0.03, 0)
    monkeypatch.setattr(FunnelModule, "trainer", SimpleNamespace(world_size=2))
    with pytest.raises(ValueError, match="trains in one process, got 2; use one device"):
        module.on_fit_start()


@pytest.mark.slow
def test_a_circle_needs_two_dimensions():
    result = training.fit(training.planted("circle", 6000, seed=1).x, null_worth=0.03, objective="adversarial")
    assert result.structure_dim == 2
    assert result.worth.min() > result.null_worth
