"""The field: fused against plain, the divergence against autograd, a linear field against expm."""

import pytest
import torch

from flows.exits import Exits
from flows.field import Field
from flows.fused import _FEW_ROWS, Folded, fused_rk4
from flows.solver import dopri5, rk4

pytestmark = pytest.mark.quick

W = 0.25
TAUS = {
    "open": [1 + W / 2] * 4,
    "closing": [1 + W / 2, 1.03, 0.61, 0.2],
    "never": [1 + W / 2, -W / 2, 0.7, -W / 2],
}


def make(taus, hidden=8, strength=0.5):
    field, exits = Field(len(taus), hidden, torch.Generator().manual_seed(1)).double(), Exits(len(taus), W).double()
    with torch.no_grad():
        field.W3.copy_(strength * torch.randn_like(field.W3))
        exits.tau.copy_(torch.tensor(taus))
    return field, exits


def plain_rk4(field, exits, z, steps):
    """Every integral from Field.forward, all dimensions carried: z, ladj, kinetic, activation."""
    h, total = 1 / steps, (0.0, 0.0, 0.0)
    for n in range(steps):
        ks = []
        for offset, weight in ((0, 1), (1, 2), (1, 2), (2, 1)):
            t = torch.tensor((2 * n + offset) / (2 * steps), dtype=z.dtype)
            mask = exits.masks(t[None])[0]
            point = z + h * offset / 2 * ks[-1] if ks else z
            v, divergence = field(t, point, mask)
            ks.append(v)
            pieces = divergence, v.square().sum(1), mask * point.detach().abs().mean(0)
            total = tuple(sum_ + weight * h / 6 * piece for sum_, piece in zip(total, pieces, strict=True))
        z = z + h / 6 * (ks[0] + 2 * ks[1] + 2 * ks[2] + ks[3])
    return z, *total


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("taus", TAUS.values(), ids=TAUS.keys())
def test_fused_equals_plain(taus, steps):
    field, exits = make(taus)
    z = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    wants = {"z": z, "tau": exits.tau} | dict(field.named_parameters())
    solution = rk4(field, exits, z, steps)
    assert solution.evaluations == 4 * steps
    fused = solution.z, solution.ladj, solution.kinetic, solution.activation
    plain = plain_rk4(field, exits, z, steps)
    mixing = [torch.randn_like(value) for value in plain]
    gradients = []
    for values in (fused, plain):
        loss = sum((m * value).sum() for m, value in zip(mixing, values, strict=True))
        gradients.append(dict(zip(wants, torch.autograd.grad(loss, list(wants.values())), strict=True)))
    enters = exits.tau.detach() > -W / 2
    gradients[1]["tau"][~enters] = 0  # what is not carried is not asked whether it would like to come back
    for got, expected in zip((*fused, *gradients[0].values()), (*plain, *gradients[1].values()), strict=True):
        assert (got - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert all(gradient.abs().max() > 0 for gradient in gradients[0].values())


@pytest.mark.parametrize("taus", TAUS.values(), ids=TAUS.keys())
def test_without_gradients_the_same_numbers(taus):
    field, exits = make(taus)
    z = torch.randn(_FEW_ROWS, 4, dtype=torch.float64)
    learning = rk4(field, exits, z, 3)
    with torch.no_grad():
        reading = rk4(field, exits, z, 3)
    assert learning.ladj.requires_grad
    for name in ("z", "ladj", "kinetic", "activation"):
        got, expected = getattr(reading, name), getattr(learning, name)
        assert (got - expected).abs().max() <= 1e-12 * expected.abs().max(), name


@pytest.mark.parametrize("dims", [1, 2, 5, 16])
def test_divergence_is_the_trace_of_the_jacobian(dims):
    field, _ = make([1.0] * dims)
    mask, z = torch.rand(dims, dtype=torch.float64), torch.randn(3, dims, dtype=torch.float64)
    _, divergence = field(0.3, z, mask)
    for row, got in zip(z, divergence, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: field(0.3, r[None], mask)[0][0], row)
        assert abs(got - jacobian.trace()) <= 1e-10 * jacobian.abs().sum()


def test_gradcheck_of_the_fused_function():
    field, exits = make([1.1, 0.8], hidden=3)
    weights = field.folded(torch.linspace(0, 1, 5).double(), exits.masks(torch.linspace(0, 1, 5).double()))
    inputs = [torch.randn(2, 2, dtype=torch.float64), *(w.detach() for w in weights)]
    assert torch.autograd.gradcheck(
        lambda *args: fused_rk4(args[0], Folded(*args[1:]), 2)[:3], [i.requires_grad_() for i in inputs]
    )


def linear(dims=3, eps=1e-5):
    """A field whose tanh's stay in their linear range, with the matrix L of dz/dt = z L."""
    field, exits = make([1 + W / 2] * dims)
    with torch.no_grad():
        field.b1.zero_(), field.b2.zero_()
        field.W3.mul_(0.3)
        L = field.W1 @ field.W2 @ field.W3
        field.W1.mul_(eps), field.W3.div_(eps)
    return field, exits, L


def test_linear_field_against_the_matrix_exponential():
    field, exits, L = linear()
    z = torch.randn(5, 3, dtype=torch.float64)
    for solution, tolerance in ((dopri5(field, exits, z, 1e-9), 1e-6), (rk4(field, exits, z, 4), 1e-3)):
        assert (solution.z - z @ torch.linalg.matrix_exp(L)).abs().max() <= tolerance
        assert (solution.ladj - L.trace()).abs().max() <= tolerance
    assert (z @ torch.linalg.matrix_exp(L) - z).abs().max() > 0.3


def test_starts_as_the_identity_from_its_own_generator(untouched_rng):
    with untouched_rng():
        a, b, c = (Field(3, 8, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(a.W1, b.W1) and not torch.equal(a.W1, c.W1)
    v, divergence = a(0.5, torch.ones(2, 3), torch.ones(3))
    assert not v.any() and not divergence.any()
    assert repr(a) == "Field(dims=3, hidden=8)"
