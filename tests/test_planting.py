"""Planted clouds: their truths, their scale, and the diffeomorphism they are seen through."""

import math

import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from training.data import planting
from training.data.planting import PLANTED_NAMES, RandomDiffeo, planted

pytestmark = pytest.mark.quick

# name: structure_dim, intrinsic_dim, betti, kind, number of angles, D at 3 noise dimensions
TRUTHS = {
    "gaussian": (0, 0, (1,), "noise", 0, 5),
    "two": (1, 0, (2,), "clusters", 0, 4),
    "three": (2, 0, (3,), "clusters", 0, 5),
    "circle": (2, 1, (1, 1), "loop", 1, 5),
    "figure_eight": (2, 1, (1, 2), "loops", 0, 5),
    "torus": (3, 2, (1, 2, 1), "torus", 2, 6),
    "sphere": (3, 2, (1, 0, 1), "sphere", 0, 6),
    "linked_circles": (3, 1, (2, 2), "link", 1, 6),
    "trefoil": (3, 1, (1, 1), "knot", 1, 6),
    "swiss_roll": (3, 2, (1,), "sheet", 0, 6),
}
STRUCTURED = [name for name in PLANTED_NAMES if name != "gaussian"]


def unexplained(x: Tensor, target: Tensor) -> float:
    """Share of the target's variance left by an affine map fitted on one half of the rows, on the other half."""
    x, target = torch.cat([x, torch.ones(len(x), 1)], dim=1).double(), target.double()
    half = len(x) // 2
    residual = target[half:] - x[half:] @ torch.linalg.lstsq(x[:half], target[:half]).solution
    return float((residual.var(0) / target[half:].var(0)).mean())


def largest_turn(a: Tensor, b: Tensor) -> float:
    """The .99 quantile of the angle between directions a and b, radians."""
    return float(torch.remainder(a - b + math.pi, 2 * math.pi).sub(math.pi).abs().quantile(0.99))


def test_names_are_the_truths_table() -> None:
    assert tuple(TRUTHS) == PLANTED_NAMES


@pytest.mark.parametrize("name", PLANTED_NAMES)
def test_truths_and_shapes(name: str) -> None:
    structure_dim, intrinsic_dim, betti, kind, angles, dims = TRUTHS[name]
    cloud = planted(name, rows=500)
    assert (cloud.structure_dim, cloud.intrinsic_dim, cloud.betti, cloud.kind) == TRUTHS[name][:4]
    assert cloud.scored == (name != "swiss_roll")
    assert cloud.x.shape == (500, dims) and cloud.structure.shape == (500, structure_dim)
    assert cloud.labels.shape == (500,) and cloud.angles.shape == (500, angles)
    assert {cloud.x.dtype, cloud.structure.dtype, cloud.angles.dtype} == {torch.float32}
    assert cloud.labels.dtype == torch.int64
    assert cloud.x.isfinite().all()


@pytest.mark.parametrize("name", STRUCTURED)
def test_structure_is_white(name: str) -> None:
    structure = planted(name, rows=2000).structure
    assert torch.allclose(structure.mean(0), torch.zeros(()), atol=1e-5)
    assert torch.allclose(torch.cov(structure.T), torch.eye(structure.shape[1]).squeeze(), atol=1e-4)


@pytest.mark.parametrize("name", PLANTED_NAMES)
def test_plain_is_structure_then_noise(name: str) -> None:
    plain, bent = planted(name, diffeo=False), planted(name)
    k = plain.structure_dim
    assert torch.equal(plain.x[:, :k], plain.structure) and torch.equal(plain.structure, bent.structure)
    assert torch.equal(plain.labels, bent.labels) and torch.equal(plain.angles, bent.angles)
    # the noise is N(0, I) and independent of the structure: moments within 5 standard errors
    noise = plain.x[:, k:]
    error = 5 / math.sqrt(len(noise))
    assert torch.allclose(noise.mean(0), torch.zeros(()), atol=error)
    assert torch.allclose(torch.cov(plain.x.T), torch.eye(plain.x.shape[1]), atol=1.5 * error)
    assert torch.allclose(noise.pow(4).mean(0), torch.tensor(3.0), atol=error * math.sqrt(96))


@pytest.mark.parametrize("name", STRUCTURED)
def test_labels_are_the_connected_pieces(name: str) -> None:
    cloud = planted(name, rows=4000)
    assert len(cloud.labels.unique()) == cloud.betti[0]
    assert cloud.labels.bincount().min() > 0.9 * 4000 / cloud.betti[0]
    neighbours = kneighbors_graph(cloud.structure.numpy(), 10).tocoo()
    across = cloud.labels[neighbours.row] != cloud.labels[neighbours.col]
    assert across.double().mean() < 1e-3
    inner = coo_array((1 - across.double().numpy(), (neighbours.row, neighbours.col)), shape=(4000, 4000))
    inner.eliminate_zeros()
    largest = torch.as_tensor(connected_components(inner)[1]).bincount().topk(cloud.betti[0]).values
    assert largest.sum() > 0.99 * 4000


