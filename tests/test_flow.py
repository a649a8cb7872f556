"""The gauntlet over several flows: inverse, log-det, mass, rows on their own, pruning, samples, structure."""

import doctest
import importlib
import itertools

import pytest
import torch

from flows import FunnelFlow
from flows.fused import fused_rk4
from flows.solver import dopri5, invert_rk4, rk4

CASES = list(itertools.product((1, 2, 5), ("open", "mixed", "shut"), ("bernoulli", "channel")))
every_flow = pytest.mark.parametrize(("dims", "exits", "law"), CASES, ids=lambda value: str(value))


def rows(flow, count=6, spread=1.0):
    """Rows that spread over the flow's data."""
    white = spread * torch.randn(count, flow.front.dims, dtype=flow.exits.tau.dtype)
    return flow.front.inverse(white).detach()


def slogdet(function, row):
    return torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda r: function(r[None])[0], row))[1]


@every_flow
def test_shapes_and_dtypes(make_flow, dims, exits, law):
    flow = make_flow(dims, exits, law, dtype=torch.float32)
    x = rows(flow)
    z, ladj = flow.call_and_ladj(x)
    k = flow.structure_dim
    assert z.shape == (6, dims) and ladj.shape == flow.log_prob(x).shape == (6,)
    assert flow.encode(x).shape == (6, k) and flow.project(x).shape == flow.sample(6).shape == (6, dims)
    assert [part.shape[1] for part in flow.split(z)] == [k, dims - k]
    assert {value.dtype for value in (z, ladj, flow.log_prob(x), flow.sample(2))} == {torch.float32}
    assert k == {"open": dims, "mixed": len([i for i in (0, 2) if i < dims]), "shut": 0}[exits]


@every_flow
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_inverse_inverts_the_discretised_map(make_flow, monkeypatch, dims, exits, law, steps):
    if steps >= 4:  # fewer may need Newton, the default number must not
        monkeypatch.delattr("flows.solver._newton")
    flow = make_flow(dims, exits, law)
    flow.steps = steps
    x = rows(flow, 40)
    torch.testing.assert_close(flow.inverse(flow.transform(x)), x, rtol=0, atol=1e-6)


@every_flow
def test_ladj_against_slogdet(make_flow, dims, exits, law):
    flow = make_flow(dims, exits, law)
    x = rows(flow, 3)

    def accurate(x):
        return dopri5(flow.field, flow.exits, flow.front(x), 1e-9)

    exact = torch.stack([slogdet(lambda r: accurate(r).z, row) for row in x])
    torch.testing.assert_close(accurate(x).ladj + flow.front.ladj, exact, rtol=0, atol=1e-6)
    assert (exact - flow.front.ladj).abs().max() > 0.01


@every_flow
def test_ladj_against_slogdet_at_the_default_steps(make_flow, dims, exits, law):
    flow = make_flow(dims, exits, law, strength=0.1)
    flow.exits.snap_(flow.steps)
    x = rows(flow, 3)
    exact = torch.stack([slogdet(flow.transform, row) for row in x])
    torch.testing.assert_close(flow.call_and_ladj(x)[1], exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("exits", "law"), [(exits, law) for dims, exits, law in CASES if dims == 2])
def test_density_integrates_to_1(make_flow, exits, law):
    flow = make_flow(2, exits, law)
    axis = torch.linspace(-7, 7, 101, dtype=torch.float64)
    x = flow.front.inverse(torch.cartesian_prod(axis, axis))
    with torch.no_grad():
        density = flow.log_prob(x, steps=8).exp()
    area = (axis[1] - axis[0]) ** 2 * (-flow.front.ladj).exp()
    assert (density.sum() * area).item() == pytest.approx(1, abs=1e-3)


