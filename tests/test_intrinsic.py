"""Intrinsic dimension at scale sigma: against clouds of known dimension, the formula against autograd, and where it must not
claim anything."""

import json

import numpy as np
import pytest
import torch

from analysis.dimension import intrinsic
from analysis.dimension.intrinsic import find_plateau, intrinsic_dimension, two_nn


def turned(points: np.ndarray, noise: float, dims: int = 10, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    basis = np.linalg.qr(generator.normal(size=(dims, points.shape[1])))[0]
    return points @ basis.T + noise * generator.normal(size=(len(points), dims))


def circle(rows: int, seed: int = 0) -> np.ndarray:
    t = np.random.default_rng(seed).uniform(0, 2 * np.pi, rows)
    return np.c_[np.cos(t), np.sin(t)]


def torus(rows: int) -> np.ndarray:
    t, p = np.random.default_rng(1).uniform(0, 2 * np.pi, (2, rows))
    return np.c_[(1 + 0.45 * np.cos(p)) * np.cos(t), (1 + 0.45 * np.cos(p)) * np.sin(t), 0.45 * np.sin(p)]


@pytest.mark.parametrize(("noise", "rows"), [(0.02, 2000), (0.05, 4000)])
def test_a_noisy_circle_in_ten_dimensions_is_one_dimensional(noise: float, rows: int) -> None:
    x = turned(circle(rows), noise)
    found = intrinsic_dimension(x, points=100)
    assert found.dimension == pytest.approx(1, abs=0.05)
    assert found.noise_floor == pytest.approx(noise, rel=0.05)
    assert found.plateau is not None and noise < found.plateau[0] and 0.3 < found.plateau[1] < 0.6
    assert two_nn(x) > 6


def test_a_noisy_torus_in_ten_dimensions_is_two_dimensional() -> None:
    found = intrinsic_dimension(turned(torus(6000), 0.02), points=100)
    assert found.dimension == pytest.approx(2, abs=0.1)
    assert found.noise_floor == pytest.approx(0.02, rel=0.15)


def test_tight_clusters_are_points() -> None:
    ends = np.random.default_rng(0).choice([-1.0, 1.0], (1500, 1))
    found = intrinsic_dimension(turned(ends, 0.02), points=100)
    assert found.dimension == pytest.approx(0, abs=0.05) and found.noise_floor == pytest.approx(0.02, rel=0.05)


def test_a_blob_has_all_dimensions_below_its_sd_and_none_above() -> None:
    found = intrinsic_dimension(np.random.default_rng(0).normal(size=(4000, 3)), [0.6, 1.6], points=100)
    assert found.curve == pytest.approx([3, 0], abs=0.15) and found.trusted.all()
    assert found.plateau is None


def test_a_larger_scale_than_the_cloud_is_no_plateau_at_zero() -> None:
    found = intrinsic_dimension(turned(circle(800), 0.02, 3), np.geomspace(3, 30, 8), points=50)
    assert found.trusted.all() and not found.curve.any() and found.plateau is None


@pytest.mark.parametrize("dims", [10, 20])
def test_collapsed_weights_are_not_read_as_a_low_dimension(dims: int) -> None:
    """At these scales the nearest row takes almost all weight: covariances of rank 0 to 5."""
    x = np.random.default_rng(0).normal(size=(300, dims))
    found = intrinsic_dimension(x, np.geomspace(0.05, 0.6, 12), points=100)
    assert not found.trusted.any() and found.ess.max() < 60 and found.plateau is None
    assert np.isnan(found.dimension) and "too few effective rows" in repr(found)
    assert intrinsic_dimension(x, points=100).plateau is None


def test_the_spectrum_is_that_of_the_hessian() -> None:
    """I + sigma^2 Hess log p_sigma, the row that made the point left out, by autograd."""
    generator = np.random.default_rng(0)
    rows, sigma = generator.normal(size=(60, 3)), 0.9
    noise = generator.normal(size=(2, 3))
    ess, eigenvalues = intrinsic._spectrum(rows, np.array([5, 9]), noise, sigma)
    for row, point in enumerate((5, 9)):
        others = torch.from_numpy(np.delete(rows, point, 0))

        def log_p(y: torch.Tensor, others: torch.Tensor = others) -> torch.Tensor:
            return torch.logsumexp(-0.5 * (y - others).square().sum(1) / sigma**2, 0)

        y = torch.from_numpy(rows[point] + sigma * noise[row])
        hessian = torch.autograd.functional.hessian(log_p, y)
        expected = torch.linalg.eigvalsh(torch.eye(3, dtype=torch.float64) + sigma**2 * hessian)
        assert eigenvalues[row] * (1 - 1 / ess[row]) == pytest.approx(expected.numpy(), rel=1e-9)
        w = torch.softmax(-0.5 * (y - others).square().sum(1) / sigma**2, 0)
        assert ess[row] == pytest.approx(1 / float(w.square().sum()))


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x = turned(circle(300), 0.02, 4)
    whole = intrinsic_dimension(x, points=20)
    monkeypatch.setattr(intrinsic, "_CHUNK", 250)
    assert intrinsic_dimension(x, points=20).normal == pytest.approx(whole.normal, rel=1e-9, nan_ok=True)


def test_duplicates_are_left_out() -> None:
    """Kept, a copy of the row that made the point would take all the weight, and every dimension would read 0."""
    x = turned(circle(1000), 0.02, 3)
    once, thrice = intrinsic_dimension(x, points=60), intrinsic_dimension(np.repeat(x, 3, axis=0), points=60)
    assert thrice.rows == 1000 and thrice.duplicates == 2000
    assert thrice.curve == pytest.approx(once.curve, nan_ok=True) and thrice.dimension == pytest.approx(1, abs=0.05)


def test_units_are_the_datas() -> None:
    x = turned(circle(1000), 0.02, 3)
    small, large = intrinsic_dimension(x, points=60), intrinsic_dimension(1000 * x + 7, points=60)
    assert large.dimension == pytest.approx(small.dimension)
    assert np.array(large.plateau) == pytest.approx(1000 * np.array(small.plateau), rel=1e-6)
    assert large.noise_floor == pytest.approx(1000 * small.noise_floor, rel=1e-6)


def test_subsampling_is_stated_and_seeded(untouched_rng) -> None:
    x = turned(circle(1500), 0.02, 6)
    with untouched_rng():
        found = intrinsic_dimension(x, seed=3, points=40, most_rows=700, most_dims=4)
    assert (found.rows, found.points, found.dims, found.seed) == (700, 40, 4, 3) and 0.99 < found.variance_kept < 1
    again = intrinsic_dimension(torch.from_numpy(x), seed=3, points=40, most_rows=700, most_dims=4)
    assert again.to_dict() == found.to_dict() and "700 distinct rows, 40 points, seed 3" in repr(found)
    other = intrinsic_dimension(x, seed=4, points=40, most_rows=700, most_dims=4)
    assert other.ess.tolist() != found.ess.tolist()


@pytest.mark.parametrize("x", [np.ones((1, 4)), np.ones((50, 4)), np.eye(4)[:2]], ids=["one row", "copies", "two rows"])
def test_too_few_rows_say_so(x: np.ndarray) -> None:
    for sigmas in (None, [0.1, 1.0]):
        found = intrinsic_dimension(x, sigmas)
        assert found.plateau is None and "fewer than 3 distinct rows" in repr(found)
        assert found.to_dict()["dimension"] is None
        found.plot()


def test_bad_input_is_named() -> None:
    x = circle(20)
    with pytest.raises(ValueError, match="NaN or inf in 1 of 1 rows"):
        intrinsic_dimension([[1.0, np.nan]])
    with pytest.raises(ValueError, match="sigmas must be finite and above 0"):
        intrinsic_dimension(x, [0.1, 0.0])
    with pytest.raises(ValueError, match="points, most_rows and most_dims must be 1 or more, got 0"):
        intrinsic_dimension(x, points=0)
    with pytest.raises(ValueError, match="at least 3 distinct rows, got 2"):
        two_nn(np.repeat(x[:2], 9, axis=0))
    with pytest.raises(ValueError, match="discard must lie in"):
        two_nn(x, discard=1.0)


SIGMAS = np.geomspace(0.1, 0.8, 12)


def plateau_of(
    curve: list[float], trusted: list[bool] | None = None, noise: float = 0.0, bend: float = 0.0
) -> tuple[int, int] | None:
    """``bend`` is what curvature adds to the normal eigenvalues at sigma = 1."""
    sure, level = np.ones(12, dtype=bool) if trusted is None else np.array(trusted), np.array(curve, dtype=float)
    normal = (10 - level) * noise**2 / (noise**2 + SIGMAS**2) + (level < 9) * bend * SIGMAS**2
    return find_plateau(SIGMAS, level, np.full(12, 0.01), sure, normal, 10)


def test_plateaus_of_curves() -> None:
    assert plateau_of([9, 6, 3, 2, 2, 2, 2, 2, 1.6, 1.2, 0.5, 0]) == (3, 8)
    assert plateau_of(np.linspace(9, 2, 12).tolist()) is None
    assert plateau_of([9, 6, 3, 2, 2, 2, 1.6, 1.2, 0.5, 0, 0, 0]) is None, "too narrow"
    assert plateau_of([9, 6, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0]) is None, "sigma is larger than the cloud"
    assert plateau_of([9, 6, 3, 1, 0, 0, 0, 0, 0, 0.5, 1, 0]) == (4, 9), "points, with structure between them"
    assert plateau_of([10, 10, 10, 10, 10, 10, 2, 2, 2, 2, 1, 0]) == (6, 10), "below full dimension first"
    assert plateau_of([10, 10, 10, 10, 10, 10, 8, 6, 4, 2, 1, 0]) == (0, 6)


def test_a_plateau_needs_trust_quiet_and_flatness_of_the_cloud() -> None:
    curve = [9, 6, 3, 2, 2, 2, 2, 2, 1.6, 1.2, 0.5, 0]
    assert plateau_of(curve, [True] * 5 + [False] + [True] * 6) is None
    assert plateau_of([2] * 12) == (0, 12)
    assert plateau_of([2] * 12, noise=0.2) == (8, 12), "from twice the noise floor on"
    assert plateau_of([2] * 12, bend=0.5) == (0, 9), "to half the radius of curvature, of 1 here"
    assert plateau_of([2] * 12, noise=0.2, bend=0.5) is None


def test_two_nn_on_a_square_and_a_segment() -> None:
    x = np.random.default_rng(0).uniform(size=(4000, 2))
    assert two_nn(x) == pytest.approx(2, abs=0.1) and two_nn(np.r_[x, x[:500]]) == two_nn(x)
    assert two_nn(x[:, :1]) == pytest.approx(1, abs=0.05)


def test_result_prints_stores_and_draws() -> None:
    found = intrinsic_dimension(turned(circle(1500), 0.02, 3), points=60)
    assert repr(found).startswith("Intrinsic dimension: 1.0") and "has sd 0.0" in repr(found)
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (
        found.plateau is not None
        and stored["plateau"] == list(found.plateau)
        and len(stored["curve"]) == len(found.sigmas)
    )
    ax = found.plot()
    assert ax.get_xscale() == "log" and any("plateau" in label for label in ax.get_legend_handles_labels()[1])
    assert found.plot(ax) is ax
