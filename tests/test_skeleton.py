"""The ridge of a kernel density, and the skeleton of a cloud."""

import math

import numpy as np
import pytest
import torch

from flows.geometry.ridge import kernel_derivatives, thin_directions, to_ridge
from training.untangling.skeleton import skeleton

RNG = np.random.default_rng


def band(rows, thickness=0.1, seed=0, between=(0.0, 2 * math.pi)):
    """A ring of radius 1 in three dimensions, thick in two directions."""
    rng = RNG(seed)
    t = rng.uniform(*between, rows)
    return np.c_[np.cos(t), np.sin(t), np.zeros(rows)] + thickness * rng.normal(size=(rows, 3))


def ball(rows):
    x = RNG(0).normal(size=(rows, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_kernel_derivatives_are_those_of_the_log_density():
    cloud, width = RNG(0).normal(size=(50, 3)), 0.7
    gradient, hessian = kernel_derivatives(cloud, width)(RNG(1).normal(size=(4, 3)))

    def log_density(x):
        return torch.logsumexp(-0.5 * ((x - torch.from_numpy(cloud)) / width).square().sum(1), 0)

    for row, (g, h) in enumerate(zip(gradient, hessian, strict=True)):
        x = torch.from_numpy(RNG(1).normal(size=(4, 3))[row]).requires_grad_()
        np.testing.assert_allclose(g, torch.autograd.grad(log_density(x), x)[0].numpy(), atol=1e-12)
        np.testing.assert_allclose(h, torch.autograd.functional.hessian(log_density, x).numpy(), atol=1e-12)


def test_rows_far_from_all_others_have_derivatives():
    gradient, hessian = kernel_derivatives(RNG(0).normal(size=(50, 2)), 0.1)(np.array([[1e3, 0.0]]))
    assert np.isfinite(gradient).all() and np.isfinite(hessian).all()


def test_the_ridge_of_a_thick_ring_is_thin():
    cloud = band(3000)
    derivatives = kernel_derivatives(cloud, 0.1)
    assert np.median(thin_directions(cloud[:100], kernel_derivatives(cloud, 0.15), 0.7)) == 2
    ridge = to_ridge(cloud, derivatives, 2, 0.7)
    away = np.hypot(np.hypot(ridge[:, 0], ridge[:, 1]) - 1, ridge[:, 2])
    assert np.quantile(away, 0.9) < 0.05  # .2 in the cloud
    assert np.array_equal(to_ridge(cloud, derivatives, 0, 0.7), cloud)


@pytest.mark.parametrize(
    ("cloud", "dimension"),
    [
        (band(3000), 1),
        (RNG(0).normal(size=(3000, 2)), 2),
        (ball(3000), 2),
    ],
    ids=["ring", "blob", "sphere"],
)
def test_dimension_of_a_skeleton(cloud, dimension):
    bones = skeleton(cloud, RNG(0))
    assert bones.dimension == dimension
    assert len(bones.landmarks) == 1000
    if dimension == cloud.shape[1]:
        assert np.array_equal(bones.on_ridge, bones.points)


def test_rows_between_two_strands_are_strays():
    line = np.c_[RNG(0).uniform(-2, 2, 1500), np.zeros(1500)]
    bridge = np.c_[np.zeros(12), np.linspace(-0.45, 0.45, 12)]
    up = np.array([0, 0.7])
    cloud = np.concatenate([line + up, line - up])
    cloud = cloud + 0.05 * RNG(1).normal(size=cloud.shape)
    bones = skeleton(np.concatenate([cloud, bridge]), RNG(0))
    assert (np.abs(bones.on_ridge[:, 1]) > 0.5).all()
    assert len(bones.points) > 0.9 * len(cloud)


def test_a_strand_that_is_sparse_as_a_whole_stays():
    halves = (band(2400, 0.02, between=(0.0, math.pi)), band(600, 0.02, 1, (math.pi, 2 * math.pi)))
    bones = skeleton(np.concatenate(halves), RNG(0))
    turns, _ = np.histogram(np.arctan2(bones.landmarks[:, 1], bones.landmarks[:, 0]), 12, (-math.pi, math.pi))
    assert turns.min() > 0.5 * turns.mean()