@every_flow
def test_a_row_does_not_depend_on_its_neighbours(make_flow, dims, exits, law):
    flow = make_flow(dims, exits, law)
    x = rows(flow)
    for method in (flow.transform, flow.log_prob):
        alone = torch.cat([method(x[i : i + 1]) for i in range(len(x))])
        torch.testing.assert_close(method(x), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("never", [[3], [0, 2], [0, 1, 2, 3, 4]], ids=str)
def test_pruned_equals_unpruned(make_flow, never):
    flow = make_flow(5, "open")
    flow.exits.tau.data[never] = -flow.exits.width / 2
    z = torch.randn(7, 5, dtype=torch.float64)
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    full = fused_rk4(z, flow.field.folded(times, flow.exits.masks(times)), 4)
    pruned = flow.solve(z)
    for got, expected in zip((pruned.z, pruned.ladj, pruned.kinetic), full, strict=False):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(pruned.z[:, never], z[:, never]) and not pruned.activation[never].any()
    torch.testing.assert_close(invert_rk4(flow.field, flow.exits, pruned.z, 4, 1e-12), z, rtol=1e-9, atol=1e-9)


def test_discretisation_error_falls_with_the_steps(make_flow):
    flow = make_flow(5, "open")
    z = torch.randn(20, 5, dtype=torch.float64)
    exact = flow.solve(z, "dopri5", tolerance=1e-10)
    errors = []
    for steps in (4, 8, 16):
        solution = flow.solve(z, steps=steps)
        pairs = [(getattr(solution, name), getattr(exact, name)) for name in ("z", "ladj", "kinetic")]
        errors.append(torch.stack([(got - expected).abs().max() for got, expected in pairs]))
    assert (errors[1] < errors[0] / 8).all() and (errors[2] < errors[1] / 8).all()
    assert exact.evaluations > 4 * 16 and flow.solve(z).evaluations == 16


def test_dopri5_rows_do_not_depend_on_their_neighbours_beyond_the_tolerance(make_flow):
    flow = make_flow(2, "open")
    z = torch.randn(100, 2, dtype=torch.float64)
    z[0] *= 5
    crowd, alone = flow.solve(z, "dopri5", tolerance=1e-6), flow.solve(z[:1], "dopri5", tolerance=1e-6)
    assert (crowd.z[0] - alone.z[0]).abs().max() <= 1e-5
    assert crowd.evaluations >= alone.evaluations


def stiff(make_flow, strength):
    flow = make_flow(2, "open", strength=strength)
    flow.steps = 1
    return flow


def test_newton_inverts_where_the_fixed_point_does_not_contract(make_flow, monkeypatch):
    flow, calls = stiff(make_flow, 1.0), []
    newton = importlib.import_module("flows.solver")._newton
    monkeypatch.setattr("flows.solver._newton", lambda *args: calls.append(args) or newton(*args))
    z = 0.1 * torch.randn(5, 2, dtype=torch.float64)
    end = rk4(flow.field, flow.exits, z, 1).z
    back = invert_rk4(flow.field, flow.exits, end, 1, 1e-9)
    assert calls
    torch.testing.assert_close(rk4(flow.field, flow.exits, back, 1).z, end, rtol=0, atol=1e-8)


def test_an_inverse_that_does_not_converge_says_so(make_flow):
    flow = stiff(make_flow, 100.0)
    with pytest.raises(RuntimeError, match=r"step 1 of 1: largest residual .* wanted 1e-09; raise flow.steps"):
        flow.inverse(3 * torch.randn(50, 2, dtype=torch.float64))


def test_inverse_passes_gradients(make_flow):
    flow = make_flow(2, "open")
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    (jacobian,) = torch.autograd.grad(flow.inverse(z)[0, 0], z)
    step = torch.zeros_like(z)
    step[0, 1] = 1e-4
    with torch.no_grad():
        slope = (flow.inverse(z + step) - flow.inverse(z - step))[0, 0] / 2e-4
    assert jacobian[0, 1].item() == pytest.approx(slope.item(), rel=1e-4)
    assert not jacobian[1:].any()


@pytest.mark.parametrize("law", ["bernoulli", "channel"])
def test_samples_follow_log_prob(make_flow, law):
    flow = make_flow(1, "mixed", law)
    x = flow.sample(20_000, torch.Generator().manual_seed(0)).squeeze(1).sort()[0]
    grid = torch.linspace(x[0] - 3, x[-1] + 3, 4001, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(grid[:, None], steps=16).exp()
    mass = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(density, grid)])
    expected = mass[torch.searchsorted(grid, x)]
    distance = (expected - torch.arange(1, len(x) + 1) / len(x)).abs().max()
    assert distance < 1.63 / len(x) ** 0.5  # Kolmogorov-Smirnov at 1 %