def test_angles_are_read_off_the_structure() -> None:
    circle, torus = planted("circle"), planted("torus")
    assert largest_turn(circle.angles[:, 0], torch.atan2(*circle.structure.T.flip(0))) < 0.3
    x, y, z = torus.structure.T
    assert largest_turn(torus.angles[:, 0], torch.atan2(y, x)) < 0.5
    upper = torus.angles[:, 1] < math.pi
    assert ((z > 0) == upper).double().mean() > 0.9
    outside = (torus.angles[:, 1].cos() > 0.5).double()
    assert torch.hypot(x, y)[outside == 1].quantile(0.05) > torch.hypot(x, y)[outside == 0].quantile(0.5)


def test_linked_circles_pass_through_each_other() -> None:
    cloud = planted("linked_circles")
    first, second = (cloud.structure[cloud.labels == piece] for piece in (0, 1))
    low, high = first[:, 0].min(), first[:, 0].max()
    crossings = second[second[:, 2].abs() < 0.1, 0]  # where the second circle meets the first one's plane
    inside = (crossings > low + 0.5) & (crossings < high - 0.5)
    assert 0.4 < inside.double().mean() < 0.6
    assert (crossings[~inside] > high + 0.5).all()


def test_everything_is_a_function_of_the_seed() -> None:
    once, again, other = planted("torus", seed=7), planted("torus", seed=7), planted("torus", seed=8)
    for part in ("x", "structure", "labels", "angles"):
        assert torch.equal(getattr(once, part), getattr(again, part))
    assert not torch.equal(once.structure, other.structure) and not torch.equal(once.angles, other.angles)


def test_global_random_state_is_untouched() -> None:
    before = torch.random.get_rng_state()
    planted("sphere", rows=100)
    RandomDiffeo(5, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("dims", [2, 3, 4, 13, 33])
def test_diffeo_inverts_and_turns_without_mirroring(dims: int) -> None:
    generator = torch.Generator().manual_seed(1)
    diffeo = RandomDiffeo(dims, seed=3)
    x = 3 * torch.randn(200, dims, generator=generator, dtype=torch.float64)
    assert torch.allclose(diffeo.inverse(diffeo(x)), x, atol=1e-12)
    assert torch.allclose(diffeo(diffeo.inverse(x)), x, atol=1e-12)
    assert diffeo(x.float()).dtype == torch.float32
    jacobian = torch.autograd.functional.jacobian(lambda row: diffeo(row[None])[0], x[0])
    assert torch.allclose(torch.linalg.det(jacobian), torch.ones((), dtype=torch.float64))
    for rotation in diffeo.rotations:
        assert torch.allclose(rotation @ rotation.T, torch.eye(dims, dtype=torch.float64), atol=1e-12)
        assert torch.linalg.det(rotation) > 0


@pytest.mark.parametrize("dims", [4, 13, 33])
def test_the_same_share_stays_unexplained_in_every_dimension(dims: int) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(6000, dims, generator=generator)
    shares = torch.tensor([unexplained(RandomDiffeo(dims, seed=seed)(x), x) for seed in range(8)])
    assert 0.045 < shares.mean() < 0.06


@pytest.mark.parametrize(("name", "noise_dims"), [("two", 3), ("torus", 10), ("sphere", 30), ("three", 1)])
def test_planted_sets_stay_unexplained(name: str, noise_dims: int) -> None:
    plain, bent = (planted(name, noise_dims=noise_dims, diffeo=diffeo) for diffeo in (False, True))
    assert unexplained(plain.x, plain.x) < 1e-6
    assert unexplained(bent.x, plain.x) > 0.05


def test_a_nearly_linear_draw_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([0.01, 0.04, 0.2])
    monkeypatch.setattr(planting, "unexplained_share", lambda x, target: next(seen))
    bent = planted("two", noise_dims=1, rows=50).x
    assert next(seen, None) is None
    monkeypatch.setattr(planting, "unexplained_share", lambda x, target: 0.2)
    assert not torch.equal(bent, planted("two", noise_dims=1, rows=50).x)
    monkeypatch.setattr(planting, "unexplained_share", lambda x, target: 0.01)
    with pytest.raises(AssertionError, match=r"0\.010"):
        planted("two", noise_dims=1, rows=50)


def test_unknown_name_says_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match="did you mean 'torus'") as error:
        planted("tours")
    assert all(name in str(error.value) for name in PLANTED_NAMES)


def test_bad_sizes_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="noise_dims must be 0 or more, got -1"):
        planted("circle", noise_dims=-1)
    with pytest.raises(ValueError, match="at least 4 D = 20, got 19"):
        planted("circle", rows=19)
    with pytest.raises(ValueError, match="dims=1"):
        planted("two", noise_dims=0)
    with pytest.raises(TypeError):
        planted("circle", rows=100.5)  # type: ignore[arg-type]
