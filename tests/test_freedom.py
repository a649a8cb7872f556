"""Coordinate freedom: what is invariant passes, what is not is caught; noise is carried along."""

import json

import pytest
import torch

from analysis.functions.freedom import View, coordinate_freedom
from analysis.functions.noise import Noise, as_noise
from flows.diffeo import StrongDiffeo

pytestmark = pytest.mark.quick


def gaussian(count, dims, seed=0):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Claiming:
    def __init__(self, values, claims):
        self.to_dict, self.invariants = lambda: values, lambda: claims


def test_sparsity_is_caught_and_counts_pass(untouched_rng):
    x = gaussian(300, 4).relu()

    def analysis(rows):
        return {"rows": len(rows), "sparsity": float((rows == 0).double().mean()), "nested": {"word": "same"}}

    with untouched_rng():
        found = coordinate_freedom(analysis, x, n_maps=5)
    assert found.invariant == ["rows", "nested.word"]
    sparsity = found.outputs[1]
    assert sparsity.equal == 0 and sparsity.change == pytest.approx(1, abs=0.1)
    assert min(found.unexplained) >= 0.25 and found.n_maps == 5


def test_broken_claims_are_named():
    def claiming(rows):
        return Claiming({"count": len(rows), "means": rows.mean(0)}, ["count", "means"])

    found = coordinate_freedom(claiming, gaussian(100, 2), n_maps=3)
    assert found.broken == ["means"]
    assert "BROKEN CLAIM" in repr(found) and "invariant, as claimed" in repr(found)
    assert found.plot().patches
    json.dumps(found.to_dict(), allow_nan=False)


def test_functions_are_seen_through_both_maps():
    def f(x):
        return torch.stack([x[:, 0] * x[:, 1], x.square().sum(1), x[:, 2].sin()], 1)

    x = gaussian(200, 3)

    def analysis(view: View):
        jacobians = torch.func.vmap(torch.func.jacrev(lambda row: view.function(row[None])[0]))(view.x)
        fixed = view.function(view.inputs(x[:5])) - view.outputs(f(x[:5]))
        return {"rank": torch.linalg.matrix_rank(jacobians).tolist(), "carried": float(fixed.abs().max()) < 1e-8}

    found = coordinate_freedom(analysis, x, n_maps=4, function=f)
    assert found.invariant == ["rank", "carried"] and found.outputs[1].value is True


def test_maps_differ_and_rows_keep_their_dtype():
    seen = []
    coordinate_freedom(lambda rows: seen.append(rows) or len(rows), gaussian(50, 2).float(), n_maps=2)
    assert {rows.dtype for rows in seen} == {torch.float32}
    assert not torch.allclose(seen[1], seen[2])


def test_tolerance_is_for_numbers_with_a_point_alone():
    values = iter([1.0, 1.0005, 1.002])
    counts = iter([1000, 1000, 1001])
    found = coordinate_freedom(lambda _: {"a": next(values), "b": next(counts)}, gaussian(20, 2), n_maps=2)
    assert [(o.name, o.equal) for o in found.outputs] == [("a", 1), ("b", 1)]


def test_an_output_that_goes_missing_is_not_equal():
    answers = iter([{"a": 1, "b": None}, {"a": 1}, {"a": 1, "b": None}])
    found = coordinate_freedom(lambda _: next(answers), gaussian(20, 2), n_maps=2)
    assert [o.equal for o in found.outputs] == [2, 1]


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="n_maps must be at least 1, got 0"):
        coordinate_freedom(len, gaussian(20, 2), n_maps=0)
    with pytest.raises(ValueError, match="returned nothing to compare"):
        coordinate_freedom(lambda _: {}, gaussian(20, 2))


@pytest.mark.parametrize("covariance", [0.3, [0.1, 0.2, 0.5], [[1.0, 0.2, 0], [0.2, 0.5, 0], [0, 0, 0.1]]])
def test_noise_is_carried_as_a_covariance(covariance):
    given = torch.tensor(covariance).double()
    matrix = given if given.ndim == 2 else torch.diag(given.expand(3).square())
    noise, x = Noise(given, 3), gaussian(40, 3)
    e = gaussian(40, 3, 1)
    assert torch.allclose(noise.measure(noise.displace(x, e), x), e)
    phi = StrongDiffeo(x, 0)
    carried = noise.through(phi)
    factors = torch.func.vmap(
        torch.func.jacrev(lambda row, e: carried.displace(row[None], e[None])[0], argnums=1)
    )(phi(x), torch.zeros_like(x))  # fmt: skip
    slopes = torch.func.vmap(torch.func.jacrev(lambda row: phi(row[None])[0]))(x)
    assert torch.allclose(factors @ factors.mT, slopes @ matrix @ slopes.mT, atol=1e-8)
    assert torch.allclose(carried.measure(carried.displace(phi(x), e), phi(x)), e)


def test_views_default_noise_is_that_of_the_original_coordinates():
    def f(x):
        return 7 * x

    x = gaussian(500, 3)
    phi, psi = StrongDiffeo(x, 0), StrongDiffeo(f(x), 1)
    view = View(phi(x), lambda rows: psi(f(phi.inverse(rows))), phi, psi)
    e = gaussian(500, 3, 1)
    moved = phi.inverse(view.input_noise().displace(phi(x), e)) - x
    assert torch.allclose(moved, e * x.var(0, correction=0).mean().sqrt())
    moved = psi.inverse(view.output_noise().displace(psi(f(x)), e)) - f(x)
    assert torch.allclose(moved, 0.7 * e * x.var(0, correction=0).mean().sqrt())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (-1.0, "must be positive and finite, got -1"),
        (torch.ones(2), "must be a sd, 3 sds or a \\(3, 3\\) covariance, got shape \\(2,\\)"),
        (-torch.eye(3), "must be positive definite"),
        (Noise(1.0, 2), "input_noise has 2 dimensions, expected 3"),
    ],
)
def test_bad_noise_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_noise(given, gaussian(10, 3), 1.0, "input_noise")
    with pytest.raises(ValueError, match="10 rows without spread give no scale for noise"):
        as_noise(None, torch.zeros(10, 3), 1.0, "noise")