def test_sampling_takes_its_randomness_from_the_generator(make_flow, untouched_rng):
    flow = make_flow(5)
    with untouched_rng():
        a, b, c = (flow.sample(4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        x, log_prob = flow.sample_and_log_prob(4, torch.Generator().manual_seed(0))
    assert torch.equal(a, b) and torch.equal(a, x) and not torch.equal(a, c)
    assert torch.equal(log_prob, flow.log_prob(x)) and not log_prob.requires_grad
    assert flow.rsample(4, torch.Generator().manual_seed(0)).requires_grad


def test_encode_and_split_in_order_of_falling_price(make_flow):
    flow = make_flow(5)  # gates above 0: dimensions 0 and 2
    flow.order.copy_(torch.tensor([4, 2, 1, 0, 3]))
    x = rows(flow)
    z = flow.transform(x)
    assert flow.structure.tolist() == [2, 0]
    assert torch.equal(flow.encode(x), z[:, [2, 0]])
    s, n = flow.split(z)
    assert torch.equal(s, z[:, [2, 0]]) and torch.equal(n, z[:, [1, 3, 4]])


def test_decode_and_project(make_flow, untouched_rng):
    flow = make_flow(5)
    flow.order.copy_(torch.tensor([4, 2, 1, 0, 3]))
    x = rows(flow)
    s, projected = flow.encode(x), flow.project(x)
    z = flow.transform(projected)
    torch.testing.assert_close(z[:, [2, 0]], s, rtol=0, atol=1e-6)
    torch.testing.assert_close(z[:, [1, 3, 4]], torch.zeros(6, 3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(flow.project(projected), projected, rtol=0, atol=1e-6)
    with untouched_rng():
        a, b, c = (flow.decode(s, "draw", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.testing.assert_close(flow.encode(a), s, rtol=0, atol=1e-6)
    assert flow.split(flow.transform(a))[1].std() > 0.5


def test_nothing_but_noise_projects_to_one_point(make_flow):
    flow = make_flow(2, "shut")
    x = rows(flow)
    assert flow.encode(x).shape == (6, 0)
    torch.testing.assert_close(flow.project(x), flow.inverse(torch.zeros(6, 2)))


def test_width_falls_with_depth(make_flow):
    flow = make_flow(5)
    assert [flow.width(t) for t in (0, 0.4, 0.8, 1)] == pytest.approx([4, 3.9, 2.8, 1.62])


def test_numpy_and_other_dtypes_come_in(make_flow):
    flow = make_flow(2)
    x = rows(flow)
    assert torch.equal(flow.transform(x.numpy()), flow.transform(x))
    assert flow.transform(x.float()).dtype == torch.float64
    assert torch.equal(flow.inverse(flow.transform(x).detach().numpy()), flow.inverse(flow.transform(x)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda flow: flow.transform(torch.zeros(2, 3)), "activations must have 2 columns, got 3"),
        (
            lambda flow: flow.log_prob(torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])),
            r"NaN or inf in 1 of 2 rows \(first: 1\)",
        ),
        (lambda flow: flow.encode(torch.zeros(2)), "2 axes"),
        (lambda flow: flow.decode(torch.zeros(2, 2)), "structure must have 1 columns, got 2"),
        (lambda flow: flow.decode(torch.zeros(2, 1), noise="one"), "'zero' or 'draw', got 'one'"),
        (lambda flow: flow.inverse(torch.zeros(2, 3)), "latents must have 2 columns, got 3"),
        (lambda flow: flow.inverse(torch.full((2, 2), float("inf"))), "latents contain NaN or inf in 2 of 2 rows"),
        (lambda flow: flow.log_prob(torch.zeros(2, 2), method="euler"), "'rk4' or 'dopri5', got 'euler'"),
    ],
)
def test_bad_input(make_flow, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_flow(2))


def test_config_rebuilds_the_flow(make_flow):
    flow = make_flow(5, law="channel")
    again = FunnelFlow(**flow.config).double()
    again.load_state_dict(flow.state_dict())
    assert again.config == flow.config
    x = rows(flow)
    assert torch.equal(again.log_prob(x), flow.log_prob(x))


def test_repr_names_the_parts(make_flow):
    text = repr(make_flow(5))
    for part in ("FunnelFlow", "features=5", "hidden=16", "width=0.25", "components=5", "'bernoulli'"):
        assert part in text


def test_docstring_example(untouched_rng):
    with untouched_rng():
        result = doctest.testmod(importlib.import_module("flows.flow"))
    assert result.attempted >= 3 and result.failed == 0


def test_many_rows_go_through_in_chunks(make_flow, monkeypatch):
    flow = make_flow(2)
    x = torch.randn(10, 2, dtype=torch.float64)
    whole = flow.call_and_ladj(x)
    monkeypatch.setattr("flows.flow._CHUNK", 3)
    torch.testing.assert_close(flow.call_and_ladj(x), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("left", [(), (0, 3)], ids=["all", "two never enter"])
def test_trajectory_runs_from_the_front_to_the_latent(make_flow, left):
    flow = make_flow(4)
    with torch.no_grad():
        for i in left:
            flow.exits.tau[i] = -flow.exits.width / 2
    x = torch.randn(5, 4, dtype=flow.exits.tau.dtype)
    states = flow.trajectory(x)
    assert states.shape == (flow.steps + 1, 5, 4)
    assert torch.allclose(states[0], flow.front(x)) and torch.allclose(states[-1], flow.transform(x), atol=1e-6)
    assert not torch.allclose(states[1], states[2])
