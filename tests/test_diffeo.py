"""Strong random diffeomorphisms: exact inverses, smooth, and far from every affine map."""

import pytest
import torch

from flows.diffeo import RandomDiffeo, StrongDiffeo, unexplained_share

pytestmark = pytest.mark.quick


def gaussian(count, dims, seed=0):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 2, 3, 10, 33])
@pytest.mark.parametrize("seed", [0, 1])
def test_strong_maps_invert_and_leave_a_quarter(dims, seed, untouched_rng):
    x = 3 + gaussian(500, dims) @ (torch.eye(dims).double() + 0.3 * gaussian(dims, dims, 1))
    with untouched_rng():
        phi = StrongDiffeo(x, seed)
    y = phi(x)
    assert torch.allclose(phi.inverse(y), x, atol=1e-10)
    assert phi.unexplained >= 0.25
    assert unexplained_share(y, phi._whiten(x)) == pytest.approx(phi.unexplained)


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_a_strong_map_is_a_diffeomorphism(dims):
    x = gaussian(50, dims)
    phi = StrongDiffeo(x, 0)
    there = torch.func.vmap(torch.func.jacrev(lambda row: phi(row[None])[0]))(x)
    back = torch.func.vmap(torch.func.jacrev(lambda row: phi.inverse(row[None])[0]))(phi(x))
    assert torch.allclose(there @ back, torch.eye(dims).double().expand(50, -1, -1), atol=1e-8)
    signs = torch.linalg.det(there).sign()
    assert (signs == signs[0]).all()  # never folds


def test_seeds_differ_and_repeat():
    x = gaussian(100, 1)
    assert torch.equal(StrongDiffeo(x, 3)(x), StrongDiffeo(x, 3)(x))
    assert not torch.allclose(StrongDiffeo(x, 3)(x), StrongDiffeo(x, 4)(x))


def test_few_rows_in_many_dimensions_are_bent_by_the_measured_map():
    phi = StrongDiffeo(gaussian(20, 200), 0)
    x = gaussian(2000, 200, 1)
    assert phi.unexplained >= 0.25
    assert unexplained_share(phi.map(x), x) > 0.22


def test_flat_directions_are_scaled_with_care():
    x = torch.cat([gaussian(300, 3), torch.zeros(300, 1).double()], 1)
    phi = StrongDiffeo(x, 0)
    assert torch.allclose(phi.inverse(phi(x)), x, atol=1e-10)


def test_the_default_map_has_no_skew_and_float32_stays():
    x = gaussian(10, 4).float()
    assert RandomDiffeo(4, 0).skews is None
    assert StrongDiffeo(x, 0)(x).dtype == torch.float32


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"share of the variance in \[0, \.6\], got 2"):
        StrongDiffeo(gaussian(10, 2), 0, least=2)
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        StrongDiffeo(gaussian(1, 2), 0)
    two_points = torch.tensor([[0.0], [1.0]]).repeat(10, 1)
    with pytest.raises(ValueError, match="no map leaves 25% of the variance of these 20 rows"):
        StrongDiffeo(two_points, 0)
